"""Intervals for the score of a model on a test split, and for the difference of two models' scores.

A share of rows has an exact interval. Other metrics have a bootstrap interval: bias-corrected and
accelerated (BCa; Efron 1987, "Better bootstrap confidence intervals"), with its ends moved outwards
as far as Student's t lies beyond the normal distribution (Hesterberg 2015, "What teachers should
know about the bootstrap", section 5.3), as few rows or groups would else be too sure of themselves.
Rows of one group are drawn together (the cluster bootstrap; Davison & Hinkley 1997, section 3.8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from objectives.metrics import METRICS, QUICK_SCORERS, Metric
from objectives.models.held_out import called
from objectives.scorers import ByScorer

if TYPE_CHECKING:
    from objectives.models.mlp import FittedModel

Floats: TypeAlias = npt.NDArray[np.float64]
Statistic: TypeAlias = Callable[[Floats], Floats]
"""Values (B,) of a metric where the units count as often as weights (n_units, B) say."""

LEVEL, N_RESAMPLES = 0.95, 1000

_MAX_BLOCKS = 200  # of the jackknife: skewness needs no more, whatever the number of rows
_CELLS = 250_000  # resamples times rows at once: 2 MB, what a processor has in its cache
_BOUNDED = (  # at most 1, as a share is; QUICK_SCORERS of classes are as well
    *("accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "average_precision"),
    *("roc_auc_ovr", "roc_auc_ovr_weighted", "roc_auc_ovo", "roc_auc_ovo_weighted"),
)


class Interval(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True)
class _Rows:
    """The rows that a score is of.

    A row is drawn with others of its ``unit``: its own number, or that of its group. Rows are plain
    if all weigh the same and are drawn one by one.
    """

    y: np.ndarray
    weight: Floats
    unit: npt.NDArray[np.int64]
    is_plain: bool

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1


@dataclass(frozen=True, kw_only=True)
class TestScore:
    """The tuned metric on the test split, with a 95% interval.

    Args:
        metric: its name.
        value: its value; ``float(score)`` is this number.
        low: lower end of the interval: exact for shares, of a bootstrap for other metrics.
        high: upper end.
        n: rows in the test split.
    """

    __test__ = False  # for pytest: a score, not a test case

    metric: str
    value: float
    low: float
    high: float
    n: int

    def __float__(self) -> float:
        """Return the value alone."""
        return self.value

    def __repr__(self) -> str:
        """Return the value with its interval."""
        interval = f"95% interval {self.low:.4f} to {self.high:.4f}, n={self.n}"
        return f"test_{self.metric} {self.value:.4f} ({interval})"


def score_test(model: FittedModel, split: Any, metric: Metric) -> TestScore:
    """Score ``model`` on an opened test split, with an interval of `score_interval`."""
    predict = model.predict if model.task == "regression" else model.predict_proba
    prediction = predict(split.X)
    if model.threshold != 0.5:
        prediction = called(metric, split.y, prediction, model.threshold)
    low, high = score_interval(
        metric,
        split.y,
        prediction,
        weight=split.weight,
        groups=getattr(split, "group", None),  # images have none
    )
    return TestScore(
        metric=metric.name,
        value=metric.score(split.y, prediction, split.weight),
        low=low,
        high=high,
        n=len(split.y),
    )


def score_interval(
    metric: Metric,
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return where a model's score would lie on all data of which the rows are a sample.

    Accuracy has the interval of Clopper & Pearson 1934, and balanced accuracy that of a mean of
    such shares (MOVER; Zou & Donner 2008, "Construction of confidence limits about effect
    measures"), as long as rows weigh the same and come alone. A perfect score has a lower end
    below 1: that of a perfect share of as many rows as the rarest class has, or of groups.

    ``prediction`` and ``y`` are as in `Metric.score`; rows of one group count as one draw. Both
    ends are NaN where the metric is not defined.

    Raises:
        ValueError: if no row has weight.

    Example:
        >>> hits = np.eye(2)[[1] * 30]
        >>> score_interval(METRICS["accuracy"], [1] * 29 + [0], hits).low.__round__(3)
        0.828
    """
    rows, (p,) = _rows(y, weight, groups, prediction)
    if not np.isfinite(p).all():
        return Interval(np.nan, np.nan)
    exact = _exact(metric, rows, p, level)
    if exact is not None:
        return exact
    statistic = _statistic(metric, rows, p)
    interval = _bootstrap(statistic, rows.n_units, level, n_resamples, seed)
    value = float(statistic(np.ones((rows.n_units, 1)))[0])
    if _is_bounded(metric) and value == 1.0:
        return Interval(_perfect_low(metric, rows, level), 1.0)
    return interval


def difference_interval(
    metric: Metric,
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    weight: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    level: float = LEVEL,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return where the score of one model less that of another would lie on all data.

    Both are scored on the same rows, so what is hard or easy about these cancels out. A difference
    of accuracies has the adjusted interval of Bonett & Price 2012, "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data"; any other is resampled,
    both models on the same draws.

    The arguments are those of `score_interval`; above 0 the first model has the larger score.
    """
    rows, (first, second) = _rows(y, weight, groups, prediction, other)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Interval(np.nan, np.nan)
    if _is_built_in(metric) and metric.name == "accuracy" and rows.is_plain:
        return _paired_shares(_hits(rows.y, first), _hits(rows.y, second), level)
    one, two = _statistic(metric, rows, first), _statistic(metric, rows, second)

    def difference(weights: Floats) -> Floats:
        return one(weights) - two(weights)

    interval = _bootstrap(difference, rows.n_units, level, n_resamples, seed)
    whole = np.ones((rows.n_units, 1))
    both_perfect = float(one(whole)[0]) == float(two(whole)[0]) == 1.0
    if _is_bounded(metric) and both_perfect:
        below = 1.0 - _perfect_low(metric, rows, level)
        return Interval(-below, below)
    return interval


def share_interval(k: int, n: int, level: float = LEVEL) -> Interval:
    """Return the interval of Clopper & Pearson 1934 for a share of which ``k`` of ``n`` were seen.

    >>> share_interval(30, 30).low.__round__(3)
    0.884
    """
    from scipy import stats  # half a second, which predictions need not

    interval = stats.binomtest(k, n).proportion_ci(level, method="exact")
    return Interval(float(interval.low), float(interval.high))


def _rows(
    y: npt.ArrayLike,
    weight: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    *predictions: npt.ArrayLike,
) -> tuple[_Rows, list[Floats]]:
    """Return the rows that have weight, and the predictions for them."""
    truth = np.asarray(y)
    weights = np.ones(len(truth)) if weight is None else np.asarray(weight, np.float64)
    used = weights > 0
    if not used.any():
        raise ValueError(f"weight must be above 0 for some row, got {len(truth)} rows without any")
    names = np.arange(len(truth)) if groups is None else np.asarray(groups)
    unit = np.unique(names[used], return_inverse=True)[1]
    is_plain = groups is None and len(np.unique(weights[used])) == 1
    found = [np.asarray(prediction, np.float64)[used] for prediction in predictions]
    return _Rows(truth[used], weights[used], unit, is_plain), found


def _is_built_in(metric: Metric) -> bool:
    return METRICS.get(metric.name) is metric


def _exact(metric: Metric, rows: _Rows, p: Floats, level: float) -> Interval | None:
    """Return the interval of a share, or of a mean of shares, where one is known."""
    if not (_is_built_in(metric) and rows.is_plain):
        return None
    if metric.name == "accuracy":
        hits = _hits(rows.y, p)
        return share_interval(int(hits.sum()), len(hits), level)
    if metric.name == "balanced_accuracy":
        hits = _hits(rows.y, p)
        counts = [(int(hits[rows.y == c].sum()), int((rows.y == c).sum())) for c in set(rows.y)]
        return _mean_of_shares(counts, level)
    return None


def _mean_of_shares(counts: list[tuple[int, int]], level: float) -> Interval:
    shares = np.array([k / n for k, n in counts])
    ends = np.array([share_interval(k, n, level) for k, n in counts])
    below, above = shares - ends[:, 0], ends[:, 1] - shares
    mean, n = float(shares.mean()), len(counts)
    low, high = mean - math.hypot(*below) / n, mean + math.hypot(*above) / n
    return Interval(max(low, 0.0), min(high, 1.0))


def _paired_shares(first: np.ndarray, second: np.ndarray, level: float) -> Interval:
    from scipy import stats

    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    a, b = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    reach = stats.norm.ppf((1 + level) / 2) * np.sqrt((a + b - (a - b) ** 2) / (n + 2))
    return Interval(float(max(a - b - reach, -1.0)), float(min(a - b + reach, 1.0)))


def _is_bounded(metric: Metric) -> bool:
    name = metric.name
    if isinstance(metric.scorer, ByScorer):
        return name in _BOUNDED
    is_quick = QUICK_SCORERS.get(name) is metric and "regression" not in metric.tasks
    return is_quick or (_is_built_in(metric) and name in _BOUNDED)


def _perfect_low(metric: Metric, rows: _Rows, level: float) -> float:
    """Return how low the true value may be where no unit shows a mistake."""
    labels, codes = np.unique(rows.y, return_inverse=True)
    units = [len(np.unique(rows.unit[codes == code])) for code in range(len(labels))]
    share = share_interval(min(units), min(units), level).low
    if metric.name == "matthews_corrcoef":  # of two equal classes, each with this share of hits
        return 2 * share - 1
    return share / (2 - share) if metric.name.startswith("jaccard") else share


def _hits(y: np.ndarray, p: Floats) -> npt.NDArray[np.bool_]:
    hits: npt.NDArray[np.bool_] = p.argmax(axis=1) == y
    return hits


def _statistic(metric: Metric, rows: _Rows, p: Floats) -> Statistic:
    if _is_built_in(metric) and metric.name == "roc_auc":
        return _areas(rows, p)
    if _is_built_in(metric):
        return _of_sums(rows, *_TERMS[metric.name](rows.y, p))
    return _of_repeated_rows(metric, rows, p)


def _of_sums(rows: _Rows, terms: Floats, value: Callable[[Floats], Floats]) -> Statistic:
    """Return a metric that is a function of sums over rows: those of each unit are summed first."""
    sums = np.zeros((rows.n_units, terms.shape[1]))
    np.add.at(sums, rows.unit, terms * rows.weight[:, None])
    sums = sums.T

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without some class
            return value(sums @ weights)

    return statistic


def _areas(rows: _Rows, p: Floats) -> Statistic:
    """Return the area under the ROC curve; rows are sorted once, not for each resample.

    Each positive row gains the weight of the negative rows below it, and half of that of those
    level with it (Mann & Whitney 1947).
    """
    codes = [1] if p.shape[1] == 2 else range(p.shape[1])
    parts = [_area(rows, p[:, c], rows.y == c) for c in codes if 0 < (rows.y == c).sum() < len(p)]

    def statistic(weights: Floats) -> Floats:
        if not parts:
            return np.full(weights.shape[1], np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without some class
            return _mean_of_known(np.array([part(weights) for part in parts]))

    return statistic


def _area(rows: _Rows, p: Floats, positive: npt.NDArray[np.bool_]) -> Statistic:
    below = np.flatnonzero(~positive)
    below = below[p[below].argsort(kind="stable")]
    above = np.flatnonzero(positive)
    left, right = (np.searchsorted(p[below], p[above], side=side) for side in ("left", "right"))
    has_ties = bool((left != right).any())

    def statistic(weights: Floats) -> Floats:
        total = np.zeros((len(below) + 1, weights.shape[1]))
        total[1:] = weights[rows.unit[below]]
        total[1:] *= rows.weight[below][:, None]
        np.cumsum(total, axis=0, out=total)
        gained = (total[left] + total[right]) / 2 if has_ties else total[left]
        own = weights[rows.unit[above]] * rows.weight[above][:, None]
        area: Floats = np.einsum("ib,ib->b", own, gained) / (own.sum(axis=0) * total[-1])
        return area

    return statistic


def _of_repeated_rows(metric: Metric, rows: _Rows, p: Floats) -> Statistic:
    """Return a metric of one's own, which may not know what a weight is: rows are repeated."""

    def statistic(weights: Floats) -> Floats:
        values = []
        for counts in weights.T:
            drawn = np.repeat(np.arange(len(rows.y)), counts[rows.unit].astype(np.int64))
            values.append(metric.score(rows.y[drawn], p[drawn], rows.weight[drawn]))
        return np.array(values)

    return statistic


def _mean_of_known(parts: Floats) -> Floats:
    """Return the mean over classes of (n_classes, B), less those that a resample lacks."""
    known = np.isfinite(parts)
    mean: Floats = np.where(known, parts, 0.0).sum(axis=0) / known.sum(axis=0)
    return mean


_Terms: TypeAlias = tuple[Floats, Callable[[Floats], Floats]]


def _mean_of(column: np.ndarray) -> _Terms:
    terms = np.stack([column, np.ones(len(column))], axis=1).astype(np.float64)
    return terms, lambda sums: sums[0] / sums[1]


def _share_of_each(shares: Floats, of: Floats) -> _Terms:
    n_classes = shares.shape[1]

    def value(sums: Floats) -> Floats:
        return _mean_of_known(sums[:n_classes] / sums[n_classes:])

    return np.hstack([shares, of]), value


def _log_loss(y: np.ndarray, p: Floats) -> _Terms:
    eps = np.finfo(np.float64).eps  # the bound that scikit-learn sets
    shares = p[np.arange(len(p)), y] / p.sum(axis=1)
    return _mean_of(-np.log(shares.clip(eps, 1 - eps)))


def _balanced_accuracy(y: np.ndarray, p: Floats) -> _Terms:
    actual = np.eye(p.shape[1])[y]
    return _share_of_each(actual * _hits(y, p)[:, None], actual)


def _f1_macro(y: np.ndarray, p: Floats) -> _Terms:
    actual, predicted = np.eye(p.shape[1])[y], np.eye(p.shape[1])[p.argmax(axis=1)]
    return _share_of_each(2 * actual * predicted, actual + predicted)


def _rmse(y: np.ndarray, p: Floats) -> _Terms:
    terms, mean = _mean_of((p - y) ** 2)
    return terms, lambda sums: np.sqrt(mean(sums))


def _r2(y: np.ndarray, p: Floats) -> _Terms:
    centred = y - y.mean()  # so that the difference of large squares loses no digits
    terms = np.stack([(p - y) ** 2, centred**2, centred, np.ones(len(y))], axis=1)
    return terms, lambda s: 1 - s[0] / (s[1] - s[2] ** 2 / s[3])


_TERMS: dict[str, Callable[[np.ndarray, Floats], _Terms]] = {
    "accuracy": lambda y, p: _mean_of(_hits(y, p)),
    "balanced_accuracy": _balanced_accuracy,
    "log_loss": _log_loss,
    "f1_macro": _f1_macro,
    "rmse": _rmse,
    "mae": lambda y, p: _mean_of(np.abs(p - y)),
    "r2": _r2,
}


def _bootstrap(
    statistic: Statistic, n_units: int, level: float, n_resamples: int, seed: int
) -> Interval:
    value = float(statistic(np.ones((n_units, 1)))[0])
    if n_units < 2 or not np.isfinite(value):
        return Interval(np.nan, np.nan)
    drawn = _draws(n_units, n_resamples, np.random.default_rng(seed))
    resampled = np.concatenate([statistic(weights) for weights in drawn])
    left_out = np.concatenate([statistic(weights) for weights in _jackknife(n_units)])
    resampled, left_out = (v[np.isfinite(v)] for v in (resampled, left_out))
    if not len(resampled):
        return Interval(np.nan, np.nan)
    shares = _bca_shares(value, resampled, left_out, n_units, level)
    low, high = np.quantile(resampled, shares)
    return Interval(float(min(low, value)), float(max(high, value)))


def _bca_shares(
    value: float, resampled: Floats, left_out: Floats, n_units: int, level: float
) -> Floats:
    """Return which quantiles of the resampled values the two ends are (Efron 1987, eq. 2.3)."""
    from scipy import stats

    share_below = (resampled < value).mean() + (resampled == value).mean() / 2
    edge = 1 / (len(resampled) + 1)
    bias = stats.norm.ppf(np.clip(share_below, edge, 1 - edge))
    away = left_out.mean() - left_out
    spread = (away**2).sum()
    acceleration = (away**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    reach = np.sqrt(n_units / (n_units - 1)) * stats.t.ppf((1 + level) / 2, n_units - 1)
    z = bias + np.array([-reach, reach])
    shares: Floats = stats.norm.cdf(bias + z / np.maximum(1 - acceleration * z, 1e-3))
    return shares


def _draws(n_units: int, n_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Give how often each unit is drawn, in batches (n_units, b)."""
    size = max(1, _CELLS // n_units)
    for start in range(0, n_resamples, size):
        b = min(size, n_resamples - start)
        cells = rng.integers(0, n_units, (n_units, b), dtype=np.int32) * b + np.arange(b)
        counts = np.bincount(cells.ravel(), minlength=n_units * b)
        yield counts.reshape(n_units, b).astype(np.float64)


def _jackknife(n_units: int) -> Iterator[Floats]:
    """Give weights that leave out one block of units each, in batches (n_units, b)."""
    n_blocks = min(n_units, _MAX_BLOCKS)
    # A fixed shuffle: neighbours in a file may be alike.
    block = np.random.default_rng(0).permutation(np.arange(n_units) % n_blocks)[:, None]
    size = max(1, _CELLS // n_units)
    for start in range(0, n_blocks, size):
        numbers = np.arange(start, min(start + size, n_blocks))
        yield (block != numbers).astype(np.float64)
