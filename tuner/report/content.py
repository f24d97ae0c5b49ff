"""What a report says in words and numbers: the question, the data, the space, and how it came out.

Everything is read from the study; the test split stays as it is, sealed or opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tuner.diagnosis.evidence import Evidence, short
from tuner.plots.hyperparameters import varied_names
from tuner.report.figures import MAX_PANELS
from tuner.storage.study import CALL, OPENINGS, RECORD
from tuner.storage.trial_attrs import (
    count_states,
    finished,
    has_complete,
    records,
    study_metric,
    trial_params,
)
from tuner.tables import trials_dataframe

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


Facts = list[tuple[str, str]]

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
_OUTCOMES = ("value_std", "best_epoch", "epochs_run", "duration_s")
_MAX_NAMES = 60


@dataclass(frozen=True, kw_only=True)
class ConfigurationRow:
    """One hyperparameter: where it was searched, and its value in the best and default trial."""

    name: str
    searched: str
    is_fixed: bool
    best: str
    default: str


def question_facts(study: optuna.Study) -> Facts:
    """How a study was tuned: metric, direction, and what its record says of the search."""
    metric, direction = study_metric(study)
    better = "higher" if direction == "maximize" else "lower"
    record = record_of(study)
    known = {label: record.get(name) for name, label in _SETTINGS.items()}
    facts = [(label, str(value)) for label, value in known.items() if value is not None]
    begun = [t.datetime_start for t in finished(study) if t.datetime_start is not None]
    ended = [t.datetime_complete for t in finished(study) if t.datetime_complete is not None]
    if begun and ended:
        span = f"{min(begun):%Y-%m-%d %H:%M} to {max(ended):%Y-%m-%d %H:%M}"
        facts.append(("trained", span))
    facts.insert(0, ("direction", direction))
    return [("metric", f"{metric}, {better} is better"), *facts]


def record_of(study: optuna.Study) -> Mapping[str, Any]:
    """What this package recorded of a study; empty for a study made by Optuna alone."""
    record = study.user_attrs.get(RECORD)
    return record if isinstance(record, Mapping) else {}


def data_facts(study: optuna.Study, objective: Any) -> Facts:
    """What the study's record, its call, and the objective's data say of the data."""
    record, call = record_of(study), study.user_attrs.get(CALL)
    call = call if isinstance(call, Mapping) else {}
    dataset = call.get("dataset") or {}
    options = call.get("options") or {}
    facts = [("dataset", str(value)) for value in dataset.values()]
    facts += [
        (name, str(found))
        for name, found in (("target", options.get("target")), ("task", record.get("task")))
        if found is not None
    ]
    data: Any = getattr(objective, "data", None)
    columns = getattr(data, "input_columns", None)
    if columns is not None:
        facts.append((f"columns ({len(columns)})", _listed(columns)))
    if hasattr(data, "image_size"):
        height, width = data.image_size
        facts.append(("images", f"{height} x {width} pixels, {data.n_channels} channels"))
    classes = getattr(data, "classes", None)
    if classes is not None:
        facts.append((f"classes ({len(classes)})", _listed(classes)))
    if record.get("fingerprint"):
        facts.append(("fingerprint", str(record["fingerprint"])))
    return facts


def _listed(names: Iterable[Any]) -> str:
    texts = [str(name) for name in names]
    more = len(texts) - _MAX_NAMES
    return ", ".join(texts[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def split_rows(study: optuna.Study) -> list[tuple[str, str, str]]:
    """Name, number of rows and use of each split that the study records."""
    split = record_of(study).get("split") or {}
    return [
        (name, str(split[f"n_{name}"]), use)
        for name, use in _SPLITS.items()
        if f"n_{name}" in split
    ]


def split_facts(study: optuna.Study) -> Facts:
    """How the rows were split, as the study records it."""
    split = record_of(study).get("split") or {}
    rows = {f"n_{name}" for name in _SPLITS}
    return [(k, str(v)) for k, v in split.items() if k not in rows and v is not None]


def configuration_rows(
    study: optuna.Study, best: FrozenTrial | None, default: Mapping[str, Any] | None
) -> list[ConfigurationRow]:
    """One row a hyperparameter, the searched ones first."""
    space = Evidence(study).space
    chosen = {} if best is None else trial_params(best)
    names = dict.fromkeys([*space, *chosen])
    rows = [
        ConfigurationRow(
            name=name,
            searched=range_in_words(space.get(name)),
            is_fixed="fixed" in space.get(name, {}),
            best=_text(chosen.get(name)),
            default=_text((default or {}).get(name)),
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: row.is_fixed)


def _text(value: Any) -> str:
    return "" if value is None else short(value)


def range_in_words(entry: Any) -> str:
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
    extra = ", powers of two" if entry.get("powers_of_two") else ", log" if entry.get("log") else ""
    return f"{short(entry['low'])} to {short(entry['high'])}{extra}"


def value_facts(
    metric: str, best: FrozenTrial | None, default: FrozenTrial | None
) -> list[tuple[str, str, str]]:
    """What the best and the default trial came to: name, best, default."""
    columns = []
    for trial in (best, default):
        attrs = {} if trial is None else {"value": trial.value} | records(trial)
        columns.append([_text(attrs.get(name)) for name in ("value", *_OUTCOMES)])
    rows = list(zip((f"valid_{metric}", *_OUTCOMES), *columns, strict=True))
    return [row for row in rows if row[1] or row[2]]


def opening_sentences(study: optuna.Study) -> list[str]:
    """A sentence for each opening of the test split that the study records, the first one first."""
    metric, _ = study_metric(study)
    openings = study.user_attrs.get(OPENINGS) or []
    return [_opening(metric, entry) for entry in openings if isinstance(entry, Mapping)]


def _opening(metric: str, entry: Mapping[str, Any]) -> str:
    value, low, high = (_text(entry.get(name)) for name in ("value", "low", "high"))
    interval = f"95% interval {low} to {high}, n={entry.get('n')}"
    return (
        f"test_{metric} {value} ({interval}), the model of trial {entry.get('trial')}, opened "
        f"{entry.get('at')}"
    )


_FIRST = ("number", "state", "value")
_LEFT_OUT = ("seed",)  # Ten digits that tell a reader nothing; the exported table has them.


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell shows, and the number in full where that shows it rounded."""

    text: str
    exact: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column's heading, and whether it holds numbers."""

    name: str
    is_number: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """A trial."""

    state: str
    is_best: bool
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class TrialTable:
    """A study's trials, the best first.

    Args:
        columns: those that differ between trials.
        rows: one a trial: complete ones by value, then the others by number.
        states: how many trials there are of each state.
        same: what no trial differs in, as ``name=value``.
        ascending: whether the best value is the smallest.
    """

    columns: list[Column]
    rows: list[Row]
    states: dict[str, int]
    same: list[str]
    ascending: bool


def trial_table(study: optuna.Study) -> TrialTable:
    """Arrange a study's trials for a page.

    Args:
        study: any study with one direction; it may be empty.

    Raises:
        ValueError: if the study has several directions.
    """
    _, direction = study_metric(study)
    trials = trials_dataframe(study)
    ascending = direction == "minimize"
    complete = trials["state"] == "COMPLETE"
    best_first = trials[complete].sort_values("value", ascending=ascending, kind="stable")
    ordered = pd.concat([best_first, trials[~complete]])
    shown, same = _arranged(trials)
    columns = [Column(name=_heading(name), is_number=_is_number(trials[name])) for name in shown]
    cells = zip(*(_cells(ordered[name]) for name in shown), strict=True)
    best = int(best_first["number"].iloc[0]) if len(best_first) else None
    rows = [
        Row(state=state, is_best=number == best, cells=list(row))
        for state, number, row in zip(ordered["state"], ordered["number"], cells, strict=True)
    ]
    return TrialTable(
        columns=columns,
        rows=rows,
        states=dict(Counter(trials["state"])),
        ascending=ascending,
        same=[f"{_heading(name)}={_cells(trials[name])[0].text}" for name in same],
    )


def _arranged(trials: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Columns to show, hyperparameters beside the value, and those in which no trial differs."""
    names = [str(name) for name in trials if name not in (*_FIRST, *_LEFT_OUT)]
    others = [name for name in names if trials[name].notna().any()]
    is_same = [len(trials) > 1 and trials[name].nunique(dropna=False) == 1 for name in others]
    same = [name for name, alike in zip(others, is_same, strict=True) if alike]
    differing = [name for name in others if name not in same]
    differing.sort(key=lambda name: not name.startswith("params_"))
    return [*_FIRST, *differing], same


def _heading(column: str) -> str:
    return column.removeprefix("params_")


def _is_number(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _cells(column: pd.Series) -> list[Cell]:
    return [_cell(value) for value in column.astype(object).where(column.notna(), None)]


def _cell(value: object) -> Cell:
    if isinstance(value, float):
        rounded = f"{value:.4g}"
        return Cell(text=rounded, exact="" if float(rounded) == value else repr(value))
    return Cell(text="" if value is None else str(value))


def question(metric: str, direction: str) -> str:
    """What a study asks.

    >>> question("accuracy", "maximize")
    'Which configuration gives the highest accuracy on the validation split?'
    """
    best = "highest" if direction == "maximize" else "lowest"
    where = "" if metric == "value" else " on the validation split"
    return f"Which configuration gives the {best} {metric}{where}?"


def lead(metric: str, best: FrozenTrial | None, default: FrozenTrial | None) -> str:
    """What came of it, in a sentence."""
    if best is None:
        return "No trial is complete yet."
    found = f"Best so far: trial {best.number} with valid {metric} {short(best.value)}"
    if default is None:
        return f"{found}."
    if default.number == best.number:
        return f"{found}, which is the default configuration."
    return f"{found}; the default configuration had {short(default.value)}."


def tiles(
    study: optuna.Study, best: FrozenTrial | None, default: FrozenTrial | None
) -> list[tuple[str, str]]:
    """The numbers that are looked for first."""
    states = count_states(study).partition(": ")
    counted = f"trials: {states[2]}" if states[2] else "trials"
    found = [(counted, states[0].partition(" ")[0] or "0")]
    if best is not None:
        found.insert(0, ("best value", short(best.value)))
    if default is not None:
        found.append(("value of the default", short(default.value)))
    seconds = trials_dataframe(study)["duration_s"].sum()
    return [*found, ("spent in trials", duration_in_words(float(seconds)))]


def duration_in_words(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration_in_words(0.4), duration_in_words(75), duration_in_words(7260)
    ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def default_title(params: Mapping[str, Any] | None, default: FrozenTrial | None) -> str:
    """The heading of the default configuration's column; empty where it is not known."""
    if params is None:
        return ""
    return "default (not run)" if default is None else f"default (trial {default.number})"


def configuration_notes(
    study: optuna.Study,
    objective: Any,
    params: Mapping[str, Any] | None,
    default: FrozenTrial | None,
) -> list[str]:
    """What to bear in mind when the best value is compared with the default's."""
    notes = []
    noise = Evidence(study, objective).noise
    if noise is not None:
        notes.append(
            f"A value is good to about {short(noise.value)}, one standard error: {noise.source}."
        )
    if params is None:
        notes.append("The study does not tell its default configuration.")
    elif default is None:
        notes.append("No complete trial ran the default configuration, so its value is not known.")
    return notes


def confirmed_rows(confirmed: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """The table of `tuner.diagnosis.confirm.confirm` for the page, the best mean first."""
    return [
        (
            _candidate(row["number"], row["is_default"]),
            _number(row["mean"]),
            "" if pd.isna(row["low"]) else f"{_number(row['low'])} to {_number(row['high'])}",
            str(row["n"]),
            _number(row["value"]),
        )
        for row in confirmed.to_dict("records")
    ]


def _candidate(number: Any, is_default: bool) -> str:
    trial = "" if pd.isna(number) else f"trial {number}"
    return ", ".join(part for part in (trial, "default" if is_default else "") if part)


def _number(value: Any) -> str:
    return "" if pd.isna(value) else short(float(value))


def sealed_or_opened(study: optuna.Study) -> list[str]:
    """What the study records of its test split, which stays as it is."""
    found = opening_sentences(study)
    n_test = (record_of(study).get("split") or {}).get("n_test")
    if not found and n_test is None:
        return ["The study records no test split."]
    if not found:
        return [
            f"Still sealed: neither the search nor this report has seen its {n_test} rows. "
            "result.test_score() opens it, once, when all choices are made."
        ]
    if len(found) > 1:
        found.append(f"It was opened {len(found)} times; only the first time was it unseen.")
    return found


def figure_notes(study: optuna.Study, *, has_model: bool) -> list[str]:
    """Which figures are missing, and why."""
    notes = []
    more = len(varied_names(study)) - MAX_PANELS
    if more > 0:
        notes.append(
            f"{more} hyperparameters that mattered less have no panel of their own; "
            'result.plot("hyperparameters") has all.'
        )
    if has_complete(study) and record_of(study) and not has_model:
        notes.append(
            "The best model was not at hand, so its predictions on the validation split are left "
            "out."
        )
    return notes
