"""What surrounds the tuned hyperparameters: preprocessing, initialisation, schedule, loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from objectives._messages import hint
from objectives.training.stacked_mlp import StackedMLP, he_init, torch_init


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of training that no search touches.

    Args:
        name: as the user writes it.
        numeric: how numeric columns are encoded, see `objectives.data.encoders.TabularEncoder`.
        init: draws a member's first weights.
        reference_width: see `objectives.training.stacked_mlp.StackedMLP`.
        beta1: Adam's decay of the gradient's mean.
        beta2: Adam's decay of the gradient's square.
        nesterov: whether SGD's momentum looks ahead.
        schedule: ``"constant"`` or ``"cosine"``: to zero over the trial's epochs, after a warm-up.
        warmup: share of the steps over which the learning rate rises from zero.
        clamp: whether predicted values are kept within the range of the training targets.
        label_smoothing: of classification targets while accuracy-like metrics are tuned.
        good: a configuration known to work well under this recipe, tried second in random and TPE
            searches.
    """

    name: str
    numeric: str
    init: Callable[[StackedMLP, torch.Generator], Tensor]
    reference_width: float | None
    beta1: float
    beta2: float
    nesterov: bool
    schedule: Literal["constant", "cosine"]
    warmup: float
    clamp: bool
    label_smoothing: float
    good: Mapping[str, Any] | None

    def learning_rate_factor(self, progress: float) -> float:
        """Return the schedule's factor at ``progress``, the share of the trial's steps already
        made.

        >>> RECIPES["plain"].learning_rate_factor(0.7)
        1.0
        """
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        fall = (
            0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if self.schedule == "cosine" else 1.0
        )
        return rise * fall


_PLAIN = Recipe(
    name="plain",
    numeric="standard",
    init=torch_init,
    reference_width=None,
    beta1=0.9,
    beta2=0.999,
    nesterov=False,
    schedule="constant",
    warmup=0.0,
    clamp=False,
    label_smoothing=0.0,
    good=None,
)

_MODERN = Recipe(
    name="modern",
    numeric="piecewise",
    init=he_init,
    reference_width=256,
    beta1=0.9,
    beta2=0.95,
    nesterov=True,
    schedule="cosine",
    warmup=0.0,
    clamp=True,
    label_smoothing=0.1,
    good={"learning_rate": 0.003, "n_layers": 3, "hidden_units": 256, "dropout": 0.1},
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (_MODERN, _PLAIN)}


def get_recipe(name: str) -> Recipe:
    """Return the recipe called ``name``.

    Raises:
        ValueError: if there is none.
    """
    if name not in RECIPES:
        raise ValueError(
            f"recipe must be one of {', '.join(RECIPES)}, got {name!r}{hint(name, RECIPES)}"
        )
    return RECIPES[name]
