"""Figures of a study, of its hyperparameters and of its best model."""

from tuner.plots.hyperparameters import (
    plot_hyperparameter,
    plot_hyperparameters,
    plot_parallel,
    plot_rank,
)
from tuner.plots.study import (
    curves_data,
    history_data,
    overview,
    plot_curves,
    plot_history,
    plot_importances,
    plot_losses,
    plot_timeline,
)

__all__ = [
    "curves_data",
    "history_data",
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
