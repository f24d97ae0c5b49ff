"""The best model is kept with its study, and loaded in another process without training."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import optuna
import pytest

from objectives import MLPObjective
from tests.tuner.storage.test_checkpoints import CALL, epochs_trained, files
from tuner import load_result, load_study, tune, tune_mlp, tune_module
from tuner.storage.trial_attrs import MODEL

LOADING = """
import sys
import objectives.training.mlp_cohort
objectives.training.mlp_cohort.MLPCohort.add = None  # training would fail
from tuner import load_result
print(load_result(sys.argv[1]).best_model.predict([[5.1, 3.5, 1.4, 0.2]])[0])
"""


@pytest.mark.parametrize("ending", ["journal", "db"])
def test_the_best_model_is_loaded_in_a_new_process_without_training(ending, tmp_path):
    storage = tmp_path / f"study.{ending}"
    result = tune_mlp("iris", storage=storage, **CALL | {"epochs": 3})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    found = subprocess.run(
        [sys.executable, "-c", LOADING, str(storage)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert found.stdout.strip() == str(result.best_model.predict([[5.1, 3.5, 1.4, 0.2]])[0])


def test_only_the_best_trials_model_remains_and_optuna_lists_it(tmp_path):
    storage = tmp_path / "study.journal"
    result = tune_mlp("iris", storage=storage, **CALL | {"n_trials": 12, "epochs": 3})

    chosen = result.study.user_attrs.get(MODEL)  # by which the result predicts
    (path,) = (path for path in files(storage, start="") if path.name != chosen)
    listed = optuna.artifacts.get_all_artifact_meta(
        result.best_trial, storage=result.study._storage
    )
    assert [meta.artifact_id for meta in listed] == [path.name]
    assert listed[0].filename == f"trial-{result.best_trial.number}.model.zip"


def test_a_kept_model_that_is_damaged_is_trained_again(tmp_path):
    storage = tmp_path / "study.journal"
    expected = tune_mlp("iris", storage=storage, **CALL | {"epochs": 3}).best_model
    for path in files(storage, start=""):
        path.write_bytes(path.read_bytes()[:100])
    valid = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]])

    with pytest.warns(UserWarning, match="the model kept with trial .* cannot be used"):
        found = load_result(storage).best_model

    assert (found.predict_proba(valid) == expected.predict_proba(valid)).all()


def test_a_loaded_result_scores_and_tries_where_its_call_was_recorded(tmp_path):
    storage = tmp_path / "study.journal"
    first = tune_mlp("iris", storage=storage, **CALL | {"epochs": 3})

    result = load_result(storage)

    assert float(result.test_score()) == float(first.test_score())
    result.try_params(dropout=0.0)
    assert len(result.trials_dataframe()) == 4


def test_a_loaded_result_of_data_in_memory_has_its_model_and_says_what_else_needs(tmp_path):
    storage = tmp_path / "study.journal"
    X = np.random.default_rng(0).normal(size=(90, 3))
    tune_mlp((X, X[:, 0] > 0), storage=storage, **CALL | {"epochs": 3})

    result = load_result(storage)

    assert result.model.predict(X).shape == (90,)
    assert str(result.diagnose())
    with pytest.raises(ValueError, match="data must be given for study 'mlp'"):
        result.test_score()


def build(n_inputs, n_outputs, width):
    from torch import nn

    return nn.Sequential(nn.Linear(n_inputs, width), nn.Linear(width, n_outputs))


def test_a_module_of_ones_own_is_loaded_with_its_build(tmp_path):
    storage = tmp_path / "study.journal"
    X = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    call = CALL | {"space": {"width": [4, 8]}, "epochs": 3}
    expected = tune_module(build, (X, X[:, 0] > 0), storage=storage, **call).model

    found = load_result(storage, build=build).model

    assert (found.predict(X) == expected.predict(X)).all()


def test_a_function_keeps_no_model(tmp_path):
    storage = tmp_path / "study.journal"
    tune(
        lambda trial: trial.params["x"] ** 2,
        space={"x": (-1.0, 1.0)},
        n_trials=2,
        storage=storage,
        show_progress_bar=False,
    )

    assert files(storage, start="") == []
    with pytest.raises(ValueError, match="make the same call of tune in Python"):
        _ = load_result(storage).model


@pytest.mark.slow
def test_the_model_of_a_worker_elsewhere_is_kept_and_not_trained_again(tmp_path, monkeypatch):
    storage = tmp_path / "study.journal"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        result = tune_mlp("iris", storage=storage, executor=executor, **CALL | {"epochs": 3})
    trained = epochs_trained(monkeypatch)

    assert result.model.predict([[5.1, 3.5, 1.4, 0.2]]).shape == (1,)
    assert trained == []
    assert len(load_study(storage).trials) == 3


def test_a_study_that_begins_with_another_ones_trials_leaves_its_model_alone(tmp_path):
    storage = tmp_path / "study.journal"
    call = CALL | {"epochs": 3, "storage": storage}
    first = tune_mlp("iris", study_name="first", **call)
    expected = first.best_model.predict_proba([[5.1, 3.5, 1.4, 0.2]])

    tune_mlp("iris", study_name="second", start_from="first", **call | {"n_trials": 8})

    assert files(storage, start="") != []
    found = load_result(storage, "first")
    artifacts = found._artifacts.model(found.best_trial, found._load)
    assert (artifacts.predict_proba([[5.1, 3.5, 1.4, 0.2]]) == expected).all()


class WithoutModels(MLPObjective):
    """An objective of one's own whose cohorts give no models."""

    def cohort(self, *, seed):
        cohort = super().cohort(seed=seed)
        cohort.model = lambda number: None
        return cohort


def test_an_objective_without_models_is_searched_all_the_same(tmp_path):
    storage = tmp_path / "study.journal"
    objective = WithoutModels("iris", space={"epochs": 2})

    result = tune(objective, n_trials=2, storage=storage, show_progress_bar=False)

    assert set(result.trials_dataframe()["state"]) == {"COMPLETE"}
    assert files(storage, start="") == []


def test_what_repeats_the_call_of_a_study_leaves_its_total_as_it_was(tmp_path):
    path = tmp_path / "s.journal"
    tune_mlp("iris", n_trials=2, epochs=2, storage=path, show_progress_bar=False)
    study = load_study(path)
    call = study.user_attrs["fusetune:call"]
    study.set_user_attr("fusetune:call", call | {"options": call["options"] | {"n_trials": 50}})

    load_result(path).test_score()

    assert load_study(path).user_attrs["fusetune:call"]["options"]["n_trials"] == 50
