"""Parallel coordinates: each trial a line through all its hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection

from tuner.evidence import Evidence
from tuner.plot_axes import (
    BEST_COLOR,
    RANK_COLORS,
    Floats,
    colorbar,
    levels_of,
    new_axes,
    plain,
    say,
)
from tuner.plots_params import varied_names
from tuner.ranges import Range

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

_MAX_AXES = 10
_FEW_VALUES, _FAN = 12, 0.08


class ParallelData(NamedTuple):
    """What `plot_parallel` draws: the complete trials that have every hyperparameter, worst first.

    ``position`` has shape (n_trials, n_names): 0 at the low end of each range, 1 at the high end.
    ``rank`` is 0 for the worst and 1 for the best; ``ends`` are the labels of both ends by name.
    """

    names: list[str]
    position: Floats
    rank: Floats
    ends: list[tuple[str, str]]


def plot_parallel(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw each complete trial as a line through its hyperparameters, the best one bold.

    Args:
        study: any study with one direction; it may be empty.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    data = parallel_data(study)
    if ax is None:
        _, ax = plt.subplots(figsize=(1.5 * max(len(data.names), 4) + 1, 4.2), layout="constrained")
    ax = new_axes(ax, "Parallel coordinates of the complete trials", "")
    if len(data.names) < 2 or not len(data.rank):
        return say(ax, "needs complete trials and two hyperparameters that differ")
    columns = np.arange(len(data.names))
    lines = [np.column_stack([columns, row]) for row in _fanned(data)]
    alpha = float(np.clip(6 / np.sqrt(len(lines)), 0.2, 0.9))
    drawn = LineCollection(lines, array=data.rank, cmap=RANK_COLORS, linewidths=1.0, alpha=alpha)
    drawn.set_clim(0, 1)
    ax.add_collection(drawn)
    ax.plot(
        columns, data.position[-1], color=BEST_COLOR, linewidth=2.6, marker="*",
        markeredgecolor="black", markersize=9,
    )  # fmt: skip
    for column, (low, high) in enumerate(data.ends):
        for end, text, where in ((0.0, low, "top"), (1.0, high, "bottom")):
            ax.annotate(
                plain(text), (column, end), (0, -9 if where == "top" else 9), ha="center", va=where,
                textcoords="offset points", fontsize="small",
            )  # fmt: skip
    ax.set(xlim=(-0.4, len(columns) - 0.6), ylim=(-0.15, 1.15), yticks=[])
    ax.set_xticks(columns, list(map(plain, data.names)), rotation=20)
    ax.grid(visible=True, axis="x", color="#8C8C8C", linewidth=0.8)
    ax.spines[["left", "bottom"]].set_visible(False)
    colorbar(ax, drawn)
    return ax


def _fanned(data: ParallelData) -> Floats:
    """Positions with lines through one level fanned out by rank, so that each is seen."""
    position = data.position.copy()
    for column in position.T:
        if len(np.unique(column)) <= _FEW_VALUES < len(column):
            column += _FAN * (data.rank - 0.5)
    return position


def parallel_data(study: optuna.Study) -> ParallelData:
    """Where each complete trial lies in the ranges of the hyperparameters that vary.

    Args:
        study: any study with one direction.

    Returns:
        What `plot_parallel` draws: at most ten hyperparameters, the most important first.
    """
    evidence = Evidence(study)
    columns: dict[str, Floats] = {}
    ends: list[tuple[str, str]] = []
    for name in varied_names(study)[:_MAX_AXES]:
        values, entry = evidence.complete[f"params_{name}"], evidence.ranges.get(name)
        if isinstance(entry, Range):
            columns[name] = entry.position(values)
            ends.append((f"{entry.low:.3g}", f"{entry.high:.3g}"))
        else:
            levels = levels_of(values)
            where = values.astype("str").map(levels.index).where(values.notna())
            columns[name] = where.to_numpy(dtype=np.float64) / max(len(levels) - 1, 1)
            ends.append((levels[0], levels[-1]) if levels else ("", ""))
    position = np.column_stack(list(columns.values())) if columns else np.empty((0, 0))
    position = position[np.isfinite(position).all(axis=1)][::-1]
    rank = np.linspace(0, 1, len(position))
    return ParallelData(list(columns), position, rank, ends)
