"""One member of a stack: a trial's parameters, optimizer, random streams and best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from objectives.objective import BestEpoch
from objectives.recipe import Recipe


class RowOptimizer:
    """The optimizer of one member: torch's fused kernels, called on the member's row of parameters.

    The same as `torch.optim.SGD`, `Adam` and `AdamW`, without their cost of about 30 microseconds a call.

    Args:
        params: the trial's hyperparameters; ``optimizer``, ``momentum`` and ``weight_decay`` are read.
        recipe: brings the betas, and whether momentum is Nesterov's.
        like: the row (n_parameters,) to be optimised.
    """

    def __init__(self, params: Mapping[str, Any], recipe: Recipe, like: Tensor) -> None:
        self._kind = str(params["optimizer"])
        self._decay = float(params["weight_decay"])
        self._momentum = float(params["momentum"])
        self._recipe = recipe
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._count = torch.zeros((), device=like.device)
        self._first = True

    def step(self, row: Tensor, grad: Tensor, learning_rate: float) -> None:
        """Change ``row`` (n_parameters,) in place by one step along ``grad``."""
        if self._kind == "sgd":
            nesterov = self._recipe.nesterov and self._momentum > 0
            velocity = [self._mean] if self._momentum > 0 else []
            torch._fused_sgd_(  # type: ignore[call-overload]
                [row], [grad], velocity, weight_decay=self._decay, momentum=self._momentum, lr=learning_rate,
                dampening=0.0, nesterov=nesterov, maximize=False, is_first_step=self._first,
            )  # fmt: skip
            self._first = False
            return
        self._count += 1
        fused = torch._fused_adam_ if self._kind == "adam" else torch._fused_adamw_
        fused(  # type: ignore[operator]
            [row], [grad], [self._mean], [self._square], [], [self._count], lr=learning_rate,
            beta1=self._recipe.beta1, beta2=self._recipe.beta2, weight_decay=self._decay, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip


@dataclass(kw_only=True)
class Member:
    """One trial in a stack: all that is its own.

    Args:
        number: of the trial.
        params: its hyperparameters.
        row: its parameters (n_parameters,); a view into the stack's while it trains.
        optimizer: moves the row.
        best: its best epoch so far.
        order: draws the order of the training rows.
        noise: draws the dropout masks.
    """

    number: int
    params: Mapping[str, Any]
    row: Tensor
    optimizer: RowOptimizer
    best: BestEpoch
    order: torch.Generator
    noise: torch.Generator
    epoch: int = 0
    best_row: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Start with the first weights as the best so far."""
        self.best_row = self.row.clone()

    def keep(self, mask: Tensor) -> None:
        """Fill ``mask`` (any shape) with dropout factors: 0 with the dropout's probability, else 1 / (1 - p)."""
        p = float(self.params["dropout"])
        if p == 0:
            mask.fill_(1.0)
            return
        # Sixteen random bits decide a unit: eight times faster than torch's Bernoulli numbers on a CPU.
        words = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64, device=mask.device)
        bits = words.random_(-(2**63), None, generator=self.noise).view(torch.int16)[: mask.numel()]
        mask.copy_((bits >= round(p * 65536) - 32768).view(mask.shape)).mul_(1 / (1 - p))
