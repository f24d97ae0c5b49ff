"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from tuner.evidence import Evidence, short
from tuner.plots_params import varied_names
from tuner.records import count_states, has_complete
from tuner.report_facts import opening_sentences, record_of
from tuner.report_figures import MAX_PANELS
from tuner.tables import trials_dataframe

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


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
    study: optuna.Study, objective: Any, params: Mapping[str, Any] | None,
    default: FrozenTrial | None,
) -> list[str]:  # fmt: skip
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
    """The table of `tuner.confirm.confirm` for the page, the best mean first."""
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
