"""Optimizers and learning-rate schedules of modules, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from objectives.space.hyperparameter import Params


def make_optimizer(groups: Any, params: Params) -> torch.optim.Optimizer:
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
            groups,
            lr=rate,
            momentum=momentum,
            weight_decay=decay,
            nesterov=momentum > 0,
            fused=fused,
        )
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
