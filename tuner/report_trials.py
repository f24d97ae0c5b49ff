"""The trial table of a report: which columns, in which order, and how a cell is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tuner.records import study_metric
from tuner.tables import trials_dataframe

if TYPE_CHECKING:
    import optuna

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
        columns=columns, rows=rows, states=dict(Counter(trials["state"])), ascending=ascending,
        same=[f"{_heading(name)}={_cells(trials[name])[0].text}" for name in same],
    )  # fmt: skip


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
