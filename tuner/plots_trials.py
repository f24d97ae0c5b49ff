"""Plots of what trials did: who worked when, and the best trial's losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tuner.evidence import Evidence
from tuner.plot_axes import (
    BEST_COLOR,
    LOOKS,
    Floats,
    legend,
    new_axes,
    say,
    spans_decades,
    state_handles,
)
from tuner.records import started
from tuner.tables import trials_dataframe

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

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
    offsets = dict(zip(sorted(free), np.cumsum([0, *(len(free[w]) for w in sorted(free))]),
                       strict=False))  # fmt: skip
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
            data.lane[here], width[here], left=data.start_s[here] / seconds, height=0.8,
            color=look.color, edgecolor="white", linewidth=0.4 if len(width) < _MANY else 0,
        )  # fmt: skip
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
        ("train_loss", _TRAIN_COLOR, "-"), ("valid_loss", _VALID_COLOR, "--"),
    ):  # fmt: skip
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
