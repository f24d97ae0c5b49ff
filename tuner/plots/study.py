"""Figures of a study: its history, learning curves, losses, importances and timeline.

Each plot takes any study with one direction, also an empty one, or a view of it. It draws on the
axes ``ax``, by default those of a new figure, and returns them. None shows a window or sets a
global style.

Optuna draws history, importances and timeline, too. Its drawings were compared with these. They
take no axes, so they fit neither the overview nor a report, which must not leave figures open in a
notebook. They show sampled instead of documented names (``log2_batch_size``), importances without
a word on how few trials they rest on, and a timeline without workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D

from objectives._messages import short
from tuner.diagnosis.space_findings import TRIALS_A_DIMENSION
from tuner.plots.axes import (
    BEST_COLOR,
    ENDINGS,
    LOOKS,
    Floats,
    legend,
    mark_beyond,
    new_axes,
    plain,
    scale_values,
    scatter_trials,
    show_empty,
    spans_decades,
    state_handles,
    whole_numbers,
)
from tuner.plots.hyperparameters import plot_hyperparameter
from tuner.storage.importances import MIN_FOR_IMPORTANCES
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MAX_BARS = 12
_MANY_CURVES = 100


class HistoryData(NamedTuple):
    """What `plot_history` draws: arrays of one entry a trial, sorted by number.

    ``value`` is NaN where a trial has none; ``best`` is the best value of the complete trials so
    far, NaN before the first.
    """

    number: npt.NDArray[np.int64]
    value: Floats
    state: npt.NDArray[np.str_]
    best: Floats


class CurvesData(NamedTuple):
    """What `plot_curves` draws: one entry for each trial that reported, sorted by number.

    A curve is an array of shape (n_epochs, 2): epoch and metric, NaN where it was not finite.
    ``ending`` says how each ended, as `ENDINGS` names it.
    """

    number: list[int]
    state: npt.NDArray[np.str_]
    curve: list[Floats]
    best_number: int | None
    ending: npt.NDArray[np.str_]


def history_data(study: optuna.Study | StudyView) -> HistoryData:
    """Values of a study's trials and the best so far."""
    view = view_of(study)
    trials = view.trials_table
    complete = trials["value"].where(trials["state"] == "COMPLETE")
    best = complete.cummax() if view.direction == "maximize" else complete.cummin()
    return HistoryData(
        trials["number"].to_numpy(),
        trials["value"].to_numpy(),
        trials["state"].to_numpy(dtype=np.str_),
        best.ffill().to_numpy(),
    )


def curves_data(study: optuna.Study | StudyView) -> CurvesData:
    """Learning curves of a study's trials in the metric that is tuned."""
    view = view_of(study)
    trials = view.trials_table.set_index("number").reindex(list(view.curves))
    complete, stopped = trials["state"] == "COMPLETE", trials["stopped"].fillna("")
    ending = trials["state"].str.lower().replace("fail", "failed")
    ending = ending.mask(stopped.str.startswith("diverged"), "diverged")
    ending = ending.mask(complete & (stopped == "patience"), "patience")
    best = view.best_trial
    return CurvesData(
        list(view.curves),
        trials["state"].to_numpy(dtype=np.str_),
        _points(view.curves_table),
        None if best is None else best.number,
        ending.to_numpy(dtype=np.str_),
    )


def _points(curves: pd.DataFrame) -> list[Floats]:
    """Return epochs and values (n, 2) of each trial, in the order of their numbers."""
    points = curves.iloc[:, 1:3].to_numpy(dtype=np.float64)
    return np.split(points, np.flatnonzero(np.diff(curves["number"])) + 1) if len(points) else []


def plot_history(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw every trial's value by number, marked by state, and the best so far.

    A trial without a value lies on the worse edge. A value far worse than the rest is a triangle at
    the edge of the axis.
    """
    view = view_of(study)
    data = history_data(view)
    ax = new_axes(ax, "Optimisation history", "trial")
    scale_values(ax, data.value, view)
    if not len(data.number):
        return show_empty(ax, "no trials yet")
    whole_numbers(ax)
    numbers = data.number.astype(np.float64)
    ax.set_xlim(-0.5 - 0.01 * numbers.max(), 0.5 + 1.01 * numbers.max())
    handles = scatter_trials(ax, numbers, data.value, data.state, view.direction)
    if np.isfinite(data.best).any():
        ax.step(numbers, data.best, where="post", color=BEST_COLOR, linewidth=1.8)
        handles.append(Line2D([], [], color=BEST_COLOR, linewidth=1.8, label="best so far"))
    legend(ax, handles)
    return ax


def plot_curves(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw the learning curve of every trial, the best one on top.

    A mark at a curve's end shows why it ended: its epochs were over, patience ended it
    early, it was pruned, it diverged, it failed, or it is still running.
    """
    view = view_of(study)
    data = curves_data(view)
    ax = new_axes(ax, "Learning curves", "epoch")
    values = np.concatenate([curve[:, 1] for curve in data.curve] or [np.empty(0)])
    scale_values(ax, values, view)
    if not data.curve:
        return show_empty(ax, "no learning curves yet")
    whole_numbers(ax)
    alpha = float(np.clip(3 / np.sqrt(len(data.curve)), 0.08, 0.9))
    width = 0.8 if len(data.curve) < _MANY_CURVES else 0.5
    by_ending = {
        ending: [c for c, e in zip(data.curve, data.ending, strict=True) if e == ending]
        for ending in ENDINGS
    }
    for ending, curves in by_ending.items():
        color = ENDINGS[ending].color
        ax.add_collection(LineCollection(curves, colors=color, linewidths=width, alpha=alpha))
    # The ends lie above all curves, those of the rarer endings above the commoner.
    ends, colors = [np.empty((0, 2))], list[str]()
    for ending, curves in sorted(by_ending.items(), key=lambda item: -len(item[1])):
        ends += [curve[np.isfinite(curve[:, 1])][-1:] for curve in curves]
        x, y = np.concatenate([np.empty((0, 2)), *ends[len(ends) - len(curves) :]]).T
        look = ENDINGS[ending]
        colors += [look.color] * len(x)
        ax.scatter(x, y, 12, look.color, marker=look.marker, linewidths=0.8, alpha=0.7, zorder=2.5)
    last = max(curve[-1, 0] for curve in data.curve)
    ax.set_xlim(-0.02 * last - 0.05, 1.03 * last + 0.05)
    handles = state_handles(data.ending, lines=True, looks=ENDINGS)
    x, y = np.concatenate(ends).T
    handles += mark_beyond(ax, x, y, np.array(colors, dtype=np.str_), size=25)
    best = view.best_curve
    if best is not None and best["value"].notna().any():
        ax.plot(best["epoch"], best["value"], color=BEST_COLOR, linewidth=2, zorder=3)
        peak = best[best["cost"] == best["cost"].min()].head(1)
        (mark,) = ax.plot(peak["epoch"], peak["value"], "*", zorder=4, color=BEST_COLOR)
        mark.set(markersize=12, markeredgecolor="black")
        label = f"best (trial {data.best_number})"
        handles.append(Line2D([], [], color=BEST_COLOR, linewidth=2, marker="*", label=label))
    legend(ax, handles)
    return ax


def plot_importances(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw how much each searched hyperparameter mattered, by PED-ANOVA; pruned trials count.

    The figure says so where there are fewer than ten complete trials for each hyperparameter.
    """
    view = view_of(study)
    ax = new_axes(ax, "Hyperparameter importances", "share of the importance")
    if not view.importances:
        return show_empty(ax, f"importances need {MIN_FOR_IMPORTANCES} complete trials that differ")
    names, shares = zip(*list(view.importances.items())[:_MAX_BARS][::-1], strict=True)
    bars = ax.barh(list(map(plain, names)), shares, color=LOOKS["COMPLETE"].color, height=0.65)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize="small")
    ax.set_xlim(0, 1.15 * max(shares))
    ax.grid(visible=False, axis="y")
    n_trials, n_names = int((view.ended["state"] == "COMPLETE").sum()), len(view.importances)
    if n_trials < TRIALS_A_DIMENSION * n_names:
        caveat = f"may be chance: {n_trials} complete trials for {n_names} hyperparameters"
        note = ax.text(0, 1.02, caveat, transform=ax.transAxes, va="bottom")
        note.set(color=LOOKS["FAIL"].color, fontsize="small")
        plt.setp(bars, alpha=0.45)
    return ax


def overview(study: optuna.Study | StudyView) -> Figure:
    """Draw a study on a page: history, learning curves, losses of the best trial, importances, the
    hyperparameter that mattered most, and the learning rate or else the second most important.

    Returns:
        A pyplot figure, so that ``plt.show()`` shows it; in a notebook end the line with ``;``.
    """
    view = view_of(study)
    figure, axes = plt.subplots(2, 3, figsize=(17, 9), layout="constrained")
    plot_history(view, axes[0, 0])
    plot_curves(view, axes[0, 1])
    plot_losses(view, axes[0, 2])
    plot_importances(view, axes[1, 0])
    names: list[str | None] = [*view.varied, None, None]
    names[1:] = sorted(names[1:], key=lambda name: name != "learning_rate")
    for ax, name in zip(axes[1, 1:], names[:2], strict=True):
        plot_hyperparameter(view, name, ax)
    best = view.best_trial
    value = "no complete trial" if best is None else f"best valid {view.metric} {short(best.value)}"
    n_trials = "1 trial" if len(view.trials) == 1 else f"{len(view.trials)} trials"
    title = figure.suptitle(plain(f"{view.study_name}: {value}, {n_trials}"), x=0.01, ha="left")
    title.set(fontsize="x-large", fontweight="bold")
    return figure


_LOSSES = {"train_loss": ("#0072B2", "-"), "valid_loss": ("#D55E00", "--")}
# Seconds in each unit, and from how many seconds on it is used.
_UNITS = (("hours", 3600, 2 * 3600), ("minutes", 60, 180), ("seconds", 1, 0))
_SHORTEST = 1 / 400  # Of the axis: what a bar needs to be seen.
_MANY = 100  # Bars whose white edges would hide them.
_ROWS = 60  # Rows of which the bars are thick enough to see; of more they overlap.
_SURE = 0.005  # Share of the time below which gaps are not worth a word.


class TimelineData(NamedTuple):
    """What `plot_timeline` draws: arrays of one entry a trial that has ended.

    ``start_s`` and ``end_s`` are seconds since the first trial began; ``lane`` is the bar's row: of
    one worker the trial's number, of several a row for each trial that trained side by side.
    ``idle_s`` are seconds of all workers in which no trial was trained.
    """

    worker: npt.NDArray[np.int64]
    start_s: Floats
    end_s: Floats
    state: npt.NDArray[np.str_]
    lane: npt.NDArray[np.int64]
    idle_s: float


def timeline_data(study: optuna.Study | StudyView) -> TimelineData:
    """When each trial with times began and ended, and in which worker; by default worker 0."""
    view = view_of(study)
    times = sorted(
        (trial.datetime_start.timestamp(), trial.number, trial.datetime_complete.timestamp())
        for trial in view.trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    )
    start, number, end = np.array(times, dtype=np.float64).reshape(-1, 3).T
    begin = start.min(initial=np.inf)
    trials = view.trials_table.set_index("number").loc[number.astype(np.int64)]
    worker = trials["worker"].fillna(0).to_numpy(dtype=np.int64)
    state = trials["state"].to_numpy(dtype=np.str_)
    # Each trial has the first free row of its worker; workers lie one below the other.
    free: dict[int, list[float]] = {who: [] for who in sorted(worker.tolist())}
    rows, idle_s = [], 0.0
    for who, begins, ends in zip(worker.tolist(), start, end, strict=True):
        idle_s += max(0.0, begins - max(free[who], default=begins))
        row = next((i for i, until in enumerate(free[who]) if until <= begins), len(free[who]))
        free[who][row : row + 1] = [ends]
        rows.append(row)
    n_above = dict(zip(free, np.cumsum([0, *map(len, free.values())]), strict=False))
    lane = [n_above[who] + row for who, row in zip(worker.tolist(), rows, strict=True)]
    lanes = number.astype(np.int64) if len(free) == 1 else np.array(lane, dtype=np.int64)
    return TimelineData(worker, start - begin, end - begin, state, lanes, idle_s)


def plot_timeline(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw when each trial was trained, by state: of one worker a row a trial, of several a row for
    each trial that trained side by side. Gaps are time that no trial used.
    """
    data = timeline_data(study)
    ax = new_axes(ax, "Timeline", "")
    if not len(data.lane):
        return show_empty(ax, "no trial has ended yet")
    longest = float(data.end_s.max())
    unit, seconds, _ = next(u for u in _UNITS if longest >= u[2])
    width = np.maximum(data.end_s - data.start_s, longest * _SHORTEST) / seconds
    for state, look in LOOKS.items():
        here = data.state == state
        start, edges = data.start_s[here] / seconds, 0.4 if len(width) < _MANY else 0
        height = max(0.8, (np.ptp(data.lane) + 1) / _ROWS)
        # As one collection: of 10,000 bars on their own each takes half a millisecond.
        left, right = start, start + width[here]
        low, high = data.lane[here] - height / 2, data.lane[here] + height / 2
        corners = np.stack([left, low, left, high, right, high, right, low], axis=1)
        bars = PolyCollection(list(corners.reshape(-1, 4, 2)), facecolors=look.color)
        bars.set(edgecolor="white", linewidth=edges)
        bars.sticky_edges.x.append(0.0)
        ax.add_collection(bars)
    ax.autoscale_view()
    ax.set_xlabel(f"{unit} since the first trial began")
    workers = np.unique(data.worker)
    if len(workers) == 1:
        ax.set_ylabel("trial")
        whole_numbers(ax, "y")
    else:
        middles = [float(np.mean(np.unique(data.lane[data.worker == w]))) for w in workers]
        ax.set_yticks(middles, [f"worker {worker}" for worker in workers])
        ax.grid(visible=False, axis="y")
    for worker in workers[1:]:
        ax.axhline(data.lane[data.worker == worker].min() - 0.5, color="#595959", linewidth=0.8)
    ax.invert_yaxis()
    lengths = data.end_s - data.start_s
    total = max(lengths.sum() + data.idle_s, 1e-9)  # trials made by hand take no time
    states = [state for state in reversed(LOOKS) if (data.state == state).any()]
    handles = state_handles(data.state)
    for handle, state in zip(handles, states, strict=True):
        share = lengths[data.state == state].sum() / total
        handle.set(marker="s", markersize=7, label=f"{handle.get_label()}: {share:.0%} of the time")
    if data.idle_s > _SURE * total:
        label = f"no trial: {data.idle_s / total:.0%}"
        handle = Line2D([], [], color="white", markeredgecolor="#595959", label=label)
        handle.set(marker="s", markersize=7, linestyle="")
        handles.append(handle)
    legend(ax, handles)
    return ax


def plot_losses(study: optuna.Study | StudyView, ax: Axes | None = None) -> Axes:
    """Draw train and validation loss of the best trial; a line marks its best epoch."""
    view = view_of(study)
    ax = new_axes(ax, "Losses of the best trial", "epoch")
    curve = view.best_curve
    if curve is None or curve[list(_LOSSES)].isna().all(axis=None):
        return show_empty(ax, "no losses recorded")
    ax.set_ylabel("loss")
    handles = [
        ax.plot(curve["epoch"], curve[name], style, color=color, linewidth=1.8, label=name)[0]
        for name, (color, style) in _LOSSES.items()
    ]
    if spans_decades(curve[list(_LOSSES)].to_numpy(dtype=np.float64)):
        ax.set_yscale("log")
    whole_numbers(ax)
    for number, epoch in zip(view.best_row["number"], view.best_row["best_epoch"], strict=True):
        if epoch is not pd.NA:
            label = f"best epoch ({epoch}) of trial {number}"
            handles.append(ax.axvline(int(epoch), color=BEST_COLOR, label=label))
    legend(ax, handles)
    return ax
