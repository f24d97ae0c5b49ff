import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.metrics import METRICS
from objectives.models.held_out import (
    apply_threshold,
    fit_temperature,
    fit_threshold,
    scale_temperature,
)

LOG_LOSS = METRICS["log_loss"]


def drawn(n, n_classes=3, *, sureness=1.0, seed=0):
    """Classes drawn from probabilities, and these with their logits multiplied by ``sureness``."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, n_classes))
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=n_classes - 1)
    return scale_temperature(p, 1 / sureness), y


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("sureness", [0.4, 2.5])
def test_temperature_undoes_what_made_the_probabilities_too_sure_or_too_unsure(n_classes, sureness):
    temperature = fit_temperature(*drawn(2000, n_classes, sureness=sureness))

    assert temperature == pytest.approx(sureness, rel=0.15)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("n", [10, 30, 300])
def test_probabilities_that_are_right_are_nearly_always_left_alone(n, n_classes):
    found = [fit_temperature(*drawn(n, n_classes, seed=seed)) for seed in range(40)]

    assert np.mean(np.array(found) == 1.0) >= 0.9


def test_few_rows_that_are_all_predicted_right_do_not_ask_for_certainty():
    p = np.tile([0.9, 0.1], (40, 1))

    assert 0.3 < fit_temperature(p, np.zeros(40)) <= 1


@pytest.mark.parametrize("sureness", [15.0, 20.0, 30.0])
def test_certainty_that_few_rows_cannot_show_is_taken_back(sureness):
    y = np.arange(60) % 3
    p = np.exp(sureness * np.eye(3)[y])
    p /= p.sum(axis=1, keepdims=True)

    scaled = scale_temperature(p, fit_temperature(p, y))

    chance_of_another = 1 - scaled.max(axis=1)
    assert (chance_of_another > 0.001).all()
    assert (chance_of_another < 0.05).all()


@pytest.mark.parametrize("sureness", [1.0, 1.3, 3.0])
@pytest.mark.parametrize("n", [30, 100, 1000])
def test_log_loss_on_fresh_rows_does_not_rise(n, sureness):
    rises = []
    for seed in range(20):
        temperature = fit_temperature(*drawn(n, sureness=sureness, seed=seed))
        fresh, truth = drawn(4000, sureness=sureness, seed=1000 + seed)
        before = LOG_LOSS.score(truth, fresh)
        rises.append(LOG_LOSS.score(truth, scale_temperature(fresh, temperature)) - before)

    assert np.mean(rises) <= 1e-3
    assert max(rises) < 0.02
    if sureness == 3.0 and n >= 100:
        assert np.mean(rises) < -0.05


@given(st.floats(1.0, 18.0), st.integers(2, 6), st.integers(0, 1000))
def test_scaled_probabilities_sum_to_one_and_keep_their_order(temperature, n_classes, seed):
    p, _ = drawn(20, n_classes, seed=seed)

    scaled = scale_temperature(p, temperature)

    np.testing.assert_allclose(scaled.sum(axis=1), 1.0)
    assert (np.diff(np.take_along_axis(scaled, p.argsort(axis=1), axis=1), axis=1) >= 0).all()
    np.testing.assert_allclose(scale_temperature(scaled, 1 / temperature), p, atol=1e-6)


def test_rows_without_weight_have_no_say():
    p, y = drawn(1000, sureness=3.0)
    other, wrong = drawn(1000, sureness=0.3, seed=1)
    weight = np.repeat([1.0, 0.0], 1000)

    both = fit_temperature(np.vstack([p, other]), np.append(y, wrong), sample_weight=weight)

    assert both == pytest.approx(fit_temperature(p, y), rel=1e-3)


def test_copies_of_few_rows_are_no_evidence_when_they_are_one_group():
    p, y = drawn(12, sureness=2.0, seed=3)
    copies = np.repeat(p, 50, axis=0), np.repeat(y, 50)

    assert fit_temperature(*copies) != 1.0
    assert fit_temperature(*copies, groups=np.repeat(np.arange(12), 50)) == 1.0


def test_impossible_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature must be above 0, got temperature=0"):
        scale_temperature([[0.5, 0.5]], 0)


def rare(n, seed=0):
    """Rows of which one in twelve is positive, with the probability of that."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 1 / 12).astype(int)
    x = rng.normal(size=n) + 1.5 * y
    return 1 / (1 + np.exp(-(1.5 * x - 1.125 - np.log(11)))), y


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro"])
def test_threshold_finds_the_rare_class_on_fresh_rows(name):
    metric = METRICS[name]
    threshold = fit_threshold(*rare(1000), metric)
    p, y = rare(20_000, seed=1)

    def score(at):
        return metric.score(y, np.eye(2)[apply_threshold(p, at)])

    assert threshold < 0.4
    assert score(threshold) > score(0.5) + 0.04


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro", "accuracy"])
@pytest.mark.parametrize("n", [10, 40, 200])
def test_threshold_of_few_rows_does_no_harm(name, n):
    metric = METRICS[name]
    p, y = rare(5000, seed=1)
    gains = []
    for seed in range(15):
        threshold = fit_threshold(*rare(n, seed=10 + seed), metric)
        called = np.eye(2)[apply_threshold(p, threshold)]
        gains.append(metric.score(y, called) - metric.score(y, np.eye(2)[(p >= 0.5).astype(int)]))

    assert np.mean(gains) > -0.005


def test_best_threshold_lies_at_one_half_where_nothing_is_gained():
    y = np.arange(60) % 2

    assert fit_threshold(np.where(y, 0.9, 0.1), y, METRICS["f1_macro"]) == 0.5
