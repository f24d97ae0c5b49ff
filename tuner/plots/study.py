"""First looks at a study: optimisation history, learning curves, and what mattered.

Each plot draws on the axes it is given, or on a new figure, and returns them; none shows a window
or sets a global style. Optuna's matplotlib plots switch the whole process to another style and take
no axes, so its importances are used and the drawing is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tuner.diagnosis.evidence import MIN_FOR_IMPORTANCES, Evidence, importances_data
from tuner.plots.axes import (
    BEST_COLOR,
    ENDINGS,
    LOOKS,
    Floats,
    legend,
    new_axes,
    plain,
    say,
    scale_values,
    scatter_trials,
    spans_decades,
    state_handles,
)
from tuner.plots.data import CurvesData, HistoryData, curves_data, history_data
from tuner.plots.hyperparameters import (
    plot_hyperparameter,
    plot_hyperparameters,
    plot_parallel,
    plot_rank,
    varied_names,
)
from tuner.storage.trial_attrs import started
from tuner.tables import trials_dataframe

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = [
    "CurvesData",
    "HistoryData",
    "curves_data",
    "history_data",
    "importances_data",
    "overview",
    "plot_curves",
    "plot_history",
    "plot_hyperparameter",
    "plot_hyperparameters",
    "plot_importances",
    "plot_losses",
    "plot_parallel",
    "plot_rank",
    "plot_timeline",
]

_MAX_BARS = 12
_MANY_CURVES = 100


def plot_history(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw every trial's value by number, told apart by state, and the best so far.

    A trial without a value, or with one far worse than the rest, lies on the worse edge.

    Args:
        study: any study with one direction; it may be empty.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    ax = new_axes(ax, "Optimisation history", "trial")
    data = history_data(study)
    scale_values(ax, data.value, data.metric, data.direction)
    if not len(data.number):
        return say(ax, "no trials yet")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    numbers = data.number.astype(np.float64)
    ax.set_xlim(-0.5 - 0.01 * numbers.max(), 0.5 + 1.01 * numbers.max())
    scatter_trials(ax, numbers, data.value, data.state, data.direction)
    handles = state_handles(data.state)
    if np.isfinite(data.best).any():
        ax.step(numbers, data.best, where="post", color=BEST_COLOR, linewidth=1.8)
        handles.append(Line2D([], [], color=BEST_COLOR, linewidth=1.8, label="best so far"))
    legend(ax, handles)
    return ax


def plot_curves(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw the learning curve of every trial, the best one on top.

    A mark at a curve's end tells why it ended there: its epochs were over, patience ended it
    early, it was pruned, it diverged, it failed, or it is still running.

    Args:
        study: any study with one direction; it may be empty.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    ax = new_axes(ax, "Learning curves", "epoch")
    data = curves_data(study)
    values = np.concatenate([curve[:, 1] for curve in data.curve] or [np.empty(0)])
    scale_values(ax, values, data.metric, data.direction)
    if not data.curve:
        return say(ax, "no learning curves yet")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _draw_curves(ax, data)
    last = max(curve[-1, 0] for curve in data.curve)
    ax.set_xlim(-0.02 * last - 0.05, 1.03 * last + 0.05)
    legend(
        ax, [*state_handles(data.ending, lines=True, looks=ENDINGS), *_draw_best_curve(ax, data)]
    )
    return ax


def plot_importances(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw how much each searched hyperparameter mattered, as Optuna's PED-ANOVA tells it.

    Args:
        study: any study with one direction; with fewer than 5 complete trials, or none that
            differ, the axes say so.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    ax = new_axes(ax, "Hyperparameter importances", "share of the importance")
    importances = importances_data(study)
    if not importances:
        return say(ax, f"importances need {MIN_FOR_IMPORTANCES} complete trials that differ")
    names, shares = zip(*list(importances.items())[:_MAX_BARS][::-1], strict=True)
    bars = ax.barh(list(map(plain, names)), shares, color=LOOKS["COMPLETE"].color, height=0.65)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize="small")
    ax.set_xlim(0, 1.15 * max(shares))
    ax.grid(visible=False, axis="y")
    return ax


def overview(study: optuna.Study) -> Figure:
    """Draw a study on a page: history, learning curves, importances, the two hyperparameters that
    mattered most, and the best trial's losses.

    Args:
        study: any study with one direction; it may be empty.

    Returns:
        A pyplot figure, so that ``plt.show()`` shows it; in a notebook end the line with ``;``.
    """
    figure, axes = plt.subplots(2, 3, figsize=(17, 9), layout="constrained")
    plot_history(study, axes[0, 0])
    plot_curves(study, axes[0, 1])
    plot_losses(study, axes[0, 2])
    plot_importances(study, axes[1, 0])
    names = [*varied_names(study), None, None]
    for ax, name in zip(axes[1, 1:], names[:2], strict=True):
        plot_hyperparameter(study, name, ax)
    figure.suptitle(plain(_headline(study)), x=0.01, ha="left")
    return figure


def _headline(study: optuna.Study) -> str:
    data = history_data(study)
    best = data.best[-1] if len(data.best) else np.nan
    value = f"best valid {data.metric} {best:.4g}" if np.isfinite(best) else "no complete trial"
    n_trials = len(data.number)
    return f"{study.study_name}: {value}, {n_trials} trial{'' if n_trials == 1 else 's'}"


def _draw_curves(ax: Axes, data: CurvesData) -> None:
    """Draw all curves, and then their ends, the rarer endings above the commoner."""
    alpha = float(np.clip(3 / np.sqrt(len(data.curve)), 0.08, 0.9))
    width = 0.8 if len(data.curve) < _MANY_CURVES else 0.5
    by_ending = {
        ending: [c for c, e in zip(data.curve, data.ending, strict=True) if e == ending]
        for ending in ENDINGS
    }
    for ending, curves in by_ending.items():
        color = ENDINGS[ending].color
        ax.add_collection(LineCollection(curves, colors=color, linewidths=width, alpha=alpha))
    for ending, curves in sorted(by_ending.items(), key=lambda item: -len(item[1])):
        look = ENDINGS[ending]
        ends = [curve[np.isfinite(curve[:, 1])][-1:] for curve in curves]
        x, y = np.concatenate([np.empty((0, 2)), *ends]).T
        ax.scatter(
            x, y, s=12, c=look.color, marker=look.marker, linewidths=0.8, alpha=0.7, zorder=2.5
        )


def _draw_best_curve(ax: Axes, data: CurvesData) -> list[Line2D]:
    if data.best_number not in data.number:
        return []
    curve = data.curve[data.number.index(data.best_number)]
    if not np.isfinite(curve[:, 1]).any():
        return []
    peak = (np.nanargmax if data.direction == "maximize" else np.nanargmin)(curve[:, 1])
    ax.plot(*curve.T, color=BEST_COLOR, linewidth=2, zorder=3)
    ax.plot(
        *curve[peak], zorder=4, color=BEST_COLOR, marker="*", markersize=12, markeredgecolor="black"
    )
    label = f"best (trial {data.best_number}, epoch {int(curve[peak, 0])})"
    return [Line2D([], [], color=BEST_COLOR, linewidth=2, marker="*", label=label)]


_TRAIN_COLOR, _VALID_COLOR = "#0072B2", "#D55E00"
# Seconds in each unit, and from how many seconds on it is used.
_UNITS = (("hours", 3600, 2 * 3600), ("minutes", 60, 180), ("seconds", 1, 0))
_SHORTEST = 1 / 400  # Of the axis: what a bar needs to be seen.
_MANY = 100  # Bars whose white edges would hide them.


class TimelineData(NamedTuple):
    """What `plot_timeline` draws: arrays of one entry a trial that has ended.

    ``start_s`` and ``end_s`` are seconds since the first trial began; ``lane`` is the bar's row:
    trials that trained side by side in one worker have one each.
    """

    worker: npt.NDArray[np.int64]
    start_s: Floats
    end_s: Floats
    state: npt.NDArray[np.str_]
    lane: npt.NDArray[np.int64]


def timeline_data(study: optuna.Study) -> TimelineData:
    """When each trial began and ended, and in which worker.

    Args:
        study: any study with one direction; trials without times are left out.

    Returns:
        What `plot_timeline` draws; a trial that records no worker is worker 0's.
    """
    times = {t.number: (t.datetime_start, t.datetime_complete) for t in started(study)}
    frame = pd.DataFrame.from_dict(times, orient="index", columns=["start", "end"])
    frame = frame.join(trials_dataframe(study).set_index("number")[["worker", "state"]])
    frame = frame.dropna(subset=["start", "end"]).sort_values("start", kind="stable")
    frame["worker"] = frame["worker"].fillna(0).astype("int64")
    begin = pd.to_datetime(frame["start"]).min()
    start = (pd.to_datetime(frame["start"]) - begin).dt.total_seconds()
    end = (pd.to_datetime(frame["end"]) - begin).dt.total_seconds()
    start_s, end_s = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    worker = frame["worker"].to_numpy(dtype=np.int64)
    state = frame["state"].to_numpy(dtype=np.str_)
    return TimelineData(worker, start_s, end_s, state, _lanes(worker, start_s, end_s))


def _lanes(worker: npt.NDArray[np.int64], start: Floats, end: Floats) -> npt.NDArray[np.int64]:
    """The first free row of each worker for each trial, workers one below the other."""
    free: dict[int, list[float]] = {}
    rows = []
    for who, begins, ends in zip(worker.tolist(), start, end, strict=True):
        busy = free.setdefault(who, [])
        row = next((i for i, until in enumerate(busy) if until <= begins), len(busy))
        busy[row : row + 1] = [ends]
        rows.append(row)
    offsets = dict(
        zip(sorted(free), np.cumsum([0, *(len(free[w]) for w in sorted(free))]), strict=False)
    )
    lanes = [offsets[who] + row for who, row in zip(worker.tolist(), rows, strict=True)]
    return np.array(lanes, dtype=np.int64)


def plot_timeline(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw when each worker trained which trials, by state; gaps are time that no trial used.

    Args:
        study: any study with one direction; it may be empty.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    data = timeline_data(study)
    ax = new_axes(ax, "Timeline of workers", "")
    if not len(data.lane):
        return say(ax, "no trial has ended yet")
    longest = float(data.end_s.max())
    unit, seconds, _ = next(u for u in _UNITS if longest >= u[2])
    width = np.maximum(data.end_s - data.start_s, longest * _SHORTEST) / seconds
    for state, look in LOOKS.items():
        here = data.state == state
        ax.barh(
            data.lane[here],
            width[here],
            left=data.start_s[here] / seconds,
            height=0.8,
            color=look.color,
            edgecolor="white",
            linewidth=0.4 if len(width) < _MANY else 0,
        )
    ax.set_xlabel(f"{unit} since the first trial began")
    workers = np.unique(data.worker)
    middles = [float(np.mean(np.unique(data.lane[data.worker == w]))) for w in workers]
    ax.set_yticks(middles, [f"worker {worker}" for worker in workers])
    for worker in workers[1:]:
        ax.axhline(data.lane[data.worker == worker].min() - 0.5, color="#595959", linewidth=0.8)
    ax.grid(visible=False, axis="y")
    ax.invert_yaxis()
    handles = state_handles(data.state)
    for handle in handles:
        handle.set(marker="s", markersize=7)
    legend(ax, handles)
    return ax


def plot_losses(study: optuna.Study, ax: Axes | None = None) -> Axes:
    """Draw train and validation loss of the best trial; a line marks its best epoch.

    Args:
        study: any study with one direction; it may be empty.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    evidence = Evidence(study)
    ax = new_axes(ax, "Losses of the best trial", "epoch")
    curve = evidence.best_curve
    if curve is None or curve[["train_loss", "valid_loss"]].isna().all(axis=None):
        return say(ax, "no losses recorded")
    ax.set_ylabel("loss")
    for name, color, style in (
        ("train_loss", _TRAIN_COLOR, "-"),
        ("valid_loss", _VALID_COLOR, "--"),
    ):
        ax.plot(curve["epoch"], curve[name], style, color=color, linewidth=1.8, label=name)
    losses = curve[["train_loss", "valid_loss"]].to_numpy(dtype=np.float64)
    if spans_decades(losses):
        ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles = [handle for handle in ax.get_lines() if isinstance(handle, Line2D)]
    best = evidence.complete.iloc[0]
    if best["best_epoch"] is not pd.NA:
        label = f"best epoch ({best['best_epoch']}) of trial {best['number']}"
        handles.append(ax.axvline(int(best["best_epoch"]), color=BEST_COLOR, label=label))
    legend(ax, handles)
    return ax
