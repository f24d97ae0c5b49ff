"""What the plots share: the look of each trial state, and axes that stay readable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PathCollection

    from tuner.storage.view import StudyView


Floats = npt.NDArray[np.float64]

_LOG_FROM = 30.0  # Values whose largest is this many times the smallest get a log axis.
# Values worse than the median by 4 times (best - median) leave the axis if it gains this much room.
_CUT_TIMES, _CUT_GAIN = 4.0, 3.0
_TITLE_PAD = 18.0  # Points: a row of the legend.
_LEGEND_COLUMNS, _INCHES_AN_ENTRY = 4, 1.28
_INCHES_BESIDE = 0.5  # the axes: label and ticks


class Look(NamedTuple):
    """How trials of one state are drawn."""

    color: str
    marker: str
    label: str
    size: float


# Okabe and Ito's colours, distinct under every common colour blindness; the marks differ too.
# Optuna's states; a later one is drawn above an earlier one.
LOOKS = {
    "PRUNED": Look("#8C8C8C", "x", "pruned", 22),
    "FAIL": Look("#D55E00", "P", "failed", 24),
    "RUNNING": Look("#009E73", "D", "running", 20),
    "COMPLETE": Look("#0072B2", "o", "complete", 24),
}
BEST_COLOR = "#E69F00"
# From pale to dark, so that the best trials stand out, in print and for every colour vision; the
# palest sixth would vanish on white paper.
RANK_COLORS = ListedColormap(colormaps["YlGnBu"](np.linspace(0.17, 1.0, 256)))
# How a learning curve ended. Early stops are complete trials: same hue, and their own mark.
ENDINGS = {
    "pruned": LOOKS["PRUNED"],
    "failed": LOOKS["FAIL"],
    "diverged": Look("#CC79A7", "^", "diverged", 26),
    "running": LOOKS["RUNNING"],
    "patience": Look("#56B4E9", "s", "early stopped", 18),
    "complete": LOOKS["COMPLETE"],
}


def new_axes(ax: Axes | None, title: str, xlabel: str) -> Axes:
    """Return ``ax``, or the axes of a new figure, with its title and x label set."""
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    _set_title(ax, plain(title), n_rows=1)
    ax.set_xlabel(plain(xlabel))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def _set_title(ax: Axes, title: str, n_rows: int) -> None:
    # The pad leaves rows for the legend, which would hide trials inside the axes.
    pad = _TITLE_PAD * _text_scale() * max(n_rows, 1)
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold", pad=pad)


def _text_scale() -> float:
    return float(plt.rcParams["font.size"]) / 10


def plain(text: str) -> str:
    """A user's name for matplotlib, which takes text between two ``$`` for a formula.

    >>> plain("$5 to $10") == r"\\$5 to \\$10"
    True
    """
    return text.replace("$", r"\$")


def show_empty(ax: Axes, text: str) -> Axes:
    """Write ``text`` in the middle of axes that have nothing to show."""
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#595959")
    return ax


def spans_decades(values: Floats, factor: float = _LOG_FROM) -> bool:
    """Whether a log axis shows these values better: the largest is ``factor`` times the least."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() >= factor * finite.min())


def scale_values(ax: Axes, values: Floats, view: StudyView) -> None:
    """Label the y axis and scale it so that a few far worse values do not flatten the others.

    Log for values that span decades, a score bounded by 1 excepted; else values far on the worse
    side of the median are left outside the axis.
    """
    better = "higher" if view.direction == "maximize" else "lower"
    ax.set_ylabel(plain(f"valid {view.metric} ({better} is better)"))
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    if spans_decades(finite) and (view.direction == "minimize" or finite.max() > 1):
        ax.set_yscale("log")
        ax.set_ylim(finite.min() / 1.25, finite.max() * 1.25)
        return
    sign = -view.sign
    best, middle, worst = (sign * finite).max(), np.median(sign * finite), (sign * finite).min()
    cut = middle - _CUT_TIMES * (best - middle)
    end = cut if best - worst > _CUT_GAIN * (best - cut) > 0 else worst
    pad = 0.06 * (best - end) or 0.05 * abs(best) or 1.0
    ax.set_ylim(*sorted((sign * (best + pad), sign * (end - pad))))


def scatter_trials(
    ax: Axes, x: Floats, values: Floats, states: npt.NDArray[np.str_], direction: str
) -> list[Line2D]:
    """Draw trials by state and return their legend entries.

    Trials without a value lie on the worse edge. A value beyond the axis is a triangle on the edge
    beyond which it lies, so that nothing seems to have a value that it has not.
    """
    low, high = ax.get_ylim()
    inside, unknown = (values >= low) & (values <= high), np.isnan(values)
    foot = 0.015 if direction == "maximize" else 0.985
    for state, look in LOOKS.items():
        here = states == state
        draw = partial(ax.scatter, s=look.size, linewidths=1.1, marker=look.marker, c=look.color)
        draw(x[here & inside], values[here & inside], alpha=0.85)
        on_edge = x[here & unknown], np.full((here & unknown).sum(), foot)
        draw(*on_edge, alpha=0.6, transform=ax.get_xaxis_transform())
    colors = np.array([LOOKS[state].color for state in states], dtype=np.str_)
    return [*state_handles(states), *mark_beyond(ax, x, values, colors)]


def mark_beyond(
    ax: Axes, x: Floats, values: Floats, colors: npt.NDArray[np.str_], size: float = 60.0
) -> list[Line2D]:
    """Draw values beyond the axis as triangles on its edge; return their legend entry, if any."""
    low, high = ax.get_ylim()
    sides = ((values > high, 0.985, "^"), (values < low, 0.015, "v"))
    for beyond, edge, marker in sides:
        ax.scatter(
            x[beyond],
            np.full(beyond.sum(), edge),
            size,
            marker=marker,
            facecolors="white",
            edgecolors=colors[beyond].tolist(),
            linewidths=1.1,
            transform=ax.get_xaxis_transform(),
            zorder=2.6,
        )
    (n_above, _, up), (n_below, _, down) = ((side[0].sum(), *side[1:]) for side in sides)
    if not n_above + n_below:
        return []
    label = f"beyond the axis ({n_above + n_below})"
    handle = Line2D([], [], color="#595959", linestyle="", label=label)
    handle.set(marker=up if n_above > n_below else down, markersize=7, markerfacecolor="white")
    return [handle]


def whole_numbers(ax: Axes, axis: str = "x") -> None:
    """Keep ticks between whole numbers off an axis."""
    locator = MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    getattr(ax, f"{axis}axis").set_major_locator(locator)


def star(ax: Axes, x: Floats, y: Floats, label: str) -> PathCollection:
    """Mark the best trial."""
    drawn = ax.scatter(x, y, 150, BEST_COLOR, marker="*", zorder=5, label=label)
    drawn.set(edgecolors="black", linewidths=0.8)
    return drawn


def legend(ax: Axes, handles: Sequence[Artist]) -> None:
    """Put the legend between the title and the axes, in rows of about equal length."""
    grid = ax.get_gridspec()
    width = ax.figure.bbox.width / ax.figure.dpi / (1 if grid is None else grid.ncols)
    n_fitting = int((width / _text_scale() - _INCHES_BESIDE) / _INCHES_AN_ENTRY)
    n_columns = min(max(n_fitting, 1), _LEGEND_COLUMNS)
    n_rows = math.ceil(len(handles) / n_columns)
    _set_title(ax, ax.get_title(loc="left"), n_rows)
    drawn = ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=math.ceil(len(handles) / max(n_rows, 1)) or 1,
        fontsize="small",
        frameon=False,
        borderaxespad=0,
        borderpad=0.3,
        labelspacing=0.25,
        handlelength=1.4,
        handletextpad=0.5,
        columnspacing=1.2,
    )
    # Its place is reserved above; its width is not to squeeze the axes.
    drawn.set_in_layout(False)


def state_handles(
    states: npt.NDArray[np.str_], *, lines: bool = False, looks: Mapping[str, Look] = LOOKS
) -> list[Line2D]:
    """Legend entries for the states, or endings, that occur, each with its count."""
    handles = []
    for state, look in reversed(list(looks.items())):
        n = int((states == state).sum())
        handle = Line2D([], [], color=look.color, marker=look.marker, label=f"{look.label} ({n})")
        handle.set(markersize=5, linestyle="-" if lines else "")
        handles += [handle] if n else []
    return handles


def colorbar(ax: Axes, drawn: ScalarMappable) -> None:
    """Explain the colours of `RANK_COLORS`."""
    bar = ax.figure.colorbar(drawn, ax=ax, ticks=[0, 1], aspect=30, pad=0.02)
    bar.ax.set_yticklabels(["worst", "best"])
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set_alpha(1)


def levels_of(values: pd.Series) -> list[str]:
    """The choices that occur, as text: numbers by size, texts by alphabet."""
    numbers = pd.to_numeric(values, errors="coerce")
    known = pd.DataFrame({"text": values.astype("str"), "number": numbers})[values.notna()]
    return known.sort_values(["number", "text"])["text"].drop_duplicates().tolist()
