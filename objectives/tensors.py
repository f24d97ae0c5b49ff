"""Rows as tensors on the device: `TensorData`, one split or fold, and `Parts`, several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from objectives.preprocessing import TargetScaler

# Folds differ by a row or so. Up to this share a larger one passes over a few rows, others in each
# epoch, so that all take the same steps and train as one stack.
_ALIKE = 0.02


@dataclass(frozen=True, kw_only=True)
class TensorData:
    """Training and validation rows on the device.

    Args:
        x: training inputs (n, I), float32.
        targets: training targets (n, C), float32: what the loss compares the outputs with.
        weight: training weights (n, 1) with mean 1, or None.
        valid_x: validation inputs (m, I).
        valid_targets: as ``targets``, (m, C).
        valid_y: what the metric compares with: class codes (m,), or values in the target's own
            units.
        valid_weight: validation weights (m,), or None.
        scaler: takes outputs to the units of a regression target; None for classes.
    """

    x: Tensor
    targets: Tensor
    weight: Tensor | None
    valid_x: Tensor
    valid_targets: Tensor
    valid_y: Tensor
    valid_weight: Tensor | None
    scaler: TargetScaler | None = None


class Parts:
    """What the members of a cohort train on: one split, or the folds of a cross-validation.

    The training rows of all parts lie in one tensor, so that members of several parts fetch theirs
    by one index. Encoded tables may differ in width, as a fold may lack a rare category; the
    narrower ones get columns of zeros.

    Args:
        parts: one or more, on one device.

    Attributes:
        x: training inputs of all parts (N, I).
        targets: training targets of all parts (N, C).
        weight: training weights of all parts (N, 1), or None.
        first: number of each part's first row in ``x``.
        n_epoch_rows: training rows that a member of each part sees in an epoch: all of them, or as
            many as the smallest part of nearly the same size has.
    """

    def __init__(self, parts: Sequence[TensorData]) -> None:
        width = max(part.x.shape[1] for part in parts)
        self._parts = tuple(parts)
        self._valid_x = [_widen(part.valid_x, width) for part in parts]
        self.x = _join([_widen(part.x, width) for part in parts])
        self.targets = _join([part.targets for part in parts])
        weights = [part.weight for part in parts if part.weight is not None]
        self.weight = _join(weights) if weights else None
        sizes = [len(part.x) for part in parts]
        self.first = [sum(sizes[:k]) for k in range(len(sizes))]
        self.n_epoch_rows = [
            min(other for other in sizes if other >= size * (1 - _ALIKE) - 1 and other <= size)
            for size in sizes
        ]

    def __len__(self) -> int:
        """Return how many parts there are."""
        return len(self._parts)

    def __getitem__(self, part: int) -> TensorData:
        """Return one part, as it was given."""
        return self._parts[part]

    def valid_x(self, part: int) -> Tensor:
        """Return the validation inputs (m, I) of a part, as wide as ``x``."""
        return self._valid_x[part]

    def draw(self, part: int, generator: torch.Generator) -> Tensor:
        """Draw an epoch's order of a part's training rows: their numbers in ``x``."""
        order = torch.randperm(len(self._parts[part].x), generator=generator)
        return order[: self.n_epoch_rows[part]] + self.first[part]


def _widen(x: Tensor, width: int) -> Tensor:
    return x if x.shape[1] == width else torch.nn.functional.pad(x, (0, width - x.shape[1]))


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
