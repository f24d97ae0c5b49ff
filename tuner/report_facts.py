"""What a report says in words and numbers: the question, the data, the space, and how it came out.

Everything is read from the study; the test split stays as it is, sealed or opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.evidence import Evidence, short
from tuner.records import finished, records, study_metric, trial_params
from tuner.study import CALL, OPENINGS, RECORD

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
