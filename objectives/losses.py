"""Losses of stacked networks: value and hand-written gradient, chosen by the task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from objectives.data import Task


@dataclass(frozen=True)
class Loss:
    """Binary cross-entropy, cross-entropy or squared error for raw outputs (K, B, C).

    Args:
        task: decides which.
        label_smoothing: share of each target given to all classes alike; felt in the gradient only,
            so that the losses shown for training and validation mean the same.
    """

    task: Task
    label_smoothing: float = 0.0

    def gradient(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """Return the gradient of each member's mean loss.

        Args:
            outputs: (K, B, C).
            targets: (K, B, C): one-hot, 0 / 1, or standardised values.
            weight: (K, B, 1), or None.
        """
        rows = outputs.shape[1]
        if self.task == "regression":
            grad = (outputs - targets).mul_(2 / rows)
        elif self.task == "binary":
            grad = torch.sigmoid(outputs).sub_(self._smooth(targets)).div_(rows)
        else:
            grad = torch.softmax(outputs, dim=2).sub_(self._smooth(targets)).div_(rows)
        return grad if weight is None else grad.mul_(weight)

    def _smooth(self, targets: Tensor) -> Tensor:
        if self.label_smoothing == 0:
            return targets
        n_classes = 2 if self.task == "binary" else targets.shape[2]
        return targets * (1 - self.label_smoothing) + self.label_smoothing / n_classes

    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """Return each member's loss (K,), summed over rows; arguments as for `gradient`."""
        if self.task == "regression":
            rows = (outputs - targets).square().sum(dim=2)
        elif self.task == "binary":
            rows = nn.functional.binary_cross_entropy_with_logits(
                outputs, targets, reduction="none"
            ).sum(dim=2)
        else:
            rows = -(torch.log_softmax(outputs, dim=2) * targets).sum(dim=2)
        return (rows if weight is None else rows * weight.squeeze(2)).sum(dim=1)
