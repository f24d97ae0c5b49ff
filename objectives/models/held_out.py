"""What held-out predictions decide: the weights of an ensemble, a temperature, a threshold.

Each is chosen on validation or out-of-fold predictions and kept only if it helps on rows that did
not choose it: one number learned on a few rows can make things worse.

Trials that predict together are found by greedy selection (Caruana, Niculescu-Mizil, Crew & Ksikes
2004, "Ensemble selection from libraries of models"): start from the best model, then add, again and
again and with replacement, the one whose vote improves the mean prediction most. How often a model
was added is its weight. Where their lead over the default configuration may be luck, that one
predicts together with the best five, or alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from objectives._messages import check_count
from objectives.metrics import Metric
from objectives.scorers import ByScorer, Floats, Judge, is_built_in, judge_for

Halves: TypeAlias = Iterator[tuple[np.ndarray, np.ndarray]]

MAX_SIZE = 25

MAX_CANDIDATES = 25
"""The best so many trials are looked at: a library without its worst models gives ensembles as good
or better (Caruana, Munson & Niculescu-Mizil 2006, "Getting the most out of ensemble selection")."""

# A scorer of scikit-learn takes milliseconds, and a choice among 25 trials some 6,000 looks.
_SLOW_CANDIDATES = 10

_N_SPLITS = 5  # halvings that judge a temperature or a threshold

# Halvings that judge an ensemble: at most so many, and so many rows in all, as of many rows a few
# tell as much.
_MOST_SPLITS, _ROWS_JUDGED = 10, 10_000

# The lead over the default configuration, on rows that did not choose, that is no luck, in standard
# errors (benchmarks/never_worse.py has the measure).
_SURE = 0.5

_SHARED_WITH = 5  # so many of the best predict together with the default configuration

# Cells of predictions with many classes: rows beyond are left out.
_CELLS = {"roc_auc": 200_000, "f1_macro": 800_000}

_OTHER_CELLS = 2_000_000

_MIN_ROWS = 20  # fewer cannot choose and judge


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Weights of trials in the mean that predicts.

    Args:
        weights: one a trial, multiples of 1 / ``size`` that sum to 1; one alone is 1 where no
            ensemble beats the single best, or nothing beats the default configuration.
        size: how many votes there are.
        value: the metric of the weighted mean on all rows, those that it was chosen on.
        held_out: the metric of what is chosen in this way, on rows that did not choose it.
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
    default: int | None = None,
    max_size: int = MAX_SIZE,
    seed: int = 0,
) -> Selection:
    """Choose the weights of trials from their validation or out-of-fold predictions.

    The rows are halved up to ten times. On one half an ensemble of each size is chosen, size 1 the
    single best; on the other half it is judged, and the other way round. The size that is best on
    average over rows that did not choose is then chosen on all rows. So a small split, on which any
    ensemble looks good, decides for the single best unless there is something to gain.

    No row has chosen the ``default`` configuration, which has this place among the trials. So what
    is chosen must lead it by more than half a standard error on rows that did not choose. Else the
    default has half of the votes, and the five best trials have the others, if these together lead
    by as much; else the default predicts alone.

    A trial predicts probabilities (n, n_classes) or values (n,); one that is not finite somewhere
    gets no weight. Rows of one group choose together or judge together. There are at most
    ``max_size`` votes.

    Raises:
        ValueError: if there is no trial with finite predictions, shapes differ, or ``max_size`` is
            no whole number of at least 1.

    Example:
        >>> from objectives.metrics import METRICS
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
    if default is not None and default not in order:
        order = np.append(order, default)
    order = order[np.isfinite(costs[order])]
    if not len(order):
        raise ValueError(
            "predictions must be finite and the metric defined for some trial, got none of "
            f"{len(costs)}; run more trials"
        )
    rows = _enough_rows(metric, stacked[order].shape, np.random.default_rng(seed))
    truth, weight = truth[rows], weight[rows]
    prepared = _prepare(metric, stacked[order][:, rows], truth)
    chooser, is_default = judge_for(metric, truth, weight), order == default
    curves = np.full((1, 2 + max_size), np.nan)
    if max_size > 1 and len(order) > 1 and len(truth) >= _MIN_ROWS:
        unit = _units(len(truth), None if groups is None else np.asarray(groups)[rows])
        labels = None if "regression" in metric.tasks else truth
        n_splits = 1 if slow else min(_MOST_SPLITS, max(1, _ROWS_JUDGED // len(truth)))
        parts = halves(labels, unit, n_splits, seed)
        curves = _held_out_costs(metric, prepared, truth, weight, parts, max_size, is_default)
    by_size, size = curves[:, 2:].mean(axis=0), 1
    if not np.isnan(by_size).any():  # the smallest that is best but for rounding
        size = int((by_size <= by_size.min() + 1e-9 * abs(by_size.min())).argmax()) + 1
    found = curves[:, 1 + size]
    counts = np.bincount(_greedy(chooser, prepared, size), minlength=len(order))
    if _may_be_luck(curves[:, 0] - found):
        counts, found = is_default.astype(np.int64), curves[:, 0]
        if not _may_be_luck(curves[:, 0] - curves[:, 1]):
            counts, found = _shared(chooser, prepared, is_default, max_size), curves[:, 1]
    weights = np.zeros(len(costs))
    weights[order] = counts / counts.sum()
    sign = -1.0 if metric.direction == "maximize" else 1.0
    return Selection(
        weights=weights,
        size=int(counts.sum()),
        value=metric.score(
            np.asarray(y),
            np.tensordot(weights[order], stacked[order], axes=1),
            None if sample_weight is None else np.asarray(sample_weight),
        ),
        held_out=sign * float(found.mean()),
        held_out_single=sign * float(by_size[0]),
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
    if len(shape) == 3 and not is_built_in(metric, "log_loss"):
        cells = _CELLS.get(metric.name, _OTHER_CELLS)
        n = min(n, max(_MIN_ROWS, cells // (shape[0] * shape[2])))
    return np.arange(shape[1]) if n == shape[1] else np.sort(rng.permutation(shape[1])[:n])


def _prepare(metric: Metric, stacked: Floats, y: np.ndarray) -> Floats:
    """Return the part of the predictions that the metric looks at."""
    if is_built_in(metric, "log_loss"):  # of each row, the share for the class that it has
        return stacked[:, np.arange(len(y)), y]
    if is_built_in(metric, "roc_auc") and stacked.shape[2] == 2:
        return stacked[..., 1]
    return stacked.astype(np.float32) if stacked.ndim == 3 else stacked


def _may_be_luck(lead: Floats) -> bool:
    """Say whether a lead over the default configuration, half by half, is too small to go by.

    One that is not known is none to doubt.
    """
    if np.isnan(lead).any():
        return False
    # Two halves of the same rows are independent, and further halvings are of the same rows again.
    return bool(lead.mean() <= _SURE * lead.std(ddof=1) / np.sqrt(2))


def _shared(
    judge: Judge, prepared: Floats, is_default: npt.NDArray[np.bool_], max_size: int
) -> npt.NDArray[np.int64]:
    """Return the votes where the default configuration has half of them, and the best the others,
    one each.
    """
    costs = judge(prepared)
    best = np.where(np.isfinite(costs), costs, np.inf).argsort(kind="stable")
    best = best[: min(_SHARED_WITH, max_size // 2)]
    return np.bincount(best, minlength=len(costs)) + len(best) * is_default


def _held_out_costs(
    metric: Metric,
    prepared: Floats,
    y: np.ndarray,
    weight: Floats,
    halves: Iterator[tuple[np.ndarray, np.ndarray]],
    max_size: int,
    is_default: npt.NDArray[np.bool_],
) -> Floats:
    """Return the costs (n_halves, 2 + max_size) on rows that did not choose: of the default
    configuration, and of it together with the best, both NaN without one; and of each size.
    """
    curves = []
    for choosing, judging in halves:
        chooser = judge_for(metric, y[choosing], weight[choosing])
        added = prepared[_greedy(chooser, prepared[:, choosing], max_size)][:, judging]
        sizes = np.arange(1, max_size + 1).reshape(-1, *[1] * (added.ndim - 1))
        judge = judge_for(metric, y[judging], weight[judging])
        cautious = [np.nan, np.nan]
        if is_default.any():
            votes = _shared(chooser, prepared[:, choosing], is_default, max_size)
            together = np.tensordot(votes / votes.sum(), prepared[:, judging], axes=1)
            cautious = [*judge(np.stack([prepared[is_default][0, judging], together]))]
        curves.append([*cautious, *judge(added.cumsum(axis=0) / sizes)])
    return np.array(curves)


def _greedy(judge: Judge, prepared: Floats, size: int) -> list[int]:
    """Return which candidates are added.

    Of candidates that are equally good the first one is added: they come the best first.
    """
    chosen: list[int] = []
    total = np.zeros_like(prepared[0])
    for votes in range(1, size + 1):
        costs = judge((total + prepared) / votes)
        chosen.append(int(np.where(np.isfinite(costs), costs, np.inf).argmin()))
        total += prepared[chosen[-1]]
    return chosen


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


_EPS = 1e-12

_LARGEST = np.log(20.0)  # of a temperature or its inverse, on a log scale

# Before the rows are seen, a temperature is likely to be within a factor of 1.6 of 1. Few rows that
# are all predicted right would else ask for probabilities of 0 and 1, and the first error on other
# rows would cost ten times what the temperature gained.
_SPREAD = 0.5

_MIN_STEPS = 2.0  # standard errors that the gain in log loss must have

# From here on the temperature is taken that one more row, had it been wrong, would have asked for.
# Networks that had every row right can be so sure that one error on other rows costs more than all
# they have gained.
_FAR_TOO_SURE = 2.0


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
    0. The temperature returned is then chosen on all rows. Where they find no fault in
    probabilities that are surer than so few rows can show, it is the best one as if one more row
    had been wrong.

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
    best = _best_temperature(logits, truth, weight)
    doubtful = _best_temperature(logits, truth, weight, n_wrong=1.0)
    if best <= 1 and doubtful > _FAR_TOO_SURE:
        return doubtful
    return best if by_unit.mean() > _MIN_STEPS * error else 1.0


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
        >>> from objectives.metrics import METRICS
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


def _best_temperature(
    logits: Floats, y: np.ndarray, weight: Floats, *, n_wrong: float = 0.0
) -> float:
    """Return the temperature of the least log loss, with so many further rows that are like the
    others but of another class, the likeliest one.
    """
    from scipy.optimize import minimize_scalar  # as predictions alone need no SciPy

    others = np.where(np.arange(logits.shape[1]) == y[:, None], -np.inf, logits).argmax(axis=1)
    n = np.count_nonzero(weight)

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        right, wrong = (_losses(logits, label, temperature) @ weight for label in (y, others))
        surprise = (log_temperature / _SPREAD) ** 2 / 2 / n
        return float((right + wrong * n_wrong / n) / weight.sum()) + surprise

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
