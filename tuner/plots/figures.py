"""Figures by name: what ``result.plot(kind)`` draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from objectives._messages import hint
from tuner.plots import hyperparameters, study
from tuner.storage.view import view_of

if TYPE_CHECKING:
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


def draw(
    study: optuna.Study | StudyView,
    kind: str = "overview",
    *,
    model: FittedModel | None = None,
    data: Any = None,
) -> Figure:
    """Draw one figure of a study.

    Args:
        study: any study with one direction, or a view of one.
        kind: one of `FIGURES`. ``"predictions"`` needs ``model`` and ``data``: it is the confusion
            matrix, or predicted against true values, of the model on the validation split.
        model: the best trial's fitted model.
        data: what it was tuned on.

    Returns:
        A pyplot figure, so that ``plt.show()`` shows it; in a notebook end the line with ``;``.

    Raises:
        ValueError: if there is no figure of that kind, no complete trial whose predictions could
            be drawn, or no model.
    """
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
        from tuner.plots.model import plot_predictions

        drawn = plot_predictions(model, data)
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    assert isinstance(figure, Figure), "none of the plots draws on a subfigure"
    return figure
