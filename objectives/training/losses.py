"""Losses by name: for one module, and for the stacked networks of perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from objectives._messages import hint
from objectives.data.targets import Task
from objectives.space.hyperparameter import Params

LossFunction: TypeAlias = Callable[[Any, Tensor], Tensor]
OptimizerMaker: TypeAlias = Callable[[Any, Params], torch.optim.Optimizer]
Clip: TypeAlias = Callable[[list[nn.Parameter]], Any]

LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


@dataclass(frozen=True)
class ValueLoss:
    """A loss of torch's for values, in which rows may have weights.

    Args:
        name: one of `LOSSES`.
    """

    name: str

    def __call__(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss; outputs, targets and weight are (B,)."""
        rows = LOSSES[self.name](outputs, targets, reduction="none")
        return rows.mean() if weight is None else (rows * weight).mean()


def make_loss(loss: str | LossFunction | None, task: Task) -> LossFunction | None:
    """Return the loss called ``loss``; None for the task's own.

    Raises:
        ValueError: for an unknown name, or one of another task.
    """
    if loss is None or callable(loss):
        return loss
    names = tuple(LOSSES) if task == "regression" else ("cross_entropy",)
    if loss not in names:
        raise ValueError(
            f"loss must be one of {', '.join(names)} for task={task!r} or a function of outputs "
            f"and targets, got loss={loss!r}{hint(loss, names)}"
        )
    return ValueLoss(loss) if loss in LOSSES else None  # cross-entropy is the task's own


def check_weighable(loss: LossFunction | None, weight: Tensor | None) -> None:
    """Raise ValueError if rows have weights that a function of the user's own cannot know."""
    if weight is not None and loss is not None and not isinstance(loss, ValueLoss):
        raise ValueError(
            "class_weight and sample_weight must be left out with a function as loss, got both; "
            "weigh classes in the function"
        )


def columns(outputs: Any, task: Task, n_classes: int) -> Tensor:
    """Return a module's outputs as (B, C): one column for values, one or two for two classes.

    Raises:
        ValueError: if they have another shape.
    """
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"build must return a module that gives a tensor, got {type(outputs).__name__}"
        )
    table = outputs.unsqueeze(1) if outputs.dim() == 1 else outputs
    allowed = {"regression": (1,), "binary": (1, 2)}.get(task, (n_classes,))
    if table.dim() != 2 or table.shape[1] not in allowed:
        wanted = " or ".join(f"(rows, {n})" for n in allowed)
        raise ValueError(
            f"build must return a module with outputs of shape {wanted} for task={task!r}, got "
            f"{tuple(outputs.shape)}; change its last layer"
        )
    return table


def default_loss(
    outputs: Tensor, y: Tensor, task: Task, *, smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the task's mean loss.

    Args:
        outputs: (B, C), see `columns`.
        y: class codes (B,), or standardised values (B,).
        task: decides between squared error and cross-entropy.
        smoothing: share of each label given to all classes alike.
        weight: of each row (B,), or None.
    """
    if task == "regression":
        rows = functional.mse_loss(outputs[:, 0], y, reduction="none")
    elif outputs.shape[1] == 1:
        target = y.float() * (1 - smoothing) + smoothing / 2
        rows = functional.binary_cross_entropy_with_logits(outputs[:, 0], target, reduction="none")
    else:
        rows = functional.cross_entropy(outputs, y, label_smoothing=smoothing, reduction="none")
    return rows.mean() if weight is None else (rows * weight).mean()


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
