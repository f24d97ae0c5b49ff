"""Hyperparameters, the documented tables of them, and the search spaces made from both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives import lazy_names

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Hyperparameter
    from objectives.space.space import free_space, make_space
    from objectives.space.tables import MLP_TABLE

__all__ = ["MLP_TABLE", "Hyperparameter", "free_space", "make_space"]

__getattr__ = lazy_names(
    __name__,
    {
        "Hyperparameter": "objectives.space.hyperparameter",
        "MLP_TABLE": "objectives.space.tables",
        "make_space": "objectives.space.space",
        "free_space": "objectives.space.space",
    },
)
