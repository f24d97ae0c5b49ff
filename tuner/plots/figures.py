"""Figures by name, as ``result.plot(kind)`` draws them, and those of the best model.

A model is drawn on the validation split: the test split stays closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from objectives._messages import hint
from objectives.space.registry import listing
from tuner.plots import hyperparameters, study
from tuner.plots.axes import LOOKS, legend, new_axes, plain
from tuner.storage.view import view_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import optuna
    from matplotlib.axes import Axes

    from objectives.models.mlp import FittedModel
    from tuner.storage.view import StudyView


OF_A_STUDY: dict[str, Callable[[optuna.Study | StudyView], Figure | Axes]] = {
    "overview": study.overview,
    "history": study.plot_history,
    "curves": study.plot_curves,
    "losses": study.plot_losses,
    "importances": study.plot_importances,
    "hyperparameters": hyperparameters.plot_hyperparameters,
    "rank": hyperparameters.plot_rank,
    "parallel": hyperparameters.plot_parallel,
    "timeline": study.plot_timeline,
}
"""Name -> draws a study; each returns the figure, or the axes on one."""
FIGURES = (*OF_A_STUDY, "predictions")

WIDTHS = {"column": 3.25, "text": 5.5, "page": 6.75}
"""Inches: one column of a two-column paper, the text of a one-column paper, and both columns.

They are those of ICML and NeurIPS; a column of IEEE is 3.5 and both are 7.16.
"""
_PANEL = (2.2, 2.9)  # inches that a panel needs at least
_POINTS = 8.0  # of a paper's figures: beside text of 10 points, and still readable

_MAX_COUNTED = 12  # Classes of which the numbers in the cells can still be read.
_INCHES_A_CLASS = 0.42
_MAX_DOTS = 2000


def draw(
    study: optuna.Study | StudyView,
    kind: str = "overview",
    *,
    model: FittedModel | None = None,
    objective: Any = None,
    width: str | float | None = None,
) -> Figure:
    """Draw one figure of a study.

    Args:
        study: any study with one direction, or a view of one.
        kind: one of `FIGURES`. ``"predictions"`` needs ``model`` and ``objective``: it is the
            confusion matrix, or predicted against true values, of the validation rows.
        model: that predicts.
        objective: that it was tuned with.
        width: of the figure in a paper, in inches or one of `WIDTHS`, with text of 8 points; by
            default the size and text of a screen.

    Returns:
        A pyplot figure, so that ``plt.show()`` shows it; in a notebook end the line with ``;``.

    Raises:
        ValueError: if there is no figure of that kind, no complete trial whose predictions could
            be drawn, no model, or no such width.
    """
    if width is not None:
        with plt.rc_context({"font.size": _POINTS}):
            return _fit(draw(study, kind, model=model, objective=objective), _inches(width))
    if kind not in FIGURES:
        raise ValueError(
            f"kind must be one of {', '.join(FIGURES)}, got {kind=}{hint(kind, FIGURES)}"
        )
    if kind != "predictions":
        drawn = OF_A_STUDY[kind](study)
    elif view_of(study).best_trial is None:
        raise ValueError("predictions must come from a complete trial, got none; raise n_trials")
    elif model is None:
        raise ValueError(
            f"kind must be one of {', '.join(OF_A_STUDY)} for a study alone, got {kind=}; "
            'use load_result(...).plot("predictions")'
        )
    else:
        drawn = plot_predictions(model, objective)
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    assert isinstance(figure, Figure), "none of the plots draws on a subfigure"
    return figure


def _inches(width: str | float) -> float:
    inches = WIDTHS.get(width) if isinstance(width, str) else width
    if inches is None or not 1 <= inches <= 100:
        raise ValueError(
            f"width must be {listing(tuple(WIDTHS))}, or inches from 1 to 100, got {width=}"
            f"{hint(width, WIDTHS)}"
        )
    return inches


def _fit(figure: Figure, inches: float) -> Figure:
    """Make a figure as wide as a paper has room for; its text stays as large as it is."""
    grid = figure.axes[0].get_gridspec()
    n_rows, n_columns = (1, 1) if grid is None else (grid.nrows, grid.ncols)
    if inches < n_columns * _PANEL[0]:
        raise ValueError(
            f"width must be at least {n_columns * _PANEL[0]:g} inches for {n_columns} panels side "
            f'by side, got {inches:g}; give width="page", or draw one figure alone'
        )
    width, height = figure.get_size_inches()
    figure.set_size_inches(inches, max(height * inches / width, n_rows * _PANEL[1]))
    for ax in figure.axes:
        ax.tick_params(labelsize=_POINTS)  # ticks are made when the figure is drawn
        if (drawn := ax.get_legend()) is not None:
            legend(ax, [handle for handle in drawn.legend_handles if handle is not None])
    return figure


def plot_predictions(model: FittedModel, objective: Any, ax: Axes | None = None) -> Axes:
    """Draw the validation rows as a confusion matrix or, in regression, predicted against true.

    With folds they are the rows of all folds, and only networks that have not seen a row predict
    it.

    Args:
        model: of a trial, or an ensemble of trials.
        objective: that it was tuned with; the test split stays closed.
        ax: axes to draw on; by default those of a new figure.
    """
    classes = None if model.task == "regression" else np.asarray(model.classes)
    if hasattr(objective, "held_out"):
        y, predicted = objective.held_out_rows.y, objective.held_out(model)
        predicted = predicted if classes is None else classes[predicted.argmax(axis=1)]
    else:
        y, predicted = objective.data.valid.y, model.predict(objective.data.valid.X)
    return (
        plot_predicted(y, predicted, ax)
        if classes is None
        else plot_confusion(classes[y], predicted, ax)
    )


def plot_confusion(true: npt.ArrayLike, predicted: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw how often each class is taken for which: numbers of rows in the cells, each true class's
    size beside it, and as colour the share of that class's rows.

    Args:
        true: class labels, shape (n,).
        predicted: class labels, shape (n,).
        ax: axes to draw on; by default those of a new figure.
    """
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    labels = np.unique([*np.asarray(true).tolist(), *np.asarray(predicted).tolist()])
    counts = confusion_matrix(true, predicted, labels=labels)
    sizes = counts.sum(axis=1)
    names, few = [plain(str(label)) for label in labels], len(labels) <= _MAX_COUNTED
    if ax is None:
        side = max(4.6, _INCHES_A_CLASS * len(labels) + 1.2)
        _, ax = plt.subplots(figsize=(side, side), layout="constrained")
    n_rows, n_wrong = counts.sum(), counts.sum() - counts.trace()
    ax = new_axes(ax, f"Confusion: {n_wrong} of {n_rows} validation rows are wrong", "")
    shares = ConfusionMatrixDisplay(counts / np.maximum(sizes, 1)[:, None], display_labels=names)
    shares.plot(
        ax=ax,
        cmap="Blues",
        colorbar=False,
        include_values=few,
        im_kw={"vmin": 0.0, "vmax": 1.0},
        text_kw={"fontsize": "small"},
        xticks_rotation=0 if few else 90,
    )
    for text, count in zip(ax.texts, counts.flat, strict=True) if few else ():
        text.set(text=str(count), color="#8C8C8C" if count == 0 else text.get_color())
    if not few:
        ax.figure.colorbar(shares.im_, ax=ax, label="share of the true class", shrink=0.6)
    ax.set_yticks(range(len(names)), [f"{n} ({k})" for n, k in zip(names, sizes, strict=True)])
    ax.set(xlabel="predicted", ylabel="true (rows)")
    ax.grid(visible=False)
    return ax


def plot_predicted(true: npt.ArrayLike, predicted: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw predicted against true values, with the diagonal that a perfect model lies on; see
    `plot_confusion`.
    """
    from sklearn.metrics import PredictionErrorDisplay

    n = len(np.asarray(true))
    ax = new_axes(ax, f"Predictions for {n} validation rows", "")
    PredictionErrorDisplay.from_predictions(
        np.asarray(true),
        np.asarray(predicted),
        ax=ax,
        kind="actual_vs_predicted",
        subsample=min(_MAX_DOTS, n),
        random_state=0,
        scatter_kwargs={"s": 14, "alpha": 0.6, "color": LOOKS["COMPLETE"].color},
        line_kwargs={"color": "#595959", "linestyle": ":"},
    )
    ax.set(xlabel="predicted", ylabel="true")
    return ax
