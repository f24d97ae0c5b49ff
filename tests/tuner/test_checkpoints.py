"""Trials under way survive their process, and the best model survives the search."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import optuna
import pytest

from tuner import load_result, load_study, tune, tune_cnn, tune_mlp, tune_module
from tuner.checkpoints import CHECKPOINT

CALL = {
    "space": {"hidden_units": 8, "n_layers": 1}, "epochs": 12, "n_trials": 3, "pruner": "none",
    "patience": None, "show_progress_bar": False, "include_default": False, "checkpoint": True,
}  # fmt: skip

# Dies as by SIGKILL after so many epochs of trials.
DYING = """
import os, sys
import tuner.loop
from tests.tuner.test_checkpoints import CALL
from tuner import tune_cnn, tune_mlp

epochs, take = iter(range(int(sys.argv[2]) - 1)), tuner.loop._take

def dying(*arguments):
    take(*arguments)
    if next(epochs, None) is None:
        os._exit(9)

tuner.loop._take = dying
if sys.argv[3] == "cnn":
    tune_cnn("digits", storage=sys.argv[1], **CALL | {"space": {"hidden_units": 4}})
else:
    tune_mlp("iris", storage=sys.argv[1], n_jobs=int(sys.argv[3]), **CALL)
"""


def die(storage, n_epochs, kind="1"):
    command = [sys.executable, "-c", DYING, str(storage), str(n_epochs), kind]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, timeout=120).returncode == 9


def files(storage, start="checkpoint"):
    folder = storage.with_name(storage.name + ".artifacts")
    return (
        sorted(p for p in folder.iterdir() if p.name.startswith(start)) if folder.exists() else []
    )


def curves(result):
    return result.curves_dataframe().drop(columns="duration_s")


def epochs_trained(monkeypatch):
    import objectives.cohort

    trained = []
    train = objectives.cohort.MLPCohort.train_epoch

    def counted(cohort):
        results = train(cohort)
        trained.extend((number, result.epoch) for number, result in results.items())
        return results

    monkeypatch.setattr(objectives.cohort.MLPCohort, "train_epoch", counted)
    return trained


def test_a_trial_cut_off_goes_on_from_its_last_checkpoint_and_comes_out_the_same(
    tmp_path, monkeypatch
):
    whole = tune_mlp("iris", **CALL | {"checkpoint": None})
    storage = tmp_path / "killed.journal"
    die(storage, 12 + 8)  # amid trial 1, which was saved after five epochs
    saved = files(storage)
    trained = epochs_trained(monkeypatch)

    result = tune_mlp("iris", storage=storage, **CALL)

    assert len(saved) == 1
    assert trained[0] == (1, 5)
    assert len(trained) == 12 - 5 + 12
    assert curves(result).equals(curves(whole))
    assert files(storage) == []


@pytest.mark.slow
def test_killed_again_and_again_it_comes_out_the_same(tmp_path):
    whole = tune_mlp("iris", **CALL | {"checkpoint": None})
    storage = tmp_path / "killed.journal"
    for n_epochs in (7, 6, 9, 11):
        die(storage, n_epochs)

    result = tune_mlp("iris", storage=storage, **CALL)

    assert curves(result).equals(curves(whole))
    assert files(storage) == []


@pytest.mark.slow
def test_a_network_for_images_goes_on_too(tmp_path):
    call = CALL | {"space": {"hidden_units": 4}, "n_trials": 1}
    whole = tune_cnn("digits", **call | {"checkpoint": None})
    storage = tmp_path / "killed.journal"
    die(storage, 8, "cnn")
    assert len(files(storage)) == 1

    result = tune_cnn("digits", storage=storage, **call)

    expected = curves(whole)
    for column in expected:
        assert curves(result)[column].to_numpy() == pytest.approx(expected[column].to_numpy())
    assert files(storage) == []


@pytest.mark.slow
def test_trials_of_several_processes_are_saved_and_go_on(tmp_path, monkeypatch):
    whole = tune_mlp("iris", **CALL | {"checkpoint": None, "sampler": "random"})
    storage = tmp_path / "killed.journal"
    die(storage, 30, "2")

    result = tune_mlp("iris", storage=storage, n_jobs=2, **CALL)

    assert len(result.trials_dataframe()) == len(whole.trials_dataframe()) == 3
    assert curves(result)["epoch"].tolist() == list(range(12)) * 3
    assert files(storage) == []


@pytest.mark.parametrize("damage", ["cut off", "altered", "gone"])
def test_a_checkpoint_that_cannot_be_used_is_named_and_its_trial_starts_anew(
    damage, tmp_path, monkeypatch
):
    storage = tmp_path / "killed.journal"
    die(storage, 8)
    (saved,) = files(storage)
    content = saved.read_bytes()
    if damage == "gone":
        saved.unlink()
    else:
        saved.write_bytes(content[:500] if damage == "cut off" else content[:-9] + b"123456789")
    trained = epochs_trained(monkeypatch)

    with pytest.warns(UserWarning, match="the checkpoint of trial 0 cannot be used"):
        result = tune_mlp("iris", storage=storage, **CALL)

    assert trained[0] == (0, 0)
    assert curves(result).equals(curves(tune_mlp("iris", **CALL | {"checkpoint": None})))


def test_short_trials_are_not_saved_by_default_nor_where_that_is_not_wanted(tmp_path):
    for checkpoint in (None, False):
        storage = tmp_path / f"{checkpoint}.journal"
        result = tune_mlp("iris", storage=storage, **CALL | {"checkpoint": checkpoint})
        assert not any(CHECKPOINT in trial.user_attrs for trial in result.study.trials)


def test_trials_that_last_longer_than_a_minute_are_saved_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr("tuner.checkpoints._LONG_S", 0.0)
    result = tune_mlp(
        "iris", storage=tmp_path / "a.journal", **CALL | {"checkpoint": None, "n_trials": 1}
    )
    assert CHECKPOINT in result.study.trials[0].user_attrs


def test_checkpoints_without_a_place_are_refused():
    with pytest.raises(ValueError, match="checkpoint=True must have a place to save to"):
        tune_mlp("iris", **CALL)
    with pytest.raises(TypeError, match="artifact_store must be a folder or an artifact store"):
        tune_mlp("iris", artifact_store=3, **CALL)


def test_a_full_place_is_a_warning_and_the_search_goes_on(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")

    with (
        pytest.warns(UserWarning, match="no checkpoint of a trial could be written"),
        pytest.warns(UserWarning, match="the best model cannot be kept with the study"),
    ):
        result = tune_mlp("iris", artifact_store=blocked, **CALL)

    assert len(result.trials_dataframe()) == 3


LOADING = """
import sys
import objectives.cohort
objectives.cohort.MLPCohort.add = None  # training would fail
from tuner import load_result
print(load_result(sys.argv[1]).model.predict([[5.1, 3.5, 1.4, 0.2]])[0])
"""


@pytest.mark.parametrize("ending", ["journal", "db"])
def test_the_best_model_is_loaded_in_a_new_process_without_training(ending, tmp_path):
    storage = tmp_path / f"study.{ending}"
    result = tune_mlp("iris", storage=storage, **CALL | {"epochs": 3})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    found = subprocess.run(
        [sys.executable, "-c", LOADING, str(storage)], env=environment, capture_output=True,
        text=True, timeout=120, check=True,
    )  # fmt: skip

    assert found.stdout.strip() == str(result.model.predict([[5.1, 3.5, 1.4, 0.2]])[0])


def test_only_the_best_trials_model_remains_and_optuna_lists_it(tmp_path):
    storage = tmp_path / "study.journal"
    result = tune_mlp("iris", storage=storage, **CALL | {"n_trials": 12, "epochs": 3})

    (path,) = files(storage, start="")
    listed = optuna.artifacts.get_all_artifact_meta(
        result.best_trial, storage=result.study._storage
    )
    assert [meta.artifact_id for meta in listed] == [path.name]
    assert listed[0].filename == f"trial-{result.best_trial.number}.model.zip"


def test_a_kept_model_that_is_damaged_is_trained_again(tmp_path):
    storage = tmp_path / "study.journal"
    expected = tune_mlp("iris", storage=storage, **CALL | {"epochs": 3}).model
    (path,) = files(storage, start="")
    path.write_bytes(path.read_bytes()[:100])
    valid = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.9, 4.5, 1.5]])

    with pytest.warns(UserWarning, match="the model kept with trial .* cannot be used"):
        found = load_result(storage).model

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
    tune(lambda trial: trial.params["x"] ** 2, space={"x": (-1.0, 1.0)}, n_trials=2,
         storage=storage, show_progress_bar=False)  # fmt: skip

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
    expected = first.model.predict_proba([[5.1, 3.5, 1.4, 0.2]])

    tune_mlp("iris", study_name="second", start_from="first", **call | {"n_trials": 8})

    assert files(storage, start="") != []
    found = load_result(storage, "first")
    artifacts = found._artifacts.model(found.best_trial, found._load)
    assert (artifacts.predict_proba([[5.1, 3.5, 1.4, 0.2]]) == expected).all()
