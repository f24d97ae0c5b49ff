"""Probabilities that mean what they say, and the threshold of a yes, from held-out predictions.

Both are chosen on validation or out-of-fold predictions and kept only if they help on rows that did
not choose them: one number learned on a few rows can make things worse.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from objectives.metrics import Metric
from objectives.models.selection import halves, judge_for

Floats: TypeAlias = npt.NDArray[np.float64]

_EPS = 1e-12
_LARGEST = np.log(20.0)  # of a temperature or its inverse, on a log scale
_N_SPLITS, _MIN_ROWS = 5, 20
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
        p = softmax(np.log(p.clip(_EPS)) / temperature, axis=1)
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
        [0.9, 0.1]
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
    def loss(log_temperature: float) -> float:
        losses = _losses(logits, y, float(np.exp(log_temperature)))
        return float((losses * weight).sum() / weight.sum())

    best = minimize_scalar(loss, bounds=(-_LARGEST, _LARGEST), method="bounded")
    return float(np.exp(best.x))


def _losses(logits: Floats, y: np.ndarray, temperature: float) -> Floats:
    losses: Floats = -log_softmax(logits / temperature, axis=1)[np.arange(len(y)), y]
    return losses


def _units(n: int, groups: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
    if groups is None:
        return np.arange(n)
    unit: npt.NDArray[np.int64] = np.unique(np.asarray(groups), return_inverse=True)[1]
    return unit
