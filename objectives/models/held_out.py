"""What held-out predictions decide: the weights of an ensemble, a temperature, a threshold.

Each is chosen on validation or out-of-fold predictions and kept only if it helps on rows that did
not choose it: one number learned on a few rows can make things worse.

Trials that predict together are found by greedy selection (Caruana, Niculescu-Mizil, Crew & Ksikes
2004, "Ensemble selection from libraries of models"): start from the best model, then add, again and
again and with replacement, the one whose vote improves the mean prediction most. How often a model
was added is its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from objectives._messages import check_count
from objectives.metrics import METRICS, Metric
from objectives.scorers import ByScorer

Floats: TypeAlias = npt.NDArray[np.float64]

Halves: TypeAlias = Iterator[tuple[np.ndarray, np.ndarray]]

Judge: TypeAlias = Callable[[Floats], Floats]
"""Costs (k,), lower is better, of k predictions (k, n, ...)."""

MAX_SIZE = 25

MAX_CANDIDATES = 25
"""The best so many trials are looked at: a library without its worst models gives ensembles as good
or better (Caruana, Munson & Niculescu-Mizil 2006, "Getting the most out of ensemble selection")."""

# A scorer of scikit-learn takes milliseconds, and a choice among 25 trials some 6,000 looks.
_SLOW_CANDIDATES = 10

_N_SPLITS, _MANY_ROWS = 5, 2000  # halvings; of more rows than that, one tells as much

# Cells of predictions with many classes: rows beyond are left out.
_CELLS = {"roc_auc": 200_000, "f1_macro": 800_000}

_OTHER_CELLS = 2_000_000

_MIN_ROWS = 20  # fewer cannot choose and judge


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Weights of trials in the mean that predicts.

    Args:
        weights: one a trial, multiples of 1 / ``size`` that sum to 1; one alone is 1 where no
            ensemble beats the single best.
        size: how many votes there are.
        value: the metric of the weighted mean on all rows, those that it was chosen on.
        held_out: the metric of ensembles of this size on rows that did not choose them.
        held_out_single: the same of the single best; NaN, as the former, if there are too few rows
            to judge.
    """

    weights: Floats
    size: int
    value: float
    held_out: float
    held_out_single: float

    @property
    def is_single(self) -> bool:
        """Whether one trial predicts alone."""
        return int(np.count_nonzero(self.weights)) == 1


def select_ensemble(
    predictions: Sequence[npt.ArrayLike],
    y: npt.ArrayLike,
    metric: Metric,
    *,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    max_size: int = MAX_SIZE,
    seed: int = 0,
) -> Selection:
    """Choose the weights of trials from their validation or out-of-fold predictions.

    The rows are halved five times. On one half an ensemble of each size is chosen, size 1 being
    the single best; on the other half it is judged, and the other way round. The size that is best
    on average over rows that did not choose is then chosen on all rows. So a small split, on which
    any ensemble looks good, decides for the single best unless there is something to gain.

    A trial predicts probabilities (n, n_classes) or values (n,); one that is not finite somewhere
    gets no weight. Rows of one group choose together or judge together. There are at most
    ``max_size`` votes.

    Raises:
        ValueError: if there is no trial with finite predictions, shapes differ, or ``max_size`` is
            no whole number of at least 1.

    Example:
        >>> y = np.arange(40) % 2
        >>> right, wrong = np.eye(2)[y], np.eye(2)[1 - y]
        >>> select_ensemble([wrong, right], y, METRICS["log_loss"]).weights.tolist()
        [0.0, 1.0]
    """
    check_count("max_size", max_size)
    stacked = _stack(predictions, len(np.asarray(y)))
    truth = np.asarray(y)
    weight = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight, float)
    costs = judge_for(metric, truth, weight)(stacked)
    finite = np.isfinite(stacked).reshape(len(stacked), -1).all(axis=1)
    costs[~np.isfinite(costs) | ~finite] = np.inf
    slow = isinstance(metric.scorer, ByScorer)
    order = costs.argsort(kind="stable")[: _SLOW_CANDIDATES if slow else MAX_CANDIDATES]
    order = order[np.isfinite(costs[order])]
    if not len(order):
        raise ValueError(
            "predictions must be finite and the metric defined for some trial, got none of "
            f"{len(costs)}; run more trials"
        )
    rows = _enough_rows(metric, stacked[order].shape, np.random.default_rng(seed))
    truth, weight = truth[rows], weight[rows]
    prepared = _prepare(metric, stacked[order][:, rows], truth)
    curve = np.full(max_size, np.nan)
    if max_size > 1 and len(order) > 1 and len(truth) >= _MIN_ROWS:
        unit = None if groups is None else np.unique(groups, return_inverse=True)[1][rows]
        labels = None if "regression" in metric.tasks else truth
        n_splits = _N_SPLITS if len(truth) <= _MANY_ROWS and not slow else 1
        parts = halves(labels, np.arange(len(truth)) if unit is None else unit, n_splits, seed)
        curve = _held_out_costs(metric, prepared, truth, weight, parts, max_size)
    size = 1
    if not np.isnan(curve).any():  # the smallest that is best but for rounding
        size = int((curve <= curve.min() + 1e-9 * abs(curve.min())).argmax()) + 1
    judge = judge_for(metric, truth, weight)
    counts = np.bincount(_greedy(judge, prepared, size)[0], minlength=len(order))
    weights = np.zeros(len(costs))
    weights[order] = counts / size
    sign = -1.0 if metric.direction == "maximize" else 1.0
    return Selection(
        weights=weights,
        size=size,
        value=metric.score(
            np.asarray(y),
            np.tensordot(weights[order], stacked[order], axes=1),
            None if sample_weight is None else np.asarray(sample_weight),
        ),
        held_out=sign * float(curve[size - 1]),
        held_out_single=sign * float(curve[0]),
    )


def weights_dataframe(
    weights: Sequence[float], trials: Sequence[int], params: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Return trial, weight and parameters of trials that have weight, the heaviest first."""
    rows = [
        {"trial": number, "weight": weight} | {f"params_{k}": v for k, v in config.items()}
        for number, weight, config in zip(trials, weights, params, strict=True)
        if weight > 0
    ]
    table = pd.DataFrame(rows).sort_values(["weight", "trial"], ascending=[False, True])
    return table.reset_index(drop=True)


def _stack(predictions: Sequence[npt.ArrayLike], n: int) -> Floats:
    arrays = [np.asarray(prediction, dtype=np.float64) for prediction in predictions]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1 or shapes[0][0] != n or not n:
        raise ValueError(
            f"predictions must be of the {n} rows of y and of one shape, got shapes {shapes}"
        )
    return np.stack(arrays)


def _enough_rows(metric: Metric, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return which rows choose and judge: all, unless a look at them would take seconds."""
    n = shape[1]
    if len(shape) == 3 and not _is(metric, "log_loss"):
        cells = _CELLS.get(metric.name, _OTHER_CELLS)
        n = min(n, max(_MIN_ROWS, cells // (shape[0] * shape[2])))
    return np.arange(shape[1]) if n == shape[1] else np.sort(rng.permutation(shape[1])[:n])


def _prepare(metric: Metric, stacked: Floats, y: np.ndarray) -> Floats:
    """Return the part of the predictions that the metric looks at."""
    if _is(metric, "log_loss"):  # the mean of an ensemble's shares for the class that each row has
        return stacked[:, np.arange(len(y)), y]
    if _is(metric, "roc_auc") and stacked.shape[2] == 2:
        return stacked[..., 1]
    return stacked.astype(np.float32) if stacked.ndim == 3 else stacked


def _held_out_costs(
    metric: Metric,
    prepared: Floats,
    y: np.ndarray,
    weight: Floats,
    halves: Iterator[tuple[np.ndarray, np.ndarray]],
    max_size: int,
) -> Floats:
    """Return the mean cost (max_size,) of each size on rows that did not choose the ensemble."""
    curves = []
    for choosing, judging in halves:
        chooser = judge_for(metric, y[choosing], weight[choosing])
        _, means = _greedy(chooser, prepared[:, choosing], max_size, also=prepared[:, judging])
        curves.append(judge_for(metric, y[judging], weight[judging])(means))
    mean: Floats = np.mean(curves, axis=0)
    return mean


def _greedy(
    judge: Judge, prepared: Floats, size: int, also: Floats | None = None
) -> tuple[list[int], Floats]:
    """Return which candidates are added, and the mean of ``also`` after each.

    Of candidates that are equally good the first one is added: they come the best first.
    """
    chosen: list[int] = []
    total = np.zeros_like(prepared[0])
    for votes in range(1, size + 1):
        costs = judge((total + prepared) / votes)
        chosen.append(int(np.where(np.isfinite(costs), costs, np.inf).argmin()))
        total += prepared[chosen[-1]]
    if also is None:
        return chosen, total[None] / size
    sums = np.cumsum(also[chosen], axis=0)
    return chosen, sums / np.arange(1, size + 1).reshape(-1, *[1] * (sums.ndim - 1))


def halves(y: np.ndarray | None, unit: np.ndarray, n_splits: int, seed: int) -> Halves:
    """Give row numbers that choose and that judge, each row in both roles once a halving.

    Rows of one unit stay together, and classes ``y`` are halved alike; values of None are not.
    """
    rng = np.random.default_rng(seed)
    n_units = int(unit.max()) + 1
    label = np.zeros(n_units, dtype=np.int64)
    if y is not None:
        label[unit] = y  # of a group, that of its last row: halves need be alike only roughly
    for _ in range(n_splits):
        shuffled = rng.permutation(n_units)
        by_class = shuffled[label[shuffled].argsort(kind="stable")]
        is_first = np.zeros(n_units, dtype=bool)
        is_first[by_class[::2]] = True
        first, second = np.flatnonzero(is_first[unit]), np.flatnonzero(~is_first[unit])
        yield first, second
        yield second, first


def _is(metric: Metric, name: str) -> bool:
    return metric is METRICS[name]


def judge_for(metric: Metric, y: np.ndarray, weight: Floats) -> Judge:
    """Return what gives the costs of many predictions at once: of probabilities (k, n, n_classes),
    of values (k, n), or of the part of either that the metric looks at.
    """
    sign = -1.0 if metric.direction == "maximize" else 1.0
    truth, weights = torch.from_numpy(np.ascontiguousarray(y)), torch.from_numpy(weight)

    def costs(p: Floats) -> Floats:
        if not len(y) or not weight.any():
            return np.full(len(p), np.nan)
        if _is(metric, "log_loss"):
            own = p if p.ndim == 2 else p[:, np.arange(len(y)), y]
            eps = np.finfo(np.float64).eps  # the bound that scikit-learn sets
            losses: Floats = -(np.log(own.clip(eps, 1 - eps)) @ weight) / weight.sum()
            return losses
        if _is(metric, "roc_auc"):
            return -_areas(p[..., 1] if p.ndim == 3 and p.shape[2] == 2 else p, y, weight)
        if metric.is_quick:
            outputs = torch.from_numpy(p if p.ndim == 3 else p[..., None])
            scores: Floats = metric.batched_scorer(
                outputs, truth, weights.to(outputs.dtype)
            ).numpy()
            return sign * scores
        return sign * np.array([metric.score(y, member, weight) for member in p])

    return costs


def _areas(p: Floats, y: np.ndarray, weight: Floats) -> Floats:
    """Return the area under the ROC curve of each prediction: (k, n), or (k, n, n_classes) for the
    mean over classes, each against the rest.
    """
    if p.ndim == 2:
        return _area(p, y == 1, weight)
    parts = [_area(p[..., c], y == c, weight) for c in range(p.shape[2]) if (y == c).any()]
    known: Floats = np.array(parts)
    mean: Floats = known[np.isfinite(known).all(axis=1)].mean(axis=0)
    return mean if len(parts) > 1 else known[0]


def _area(p: Floats, positive: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Return areas (k,): the chance that a positive row stands above a negative one.

    Only the negative rows are sorted; each positive one is looked up among them, as ties count one
    half (Mann & Whitney 1947).
    """
    n_positive = weight[positive].sum()
    if not 0 < n_positive < weight.sum():
        return np.full(len(p), np.nan)
    is_even = bool((weight == weight[0]).all())
    areas = []
    for row in p:
        below, above = row[~positive], row[positive]
        if is_even:
            below.sort()
            total = np.arange(len(below) + 1) * weight[0]
        else:
            order = below.argsort()
            below = below[order]
            total = np.concatenate([[0.0], weight[~positive][order].cumsum()])
        left, right = (np.searchsorted(below, above, side=side) for side in ("left", "right"))
        gained = (total[left] + total[right]) / 2
        areas.append(gained @ weight[positive] / (n_positive * total[-1]))
    return np.array(areas)


_EPS = 1e-12

_LARGEST = np.log(20.0)  # of a temperature or its inverse, on a log scale

# Before the rows are seen, a temperature is likely to be within a factor of 1.6 of 1. Few rows that
# are all predicted right would else ask for probabilities of 0 and 1, and the first error on other
# rows would cost ten times what the temperature gained.
_SPREAD = 0.5

_MIN_STEPS = 2.0  # standard errors that the gain in log loss must have


def scale_temperature(probabilities: npt.ArrayLike, temperature: float) -> Floats:
    """Return probabilities whose logits are divided by a temperature; above 1 they are less sure.

    The most probable class stays the same (Guo, Pleiss, Sun & Weinberger 2017, "On calibration of
    modern neural networks", section 4.2).

    Example:
        >>> scale_temperature([[0.8, 0.2]], 2.0).round(3).tolist()
        [[0.667, 0.333]]
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got temperature={temperature}")
    p = np.asarray(probabilities, dtype=np.float64)
    if temperature != 1.0:
        logits = np.log(p.clip(_EPS)) / temperature
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    return p


def fit_temperature(
    probabilities: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> float:
    """Return the temperature with the least log loss, or 1 where that is no sure gain.

    Probabilities (n, n_classes) are held-out: of validation rows or out-of-fold. Rows are halved
    five times, those of one group together; one half chooses a temperature, the other judges it.
    The gain in log loss there, a mean over rows, or over groups, must be two standard errors above
    0. The temperature returned is then chosen on all rows.

    Example:
        >>> y = np.arange(200) % 10 == 0
        >>> too_sure = np.tile([0.999, 0.001], (200, 1))
        >>> temperature = fit_temperature(too_sure, y)
        >>> scale_temperature(too_sure, temperature)[0].round(2).tolist()
        [0.91, 0.09]
    """
    logits = np.log(np.asarray(probabilities, dtype=np.float64).clip(_EPS))
    truth = np.asarray(y).astype(np.int64)
    weight = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight, float)
    if len(truth) < _MIN_ROWS or not np.isfinite(logits).all():
        return 1.0
    unit = _units(len(truth), groups)
    gains = np.zeros(len(truth))
    for choosing, judging in halves(truth, unit, _N_SPLITS, seed):
        t = _best_temperature(logits[choosing], truth[choosing], weight[choosing])
        loss = _losses(logits[judging], truth[judging], 1.0)
        gains[judging] += (loss - _losses(logits[judging], truth[judging], t)) / _N_SPLITS
    by_unit = np.bincount(unit, gains * weight)
    error = by_unit.std(ddof=1) / np.sqrt(len(by_unit)) if len(by_unit) > 1 else np.inf
    if not by_unit.mean() > _MIN_STEPS * error:
        return 1.0
    return _best_temperature(logits, truth, weight)


def fit_threshold(
    positive: npt.ArrayLike,
    y: npt.ArrayLike,
    metric: Metric,
    *,
    sample_weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> float:
    """Return the probability from which on a row is called positive, for the sake of a metric.

    ``positive`` is the held-out probability of class 1. The threshold is chosen for metrics of
    labels, such as ``f1_macro``; for one that does not change with it, it is 0.5. The halves are
    those of `fit_temperature`: a threshold other than 0.5 must be better on average on the halves
    that did not choose it.

    Example:
        >>> from objectives.metrics import METRICS
        >>> y = np.arange(100) % 5 == 0
        >>> fit_threshold(np.where(y, 0.3, 0.1), y, METRICS["f1_macro"]).__round__(2)
        0.2
    """
    p, truth = np.asarray(positive, dtype=np.float64), np.asarray(y).astype(np.int64)
    weight = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight, float)
    if len(truth) < _MIN_ROWS or not np.isfinite(p).all():
        return 0.5
    gains = []
    for choosing, judging in halves(truth, _units(len(truth), groups), _N_SPLITS, seed):
        threshold = _best_threshold(metric, p[choosing], truth[choosing], weight[choosing])
        costs = judge_for(metric, truth[judging], weight[judging])
        before, after = costs(_called(p[judging], np.array([0.5, threshold])))
        gains.append(before - after)
    return _best_threshold(metric, p, truth, weight) if np.nanmean(gains) > 0 else 0.5


def apply_threshold(positive: npt.ArrayLike, threshold: float) -> npt.NDArray[np.int64]:
    """Return class codes 0 and 1.

    >>> apply_threshold([0.1, 0.3], 0.2).tolist()
    [0, 1]
    """
    return (np.asarray(positive) >= threshold).astype(np.int64)


def called(
    metric: Metric, y: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float
) -> Floats:
    """Return what a metric is to judge of the probabilities (n, 2) of two classes: where it goes by
    labels alone, as ``f1_macro`` does, those at the threshold, as certain probabilities.

    Example:
        >>> called(METRICS["accuracy"], [1, 0], [[0.7, 0.3], [0.9, 0.1]], 0.2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(y)
    if threshold == 0.5 or metric.score(truth, p) != metric.score(truth, np.eye(2)[p.argmax(1)]):
        return p
    labels: Floats = np.eye(2)[apply_threshold(p[:, 1], threshold)]
    return labels


_N_THRESHOLDS = 100


def _best_threshold(metric: Metric, p: Floats, y: np.ndarray, weight: Floats) -> float:
    """Return the best of 0.5 and of what lies between neighbouring quantiles; of the equally good
    ones the nearest to 0.5.
    """
    levels = np.unique(np.quantile(p, np.linspace(0, 1, _N_THRESHOLDS), method="nearest"))
    tried = np.append((levels[1:] + levels[:-1]) / 2, 0.5)
    tried = tried[np.abs(tried - 0.5).argsort(kind="stable")]
    costs = judge_for(metric, y, weight)(_called(p, tried))
    return float(tried[np.where(np.isfinite(costs), costs, np.inf).argmin()])


def _called(p: Floats, thresholds: Floats) -> Floats:
    """Return the labels at each threshold as certain probabilities (k, n, 2)."""
    called: Floats = np.eye(2)[(p >= thresholds[:, None]).astype(np.int64)]
    return called


def _best_temperature(logits: Floats, y: np.ndarray, weight: Floats) -> float:
    from scipy.optimize import minimize_scalar  # as predictions alone need no SciPy

    def loss(log_temperature: float) -> float:
        losses = _losses(logits, y, float(np.exp(log_temperature)))
        surprise = (log_temperature / _SPREAD) ** 2 / 2 / np.count_nonzero(weight)
        return float((losses * weight).sum() / weight.sum()) + surprise

    best = minimize_scalar(loss, bounds=(-_LARGEST, _LARGEST), method="bounded")
    return float(np.exp(best.x))


def _losses(logits: Floats, y: np.ndarray, temperature: float) -> Floats:
    from scipy.special import log_softmax

    losses: Floats = -log_softmax(logits / temperature, axis=1)[np.arange(len(y)), y]
    return losses


def _units(n: int, groups: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
    if groups is None:
        return np.arange(n)
    unit: npt.NDArray[np.int64] = np.unique(np.asarray(groups), return_inverse=True)[1]
    return unit
