"""`stop_after=` ends a search that has stopped improving, at the same trial whatever happens."""

import numpy as np
import optuna
import pytest

from tuner import load_result, tune, tune_mlp

QUIET = {"show_progress_bar": False}
VALUES = [5.0, 4.0, 4.0, 6.0, 3.0, 7.0, 3.0, 8.0, 9.0, 1.0]


def known(trial):
    value = VALUES[trial.number]
    if value == 7.0:
        raise optuna.TrialPruned
    return value


def n_trials(result):
    return len(result.study.trials)


@pytest.mark.parametrize(("stop_after", "total"), [(1, 3), (2, 4), (3, 8), (4, 9), (9, 10)])
def test_no_trial_starts_after_so_many_without_a_better_one(stop_after, total):
    result = tune(known, n_trials=10, stop_after=stop_after, **QUIET)

    assert n_trials(result) == total
    said = f"stopped after {stop_after} without a better one"
    assert (said in repr(result)) == (stop_after < 9)


def test_a_study_that_has_stopped_stays_so_and_goes_on_once_it_may(tmp_path):
    call = {"storage": tmp_path / "s.journal", **QUIET}

    for total in (2, 5, 10, 10):
        result = tune(known, n_trials=total, stop_after=3, **call)

    assert n_trials(result) == 8
    assert "stopped after 3" in repr(load_result(tmp_path / "s.journal"))
    result = tune(known, n_trials=10, **call)
    assert n_trials(result) == 10
    assert "stopped after" not in repr(result)


def test_a_trial_by_hand_runs_and_a_maximum_is_an_improvement_too():
    result = tune(known, n_trials=10, stop_after=2, direction="maximize", **QUIET)
    assert n_trials(result) == 3

    result.try_params()

    assert n_trials(result) == 4


def test_a_ready_made_search_says_that_it_has_stopped():
    X = np.random.default_rng(0).normal(size=(60, 2))
    fixed = {"learning_rate": (0.001, 0.002), "epochs": 1}
    result = tune_mlp((X, X[:, 0] + X[:, 1] > 0), space=fixed, n_trials=40, stop_after=4, **QUIET)

    assert n_trials(result) < 40
    assert "stopped after 4 without a better one" in repr(result)
    assert result.study.metric_names == ["valid_accuracy"]


def test_it_must_be_a_count():
    with pytest.raises(ValueError, match="stop_after must be"):
        tune(known, stop_after=0)


def test_a_trial_by_hand_is_run_in_a_study_that_a_callback_has_stopped():
    space = {"x": (-1.0, 1.0)}
    stop = {"callbacks": [lambda study, trial: study.stop()]}
    result = tune(lambda trial: trial.params["x"] ** 2, space=space, n_trials=9, **stop, **QUIET)

    result.try_params(x=0.0)

    assert result.trials_dataframe()["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert result.best_params == {"x": 0.0}
