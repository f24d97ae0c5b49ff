"""Figures by name: what ``result.plot(kind)`` draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from objectives._messages import hint
from tuner.plots import study as plots
from tuner.storage.trial_attrs import has_complete

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from tuner.result import TuningResult


# Name -> draws a study; each returns the figure, or the axes on one.
OF_A_STUDY: dict[str, Callable[[Any], Any]] = {
    "overview": plots.overview,
    "history": plots.plot_history,
    "curves": plots.plot_curves,
    "losses": plots.plot_losses,
    "importances": plots.plot_importances,
    "hyperparameters": plots.plot_hyperparameters,
    "rank": plots.plot_rank,
    "parallel": plots.plot_parallel,
    "timeline": plots.plot_timeline,
}
FIGURES = (*OF_A_STUDY, "predictions")


def draw(result: TuningResult, kind: str = "overview") -> Figure:
    """Draw one figure of a result.

    Args:
        result: of a search.
        kind: one of `FIGURES`. ``"predictions"`` needs a ready-made objective: it is the confusion
            matrix, or predicted against true values, of the best model on the validation split.

    Returns:
        A pyplot figure, so that ``plt.show()`` shows it; in a notebook end the line with ``;``.

    Raises:
        ValueError: if there is no figure of that kind, or no complete trial whose predictions
            could be drawn.
        TypeError: if predictions are asked of a plain function, which keeps no model.
    """
    if kind not in FIGURES:
        raise ValueError(
            f"kind must be one of {', '.join(FIGURES)}, got {kind=}{hint(kind, FIGURES)}"
        )
    return _predictions(result) if kind == "predictions" else draw_study(result.study, kind)


def draw_study(study: optuna.Study, kind: str = "overview") -> Figure:
    """Draw one figure of any study, as `draw` does.

    Raises:
        ValueError: if there is no figure of that kind that needs the study alone.
    """
    if kind not in OF_A_STUDY:
        raise ValueError(
            f"kind must be one of {', '.join(OF_A_STUDY)} for a study alone, got "
            f"{kind=}{hint(kind, OF_A_STUDY)}"
        )
    drawn = OF_A_STUDY[kind](study)
    figure: Figure = drawn if kind in ("overview", "hyperparameters") else drawn.get_figure()
    return figure


def _predictions(result: TuningResult) -> Figure:
    from tuner.plots.model import plot_predictions

    if not has_complete(result.study):
        raise ValueError("predictions must come from a complete trial, got none; raise n_trials")
    figure: Figure = plot_predictions(result.model, result.objective.data).get_figure()  # type: ignore[assignment]
    return figure
