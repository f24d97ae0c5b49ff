"""Metrics as scikit-learn has them: by name, by a scorer, by a function of true and predicted."""

import pickle

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from objectives.metrics import METRICS, QUICK_SCORERS
from objectives.models.intervals import difference_interval, score_interval
from objectives.scorers import get_metric, judge_for, task_of

RNG = np.random.default_rng(0)
N = 60
NAMES = [n for n in metrics.get_scorer_names() if n not in metrics.cluster.__all__]


class Known(ClassifierMixin, BaseEstimator):
    """A classifier of scikit-learn that gives its input as probabilities."""

    def __init__(self, classes_=(0, 1)):
        self.classes_ = np.asarray(classes_)

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return self.classes_[X.argmax(axis=1)]


class KnownValues(RegressorMixin, BaseEstimator):
    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return X


def classified(n_classes):
    y = RNG.integers(0, n_classes, N)
    logits = torch.from_numpy(RNG.normal(size=(1, N, n_classes))) + torch.eye(n_classes)[y]
    return y, logits


def judged(name, task):
    """Return what scikit-learn says, for one model, and what we say of it, alone and batched."""
    weight = RNG.integers(1, 4, N).astype(float)
    if task == "regression":
        y = RNG.random(N) + 0.5
        outputs = torch.from_numpy(y + RNG.normal(0, 0.1, N))[None, :, None]
        prediction, estimator = outputs[0, :, 0].numpy(), KnownValues()
    else:
        n_classes = 2 if task == "binary" else 3
        y, outputs = classified(n_classes)
        prediction = torch.softmax(outputs[0], dim=-1).numpy()
        estimator = Known(range(n_classes))
    metric, scorer = get_metric(name, task), metrics.get_scorer(name)
    try:
        expected = scorer(estimator, prediction, y, sample_weight=weight)
    except (TypeError, ValueError):  # as max_error, which knows no weights
        expected = scorer(estimator, prediction, y)
    return (
        expected,
        metric.score(y, prediction, weight),
        float(metric.batched(outputs, torch.from_numpy(y), torch.from_numpy(weight))[0]),
    )


@pytest.mark.filterwarnings("ignore:'k' .* will result in a perfect score")
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(METRICS)))
def test_a_name_gives_what_scikit_learn_gives(name):
    tasks = [task for task in ("binary", "multiclass", "regression") if suits(name, task)]

    assert bool(tasks) != name.endswith("_samples")  # of several labels a row
    for task in tasks:
        expected, alone, batched = judged(name, task)
        assert alone == pytest.approx(expected, abs=1e-12), task
        assert batched == pytest.approx(expected, abs=1e-12), task
        assert get_metric(name, task).direction == "maximize"


def suits(name, task):
    try:
        return get_metric(name, task).name == name
    except ValueError:
        return False


def test_metrics_of_values_are_none_of_classes_and_say_the_task():
    assert task_of("neg_mean_absolute_error") == "regression"
    assert task_of("f1") == "binary"
    assert task_of("f1_weighted") is None
    with pytest.raises(ValueError, match="for task='binary', or what scikit-learn scores it by"):
        get_metric("neg_mean_absolute_error", "binary")
    with pytest.raises(ValueError, match="did you mean 'average_precision'"):
        get_metric("avarage_precision", "binary")


def test_a_scorer_is_called_by_its_function_and_given_the_labels():
    scorer = metrics.make_scorer(metrics.fbeta_score, beta=2, pos_label="no")
    metric = get_metric(scorer, "binary", np.array(["no", "yes"]))
    y, p = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])

    assert metric.name == "fbeta_score(beta=2, pos_label=no)"
    assert metric.score(y, p) == metrics.fbeta_score([1, 1, 0, 0], [1, 0, 1, 0], beta=2)
    assert get_metric(metrics.get_scorer("average_precision"), "binary").name == "average_precision"
    loss = metrics.make_scorer(metrics.mean_pinball_loss, greater_is_better=False, alpha=0.9)
    assert get_metric(loss, "regression").name == "neg_mean_pinball_loss(alpha=0.9)"
    with pytest.raises(ValueError, match="metric must suit task='binary', got 'neg_mean_pinball"):
        get_metric(loss, "binary", np.array(["no", "yes"]))


def hits(y_true, y_pred):
    return float((y_true == y_pred).mean())


def surprise_loss(y_true, y_proba, sample_weight=None):
    return float(np.average(1 - y_proba[np.arange(len(y_true)), y_true], weights=sample_weight))


def test_a_function_is_given_labels_or_by_its_argument_probabilities():
    labels = np.array(["a", "b", "c"])
    y, p = np.array([0, 1, 2]), np.eye(3)[[0, 1, 1]] * 0.4 + 0.2

    assert get_metric(hits, "multiclass", labels).score(y, p) == pytest.approx(2 / 3)
    assert get_metric(hits, "multiclass").direction == "maximize"
    surprise = get_metric(surprise_loss, "multiclass")
    assert (surprise.name, surprise.direction) == ("surprise_loss", "minimize")
    assert surprise.score(y, p, np.array([1.0, 1.0, 0.0])) == pytest.approx(0.4)
    auc = get_metric(metrics.roc_auc_score, "binary", np.array(["no", "yes"]))
    assert auc.score([0, 1, 1], [[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]) == 1.0


def test_what_is_no_metric_is_refused_with_what_is():
    with pytest.raises(TypeError, match=r"Metric.from_function\(function, direction="):
        get_metric(lambda y, p, weight: 0.0, "binary")
    with pytest.raises(TypeError, match="must be a name, a scorer, a Metric or a function"):
        get_metric(3, "binary")
    with pytest.raises(ValueError, match="a name of its own"):
        get_metric(accuracy, "binary")


def accuracy(y_true, y_pred):
    return 0.0


@pytest.mark.parametrize("metric", ["f1", "average_precision", hits])
def test_metrics_travel_and_rows_without_a_class_are_not_defined(metric):
    known = get_metric(metric, "binary")
    y, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])

    assert pickle.loads(pickle.dumps(known)).score(y, p) == known.score(y, p)
    loss = get_metric("neg_log_loss", "multiclass")
    assert np.isnan(loss.score(np.array([0, 1]), np.full((2, 3), 1 / 3)))


@pytest.mark.parametrize("name", ["f1", "matthews_corrcoef", "neg_brier_score"])
def test_intervals_hold_the_value_and_a_difference(name):
    y, outputs = classified(2)
    p = torch.softmax(outputs[0], dim=-1).numpy()
    metric = get_metric(name, "binary")

    low, high = score_interval(metric, y, p, n_resamples=100)
    assert low < metric.score(y, p) < high
    assert difference_interval(metric, y, p, p[:, ::-1], n_resamples=100).low > 0


@pytest.mark.parametrize("name", ["f1", "jaccard", "matthews_corrcoef", "average_precision"])
def test_a_perfect_score_of_few_rows_is_not_certain(name):
    y = np.arange(30) % 2

    low, high = score_interval(get_metric(name, "binary"), y, np.eye(2)[y])

    assert 0.4 < low < 0.8
    assert high == 1.0


def test_the_common_ones_judge_many_models_at_once():
    assert {"f1", "f1_weighted", "matthews_corrcoef", "recall"} <= set(QUICK_SCORERS)
    assert all(metric.is_quick for metric in [*METRICS.values(), *QUICK_SCORERS.values()])
    assert not get_metric("average_precision", "binary").is_quick


def test_the_correlation_of_one_label_alone_is_zero_whatever_the_weights():
    rng = np.random.default_rng(0)
    same, mixed = np.zeros(37, dtype=int), rng.integers(0, 2, 37)
    for _ in range(50):
        weight = rng.random(37)
        for y, predicted in ((same, same), (mixed, same), (same, mixed)):
            score = QUICK_SCORERS["matthews_corrcoef"].score(y, np.eye(2)[predicted], weight)
            assert score == 0.0


def test_the_area_of_rows_of_which_one_class_alone_has_weight_is_nan_without_a_warning():
    p = np.random.default_rng(0).dirichlet([1, 1, 1], size=(5, 4))
    costs = judge_for(METRICS["roc_auc"], np.array([0, 1, 2, 0]), np.array([1.0, 0, 0, 1.0]))

    assert np.isnan(costs(p)).tolist() == [True] * 5
