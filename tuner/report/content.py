"""What a report says in words and numbers: the question, the data, the space, and the results.

Everything is read from one view of the study; the test split stays as it is, sealed or opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pprint import pformat
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from markupsafe import Markup, escape
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from objectives._messages import short
from tuner.diagnosis.diagnosis import diagnose
from tuner.diagnosis.evidence import noise
from tuner.storage.call import call_in_python
from tuner.storage.trial_attrs import CALL, OPENINGS, records, study_attr, trial_params
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from objectives.space.hyperparameter import Described


Facts = list[tuple[str, str]]

MAX_PANELS = 12  # Hyperparameters with a figure of their own.
# Entries of a study's record that say how it was tuned, and what to call them.
_SETTINGS = {
    "objective": "objective",
    "backbone": "backbone",
    "weights": "weights",
    "recipe": "recipe",
    "sampler": "sampler",
    "pruner": "pruner",
    "patience": "patience",
    "n_repeats": "seeds a trial",
    "folds": "folds",
    "seed": "seed",
}
_SPLITS = {
    "train": "fitted on",
    "valid": "chosen by: every value in this report is measured here unless it says test",
    "test": "kept from the search",
}
_SPLITS_OF_FOLDS = {
    "train": "fitted on, but for a fold in turn",
    "valid": "likewise: every value in this report is the mean over the folds of both, unless it "
    "says test",
    "test": "kept from the search",
}
_OUTCOMES = ("value_confirmed", "value_std", "best_epoch", "epochs_run", "duration_s")
_MAX_NAMES = 60


def page_values(
    view: StudyView, *, has_model: bool, confirmed: pd.DataFrame | None
) -> dict[str, object]:
    """Everything on the page of a report that is not drawn, by its name in the template.

    Args:
        view: of any study.
        has_model: whether the best model's predictions are among the figures.
        confirmed: the table of `tuner.diagnosis.confirm.confirm`, if it was made.
    """
    best, diagnosis = view.best_trial, diagnose(view)
    split = view.record.get("split") or {}
    uses = _SPLITS_OF_FOLDS if view.record.get("folds") else _SPLITS
    sizes = {name: split[f"n_{name}"] for name in _SPLITS if f"n_{name}" in split}
    default = "not run" if view.default_trial is None else f"trial {view.default_trial.number}"
    return {
        "study_name": view.study_name,
        "metric": view.metric,
        "lead": _lead(view),
        "tiles": _tiles(view),
        "question": question(view.metric, view.direction),
        "question_facts": _question_facts(view),
        "data_facts": _data_facts(view),
        "splits": [(name, str(n_rows), uses[name]) for name, n_rows in sizes.items()],
        "split_facts": [
            (name, str(value))
            for name, value in split.items()
            if name.removeprefix("n_") not in _SPLITS and value is not None
        ],
        "configuration": _configuration_rows(view),
        "best_title": "" if best is None else f"best (trial {best.number})",
        "default_title": "" if view.default_params is None else f"default ({default})",
        "outcomes": _outcomes(view),
        "configuration_notes": _configuration_notes(view),
        "comparison": view.comparison.removeprefix("model: "),
        "members": _member_rows(view),
        "confirmed": [] if confirmed is None else _confirmed_rows(confirmed),
        "test": _test_sentences(view),
        "findings": diagnosis.findings.to_dict("records"),
        "next_space": pformat(diagnosis.space, sort_dicts=False) if diagnosis.space else "",
        "figure_notes": _figure_notes(view, has_model=has_model),
        "table": trial_table(view),
        "versions": list(view.record.get("versions", {}).items()),
        # Redacted where it is written: over the whole text a match could run into the next line.
        "call": Markup(escape(call_in_python(view))),
    }


def question(metric: str, direction: str) -> str:
    """What a study asks.

    >>> question("accuracy", "maximize")
    'Which configuration gives the highest accuracy on the validation split?'
    """
    best = "highest" if direction == "maximize" else "lowest"
    where = "" if metric == "value" else " on the validation split"
    return f"Which configuration gives the {best} {metric}{where}?"


def _lead(view: StudyView) -> str:
    """The result in a sentence."""
    best, default = view.best_trial, view.default_trial
    if best is None:
        return "No trial is complete yet."
    result = f"Best so far: trial {best.number} with valid {view.metric} {_valued(view, best)}"
    if default is None:
        return f"{result}."
    if default.number == best.number:
        return f"{result}, which is the default configuration."
    return f"{result}; the default configuration had {_valued(view, default)}."


def _valued(view: StudyView, trial: FrozenTrial) -> str:
    confirmed = view.confirmed.get(trial.number)
    again = f" ({short(confirmed.mean)} when trained again on folds)" if confirmed else ""
    return f"{short(trial.value)}{again}"


def _tiles(view: StudyView) -> Facts:
    """The numbers that readers look for first."""
    count, _, states = view.counts.partition(": ")
    tiles = [(f"trials: {states}" if states else "trials", count.partition(" ")[0] or "0")]
    if view.best_trial is not None:
        tiles.insert(0, ("best value", short(view.best_trial.value)))
    if view.default_trial is not None:
        tiles.append(("value of the default", short(view.default_trial.value)))
    seconds = float(view.trials_table["duration_s"].sum())
    return [*tiles, ("spent in trials", duration_in_words(seconds))]


def duration_in_words(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration_in_words(0.4), duration_in_words(75), duration_in_words(7260)
    ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _question_facts(view: StudyView) -> Facts:
    """How the study was tuned: metric, direction, and what its record says of the search."""
    better = "higher" if view.direction == "maximize" else "lower"
    facts = [("metric", f"{view.metric}, {better} is better"), ("direction", view.direction)]
    settings = {label: view.record.get(name) for name, label in _SETTINGS.items()}
    facts += [(label, str(value)) for label, value in settings.items() if value is not None]
    begun = [t.datetime_start for t in view.finished if t.datetime_start is not None]
    ended = [t.datetime_complete for t in view.finished if t.datetime_complete is not None]
    if begun and ended:
        span = f"{min(begun):%Y-%m-%d %H:%M} to {max(ended):%Y-%m-%d %H:%M}"
        facts.append(("trained", span))
    return facts


def _data_facts(view: StudyView) -> Facts:
    """What the record, the call and the objective's data say of the data."""
    call = study_attr(view.user_attrs, CALL)
    call = call if isinstance(call, Mapping) else {}
    facts = [("dataset", str(value)) for value in (call.get("dataset") or {}).values()]
    target, task = (call.get("options") or {}).get("target"), view.record.get("task")
    facts += [(k, str(v)) for k, v in (("target", target), ("task", task)) if v is not None]
    data = getattr(view.objective, "data", None)
    columns, classes = getattr(data, "input_columns", None), getattr(data, "classes", None)
    for what, names in (("columns", columns), ("classes", classes)):
        if names is not None:
            texts = [str(name) for name in names[:_MAX_NAMES]]
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            facts.append((f"{what} ({len(names)})", ", ".join(texts) + more))
    if data is not None and hasattr(data, "image_size"):
        height, width = data.image_size
        facts.append(("images", f"{height} x {width} pixels, {data.n_channels} channels"))
    if view.record.get("fingerprint"):
        facts.append(("fingerprint", str(view.record["fingerprint"])))
    return facts


def _configuration_rows(view: StudyView) -> list[dict[str, object]]:
    """One row a hyperparameter, the searched ones first: where it was searched, and its value in
    the best and the default trial.
    """
    best = {} if view.best_trial is None else trial_params(view.best_trial)
    default = view.default_params or {}
    rows = [
        {
            "name": name,
            "searched": range_in_words(view.space.get(name)),
            "is_fixed": "fixed" in view.space.get(name, {}),
            "best": short(best.get(name)),
            "default": short(default.get(name)),
        }
        for name in dict.fromkeys([*view.space, *best])
    ]
    return sorted(rows, key=lambda row: bool(row["is_fixed"]))


def range_in_words(entry: Described | None) -> str:
    """Say where a hyperparameter was searched.

    Args:
        entry: its description, as `objectives.space.describe` makes it; None if none is recorded.

    Example:
        >>> range_in_words({"low": 16, "high": 512, "log": True}), range_in_words({"fixed": 100})
        ('16 to 512, log', 'fixed')
    """
    if not isinstance(entry, Mapping):
        return "not recorded"
    if "fixed" in entry:
        return "fixed"
    if "choices" in entry:
        return ", ".join(map(str, entry["choices"]))
    scale = ", powers of two" if entry.get("powers_of_two") else ", log" if entry.get("log") else ""
    return f"{short(entry['low'])} to {short(entry['high'])}{scale}"


def _outcomes(view: StudyView) -> list[tuple[str, str, str]]:
    """The results of the best and the default trial: name, best, default."""
    columns = []
    for trial in (view.best_trial, view.default_trial):
        attrs = {} if trial is None else {"value": trial.value} | records(trial)
        if trial is not None and trial.number in view.confirmed:
            attrs["value_confirmed"] = view.confirmed[trial.number].mean
        columns.append([short(attrs.get(name)) for name in ("value", *_OUTCOMES)])
    rows = list(zip((f"valid_{view.metric}", *_OUTCOMES), *columns, strict=True))
    return [row for row in rows if row[1] or row[2]]


def _configuration_notes(view: StudyView) -> list[str]:
    """What to bear in mind when the best value is compared with the default's."""
    notes, error = [], noise(view)
    if error is not None:
        good_to = short(error.value)
        notes.append(f"A value is good to about {good_to}, one standard error: {error.source}.")
    if view.default_params is None:
        notes.append("The study does not tell its default configuration.")
    elif view.default_trial is None:
        notes.append("No complete trial ran the default configuration, so its value is not known.")
    return notes


def _member_rows(view: StudyView) -> list[tuple[str, str, str, str]]:
    """The trials that predict together, the heaviest first: number, weight, value and what they
    differ in; none where one predicts alone.
    """
    members = [] if view.chosen is None else view.chosen.heaviest_first
    if len(members) < 2:
        return []
    params = {number: trial_params(view.by_number[number]) for number, _ in members}
    names = [n for n in view.params if len({str(p.get(n)) for p in params.values()}) > 1]
    return [
        (
            str(number),
            f"{weight:.3f}",
            short(view.by_number[number].value),
            ", ".join(f"{name}={short(params[number].get(name))}" for name in names),
        )
        for number, weight in members
    ]


def _confirmed_rows(confirmed: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for row in confirmed.to_dict("records"):
        names = [] if pd.isna(row["number"]) else [f"trial {row['number']}"]
        names += ["default"] if row["is_default"] else []
        mean, low, high, value = (short(float(row[k])) for k in ("mean", "low", "high", "value"))
        rows.append((", ".join(names), mean, low and f"{low} to {high}", str(row["n"]), value))
    return rows


def _test_sentences(view: StudyView) -> list[str]:
    """What the study records of its test split."""
    recorded = study_attr(view.user_attrs, OPENINGS) or []
    sentences = []
    for entry in (entry for entry in recorded if isinstance(entry, Mapping)):
        value, low, high = (short(entry.get(name)) for name in ("value", "low", "high"))
        sentences.append(
            f"test_{view.metric} {value} (95% interval {low} to {high}, n={entry.get('n')}), the "
            f"model of trial {entry.get('trial')}, opened {entry.get('at')}"
        )
    n_test = (view.record.get("split") or {}).get("n_test")
    if len(sentences) > 1:
        n_times = len(sentences)
        sentences.append(f"It was opened {n_times} times; only the first time was it unseen.")
    elif not sentences and not n_test:
        why = "The study records no test split." if n_test is None else "No rows were kept for it."
        sentences.append(why)
    elif not sentences:
        sentences.append(
            f"Still sealed: neither the search nor this report has seen its {n_test} rows. "
            "result.test_score() opens it, once, when all choices are made."
        )
    return sentences


def _figure_notes(view: StudyView, *, has_model: bool) -> list[str]:
    """Which figures are missing, and why."""
    notes = []
    more = len(view.varied) - MAX_PANELS
    if more > 0:
        notes.append(
            f"{more} hyperparameters that mattered less have no panel of their own; "
            'result.plot("hyperparameters") has all.'
        )
    if view.best_trial is not None and view.record and not has_model:
        notes.append(
            "The best model was not at hand, so its predictions on the validation split are left "
            "out."
        )
    return notes


_FIRST = ("number", "state", "value")
_LEFT_OUT = ("seed",)  # Ten digits that tell a reader nothing; the exported table has them.


class Cell(NamedTuple):
    """What a cell shows, and the number in full where that shows it rounded."""

    text: str
    exact: str = ""


class Column(NamedTuple):
    """A column's heading, and whether it holds numbers."""

    name: str
    is_number: bool


class Row(NamedTuple):
    """A trial."""

    state: str
    is_best: bool
    cells: Sequence[Cell]


class TrialTable(NamedTuple):
    """A study's trials: complete ones by value, the best first, then the others by number.

    ``columns`` differ between trials; ``same`` is what no trial differs in, as ``name=value``;
    ``states`` counts trials by state; ``ascending``: the best value is the smallest.
    """

    columns: list[Column]
    rows: list[Row]
    states: dict[str, int]
    same: list[str]
    ascending: bool


def trial_table(study: optuna.Study | StudyView) -> TrialTable:
    """Arrange a study's trials for a page.

    Args:
        study: any study with one direction; it may be empty.

    Raises:
        ValueError: if the study has several directions.
    """
    view = view_of(study)
    trials = view.trials_table
    ascending = view.direction == "minimize"
    complete = trials["state"] == "COMPLETE"
    best_first = trials[complete].sort_values("value", ascending=ascending, kind="stable")
    ordered = pd.concat([best_first, trials[~complete]])
    known = [str(n) for n in trials if n not in (*_FIRST, *_LEFT_OUT) and trials[n].notna().any()]
    same = [n for n in known if len(trials) > 1 and trials[n].nunique(dropna=False) == 1]
    differing = [name for name in known if name not in same]
    # Hyperparameters stand beside the value.
    shown = [*_FIRST, *sorted(differing, key=lambda name: not name.startswith("params_"))]
    cells = zip(*(map(_cell, ordered[name].astype(object)) for name in shown), strict=True)
    best = None if view.best_trial is None else view.best_trial.number
    return TrialTable(
        columns=[
            Column(
                name.removeprefix("params_"),
                is_numeric_dtype(trials[name]) and not is_bool_dtype(trials[name]),
            )
            for name in shown
        ],
        rows=[
            Row(state, number == best, row)
            for state, number, row in zip(ordered["state"], ordered["number"], cells, strict=True)
        ],
        states=dict(Counter(trials["state"])),
        same=[f"{name.removeprefix('params_')}={short(trials[name].iloc[0])}" for name in same],
        ascending=ascending,
    )


def _cell(value: object) -> Cell:
    text = short(value)
    is_rounded = isinstance(value, float) and text != "" and float(text) != value
    return Cell(text, repr(value) if is_rounded else "")
