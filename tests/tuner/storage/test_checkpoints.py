"""Trials under way survive their process, and the best model survives the search."""

import os
import subprocess
import sys

import pytest
from optuna.artifacts import FileSystemArtifactStore

from tuner import load_result, tune_cnn, tune_mlp
from tuner.storage.trial_attrs import CHECKPOINT

CALL = {
    "space": {"hidden_units": 8, "n_layers": 1},
    "epochs": 12,
    "n_trials": 3,
    "pruner": "none",
    "patience": None,
    "show_progress_bar": False,
    "include_default": False,
    "checkpoint": True,
}

# Dies as by SIGKILL after so many epochs of trials.
DYING = """
import os, sys
import tuner.search.loop
from tests.tuner.storage.test_checkpoints import CALL
from tuner import tune_cnn, tune_mlp

epochs, take = iter(range(int(sys.argv[2]) - 1)), tuner.search.loop._take

def dying(*arguments):
    take(*arguments)
    if next(epochs, None) is None:
        os._exit(9)

tuner.search.loop._take = dying
if sys.argv[3] == "cnn":
    tune_cnn("digits", storage=sys.argv[1], **CALL | {"space": {"hidden_units": 4}})
else:
    n_jobs = int(sys.argv[3])
    sampler = "tpe" if n_jobs == 1 else "random"  # whose table does not depend on which ends first
    tune_mlp("iris", storage=sys.argv[1], n_jobs=n_jobs, sampler=sampler, **CALL)
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
    import objectives.training.mlp_cohort

    trained = []
    train = objectives.training.mlp_cohort.MLPCohort.train_epoch

    def counted(cohort):
        results = train(cohort)
        trained.extend((number, result.epoch) for number, result in results.items())
        return results

    monkeypatch.setattr(objectives.training.mlp_cohort.MLPCohort, "train_epoch", counted)
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
def test_trials_of_several_processes_are_saved_and_go_on(tmp_path):
    call = CALL | {"sampler": "random"}
    whole = tune_mlp("iris", **call | {"checkpoint": None})
    storage = tmp_path / "killed.journal"
    die(storage, 20, "2")  # of 36 epochs, so that some trial is past its fifth
    saved = files(storage)

    result = tune_mlp("iris", storage=storage, n_jobs=2, **call)

    assert saved != []
    expected = curves(whole)
    for column in expected:
        assert curves(result)[column].to_numpy() == pytest.approx(expected[column].to_numpy())
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
    monkeypatch.setattr("tuner.storage.checkpoints._LONG_S", 0.0)
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


class Faulty(FileSystemArtifactStore):
    """A store whose network fails where something is read or removed."""

    def open_reader(self, artifact_id):
        raise RuntimeError("no answer")

    def remove(self, artifact_id):
        raise ConnectionError("no answer")


def test_a_store_that_fails_costs_neither_a_trial_nor_the_result(tmp_path):
    with pytest.warns(UserWarning, match=r"no longer needed stays \(no answer\)"):
        result = tune_mlp("iris", artifact_store=Faulty(tmp_path), **CALL)

    assert result.trials_dataframe()["state"].tolist() == ["COMPLETE"] * 3


def test_a_store_that_cannot_be_read_has_the_model_trained_again(tmp_path):
    storage = tmp_path / "s.journal"
    result = tune_mlp("iris", storage=storage, **CALL)

    with pytest.warns(UserWarning, match=r"cannot be used \(no answer\)"):
        loaded = load_result(storage, artifact_store=Faulty(f"{storage}.artifacts")).best_model

    rows = [[5.1, 3.5, 1.4, 0.2]]
    assert loaded.predict_proba(rows) == pytest.approx(result.best_model.predict_proba(rows))
