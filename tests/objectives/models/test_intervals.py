import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.coverage import CASES, coverage
from objectives.metrics import METRICS, QUICK_SCORERS, Metric
from objectives.models.intervals import difference_interval, score_interval, share_interval

CLASSES = ["accuracy", "balanced_accuracy", "roc_auc", "log_loss", "f1_macro"]
VALUES = ["rmse", "mae", "r2"]


def rows_of(metric, n=80, *, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    if metric in VALUES:
        y = rng.normal(size=n)
        return y, y + rng.normal(size=n), y + 2 * rng.normal(size=n)
    y = np.arange(n) % n_classes
    sure, unsure = rng.dirichlet(np.ones(n_classes), n), rng.dirichlet(np.ones(n_classes), n)
    sure[np.arange(n), y] += 0.8
    return y, sure / sure.sum(axis=1, keepdims=True), unsure


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nine_of_ten_intervals_hold_the_true_score_at_least(name):
    held, _ = coverage(CASES[name], n_samples=400)

    assert held >= 0.9


@pytest.mark.parametrize("metric", CLASSES + VALUES)
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_interval_is_that_of_the_metric_itself_resampled(metric, n_classes, weighted):
    y, prediction, _ = rows_of(metric, n_classes=n_classes)
    weight = np.random.default_rng(1).integers(1, 4, len(y)) if weighted else None
    own = METRICS[metric]
    same = Metric(own.name + " of one's own", own.direction, own.tasks, own.scorer, None)
    judge = partial(score_interval, y=y, prediction=prediction, weight=weight, n_resamples=40)

    # Groups of one row keep shares from their exact interval.
    fast, slow = (judge(m, groups=np.arange(len(y))) for m in (own, same))

    assert fast == pytest.approx(slow, abs=1e-9)
    assert fast.low < own.score(y, prediction, weight) < fast.high


@pytest.mark.parametrize("metric", ["roc_auc", "f1_macro"])
def test_ties_and_classes_that_a_resample_lacks_count_as_in_the_metric(metric):
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    p = np.eye(3)[[0, 0, 0, 0, 1, 2, 1, 0, 2, 0]]
    own = METRICS[metric]
    same = Metric("same", own.direction, own.tasks, own.scorer, None)

    fast, slow = (score_interval(m, y, p, n_resamples=40) for m in (own, same))

    assert fast == pytest.approx(slow)


@pytest.mark.parametrize("metric", CLASSES + VALUES)
def test_more_rows_make_the_interval_narrower(metric):
    def width(n):
        low, high = score_interval(METRICS[metric], *rows_of(metric, n)[:2])
        return high - low

    assert width(1600) < 0.5 * width(100)


@pytest.mark.parametrize("metric", CLASSES + VALUES)
def test_copies_of_a_row_in_one_group_tell_nothing_new(metric):
    y, prediction, _ = rows_of(metric)
    groups = np.arange(len(y))
    judge = partial(score_interval, METRICS[metric])

    once = judge(y, prediction, groups=groups)
    thrice = judge(np.repeat(y, 3), np.repeat(prediction, 3, axis=0), groups=np.repeat(groups, 3))

    assert thrice == pytest.approx(once)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_has_the_exact_interval_of_the_binomial_distribution(share):
    k, n = share

    low, high = share_interval(k, n)

    assert 0 <= low <= k / n <= high <= 1
    assert k == 0 or stats.binom.sf(k - 1, n, low) == pytest.approx(0.025)
    assert k == n or stats.binom.cdf(k, n, high) == pytest.approx(0.025)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "f1_macro", "roc_auc"])
@pytest.mark.parametrize("grouped", [False, True])
def test_perfect_score_on_few_rows_is_not_taken_for_certain(metric, grouped):
    y = np.arange(40) % 2
    groups = np.arange(40) // 4 if grouped else None

    low, high = score_interval(METRICS[metric], y, np.eye(2)[y], groups=groups)

    assert 0.6 < low < 0.95
    assert high == 1.0


@pytest.mark.parametrize("metric", CLASSES + VALUES)
def test_difference_of_two_models_is_signed_and_turns_with_them(metric):
    y, better, worse = rows_of(metric)
    judge = partial(difference_interval, METRICS[metric], y)

    low, high = judge(better, worse)
    back = judge(worse, better)

    sign = 1 if METRICS[metric].direction == "maximize" else -1
    assert min(sign * low, sign * high) > 0
    assert back == pytest.approx((-high, -low), abs=0.15 * (high - low))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "rmse"])
def test_difference_of_two_like_models_is_known_better_than_either_score(metric):
    y, _, prediction = rows_of(metric, 200)
    other = prediction * (1 + 0.01 * np.random.default_rng(2).normal(size=prediction.shape))

    low, high = difference_interval(METRICS[metric], y, prediction, other)
    single = score_interval(METRICS[metric], y, prediction)

    assert low <= 0 <= high
    assert high - low < 0.1 * (single.high - single.low)


def test_two_models_that_hit_the_same_few_rows_may_differ_all_the_same():
    y = np.arange(30) % 2

    for metric in ("accuracy", "roc_auc"):
        low, high = difference_interval(METRICS[metric], y, np.eye(2)[y], np.eye(2)[y])
        assert low < -0.05
        assert high > 0.05


def test_same_rows_have_the_same_interval_and_another_seed_nearly():
    y, prediction, _ = rows_of("log_loss")
    judge = partial(score_interval, METRICS["log_loss"], y, prediction)

    assert judge() == judge(seed=0)
    assert judge() != judge(seed=1)
    assert judge() == pytest.approx(judge(seed=1), rel=0.1)


def test_rows_without_weight_are_left_out_and_wrong_input_has_no_interval():
    y, prediction, _ = rows_of("rmse")
    weight = np.arange(len(y)) < 40
    judge = partial(score_interval, METRICS["rmse"])

    assert judge(y, prediction, weight=weight) == judge(y[:40], prediction[:40])
    assert np.isnan(judge(y, np.where(weight, prediction, np.nan))).all()
    assert np.isnan(score_interval(METRICS["roc_auc"], [1, 1], np.eye(2))).all()
    with pytest.raises(ValueError, match="above 0 for some row, got 80 rows without any"):
        judge(y, prediction, weight=np.zeros(80))


def test_resamples_of_the_area_are_computed_together():
    y, prediction, _ = rows_of("roc_auc", 10_000)
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        score_interval(METRICS["roc_auc"], y, prediction)
    finally:
        sys.setprofile(None)

    assert len(calls) < 10_000  # a score for each of the 1,000 resamples takes far more


@pytest.mark.parametrize("metric", [*METRICS.values(), QUICK_SCORERS["f1"]], ids=lambda m: m.name)
def test_rows_of_one_group_alone_have_no_interval(metric):
    y = np.arange(30) % 2
    prediction = np.eye(2)[y[::-1]] if "binary" in metric.tasks else y + 0.5

    assert np.isnan(score_interval(metric, y, prediction, groups=np.zeros(30))).all()
    assert np.isnan(difference_interval(metric, y, prediction, prediction, groups=[0] * 30)).all()
