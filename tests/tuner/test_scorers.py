"""A study tuned by a scorer of scikit-learn or a function: recorded, compared and scored by it."""

import numpy as np
import pytest
from sklearn import metrics

from tuner import StudyMismatchError, load_result, tune_mlp

X = np.random.default_rng(0).normal(size=(120, 3))
Y = np.where(X[:, 0] + X[:, 1] > 0.5, "yes", "no")
FAST = {"n_trials": 2, "epochs": 3, "folds": None, "show_progress_bar": False}


def share_of_yes(y_true, y_pred):
    return float((y_pred[y_true == "yes"] == "yes").mean())


def test_a_scorer_by_name_is_tuned_recorded_and_opens_the_test(tmp_path):
    call = {"metric": "f1", "storage": tmp_path / "s.journal", **FAST}
    result = tune_mlp((X, Y), **call)

    assert "valid_f1" in result.curves_dataframe()
    score = result.test_score()
    test = result.objective.data.open_test()
    predicted = result.model.predict(test.X) == "yes"
    assert score.value == pytest.approx(metrics.f1_score(test.y, predicted))
    assert score.low <= score.value <= score.high
    assert len(tune_mlp((X, Y), **call).study.trials) == 2
    with pytest.raises(StudyMismatchError, match="with metric 'f1', now 'recall'"):
        tune_mlp((X, Y), **call | {"metric": "recall"})


def test_a_loss_of_values_is_tuned_in_its_direction():
    result = tune_mlp((X, X.sum(axis=1)), metric=metrics.median_absolute_error, **FAST)

    assert result.study.direction.name == "MINIMIZE"
    assert result.best_value > 0
    named = tune_mlp((X, X.sum(axis=1)), metric="neg_median_absolute_error", **FAST)
    assert named.best_value == pytest.approx(-result.best_value)


def test_a_function_of_labels_is_tuned_and_its_model_loaded_without_it(tmp_path):
    result = tune_mlp((X, Y), metric=share_of_yes, storage=tmp_path / "s.journal", **FAST)

    valid = result.objective.data.valid
    found = result.best_model.predict(valid.X)
    labels = np.array(["no", "yes"])[valid.y]
    assert result.best_value == pytest.approx(share_of_yes(labels, found))
    assert "valid_share_of_yes" in repr(result)
    loaded = load_result(tmp_path / "s.journal").model
    assert loaded.predict(X).tolist() == result.model.predict(X).tolist()
    with pytest.raises(ValueError, match="got metric='share_of_yes' of a file"):
        loaded.score(X, Y)
    assert loaded.score(X, Y, metric=share_of_yes) <= 1


def test_a_function_that_cannot_be_sent_to_processes_is_refused_before_training():
    with pytest.raises(ValueError, match="n_jobs must be 1"):
        tune_mlp((X, Y), metric=lambda y_true, y_pred: 0.5, n_jobs=2, **FAST)
