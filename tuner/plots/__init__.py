"""Figures of a study, of its hyperparameters and of its best model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives._lazy import lazy_names

if TYPE_CHECKING:
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

_OF_HYPERPARAMETERS = ("plot_hyperparameter", "plot_hyperparameters", "plot_parallel", "plot_rank")

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

__getattr__ = lazy_names(
    __name__,
    {
        name: f"tuner.plots.{'hyperparameters' if name in _OF_HYPERPARAMETERS else 'study'}"
        for name in __all__
    },
)
