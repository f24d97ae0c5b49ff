"""Metrics by name, each with its direction: for one model, and in torch for K at once.

A class without rows, and a row of weight 0, count for nothing in any of them. Which one a
user means, `objectives.scorers.get_metric` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from objectives.data.targets import Task


Array: TypeAlias = NDArray[Any]
Scorer: TypeAlias = Callable[[Array, Array, Array], float]
BatchedScorer: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Predict: TypeAlias = Callable[[Tensor], Tensor]
Direction: TypeAlias = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are, and which way is better.

    Args:
        name: as users write it and tables show it.
        direction: ``"maximize"`` or ``"minimize"``, as in Optuna.
        tasks: the tasks that it can judge.
        scorer: ``(y_true, prediction, weight) -> float``: `score`, less rows of weight 0.
        batched_scorer: ``(outputs, y, weight) -> (K,)``: `batched`, in double precision.
    """

    name: str
    direction: Direction
    tasks: tuple[Task, ...]
    scorer: Scorer = field(repr=False)
    batched_scorer: BatchedScorer = field(repr=False)

    def score(self, y_true: Array, prediction: Array, sample_weight: Array | None = None) -> float:
        """Return the metric of one model's predictions.

        Args:
            y_true: class codes 0, 1, ... or, in regression, values; shape (n,).
            prediction: probabilities (n, n_classes), two columns for two classes; in regression,
                values (n,).
            sample_weight: one number >= 0 a row; None weighs all rows alike.

        Returns:
            The metric; NaN where a prediction is not finite, no row has weight, or the metric is
            not defined, as the AUC of one class.

        Raises:
            ValueError: if there are no rows, or the lengths differ.

        Example:
            >>> METRICS["accuracy"].score([0, 1], [[0.9, 0.1], [0.6, 0.4]])
            0.5
        """
        y, prediction = np.asarray(y_true), np.asarray(prediction, dtype=np.float64)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        lengths = len(y), len(prediction), len(weight)
        if len(set(lengths)) > 1 or not len(y):
            raise ValueError(
                "y_true, prediction and sample_weight must have one length above 0, "
                f"got lengths={', '.join(map(str, lengths))}"
            )
        used = weight > 0
        if not used.any() or not np.isfinite(prediction).all():
            return float("nan")
        return _number(self.scorer(y[used], prediction[used], weight[used]), self.name)

    def batched(self, outputs: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the metric of K models at once, on their device: what `score` gives for each.

        Args:
            outputs: raw outputs (K, n, C): logits, C = 1 for two classes; in regression values in
                the units of ``y``, C = 1.
            y: class codes or values, shape (n,).
            weight: one number >= 0 a row; None weighs all rows alike.

        Returns:
            Shape (K,), in double precision where the device has it. NaN for a model that has an
            output that is not finite, whatever its neighbours have.

        Example:
            >>> METRICS["mae"].batched(torch.ones(2, 3, 1), torch.zeros(3)).tolist()
            [1.0, 1.0]
        """
        # Thousands of rows summed in single precision differ from scikit-learn in the sixth digit.
        dtype = torch.float32 if outputs.device.type == "mps" else torch.float64
        row_weight = torch.ones(len(y), device=y.device) if weight is None else weight
        values = self.batched_scorer(outputs.to(dtype), y, row_weight.to(dtype))
        return values.masked_fill(~outputs.isfinite().flatten(1).all(dim=1), torch.nan)

    @property
    def is_quick(self) -> bool:
        """Whether many models are judged at once, in torch."""
        return isinstance(self.batched_scorer, _Many)

    @classmethod
    def from_function(
        cls,
        function: Scorer,
        *,
        direction: Direction,
        tasks: tuple[Task, ...] = ("binary", "multiclass"),
        name: str | None = None,
    ) -> Metric:
        """Make a metric of a function of your own.

        Args:
            function: ``(y_true, prediction, weight) -> float``, of numpy arrays as in `score`.
            direction: ``"maximize"`` or ``"minimize"``.
            tasks: those it can judge, by default both of classes; ``("regression",)`` for values.
            name: as tables show it; by default the function's.

        Raises:
            ValueError: if the tasks are of classes and of values at once.

        Example:
            >>> def worst(y_true, prediction, weight):
            ...     return float(abs(y_true - prediction).max())
            >>> metric = Metric.from_function(worst, direction="minimize", tasks=("regression",))
            >>> metric.name, metric.score([1.0, 2.0], [1.0, 2.5])
            ('worst', 0.5)
        """
        if "regression" in tasks and len(tasks) > 1:
            raise ValueError(
                f"tasks must be of classes or of values, got tasks={tasks}; make two metrics"
            )
        called = getattr(function, "__name__", "own") if name is None else name
        batched = partial(_own_batched, called, function, "regression" in tasks)
        return cls(called, direction, tasks, function, batched)


def _own_batched(
    name: str, function: Scorer, of_values: bool, outputs: Tensor, y: Tensor, weight: Tensor
) -> Tensor:
    predictions = outputs[..., 0] if of_values else probabilities(outputs)
    truth, weights = y.cpu().numpy(), weight.cpu().numpy()
    values = [
        _number(function(truth, member.cpu().numpy(), weights), name)
        if bool(member.isfinite().all())
        else math.nan
        for member in predictions
    ]
    return torch.tensor(values, dtype=outputs.dtype, device=outputs.device)


def _number(value: SupportsFloat, name: str) -> float:
    """Return what a metric's function gave as a float; a user's own may give anything."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metric {name!r} must return one number, got {type(value).__name__}; "
            "return a float from its function"
        ) from error


_CLASSES: tuple[Task, ...] = ("binary", "multiclass")


def _accuracy(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return _hits(p, y) @ weight / weight.sum()


def _balanced_accuracy(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    actual = _one_hot(y, p) * weight[:, None]
    return (_hits(p, y) @ actual / actual.sum(0)).nanmean(1)  # 0 / 0: a class without rows


def _roc_auc(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    if p.shape[-1] == 2:
        return _area(p[..., 1], y == 1, weight)
    codes = torch.arange(p.shape[-1], device=p.device)
    return _area(p.transpose(1, 2), y == codes[:, None], weight).nanmean(1)


def _log_loss(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    index = y.long()[None, :, None].expand(len(p), -1, 1)
    eps = torch.finfo(p.dtype).eps  # the bound that scikit-learn sets
    return -(p.gather(2, index)[..., 0].clamp(eps, 1 - eps).log() @ weight) / weight.sum()


def _f1_macro(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    actual = _one_hot(y, p) * weight[:, None]
    predicted = _one_hot(p.argmax(-1), p).transpose(1, 2) @ weight
    # 0 / 0: a class that neither has rows nor is predicted by this model
    return (2 * (_hits(p, y) @ actual) / (predicted + actual.sum(0))).nanmean(1)


def _rmse(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return ((values - y).square() @ weight / weight.sum()).sqrt()


def _mae(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return (values - y).abs() @ weight / weight.sum()


def _r2(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - squared error / variance; for constant ``y`` 1 if all is exact, else 0."""
    used = weight > 0
    y = y.to(values.dtype)
    residual = (values - y).square() @ weight
    total = (y - y @ weight / weight.sum()).square() @ weight
    is_constant = ((y == y[used.int().argmax()]) | ~used).all()
    value = torch.where(is_constant, (residual == 0).to(total.dtype), 1 - residual / total)
    return value.masked_fill(used.sum() < 2, torch.nan)


def probabilities(outputs: Tensor) -> Tensor:
    """Return class probabilities (..., n_classes) of logits (..., C); one logit is for two classes.

    >>> probabilities(torch.zeros(1, 1))
    tensor([[0.5000, 0.5000]])
    """
    if outputs.shape[-1] == 1:
        return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=-1)
    return torch.softmax(outputs, dim=-1)


def _class_scores(outputs: Tensor) -> Tensor:
    """Return what is largest for the most probable class, which needs no probabilities."""
    return torch.cat([-outputs, outputs], dim=-1) if outputs.shape[-1] == 1 else outputs


def _values(outputs: Tensor) -> Tensor:
    return outputs[..., 0]


def _hits(p: Tensor, y: Tensor) -> Tensor:
    return (p.argmax(-1) == y).to(p.dtype)


def _one_hot(labels: Tensor, p: Tensor) -> Tensor:
    return (labels[..., None] == torch.arange(p.shape[-1], device=p.device)).to(p.dtype)


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


# Each judges the predictions of K models, (K, n, n_classes) or (K, n) of values.
_ROWS: tuple[tuple[str, Direction, tuple[Task, ...], Predict, BatchedScorer], ...] = (
    ("accuracy", "maximize", _CLASSES, _class_scores, _accuracy),
    ("balanced_accuracy", "maximize", _CLASSES, _class_scores, _balanced_accuracy),
    ("roc_auc", "maximize", _CLASSES, probabilities, _roc_auc),
    ("log_loss", "minimize", _CLASSES, probabilities, _log_loss),
    ("f1_macro", "maximize", _CLASSES, _class_scores, _f1_macro),
    ("rmse", "minimize", ("regression",), _values, _rmse),
    ("mae", "minimize", ("regression",), _values, _mae),
    ("r2", "maximize", ("regression",), _values, _r2),
)


@dataclass(frozen=True)  # not partials, which differ after a journey to another process
class _One:
    """Judges one model's predictions by what judges K."""

    function: BatchedScorer

    def __call__(self, y: Array, prediction: Array, weight: Array) -> float:
        truth, weights = torch.as_tensor(y), torch.as_tensor(weight)
        return float(self.function(torch.as_tensor(prediction)[None], truth, weights)[0])


@dataclass(frozen=True)
class _Many:
    """Judges K models' raw outputs."""

    function: BatchedScorer
    predict: Predict

    def __call__(self, outputs: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return self.function(self.predict(outputs), y, weight)


METRICS: dict[str, Metric] = {
    name: Metric(name, direction, tasks, _One(scorer), _Many(scorer, predict))
    for name, direction, tasks, predict, scorer in _ROWS
}
"""The built-in metrics. ``roc_auc`` of many classes is the mean of each class against the rest."""


@dataclass(frozen=True)
class _OfLabels:
    """Precision, recall, F1 or Jaccard of the most probable labels, averaged as in scikit-learn."""

    kind: str
    average: str

    def __call__(self, p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        right, predicted, actual = _counts(p, y, weight)
        of = {
            "precision": predicted,
            "recall": actual,
            "f1": (predicted + actual) / 2,
            "jaccard": predicted + actual - right,
        }[self.kind]
        if self.average == "micro":
            right, of = right.sum(1, keepdim=True), of.sum(1, keepdim=True)
        shares = (right / of).nan_to_num(0.0)  # 0 / 0: a class without rows that none is taken for
        if self.average == "weighted":
            return (shares * actual).sum(1) / actual.sum(1)
        if self.average == "macro":
            there = predicted + actual > 0
            return (shares * there).sum(1) / there.sum(1)
        return shares[:, -1]


def _counts(p: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weight (K, C) of rows that are rightly called a class, called it, and are it."""
    actual = _one_hot(y, p) * weight[:, None]
    predicted = _one_hot(p.argmax(-1), p).transpose(1, 2) @ weight
    return _hits(p, y) @ actual, predicted, actual.sum(0).expand_as(predicted)


def _matthews(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    right, predicted, actual = _counts(p, y, weight)
    total = weight.sum()
    covariance = right.sum(1) * total - (predicted * actual).sum(1)
    # As sums of products: of one label alone these are 0, where a difference of squares is rounded.
    spreads = [(each * (each.sum(1, keepdim=True) - each)).sum(1) for each in (predicted, actual)]
    value = covariance / (spreads[0] * spreads[1]).sqrt()
    return value.where((spreads[0] > 0) & (spreads[1] > 0), 0.0)


def _neg_mae(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return -_mae(values, y, weight)


def _neg_rmse(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return -_rmse(values, y, weight)


def _neg_mse(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    return -_rmse(values, y, weight).square()


def _neg_mape(values: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    eps = torch.finfo(torch.float64).eps  # scikit-learn's
    return -(((values - y) / y.to(values.dtype).abs().clamp(min=eps)).abs() @ weight / weight.sum())


_SHARES_OF_LABELS = ("precision", "recall", "f1", "jaccard")
_BINARY: tuple[Task, ...] = ("binary",)
_VALUES: tuple[Task, ...] = ("regression",)
_SCORER_ROWS: tuple[tuple[str, tuple[Task, ...], Predict, BatchedScorer], ...] = (
    *((k, _BINARY, _class_scores, _OfLabels(k, "binary")) for k in _SHARES_OF_LABELS),
    *(
        (f"{k}_{average}", _CLASSES, _class_scores, _OfLabels(k, average))
        for k in _SHARES_OF_LABELS
        for average in ("micro", "macro", "weighted")
    ),
    ("matthews_corrcoef", _CLASSES, _class_scores, _matthews),
    ("neg_mean_absolute_error", _VALUES, _values, _neg_mae),
    ("neg_root_mean_squared_error", _VALUES, _values, _neg_rmse),
    ("neg_mean_squared_error", _VALUES, _values, _neg_mse),
    ("neg_mean_absolute_percentage_error", _VALUES, _values, _neg_mape),
)
QUICK_SCORERS: dict[str, Metric] = {
    name: Metric(name, "maximize", tasks, _One(scorer), _Many(scorer, predict))
    for name, tasks, predict, scorer in _SCORER_ROWS
}
"""Scorers of scikit-learn, by its names, that judge K models at once."""
