"""Plots of hyperparameters: values by one of them, by two, or by all, with the space's bounds.

Arguments and return values are those of `tuner.plots.study`.

Optuna draws rank and parallel coordinates, too; its drawings were compared with these. Its rank
stacks all trials of a cell of discrete values into one dot, so that 200 trials show as eight. Its
parallel coordinates draw good trials below bad ones, do not mark the best, and cannot be read from
some dozens of trials on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from matplotlib.scale import LogScale

from tuner.diagnosis.evidence import Range, ranges
from tuner.plots.axes import (
    BEST_COLOR,
    RANK_COLORS,
    Floats,
    colorbar,
    legend,
    levels_of,
    new_axes,
    plain,
    scale_values,
    scatter_trials,
    show_empty,
    spans_decades,
    star,
    whole_numbers,
)
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_BOUND_COLOR = "#595959"
_COLUMNS = 3
_FEW_LEVELS, _SPREAD = 12, 0.35
# Multiples of these fill a square evenly (Roberts 2018, "R2" sequence) and are the same at each
# call. One step for both axes would put the trials of a cell on its diagonal.
_STEPS = {"x": 0.7548776662466927, "y": 0.5698402909980532}


def plot_hyperparameter(
    study: optuna.Study | StudyView, name: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the trials' values against one hyperparameter, on the scale that the space gives it.

    Dotted lines are the ends of the searched range, so that a best trial at an edge is seen.

    Args:
        name: the hyperparameter; by default the one that mattered most.

    Raises:
        ValueError: if no trial has a hyperparameter of that name.
    """
    view = view_of(study)
    name = next(iter(view.varied), None) if name is None else name
    _check_name(name, view)
    ax = new_axes(ax, f"Values by {name or 'hyperparameter'}", name or "hyperparameter")
    trials = view.trials_table
    scale_values(ax, trials["value"].to_numpy(), view)
    if name is None:
        return show_empty(ax, "no hyperparameter was varied yet")
    rows = trials[trials[f"params_{name}"].notna()]
    states = rows["state"].to_numpy(dtype=np.str_)
    x = _scale(ax, "x", rows[f"params_{name}"], ranges(view).get(name))
    handles: list[Artist] = [
        *scatter_trials(ax, x, rows["value"].to_numpy(), states, view.direction)
    ]
    best = view.best_row[view.best_row["number"].isin(rows["number"])]
    if len(best):
        number = best["number"].iloc[0]
        label = f"best (trial {number})"
        handles.append(star(ax, x[rows["number"] == number], best["value"].to_numpy(), label))
    legend(ax, handles)
    return ax


def plot_hyperparameters(study: optuna.Study | StudyView) -> Figure:
    """Draw a panel for each hyperparameter that varies, the most important first."""
    view = view_of(study)
    names: list[str | None] = [*view.varied] or [None]
    shape = math.ceil(len(names) / _COLUMNS), min(len(names), _COLUMNS)
    size = 5.6 * shape[1], 3.8 * shape[0]
    figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        plot_hyperparameter(view, name, ax)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    return figure


def plot_rank(
    study: optuna.Study | StudyView, names: tuple[str, str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the complete trials by two hyperparameters, coloured from the worst to the best.

    Args:
        names: the two; by default those that mattered most.

    Raises:
        ValueError: if no trial has a hyperparameter of such a name.
    """
    view = view_of(study)
    pair = view.varied[:2] if names is None else list(names)
    for name in pair:
        _check_name(name, view)
    ax = new_axes(ax, "Complete trials by rank", pair[0] if pair else "")
    if len(pair) < 2 or view.ranked.empty:
        return show_empty(ax, "needs complete trials and two hyperparameters that differ")
    rows = view.ranked[::-1].dropna(subset=[f"params_{name}" for name in pair])
    ax.set_ylabel(plain(pair[1]))
    x, y = (
        _scale(ax, axis, rows[f"params_{name}"], ranges(view).get(name))
        for axis, name in zip("xy", pair, strict=True)
    )
    size = float(np.clip(900 / np.sqrt(len(rows)), 18, 60))
    dots = ax.scatter(x, y, size, np.linspace(0, 1, len(rows)), cmap=RANK_COLORS, vmin=0, vmax=1)
    dots.set(edgecolors="white", linewidths=0.4)
    colorbar(ax, dots)
    is_best = rows["number"].isin(view.best_row["number"]).to_numpy()
    for number in rows["number"][is_best]:
        legend(ax, [star(ax, x[is_best], y[is_best], f"best (trial {number})")])
    return ax


def _check_name(name: str | None, view: StudyView) -> None:
    if name is not None and name not in view.params:
        choices = ", ".join(view.params) or "(none so far)"
        raise ValueError(f"name must be one of {choices}, got {name=}")


def _scale(ax: Axes, axis: str, values: pd.Series, entry: object) -> Floats:
    """Scale an axis for a hyperparameter, draw its bounds, and say where each value lies on it."""
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not is_number:
        levels = levels_of(values)
        getattr(ax, f"set_{axis}ticks")(range(len(levels)), list(map(plain, levels)))
        ax.set(**{f"{axis}lim": (-0.5, len(levels) - 0.5)})
        return _spread(values.astype("str").map(levels.index).to_numpy(dtype=np.float64), axis)
    numbers: npt.NDArray[np.float64] = values.to_numpy(dtype=np.float64)
    bounds = [entry.low, entry.high] if isinstance(entry, Range) else []
    is_log = _log_if_wide(ax, axis, np.append(numbers, bounds), entry)
    if isinstance(entry, Range) and entry.whole and not is_log:
        whole_numbers(ax, axis)
    numbers = _spread(np.log(numbers) if is_log else numbers, axis, inwards=bool(bounds))
    numbers = np.exp(numbers) if is_log else numbers
    shown = np.append(numbers, bounds)
    ends = np.array([np.nanmin(shown), np.nanmax(shown)])
    ends = np.log(ends) if is_log else ends
    pad = 0.05 * (ends[1] - ends[0]) or 0.5
    ends += (-pad, pad)
    ax.set(**{f"{axis}lim": np.exp(ends) if is_log else ends})
    line = ax.axvline if axis == "x" else ax.axhline
    for bound in bounds:
        line(bound, color=_BOUND_COLOR, linestyle=":", linewidth=1.2)
    return numbers


def _spread(positions: Floats, axis: str, *, inwards: bool = False) -> Floats:
    """Positions of many trials on few levels, set apart so that they do not hide one another.

    Where bounds are drawn, those on the outer levels move ``inwards``: beyond a bound they would
    seem to lie outside the space.
    """
    levels = np.unique(positions)
    if not 1 < len(levels) <= _FEW_LEVELS < len(positions):
        return positions
    offsets = (np.arange(len(positions)) * _STEPS[axis]) % 1 - 0.5
    if inwards:
        offsets = np.where(positions == levels[0], abs(offsets), offsets)
        offsets = np.where(positions == levels[-1], -abs(offsets), offsets)
    spread: Floats = positions + _SPREAD * np.diff(levels).min() * offsets
    return spread


def _log_if_wide(ax: Axes, axis: str, numbers: Floats, entry: object) -> bool:
    """Use a log axis where the space does, or where the numbers span decades; say whether."""
    if not numbers.size or not np.nanmin(numbers) > 0:
        return False
    if isinstance(entry, Range):
        is_log, is_base_2 = entry.log, entry.powers_of_two or (entry.log and entry.whole)
    else:
        is_log = spans_decades(numbers)
        is_base_2 = not is_log and spans_decades(numbers, factor=10)
    if is_base_2:
        # Batch sizes and widths: searched on a log scale, with hardly a decade to show.
        ax.set(**{f"{axis}scale": LogScale(None, base=2)})
        getattr(ax, f"{axis}axis").set_major_formatter("{x:g}")
    elif is_log:
        ax.set(**{f"{axis}scale": "log"})
    return is_log or is_base_2


_MAX_AXES = 10
_FEW_VALUES, _FAN = 12, 0.08
_MAX_LABELS = 6  # Levels of an axis that are named: more would run into one another.


class ParallelData(NamedTuple):
    """What `plot_parallel` draws: the complete trials that have every hyperparameter, worst first.

    ``position`` has shape (n_trials, n_names): 0 at the low end of each range, 1 at the high end.
    ``rank`` is 0 for the worst and 1 for the best; ``ticks`` are positions with their labels, for
    each name; ``best`` is where the best trial stands, if it is there.
    """

    names: list[str]
    position: Floats
    rank: Floats
    ticks: list[dict[str, float]]
    best: int | None


def plot_parallel(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw each complete trial as a line through its hyperparameters: the better, the darker and
    thicker, and the best one bold.
    """
    data = parallel_data(study)
    if ax is None:
        _, ax = plt.subplots(figsize=(1.5 * max(len(data.names), 4) + 1, 4.2), layout="constrained")
    ax = new_axes(ax, "Parallel coordinates of the complete trials", "")
    if len(data.names) < 2 or not len(data.rank):
        return show_empty(ax, "needs complete trials and two hyperparameters that differ")
    columns = np.arange(len(data.names))
    position = data.position.copy()
    for column in position.T:
        if len(np.unique(column)) <= _FEW_VALUES < len(column):
            # Lines through one level are fanned out by rank, so that each is seen.
            column += _FAN * (data.rank - 0.5)
    lines = [np.column_stack([columns, row]) for row in position]
    # The worst half of many would hide the pattern of the best.
    widths = 0.5 + 1.2 * data.rank**2 if len(lines) > _FEW_VALUES else 1.4
    drawn = LineCollection(lines, array=data.rank, cmap=RANK_COLORS, linewidths=widths, alpha=0.8)
    drawn.set_clim(0, 1)
    ax.add_collection(drawn)
    if data.best is not None:
        (best,) = ax.plot(columns, position[data.best], color=BEST_COLOR, linewidth=2.6, marker="*")
        best.set(markeredgecolor="black", markersize=9, label="best")
    for column, ticks in enumerate(data.ticks):
        for text, where in ticks.items():
            note = ax.annotate(plain(text), (column, where), (6, 0), textcoords="offset points")
            note.set(va="center", fontsize="small", zorder=4)
            note.set_path_effects([withStroke(linewidth=3, foreground="white")])
    ax.set(xlim=(-0.3, len(columns) - 0.4), ylim=(-0.08, 1.08), yticks=[])
    ax.set_xticks(columns, list(map(plain, data.names)), rotation=20)
    ax.grid(visible=True, axis="x", color="#8C8C8C", linewidth=0.8)
    ax.spines[["left", "bottom"]].set_visible(False)
    colorbar(ax, drawn)
    return ax


def parallel_data(study: optuna.Study | StudyView) -> ParallelData:
    """Where each complete trial lies in the ranges of the hyperparameters that vary: at most ten,
    the most important first.
    """
    view = view_of(study)
    columns: dict[str, Floats] = {}
    ticks: list[dict[str, float]] = []
    for name in view.varied[:_MAX_AXES]:
        values, entry = view.ranked[f"params_{name}"], ranges(view).get(name)
        if isinstance(entry, Range):
            columns[name] = entry.position(values)
            marks = _marks(entry)
            places = entry.position(pd.Series(marks)).tolist()
            ticks.append({f"{mark:.3g}": place for mark, place in zip(marks, places, strict=True)})
        else:
            levels = levels_of(values)
            where = values.astype("str").map({level: i for i, level in enumerate(levels)})
            columns[name] = where.to_numpy(dtype=np.float64) / max(len(levels) - 1, 1)
            named = levels if len(levels) <= _MAX_LABELS else [levels[0], levels[-1]]
            ticks.append({level: levels.index(level) / max(len(levels) - 1, 1) for level in named})
    position = np.column_stack(list(columns.values())) if columns else np.empty((0, 0))
    is_best = view.ranked["number"].isin(view.best_row["number"]).to_numpy()[: len(position)]
    is_whole = np.isfinite(position).all(axis=1)
    position, is_best = position[is_whole][::-1], is_best[is_whole][::-1]
    best = int(is_best.argmax()) if is_best.any() else None
    return ParallelData(list(columns), position, np.linspace(0, 1, len(position)), ticks, best)


def _marks(entry: Range) -> list[float]:
    """The ends of a range and, if they are few, the steps between them: decades, powers of two,
    whole numbers.
    """
    if entry.log or entry.powers_of_two:
        base = 2.0 if entry.powers_of_two or entry.whole else 10.0
        steps = base ** np.arange(-40, 41)
    else:
        steps = np.arange(entry.low, min(entry.high, entry.low + _MAX_LABELS) + 0.5)
    inside = steps[(steps > 1.01 * entry.low) & (steps < 0.99 * entry.high)].tolist()
    is_few = len(inside) + 2 <= _MAX_LABELS and (entry.log or entry.powers_of_two or entry.whole)
    return [entry.low, *(inside if is_few else []), entry.high]
