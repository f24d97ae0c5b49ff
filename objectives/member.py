"""One member of a stack: a trial's parameters, optimizer, random streams and best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from objectives.recipe import Recipe


class RowOptimizer:
    """The optimizer of one member: torch's fused kernels, called on the member's row of parameters.

    The same as `torch.optim.SGD`, `Adam` and `AdamW`, without their cost of about 30 microseconds a
    call.

    Args:
        params: the trial's hyperparameters; ``optimizer``, ``momentum`` and ``weight_decay`` are
            read.
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
        self.moments = (self._mean, self._square, self._count)
        self.is_first = True

    def step(self, row: Tensor, grad: Tensor, learning_rate: float) -> None:
        """Change ``row`` (n_parameters,) in place by one step along ``grad``."""
        if self._kind == "sgd":
            nesterov = self._recipe.nesterov and self._momentum > 0
            velocity = [self._mean] if self._momentum > 0 else []
            torch._fused_sgd_(
                [row], [grad], velocity, weight_decay=self._decay, momentum=self._momentum,
                lr=learning_rate, dampening=0.0, nesterov=nesterov, maximize=False,
                is_first_step=self.is_first,
            )  # fmt: skip
            self.is_first = False
            return
        self._count += 1
        fused = torch._fused_adam_ if self._kind == "adam" else torch._fused_adamw_
        fused(
            [row], [grad], [self._mean], [self._square], [], [self._count], lr=learning_rate,
            beta1=self._recipe.beta1, beta2=self._recipe.beta2, weight_decay=self._decay, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What an epoch changes of a member: its number, parameters, moments and random states."""

    epoch: int
    tensors: list[Tensor]
    generators: list[Tensor]
    is_first: bool


@dataclass(kw_only=True)
class Member:
    """One trial in a stack: all that is its own.

    Args:
        number: of the trial it belongs to.
        params: its hyperparameters.
        row: its parameters (n_parameters,); a view into the stack's while it trains.
        optimizer: moves the row.
        order: draws the order of the training rows.
        noise: draws the dropout masks.
        part: of `objectives.tensors.Parts` whose rows it trains on.
    """

    number: int
    params: Mapping[str, Any]
    row: Tensor
    optimizer: RowOptimizer
    order: torch.Generator
    noise: torch.Generator
    part: int = 0
    epoch: int = 0  # that comes next
    best_row: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Start with the first weights as the best so far."""
        self.best_row = self.row.clone()

    def snapshot(self) -> Snapshot:
        """Return all that an epoch changes, copied."""
        moments = self.optimizer.moments
        return Snapshot(
            epoch=self.epoch,
            tensors=[t.clone() for t in (self.row, *moments)],
            generators=[g.get_state() for g in (self.order, self.noise)],
            is_first=self.optimizer.is_first,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what `snapshot` returned."""
        self.epoch = snapshot.epoch
        self.row, *moments = snapshot.tensors
        for mine, theirs in zip(self.optimizer.moments, moments, strict=True):
            mine.copy_(theirs)
        for generator, state in zip((self.order, self.noise), snapshot.generators, strict=True):
            generator.set_state(state)
        self.optimizer.is_first = snapshot.is_first

    def state(self) -> dict[str, Any]:
        """Return what `snapshot` does and the best weights, for a file."""
        return {**vars(self.snapshot()), "best_row": self.best_row}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned.

        Raises:
            ValueError: if it is of a network of another shape.
        """
        found, device = dict(state), self.row.device
        best = found.pop("best_row").to(device)
        snapshot = Snapshot(**found | {"tensors": [t.to(device) for t in found["tensors"]]})
        if any(t.shape != self.row.shape for t in (best, snapshot.tensors[0])):
            raise ValueError(
                f"state must be of {len(self.row)} parameters, got {len(best)}; start anew"
            )
        self.restore(snapshot)
        self.best_row = best

    def keep(self, mask: Tensor) -> None:
        """Fill ``mask`` (any shape) with 0, with the dropout's probability p, else 1 / (1 - p)."""
        p = float(self.params["dropout"])
        if p == 0:
            mask.fill_(1.0)
            return
        # Sixteen random bits decide a unit: eight times faster than torch's Bernoulli numbers on a
        # CPU.
        words = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64, device=mask.device)
        bits = words.random_(-(2**63), None, generator=self.noise).view(torch.int16)[: mask.numel()]
        mask.copy_((bits >= round(p * 65536) - 32768).view(mask.shape)).mul_(1 / (1 - p))
