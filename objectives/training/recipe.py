"""What surrounds the tuned hyperparameters: losses, optimizers, schedules, and the recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from objectives._messages import hint
from objectives.data.targets import Task
from objectives.space.hyperparameter import Params, Value
from objectives.training.stacked_mlp import StackedMLP, he_init, torch_init

LossFunction: TypeAlias = Callable[[Any, Tensor], Tensor]
OptimizerMaker: TypeAlias = Callable[[Any, Params], torch.optim.Optimizer]
Groups: TypeAlias = list[nn.Parameter] | list[dict[str, Any]]
Clip: TypeAlias = Callable[[list[nn.Parameter]], object]

LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


@dataclass(frozen=True)
class ValueLoss:
    """A loss of `LOSSES`, in which rows may have weights."""

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


def columns(outputs: object, task: Task, n_classes: int) -> Tensor:
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
    """Return the task's mean loss, cross-entropy or squared error, of outputs (B, C) as `columns`
    gives them; y and weight are (B,).
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
    """Binary cross-entropy, cross-entropy or squared error for raw outputs (K, C, B).

    Rows come last: a softmax over a few classes that lie side by side takes fifteen times as long.

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
            outputs: (K, C, B).
            targets: (K, C, B), as `smoothed` gives them.
            weight: (K, 1, B), or None.
        """
        rows = outputs.shape[2]
        if self.task == "regression":
            grad = (outputs - targets).mul_(2 / rows)
        else:
            binary = self.task == "binary"
            p = torch.sigmoid(outputs) if binary else torch.softmax(outputs, dim=1)
            grad = p.sub_(targets).div_(rows)
        return grad if weight is None else grad.mul_(weight)

    def smoothed(self, targets: Tensor) -> Tensor:
        """Return what `gradient` compares with (K, C, n), given targets as for `total`."""
        if self.label_smoothing == 0 or self.task == "regression":
            return targets
        n_classes = 2 if self.task == "binary" else targets.shape[1]
        return targets * (1 - self.label_smoothing) + self.label_smoothing / n_classes

    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """Return each member's loss (K,), summed over rows.

        Args:
            outputs: (K, C, n).
            targets: (K, C, n): one-hot, 0 / 1, or standardised values.
            weight: (K, 1, n), or None.
        """
        if self.task == "regression":
            rows = (outputs - targets).square().sum(dim=1)
        elif self.task == "binary":
            losses = functional.binary_cross_entropy_with_logits
            rows = losses(outputs, targets, reduction="none").sum(dim=1)
        else:
            rows = -(torch.log_softmax(outputs, dim=1) * targets).sum(dim=1)
        return (rows if weight is None else rows * weight.squeeze(1)).sum(dim=1)


def make_optimizer(groups: Groups, params: Params) -> torch.optim.Optimizer:
    """Return SGD, Adam or AdamW of parameters or groups of them, as ``params`` say."""
    rate, decay = float(params["learning_rate"]), float(params["weight_decay"])
    # One kernel a step: a twelfth of a small network's step otherwise goes into the optimizer.
    every = [p for g in groups for p in (g["params"] if isinstance(g, dict) else [g])]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in every)
    if params["optimizer"] == "sgd":
        momentum = float(params["momentum"])
        return torch.optim.SGD(
            groups,
            lr=rate,
            momentum=momentum,
            weight_decay=decay,
            nesterov=momentum > 0,
            fused=fused,
        )
    kind = torch.optim.Adam if params["optimizer"] == "adam" else torch.optim.AdamW
    return kind(groups, lr=rate, weight_decay=decay, fused=fused)


def decayed(module: nn.Module) -> list[dict[str, Any]]:
    """Return parameter groups in which only weights of two axes or more decay.

    Biases and normalisation are left out, as in the recipes of He et al. 2019
    (https://arxiv.org/abs/1812.01187).
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() > 1]},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def schedule_factor(schedule: str | Callable[[float], float], progress: float) -> float:
    """Return the factor on the learning rate at ``progress``, the share of steps already made.

    ``"one_cycle"`` rises from a 25th over the first 0.3 of the steps and then falls to zero, as
    `torch.optim.lr_scheduler.OneCycleLR`.

    >>> [round(schedule_factor("one_cycle", p), 2) for p in (0.0, 0.3, 0.65, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if callable(schedule):
        return float(schedule(progress))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "one_cycle":
        if progress < 0.3:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / 0.3))
        return 0.5 * (1 + math.cos(math.pi * min((progress - 0.3) / 0.7, 1.0)))
    return 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts of training that no search touches; by default as plain as torch's own.

    Args:
        name: as the user writes it.
        numeric: how numeric columns are encoded, see `objectives.data.encoders.TabularEncoder`.
        init: draws a member's first weights.
        reference_width: see `objectives.training.stacked_mlp.StackedMLP`.
        beta2: Adam's decay of the gradient's square.
        nesterov: whether SGD's momentum looks ahead.
        schedule: of the learning rate over the trial's epochs, see `schedule_factor`.
        clamp: whether predicted values are kept within the range of the training targets.
        label_smoothing: of classification targets while accuracy-like metrics are tuned.
        portfolio: configurations that did well under this recipe, in the order in which a search
            tries them; see `objectives.mlp.MLPObjective.portfolio`.
    """

    name: str
    numeric: str = "standard"
    init: Callable[[StackedMLP, torch.Generator], Tensor] = torch_init
    reference_width: float | None = None
    beta2: float = 0.999
    nesterov: bool = False
    schedule: Literal["none", "cosine"] = "none"
    clamp: bool = False
    label_smoothing: float = 0.0
    portfolio: Sequence[Mapping[str, Value]] = ()


_VARIED = ("optimizer", "learning_rate", "n_layers", "hidden_units", "dropout", "weight_decay")

# Chosen by `benchmarks/portfolio.py` on validation rows of eight tables, each configuration for
# what it adds to the default and to those before it. With portfolios so chosen, on 14 subsets of 10
# tables, a table left out of the choice has a regret of 0.93 by the default alone, 0.61 by the best
# of it and two, and 0.20 of it and six (0: the best of all that were tried, 1: their median).
_PORTFOLIO: Sequence[Mapping[str, Value]] = tuple(
    dict(zip(_VARIED, values, strict=True))
    for values in (
        ("sgd", 0.015, 1, 256, 0.35, 0.00035),
        ("adam", 0.0044, 4, 128, 0.0, 0.0001),
        ("sgd", 0.022, 2, 256, 0.2, 0.0002),
        ("adam", 0.006, 2, 128, 0.2, 0.00025),
        ("sgd", 0.0076, 1, 64, 0.0, 0.0012),
        ("adam", 0.0013, 1, 256, 0.35, 0.00035),
    )
)

_MODERN = Recipe(
    name="modern",
    numeric="piecewise",
    init=he_init,
    reference_width=256,
    beta2=0.95,
    nesterov=True,
    schedule="cosine",
    clamp=True,
    label_smoothing=0.1,
    portfolio=_PORTFOLIO,
)

RECIPES: Mapping[str, Recipe] = {"modern": _MODERN, "plain": Recipe(name="plain")}
