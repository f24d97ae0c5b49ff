"""What training a module takes: loss, optimizer and schedule by name, and what trials share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from objectives.feeds import Inputs, Rows
from objectives.messages import hint
from objectives.metrics import Metric
from objectives.preprocessing import TargetScaler
from objectives.targets import Task

LossFunction: TypeAlias = Callable[[Any, Tensor], Tensor]
OptimizerMaker: TypeAlias = Callable[[Any, Mapping[str, Any]], torch.optim.Optimizer]
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
    found = outputs.unsqueeze(1) if outputs.dim() == 1 else outputs
    allowed = {"regression": (1,), "binary": (1, 2)}.get(task, (n_classes,))
    if found.dim() != 2 or found.shape[1] not in allowed:
        wanted = " or ".join(f"(rows, {n})" for n in allowed)
        raise ValueError(
            f"build must return a module with outputs of shape {wanted} for task={task!r}, got "
            f"{tuple(outputs.shape)}; change its last layer"
        )
    return found


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


def make_optimizer(groups: Any, params: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return SGD, Adam or AdamW as ``params`` say.

    Args:
        groups: parameters or parameter groups.
        params: ``optimizer``, ``learning_rate``, ``weight_decay`` and ``momentum`` are read.
    """
    rate, decay = float(params["learning_rate"]), float(params["weight_decay"])
    # One kernel a step: a twelfth of a small network's step otherwise goes into the optimizer.
    fused = _are_plain(groups)
    if params["optimizer"] == "sgd":
        momentum = float(params["momentum"])
        return torch.optim.SGD(
            groups, lr=rate, momentum=momentum, weight_decay=decay, nesterov=momentum > 0,
            fused=fused,
        )  # fmt: skip
    kind = torch.optim.Adam if params["optimizer"] == "adam" else torch.optim.AdamW
    return kind(groups, lr=rate, weight_decay=decay, fused=fused)


def _are_plain(groups: Any) -> bool:
    """Say whether torch has fused kernels for these parameters or parameter groups."""
    parameters = [p for g in groups for p in (g["params"] if isinstance(g, dict) else [g])]
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


def decayed(module: nn.Module) -> list[dict[str, Any]]:
    """Return parameter groups in which only weights of two axes or more decay.

    Biases and normalisation are left out, as in the recipes of He et al. 2019
    (https://arxiv.org/abs/1812.01187).
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    weights = [p for p in trained if p.dim() > 1]
    others = [p for p in trained if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {"params": others, "weight_decay": 0.0},
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
class FedSplit:
    """One split as training takes it, on the device.

    Args:
        rows: gives the inputs.
        y: class codes (n,), or values in the target's units.
        targets: what the loss compares with: class codes (n,), or standardised values (n,).
        weight: of each row (n,) with mean 1, or None.
    """

    rows: Rows
    y: Tensor
    targets: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ModuleTraining:
    """What all trials of a cohort share.

    Args:
        train: the rows to train on.
        valid: the rows to validate on.
        task: decides loss and outputs.
        n_classes: 1 for regression.
        metric: the tuned metric.
        build: makes a module for hyperparameters.
        optimizer: makes the optimizer of a module for hyperparameters.
        loss: of outputs and targets; None for the task's own.
        schedule: factor on the learning rate by progress; None for the hyperparameter ``schedule``.
        clip: changes the gradients of parameters before a step; None for ``clip_norm``.
        change: random changes of a batch of training inputs.
        before_epoch: called with module, hyperparameters and epoch before each.
        scaler: takes outputs to the units of a regression target; None for classes.
        patience: epochs without improvement after which a trial ends; None never ends it.
        seed: a trial's seed follows from it and the trial's number.
        device: where to train.
    """

    train: FedSplit
    valid: FedSplit
    task: Task
    n_classes: int
    metric: Metric
    build: Callable[[Mapping[str, Any]], nn.Module]
    optimizer: Callable[[nn.Module, Mapping[str, Any]], torch.optim.Optimizer]
    loss: LossFunction | None
    schedule: Callable[[float], float] | None
    clip: Clip | None
    change: Callable[[Inputs, Mapping[str, Any], torch.Generator], Inputs] | None
    before_epoch: Callable[[nn.Module, Mapping[str, Any], int], None] | None
    scaler: TargetScaler | None
    patience: int | None
    seed: int
    device: torch.device
