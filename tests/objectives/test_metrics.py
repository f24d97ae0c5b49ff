import math
import pickle
import sys

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given
from hypothesis import strategies as st

from objectives.metrics import METRICS, Metric, probabilities
from objectives.scorers import get_metric

CLASSIFICATION = ["accuracy", "balanced_accuracy", "roc_auc", "log_loss", "f1_macro"]
REGRESSION = ["rmse", "mae", "r2"]

# Multiples of 1/4 give ties within and between models, the wide floats saturate the probabilities.
# Logits that differ by less than 1e-16 are told apart by the network but not by its probabilities.
LOGITS = st.integers(-8, 8).map(lambda k: k / 4) | st.floats(-60, 60).map(lambda z: round(z, 3))
VALUES = st.integers(-8, 8).map(lambda k: k / 4) | st.floats(-1e6, 1e6, width=32)
WEIGHTS = st.sampled_from([0.0, 0.25, 1.0, 3.0]) | st.floats(1e-3, 1e3)


def tensors(draw, elements, *shape):
    size = math.prod(shape)
    values = draw(st.lists(elements, min_size=size, max_size=size))
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


@st.composite
def classified(draw):
    n_models, n, n_classes = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(2, 4))
    )
    outputs = tensors(draw, LOGITS, n_models, n, n_classes if n_classes > 2 else 1)
    y = draw(st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n))
    weight = draw(st.none() | st.lists(WEIGHTS, min_size=n, max_size=n))
    return outputs, torch.tensor(y), None if weight is None else torch.tensor(weight)


@st.composite
def regressed(draw):
    n_models, n = draw(st.tuples(st.integers(1, 3), st.integers(1, 12)))
    outputs = tensors(draw, VALUES, n_models, n, 1)
    y = draw(st.lists(VALUES, min_size=n, max_size=n))
    weight = draw(st.none() | st.lists(WEIGHTS, min_size=n, max_size=n))
    y = torch.tensor(y, dtype=torch.float64)
    return outputs, y, None if weight is None else torch.tensor(weight)


def prediction_of(outputs, metric):
    """Return what a fitted model hands to ``score`` for raw outputs (n, C)."""
    if metric.tasks == ("regression",):
        return outputs[:, 0].double().numpy()
    return probabilities(outputs.double()).numpy()


def scores_one_by_one(metric, outputs, y, weight):
    weight = None if weight is None else weight.numpy()
    return [metric.score(y.numpy(), prediction_of(model, metric), weight) for model in outputs]


@pytest.mark.parametrize("name", CLASSIFICATION)
@given(classified())
def test_class_metrics_of_many_models_are_those_of_each(name, rows):
    expected = scores_one_by_one(METRICS[name], *rows)

    assert METRICS[name].batched(*rows).tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", REGRESSION)
@given(regressed())
def test_value_metrics_of_many_models_are_those_of_each(name, rows):
    expected = scores_one_by_one(METRICS[name], *rows)

    assert METRICS[name].batched(*rows).tolist() == pytest.approx(
        expected, rel=1e-6, abs=1e-9, nan_ok=True
    )


def by_labels(scorer, **options):
    return lambda y, p, weight: scorer(y, p.argmax(1), sample_weight=weight, **options)


SKLEARN = {
    "accuracy": by_labels(sk.accuracy_score),
    "balanced_accuracy": lambda y, p, weight: sk.balanced_accuracy_score(
        y, p.argmax(1), sample_weight=weight
    ),
    "f1_macro": by_labels(sk.f1_score, average="macro"),
    "log_loss": lambda y, p, weight: sk.log_loss(y, p, sample_weight=weight),
    "roc_auc": lambda y, p, weight: sk.roc_auc_score(
        y, p[:, 1] if p.shape[1] == 2 else p, sample_weight=weight, multi_class="ovr"
    ),
    "rmse": lambda y, p, weight: sk.root_mean_squared_error(y, p, sample_weight=weight),
    "mae": lambda y, p, weight: sk.mean_absolute_error(y, p, sample_weight=weight),
    "r2": lambda y, p, weight: sk.r2_score(y, p, sample_weight=weight),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("name", list(METRICS))
def test_both_forms_agree_with_scikit_learn(name, n_classes, weighted):
    rng = np.random.default_rng(0)
    y = rng.normal(size=200) if name in REGRESSION else rng.integers(n_classes, size=200)
    weight = rng.uniform(0.1, 3, size=200) if weighted else None
    n_outputs = 1 if n_classes == 2 or name in REGRESSION else n_classes
    # one decimal: many ties
    outputs = torch.tensor(rng.normal(size=(4, 200, n_outputs)).round(1), dtype=torch.float32)
    metric = METRICS[name]

    expected = [SKLEARN[name](y, prediction_of(model, metric), weight) for model in outputs]

    weights = None if weight is None else torch.tensor(weight)
    assert metric.batched(outputs, torch.tensor(y), weights).tolist() == pytest.approx(expected)
    assert scores_one_by_one(metric, outputs, torch.tensor(y), weights) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", list(METRICS))
def test_an_output_that_is_not_finite_spoils_its_own_model_alone(name, bad):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 20, 1 if name in REGRESSION else 4, generator=generator)
    y = torch.arange(20) % 4
    clean = METRICS[name].batched(outputs, y)

    outputs[1, 7, 0] = bad
    spoilt = METRICS[name].batched(outputs, y)

    assert spoilt[1].isnan()
    assert spoilt[[0, 2]].tolist() == clean[[0, 2]].tolist()
    assert not clean.isnan().any()


@pytest.mark.parametrize("name", list(METRICS))
def test_a_prediction_that_is_not_finite_scores_nan(name):
    prediction = np.full(4 if name in REGRESSION else (4, 2), np.nan)

    assert math.isnan(METRICS[name].score(np.array([0, 1, 0, 1]), prediction))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 3 / 4),
        ("balanced_accuracy", (2 / 3 + 1) / 2),
        ("f1_macro", (4 / 5 + 0 + 1) / 3),
        ("roc_auc", (2 / 3 + 1) / 2),
    ],
)
def test_a_class_without_rows_counts_only_where_it_is_predicted(name, expected):
    # classes 0, 0, 0, 2; predicted 0, 0, 1, 2; class 3 is neither there nor predicted
    p = np.array(
        [[0.6, 0.2, 0.1, 0.1], [0.5, 0.1, 0.3, 0.1], [0.1, 0.6, 0.2, 0.1], [0.2, 0.1, 0.4, 0.3]]
    )
    y = np.array([0, 0, 0, 2])
    outputs = torch.tensor(p).log()[None]
    assert METRICS[name].score(y, p) == pytest.approx(expected)
    assert METRICS[name].batched(outputs, torch.tensor(y)).item() == pytest.approx(expected)


def test_the_area_of_one_class_alone_is_not_defined():
    assert math.isnan(METRICS["roc_auc"].score(np.zeros(3, int), np.full((3, 2), 0.5)))
    assert METRICS["roc_auc"].batched(torch.zeros(2, 3, 1), torch.zeros(3)).isnan().all()


@pytest.mark.parametrize("name", list(METRICS))
def test_a_row_of_weight_zero_counts_for_nothing(name):
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(2, 12, 1 if name in REGRESSION else 3, generator=generator)
    y, weight = torch.arange(12) % 3, torch.ones(12)
    weight[9:] = 0

    weighted = METRICS[name].batched(outputs, y, weight)

    assert weighted.tolist() == pytest.approx(METRICS[name].batched(outputs[:, :9], y[:9]).tolist())
    assert METRICS[name].batched(outputs, y, 0 * weight).isnan().all()


@pytest.mark.parametrize("name", list(METRICS))
def test_direction_says_which_way_is_better(name):
    metric = METRICS[name]
    y = torch.arange(30) % 3
    perfect = (
        y[None, :, None].float()
        if name in REGRESSION
        else 9.0 * (y[:, None] == torch.arange(3))[None]
    )
    worse = perfect.flip(1)

    best, worst = metric.batched(torch.cat([perfect, worse]), y).tolist()

    assert best > worst if metric.direction == "maximize" else best < worst


def test_half_precision_outputs_are_summed_in_double_precision():
    outputs = torch.full((1, 50_000, 1), 3.0, dtype=torch.bfloat16)

    assert METRICS["mae"].batched(outputs, torch.zeros(50_000)).tolist() == [3.0]


@pytest.mark.parametrize("name", list(METRICS))
def test_no_metric_loops_over_the_rows_of_the_models_that_it_judges(name):
    def n_calls(n_rows):
        outputs = torch.randn(16, n_rows, 1 if name in REGRESSION else 10)
        y = torch.arange(n_rows) % 10
        METRICS[name].batched(outputs, y)  # what is made once is there from now on
        calls = []
        sys.setprofile(lambda frame, event, argument: calls.append(event))
        try:
            METRICS[name].batched(outputs, y)
        finally:
            sys.setprofile(None)
        return len(calls)

    assert n_calls(3000) < n_calls(300) + 300


@pytest.mark.parametrize(
    ("task", "expected"),
    [("binary", "accuracy"), ("multiclass", "accuracy"), ("regression", "rmse")],
)
def test_default_metric_follows_the_task(task, expected):
    assert get_metric(None, task) is METRICS[expected]


@pytest.mark.parametrize(
    ("metric", "task", "message"),
    [
        ("acuracy", "binary", "one of accuracy, .*, got metric='acuracy'; did you mean 'accuracy'"),
        ("rmse", "multiclass", "for task='multiclass', .* got metric='rmse'"),
        ("f1_macro", "regression", "metric must be one of rmse, mae, r2 for task='regression'"),
        (METRICS["r2"], "binary", "for task='binary', .* got metric='r2'"),
    ],
)
def test_a_metric_that_cannot_be_used_is_refused_with_the_choices(metric, task, message):
    with pytest.raises(ValueError, match=message):
        get_metric(metric, task)


def test_a_metric_of_ones_own_is_taken_as_it_is():
    own = Metric("worst", "minimize", ("regression",), lambda y, p, w: max(abs(y - p)), None)

    assert get_metric(own, "regression") is own
    assert own.score(np.array([1.0, 5.0]), np.array([1.5, 4.0])) == 1.0


@pytest.mark.parametrize(
    ("y", "prediction", "weight"),
    [([], [], None), ([1.0], [1.0, 2.0], None), ([1.0, 2.0], [1.0, 2.0], [1.0])],
    ids=["no-rows", "prediction", "weight"],
)
def test_lengths_that_differ_are_refused(y, prediction, weight):
    with pytest.raises(ValueError, match="must have one length above 0, got lengths="):
        METRICS["mae"].score(y, prediction, weight)


def test_metrics_travel_to_worker_processes():
    assert pickle.loads(pickle.dumps(METRICS)) == METRICS


@pytest.mark.parametrize("result", [None, 1j, [0.5, 0.5]], ids=["None", "complex", "list"])
def test_a_function_that_gives_no_number_is_named(result) -> None:
    mine = Metric.from_function(lambda y, p, weight: result, direction="maximize", name="mine")
    y, outputs = np.array([0, 1]), torch.zeros(1, 2, 1)

    message = f"metric 'mine' must return one number, got {type(result).__name__}; return a float"
    with pytest.raises(TypeError, match=message):
        mine.score(y, np.full((2, 2), 0.5))
    with pytest.raises(TypeError, match=message):
        mine.batched(outputs, torch.from_numpy(y))
