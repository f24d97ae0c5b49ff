"""The metrics in torch for K models at once: what scikit-learn gives for each, on their device.

Shapes: outputs (K, n, C), raw, in double precision; ``y`` (n,), class codes or values; ``weight``
(n,). Each model is summed over its own rows alone, so a NaN of one stays with it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(outputs: Tensor) -> Tensor:
    """Return class probabilities (..., n_classes) of logits (..., C); one logit is for two classes.

    >>> probabilities(torch.zeros(1, 1))
    tensor([[0.5000, 0.5000]])
    """
    if outputs.shape[-1] == 1:
        return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=-1)
    return torch.softmax(outputs, dim=-1)


def accuracy(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the share of rows whose most probable class is theirs."""
    return _hits(outputs, y) @ weight / weight.sum()


def balanced_accuracy(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over the classes of the share of their rows that is found."""
    actual = _one_hot(y, outputs) * weight[:, None]
    return (_hits(outputs, y) @ actual / actual.sum(0)).nanmean(1)  # 0 / 0: a class without rows


def f1_macro(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over the classes of F1."""
    actual = _one_hot(y, outputs) * weight[:, None]
    predicted = _one_hot(_labels(outputs), outputs).transpose(1, 2) @ weight
    # 0 / 0: a class that neither has rows nor is predicted by this model
    return (2 * (_hits(outputs, y) @ actual) / (predicted + actual.sum(0))).nanmean(1)


def log_loss(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the mean negative log of the probability given to each row's class."""
    index = y.long()[None, :, None].expand(len(outputs), -1, 1)
    eps = torch.finfo(outputs.dtype).eps  # the bound that scikit-learn sets
    p = probabilities(outputs).gather(2, index)[..., 0].clamp(eps, 1 - eps)
    return -(p.log() @ weight) / weight.sum()


def roc_auc(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the area under the ROC curve; for many classes the mean of each against the rest."""
    p = probabilities(outputs)
    if p.shape[-1] == 2:
        return _area(p[..., 1], y == 1, weight)
    codes = torch.arange(p.shape[-1], device=p.device)
    return _area(p.transpose(1, 2), y == codes[:, None], weight).nanmean(1)


def rmse(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the root of the mean squared error."""
    return ((outputs[..., 0] - y).square() @ weight / weight.sum()).sqrt()


def mae(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return the mean absolute error."""
    return (outputs[..., 0] - y).abs() @ weight / weight.sum()


def r2(outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - squared error / variance; for constant ``y`` 1 if all is exact, else 0."""
    used = weight > 0
    y = y.to(outputs.dtype)
    residual = (outputs[..., 0] - y).square() @ weight
    total = (y - y @ weight / weight.sum()).square() @ weight
    is_constant = ((y == y[used.int().argmax()]) | ~used).all()
    value = torch.where(is_constant, (residual == 0).to(total.dtype), 1 - residual / total)
    return value.masked_fill(used.sum() < 2, torch.nan)


def _labels(outputs: Tensor) -> Tensor:
    return outputs.argmax(dim=-1) if outputs.shape[-1] > 1 else (outputs[..., 0] > 0).long()


def _hits(outputs: Tensor, y: Tensor) -> Tensor:
    return (_labels(outputs) == y).to(outputs.dtype)


def _one_hot(labels: Tensor, outputs: Tensor) -> Tensor:
    codes = torch.arange(max(2, outputs.shape[-1]), device=outputs.device)
    return (labels[..., None] == codes).to(outputs.dtype)


def _area(p: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
    """Return the area under the ROC curve along the last axis of ``p`` (..., n); NaN for one class.

    It is the probability that a positive row stands above a negative one, ties counting one half.
    After one sort, each group of ties adds its positives times the negatives below it and half of
    those within it.
    """
    ordered, order = p.sort(dim=-1)
    positives = (positive * weight).expand_as(p).gather(-1, order).cumsum(-1)
    negatives = (~positive * weight).expand_as(p).gather(-1, order).cumsum(-1)
    ends = torch.ones_like(ordered, dtype=torch.bool)  # the last row of each group of ties
    ends[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    gained = positives - _before_group(positives, ends)
    area = gained * (negatives + _before_group(negatives, ends)) * ends
    return area.sum(-1) / (2 * positives[..., -1] * negatives[..., -1])


def _before_group(total: Tensor, ends: Tensor) -> Tensor:
    """Return the running total before the group of ties that ends at a row; of use at ends only."""
    at_ends = (total * ends).cummax(-1).values
    return torch.cat([torch.zeros_like(at_ends[..., :1]), at_ends[..., :-1]], dim=-1)
