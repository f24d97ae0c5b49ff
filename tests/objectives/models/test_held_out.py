import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.metrics import METRICS, Metric
from objectives.models.held_out import MAX_SIZE, select_ensemble, weights_dataframe

CLASSES = ["accuracy", "balanced_accuracy", "roc_auc", "log_loss", "f1_macro"]
VALUES = ["rmse", "mae", "r2"]


def world(metric, errors, n=400, *, n_classes=3, seed=0):
    """Truth, and one prediction for each error: the truth with noise of that size."""
    rng = np.random.default_rng(seed)
    if metric in VALUES:
        y = rng.normal(size=n)
        return [y + error * rng.normal(size=n) for error in errors], y
    y = np.arange(n) % n_classes
    logits = [2 * np.eye(n_classes)[y] + e * rng.normal(size=(n, n_classes)) for e in errors]
    raised = [np.exp(z - z.max(axis=1, keepdims=True)) for z in logits]
    return [e / e.sum(axis=1, keepdims=True) for e in raised], y


@pytest.mark.parametrize("metric", CLASSES + VALUES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_equally_good_models_with_errors_of_their_own_predict_together(metric, n_classes):
    predictions, y = world(metric, [1.5] * 8, n_classes=n_classes)
    fresh, truth = world(metric, [1.5] * 8, n=4000, n_classes=n_classes, seed=1)
    own = METRICS[metric]

    selection = select_ensemble(predictions, y, own)

    sign = 1 if own.direction == "maximize" else -1
    together = own.score(truth, np.tensordot(selection.weights, fresh, axes=1))
    assert sign * together > sign * own.score(truth, fresh[0])
    assert sign * selection.held_out > sign * selection.held_out_single
    assert not selection.is_single


@pytest.mark.parametrize("metric", CLASSES + VALUES)
def test_far_better_model_predicts_alone_or_nearly(metric):
    predictions, y = world(metric, [6.0, 0.8, 6.0, 6.0])

    assert select_ensemble(predictions, y, METRICS[metric]).weights[1] >= 0.75


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc", "rmse"])
@pytest.mark.parametrize("n", [40, 200])
def test_ensembles_of_small_splits_are_no_worse_on_fresh_rows(metric, n):
    own, gains = METRICS[metric], []
    sign = 1 if own.direction == "maximize" else -1
    for seed in range(20):
        errors = np.random.default_rng(seed).uniform(1.0, 4.0, 12)
        predictions, y = world(metric, errors, n=n, seed=seed)
        fresh, truth = world(metric, errors, n=2000, seed=1000 + seed)
        scores = [sign * own.score(truth, p) for p in fresh]
        best = int(np.argmax([sign * own.score(y, p) for p in predictions]))
        weights = select_ensemble(predictions, y, own).weights
        mean = sign * own.score(truth, np.tensordot(weights, fresh, axes=1))
        gains.append((mean - scores[best]) / (max(scores) - min(scores)))

    assert np.mean(gains) > 0
    assert min(gains) > -0.25


def test_copies_of_one_model_gain_nothing_and_one_predicts_alone():
    (prediction,), y = world("log_loss", [1.5])

    selection = select_ensemble([prediction] * 5, y, METRICS["log_loss"])

    assert selection.is_single
    assert selection.size == 1


@given(
    st.integers(0, 10_000),
    st.sampled_from(CLASSES + VALUES),
    st.integers(1, 6),
    st.integers(5, 60),
    st.integers(1, 10),
)
def test_weights_are_votes_that_sum_to_one(seed, metric, n_trials, n, max_size):
    errors = np.random.default_rng(seed).uniform(0.5, 5, n_trials)
    predictions, y = world(metric, errors, n=n, seed=seed)

    selection = select_ensemble(predictions, y, METRICS[metric], max_size=max_size)

    votes = selection.weights * selection.size
    assert votes == pytest.approx(votes.round())
    assert votes.sum() == pytest.approx(selection.size)
    assert 1 <= selection.size <= max_size
    mean = np.tensordot(selection.weights, predictions, axes=1)
    assert selection.value == pytest.approx(METRICS[metric].score(y, mean), nan_ok=True)


@pytest.mark.parametrize("metric", CLASSES + VALUES)
def test_single_best_is_the_best_by_the_metric_and_its_weights(metric):
    predictions, y = world(metric, [3.0, 2.0, 4.0, 2.5])
    own, weight = METRICS[metric], np.random.default_rng(1).uniform(0, 3, len(y))

    chosen = select_ensemble(predictions, y, own, sample_weight=weight, max_size=1).weights

    scores = [own.score(y, p, weight) for p in predictions]
    best = np.argmax(scores) if own.direction == "maximize" else np.argmin(scores)
    assert chosen.argmax() == best


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "rmse"])
def test_metric_of_ones_own_selects_as_the_built_in_one(metric):
    predictions, y = world(metric, [1.5, 2.0, 1.7], n=60, n_classes=2)
    built_in = METRICS[metric]
    own = Metric("own", built_in.direction, built_in.tasks, built_in.scorer, None)

    found = [select_ensemble(predictions, y, m, max_size=4) for m in (built_in, own)]

    assert found[0].weights.tolist() == found[1].weights.tolist()
    assert found[0].held_out == pytest.approx(found[1].held_out)


def test_trials_that_are_not_finite_get_no_weight():
    predictions, y = world("rmse", [1.0, 1.0, 1.0])
    predictions[0][3], predictions[1][5] = np.nan, np.inf

    assert select_ensemble(predictions, y, METRICS["rmse"]).weights.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="finite and the metric defined for some trial, got none"):
        select_ensemble(predictions[:2], y, METRICS["rmse"])


def test_rows_of_a_group_choose_together_so_that_copies_do_not_judge():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.normal(size=20), 20)
    noise = [np.repeat(rng.normal(size=20), 20) for _ in range(12)]
    predictions = [y + error for error in noise]
    groups = np.repeat(np.arange(20), 20)

    by_rows, by_groups = (
        select_ensemble(predictions, y, METRICS["rmse"], groups=g) for g in (None, groups)
    )

    assert by_groups.held_out > by_rows.held_out


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "roc_auc", "rmse", "mae"])
def test_default_configuration_has_no_vote_where_others_clearly_lead(metric):
    predictions, y = world(metric, [6.0, 1.0, 1.0, 1.0], n=300)

    assert select_ensemble(predictions, y, METRICS[metric], default=0).weights[0] == 0


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "roc_auc", "rmse", "mae"])
def test_trials_that_are_worse_make_way_for_the_default_configuration(metric):
    predictions, y = world(metric, [6.0, 6.0, 6.0, 1.0], n=300)

    assert select_ensemble(predictions, y, METRICS[metric], default=3).weights[3] >= 0.5


def noisy_copies(prediction, seed):
    """The prediction, and what twelve trials make of it that know nothing more."""
    noise = np.random.default_rng(seed).normal(size=(12, *prediction.shape))
    if prediction.ndim == 1:
        return [prediction, *(prediction + 0.5 * noise)]
    raised = prediction * np.exp(0.6 * noise)
    return [prediction, *(raised / raised.sum(axis=2, keepdims=True))]


@pytest.mark.parametrize("metric", ["log_loss", "rmse"])
def test_a_lead_that_is_luck_costs_less_once_the_default_configuration_is_known(metric):
    own, losses = METRICS[metric], {None: [], 0: []}
    for seed in range(10):
        (first,), y = world(metric, [1.5], n=80, seed=seed)
        (fresh,), truth = world(metric, [1.5], n=2000, seed=100 + seed)
        held_out, unseen = noisy_copies(first, seed), noisy_copies(fresh, seed)
        for default, found in losses.items():
            weights = select_ensemble(held_out, y, own, default=default).weights
            mean = np.tensordot(weights, unseen, axes=1)
            found.append(own.score(truth, mean) / own.score(truth, fresh) - 1)

    assert np.mean(losses[0]) < 0.7 * np.mean(losses[None])


@pytest.mark.parametrize("metric", ["log_loss", "rmse"])
def test_default_configuration_predicts_alone_where_nothing_that_votes_leads_it(metric):
    predictions, y = world(metric, [0.5, *[8.0] * 6], n=60)

    selection = select_ensemble(predictions, y, METRICS[metric], default=0)

    assert selection.weights.tolist() == [1.0, *[0.0] * 6]
    assert selection.held_out == pytest.approx(METRICS[metric].score(y, predictions[0]), rel=0.1)


def test_default_configuration_has_half_of_the_votes_where_only_the_mean_with_it_leads():
    found = []
    for seed in range(20):
        predictions, y = world("log_loss", [1.5] * 7, n=40, seed=seed)
        selection = select_ensemble(predictions, y, METRICS["log_loss"], default=6)
        if selection.weights[6] in (0.5, 0.6):  # the latter where it is one of the best five
            found.append(selection)

    assert found
    for selection in found:
        others = selection.weights[:6][selection.weights[:6] > 0]
        assert others == pytest.approx(0.1)
        assert selection.size == 10


def test_votes_of_the_default_configuration_count_among_the_most_there_may_be():
    (first,), y = world("log_loss", [1.5], n=40)
    found = [
        select_ensemble(noisy_copies(first, k), y, METRICS["log_loss"], default=0, max_size=4)
        for k in range(10)
    ]

    assert any(selection.weights[0] == 0.5 for selection in found)
    assert all(selection.size <= 4 for selection in found)


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        ([], {}, "of one shape, got shapes"),
        ([[0.1, 0.2]], {}, r"the 3 rows of y and of one shape, got shapes \[\(2,\)\]"),
        ([[0.1] * 3, [[0.1] * 2] * 3], {}, "of one shape"),
        ([[0.1] * 3], {"max_size": 0}, "max_size must be a whole number of at least 1"),
    ],
)
def test_wrong_predictions_are_refused(predictions, options, message):
    with pytest.raises(ValueError, match=message):
        select_ensemble(predictions, [1.0, 2.0, 3.0], METRICS["rmse"], **options)


def test_table_shows_who_predicts_the_heaviest_first():
    predictions, y = world("log_loss", [1.2, 9.0, 1.0, 1.1])
    selection = select_ensemble(predictions, y, METRICS["log_loss"])

    table = weights_dataframe(
        selection.weights, [4, 7, 9, 11], [{"dropout": k / 10} for k in range(4)]
    )

    assert list(table) == ["trial", "weight", "params_dropout"]
    assert table["weight"].is_monotonic_decreasing
    assert table["weight"].sum() == pytest.approx(1)
    assert 7 not in set(table["trial"])
    assert len(select_ensemble(predictions, y, METRICS["log_loss"]).weights) == 4
    assert selection.size <= MAX_SIZE
