"""`dry_run=True` says what a search would take, and stores nothing."""

import re

import pytest

from tests.tuner.commands import run
from tuner import tune_cnn, tune_mlp

FAST = {"epochs": 3, "folds": None, "show_progress_bar": False}


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "gp"])
def test_the_estimate_counts_trials_seconds_and_memory(sampler, capsys, tmp_path):
    call = {"sampler": sampler, "n_trials": 20, "storage": tmp_path / "s.journal", **FAST}

    result = tune_mlp("iris", dry_run=True, **call)

    said = capsys.readouterr().err
    assert re.fullmatch(
        r"dry run: 20 trials to train, at most about \d+ s, \d+ MB of memory; nothing was stored\n",
        said,
    )
    estimate = result.study.user_attrs["fusetune:estimate"]
    assert estimate["n_trials"] == 20
    assert estimate["seconds"] > 0
    assert list(tmp_path.iterdir()) == []
    assert result.study.trials == []


def test_trials_of_a_study_that_exists_need_not_be_trained(tmp_path):
    call = {"storage": tmp_path / "s.journal", **FAST}
    tune_mlp("iris", n_trials=2, **call)
    before = (tmp_path / "s.journal").read_bytes()

    result = tune_mlp("iris", n_trials=5, dry_run=True, **call)

    assert result.study.user_attrs["fusetune:estimate"]["n_trials"] == 3
    assert (tmp_path / "s.journal").read_bytes() == before


def test_the_time_is_at_most_the_limit_and_a_bad_plan_is_refused():
    found = tune_mlp("iris", n_trials=10**6, timeout=5.0, dry_run=True, **FAST)

    assert found.study.user_attrs["fusetune:estimate"]["seconds"] == 5.0
    with pytest.raises(ValueError, match="n_trials"):
        tune_mlp("iris", n_trials=0, dry_run=True, **FAST)


def test_images_of_one_epoch_are_timed_too():
    space = {"hidden_units": 4, "epochs": 1}
    found = tune_cnn("digits", space=space, n_trials=4, dry_run=True, show_progress_bar=False)

    assert found.study.user_attrs["fusetune:estimate"]["n_trials"] == 4


def test_the_command_prints_the_estimate_and_writes_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = run("mlp", "iris", "--dry-run", "--n-trials", "4", "--epochs", "2")

    assert done.exit_code == 0
    assert "dry run: 4 trials to train" in done.stderr
    assert list(tmp_path.iterdir()) == []
