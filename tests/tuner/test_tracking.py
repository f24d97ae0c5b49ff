"""Trackers: what they are told of a study, and what is read back from those that people use."""

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from tests.tuner.commands import SMALL, run
from tests.tuner.search.test_executors import pool, raise_in_worker, slow_square
from tuner import load_result, load_study, tune, tune_mlp
from tuner.tracking import MLflowTracker, TensorBoardTracker, WandbTracker

QUIET = {"show_progress_bar": False}
MLP = {"space": {"n_layers": 1, "batch_size": 32, "epochs": 3}, "pruner": "none", **QUIET}
X = {"space": {"x": (0.0, 1.0)}, **QUIET}


class Told:
    """A tracker that keeps what it is told."""

    def __init__(self, has=()):
        self.has, self.trials, self.ends = has, [], []
        self.unsendable = lambda: None

    def begin(self, study):
        self.study = study
        return self.has

    def log(self, trial):
        self.trials.append(trial)

    def end(self, best, files):
        self.ends.append((best, {path.name: path.read_bytes() for path in files}))

    @property
    def numbers(self):
        return [trial.number for trial in self.trials]


class Failing(Told):
    """A tracker whose server goes away at one of the three calls."""

    def __init__(self, where):
        super().__init__()
        setattr(self, where, self.fail)

    def fail(self, *_):
        raise ConnectionError("no answer from http://me:secret@host/api?token=hush")


class Appending(Told):
    """A tracker that writes the numbers of its trials into a file, one a line."""

    def begin(self, study):
        return self.told()

    @staticmethod
    def told():
        path = Path("told.txt")
        return list(map(int, path.read_text().split())) if path.exists() else []

    def log(self, trial):
        with open("told.txt", "a") as file:
            file.write(f"{trial.number}\n")


def test_a_tracker_is_told_of_each_trial_once_by_the_names_that_the_table_has():
    told = Told()

    result = tune_mlp("iris", n_trials=4, track=told, **MLP)

    table, curves = result.trials_dataframe(), result.curves_dataframe()
    assert (told.study.name, told.study.metric, told.study.direction) == (
        "mlp",
        "accuracy",
        "maximize",
    )
    assert told.study.call.startswith("from tuner import tune_mlp")
    assert told.numbers == [0, 1, 2, 3]
    for trial in told.trials:
        row, curve = table.iloc[trial.number], curves[curves["number"] == trial.number]
        assert trial.params == {
            name.removeprefix("params_"): row[name] for name in table if name.startswith("params_")
        }
        assert (trial.state, trial.values["value"]) == (row["state"], row["value"])
        assert trial.facts["stopped"] == row["stopped"]
        assert [epoch.epoch for epoch in trial.curve] == curve["epoch"].tolist()
        for name in ("valid_accuracy", "valid_loss", "train_loss", "learning_rate"):
            assert [epoch.values[name] for epoch in trial.curve] == curve[name].tolist()
        assert trial.start <= trial.curve[0].time <= trial.curve[-1].time
    [(best, files)] = told.ends
    assert best.number == result.best_trial.number
    assert files["trials.csv"].decode().count("\n") == 5
    assert files["curves.csv"].decode().startswith("number,epoch,valid_accuracy")
    assert [name for name in files if name.startswith("best.")]


def test_a_study_that_goes_on_tells_of_what_is_missing_under_the_same_id(tmp_path):
    first, second = Told(), Told(has=[0, 1])
    tune(slow_square, n_trials=3, track=first, storage=tmp_path / "s.journal", **X)

    tune(slow_square, n_trials=5, track=second, storage=tmp_path / "s.journal", **X)

    assert first.numbers == [0, 1, 2]
    assert second.numbers == [2, 3, 4]
    assert second.study.id == first.study.id


def test_studies_of_one_name_in_memory_have_different_ids():
    told = Told(), Told()
    for tracker in told:
        tune(slow_square, n_trials=1, track=tracker, **X)

    assert told[0].study.id != told[1].study.id


def test_trials_that_train_in_other_processes_are_told_of_in_this_one(tmp_path):
    told = Told()

    tune_mlp("iris", n_trials=5, n_jobs=2, track=told, **MLP)

    assert sorted(told.numbers) == [0, 1, 2, 3, 4]


def test_trials_of_an_executors_workers_are_told_of_in_this_process(tmp_path):
    told, storage = Told(), tmp_path / "s.journal"
    with pool(2) as executor:
        tune(
            slow_square, n_trials=12, n_jobs=2, executor=executor, storage=storage, track=told, **X
        )

    assert sorted(told.numbers) == list(range(12))
    [(best, files)] = told.ends
    assert best.number == load_study(storage).best_trial.number
    assert list(files) == ["trials.csv", "curves.csv"]


@pytest.mark.slow
def test_of_processes_that_make_the_same_call_at_once_one_tells(in_folder):
    code = (
        "from tests.tuner.test_tracking import *\n"
        "tune(slow_square, n_trials=40, storage='s.journal', track=Appending(), **X)"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]

    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    # One that was made by a process that did not know of the last ones is put into the queue.
    done = [trial for trial in load_study("s.journal").trials if trial.state.name != "WAITING"]
    assert all("fusetune:record" in trial.user_attrs for trial in done)
    assert [trial.number for trial in done] == list(range(40))
    assert sorted(Appending.told()) == list(range(40))


class Slow(Appending):
    """As one that is far away: what it is told counts only a while later."""

    def log(self, trial):
        time.sleep(0.15)
        super().log(trial)


def leaving_after(n_trials):
    """Return a callback that ends a process's part of a search after so many trials."""
    ended = []

    def leave(study, trial):
        ended.append(trial.number)
        if len(ended) == n_trials:
            study.stop()

    return leave


@pytest.mark.slow
def test_processes_that_leave_hand_over_so_that_each_trial_is_told_once(in_folder):
    code = (
        "import sys\n"
        "from tests.tuner.test_tracking import *\n"
        "tune(slow_square, n_trials=60, storage='s.journal', track=Slow(), "
        "callbacks=[leaving_after(int(sys.argv[1]))], **X)"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in (3, 5, 7, 9)]

    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    ended = [trial.number for trial in load_study("s.journal").trials if trial.state.is_finished()]
    assert len(ended) == 3 + 5 + 7 + 9
    assert sorted(Appending.told()) == ended


def test_who_tells_does_so_alone_until_all_is_told_also_what_ends_meanwhile(tmp_path):
    class Interrupted(Told):
        def begin(self, study):
            return self.numbers

        def log(self, trial):
            if trial.number == 3:  # which came after the search, as below
                tune(slow_square, n_trials=6, track=second, **call)
            super().log(trial)

        def end(self, best, files):
            if not self.ends:
                tune(slow_square, n_trials=8, track=third, **call)
            super().end(best, files)

    def one_more(study, trial):
        if trial.number == 2:
            parts = {name: getattr(trial, name) for name in ("value", "params", "distributions")}
            study.add_trial(optuna.trial.create_trial(**parts))

    call = {"storage": tmp_path / "s.journal", **X}
    first, second, third = Interrupted(), Told(), Told()
    tune(slow_square, n_trials=3, track=first, callbacks=[one_more], **call)

    assert first.numbers == list(range(8))
    assert len(first.ends) == 2
    assert second.numbers == third.numbers == []


@pytest.mark.parametrize("where", ["begin", "log", "end"])
def test_a_tracker_that_fails_costs_one_warning_without_a_secret_and_no_trial(where):
    with pytest.warns(UserWarning, match="the search goes on without it") as warned:
        result = tune(slow_square, n_trials=3, track=Failing(where), **X)

    assert len(result.study.trials) == 3
    [text] = [str(warning.message) for warning in warned]
    assert "ConnectionError: no answer from http://***@host/api?token=***" in text


def test_ctrl_c_ends_the_run_with_what_there_is():
    def interrupt(study, trial):
        if trial.number == 1:
            raise KeyboardInterrupt

    told = Told()

    tune(slow_square, n_trials=9, track=told, callbacks=[interrupt], **X)

    assert told.numbers == [0, 1]
    assert list(told.ends[0][1]) == ["trials.csv", "curves.csv"]


def test_a_search_that_ends_by_an_error_closes_its_run_without_files():
    told = Told()

    with pytest.raises(LookupError):
        tune(raise_in_worker, n_trials=5, track=told, **X)

    assert [trial.state for trial in told.trials] == ["FAIL"] * 3
    assert told.ends == [(None, {})]


def test_a_failed_trial_is_told_of_with_its_error():
    def fails_once(trial):
        if trial.number == 1:
            raise LookupError("no such thing")
        return trial.params["x"]

    told = Told()
    tune(fails_once, n_trials=3, track=told, **X)

    assert told.trials[1].state == "FAIL"
    assert told.trials[1].facts["error"] == "LookupError: no such thing"
    assert "value" not in told.trials[1].values


@pytest.mark.parametrize(
    ("track", "error", "message"),
    [
        ("mlfow", ValueError, "track must be one of mlflow, wandb, tensorboard, got 'mlfow'"),
        (print, TypeError, "or have the methods begin, log and end, got builtin_function"),
    ],
)
def test_what_is_no_tracker_is_an_error_before_any_training(track, error, message):
    with pytest.raises(error, match=message):
        tune_mlp("iris", track=track, **MLP)


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_named_with_how_to_install_it(name, monkeypatch):
    monkeypatch.setattr("tuner.tracking.find_spec", lambda library: None)

    with pytest.raises(ImportError, match=rf"run pip install 'fusetune\[{name}\]'"):
        tune_mlp("iris", track=name, **MLP)


def test_metric_names_are_those_of_the_study_for_optunas_dashboard():
    assert tune_mlp("iris", n_trials=1, **MLP).study.metric_names == ["valid_accuracy"]
    assert tune(slow_square, n_trials=1, **X).study.metric_names is None


def test_event_files_of_tensorboard_are_read_back(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    call = MLP | {"storage": tmp_path / "s.journal"}
    for n_trials in (2, 3):
        tracker = TensorBoardTracker(tmp_path / "runs")
        result = tune_mlp("iris", n_trials=n_trials, track=tracker, **call)

    [folder] = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} >= {"trial-0000", "trial-0001", "trial-0002"}
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 4
    curves = result.curves_dataframe()
    for trial in result.study.trials:
        events = EventAccumulator(str(folder / f"trial-{trial.number:04d}")).Reload()
        seen = events.Scalars("valid_loss")
        rows = curves[curves["number"] == trial.number]
        assert [event.step for event in seen] == rows["epoch"].tolist()
        assert [event.value for event in seen] == pytest.approx(rows["valid_loss"].tolist())
        assert events.Scalars("trial/value")[0].value == pytest.approx(trial.value)
        session = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        assert b"batch_size" in session
        assert b"log2" not in session
    assert len(pd.read_csv(folder / "trials.csv")) == 3
    assert list(folder.glob("best.*"))


@pytest.mark.filterwarnings("default")
def test_runs_of_mlflow_are_read_back_from_a_local_store(in_folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    call = MLP | {"storage": "s.journal"}
    tune_mlp("iris", n_trials=2, track=MLflowTracker("flowers"), **call)
    cut_off = runs_below(mlflow, study_run(mlflow))["trial-0001"].info.run_id
    mlflow.MlflowClient().update_run(cut_off, status="RUNNING")  # as a killed process leaves it

    result = tune_mlp("iris", n_trials=3, track=MLflowTracker("flowers"), **call)

    study = study_run(mlflow)
    trials = runs_below(mlflow, study)
    assert mlflow.active_run() is None
    assert sorted(trials) == ["trial-0000", "trial-0001", "trial-0002"]
    assert trials["trial-0001"].info.run_id == cut_off
    assert study.data.tags["best_trial"] == str(result.best_trial.number)
    assert study.data.metrics["best_accuracy"] == result.best_value
    curves = result.curves_dataframe()
    for number, name in enumerate(sorted(trials)):
        trial = trials[name]
        assert trial.info.status == "FINISHED"
        assert trial.data.params["batch_size"] == "32"
        assert trial.data.metrics["value"] == result.study.trials[number].value
        history = mlflow.MlflowClient().get_metric_history(trial.info.run_id, "valid_loss")
        seen = {(point.step, point.value) for point in history}
        assert seen == set(zip(*epochs_of(curves, number), strict=True))
    artifacts = [f.path for f in mlflow.MlflowClient().list_artifacts(study.info.run_id)]
    assert {"trials.csv", "curves.csv"} < set(artifacts)
    assert any(path.startswith("best.") for path in artifacts)


@pytest.mark.filterwarnings("default")
def test_a_study_is_a_run_below_the_one_of_mlflow_that_is_active(in_folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    with mlflow.start_run() as outer:
        tune(slow_square, n_trials=1, track="mlflow", **X)
        assert mlflow.active_run().info.run_id == outer.info.run_id

    assert list(runs_below(mlflow, outer)) == ["tune"]


def study_run(mlflow):
    [run] = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="tags.metric = 'accuracy'",
        output_format="list",
    )
    return run


def runs_below(mlflow, run):
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        output_format="list",
    )
    return {run.info.run_name: run for run in found}


def epochs_of(curves, number):
    rows = curves[curves["number"] == number]
    return rows["epoch"].tolist(), rows["valid_loss"].tolist()


@pytest.mark.filterwarnings("default")
def test_runs_of_wandb_lie_in_their_folders_when_it_is_offline(in_folder, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra 'wandb'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    call = MLP | {"storage": "s.journal"}
    for n_trials in (2, 3):
        result = tune_mlp("iris", n_trials=n_trials, track=WandbTracker(project="f"), **call)

    uid = result.study.user_attrs["fusetune:tracked_as"]
    files = sorted(Path("wandb").glob(f"offline-run-*/run-{uid}*.wandb"))
    ids = [path.stem.removeprefix(f"run-{uid}") for path in files]
    assert sorted(ids) == ["", "", "-0", "-1", "-2"]  # the study's own twice, as it went on
    for path in files:
        content = path.read_bytes()
        assert b"accuracy" in content
        assert (b"valid_loss" in content) == (path.stem != f"run-{uid}")
    assert wandb.run is None


@pytest.mark.filterwarnings("default")
def test_wandb_without_a_login_is_an_error_before_any_training(in_folder, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra 'wandb'")
    for name in ("HOME", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, os.getcwd())
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    wandb.teardown()

    with pytest.raises(ValueError, match="run wandb login, or set WANDB_MODE=offline"):
        tune_mlp("iris", track="wandb", **MLP)


def test_the_command_line_and_its_files_take_a_tracker_and_resume_goes_on(in_folder):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    Path("c.toml").write_text('track = "tensorboard"\nstorage = "s.journal"\n')

    assert run("mlp", "iris", "--config", "c.toml", *SMALL).exit_code == 0
    [folder] = Path("runs").iterdir()
    assert len(list(folder.glob("trial-*"))) == 2

    tune_mlp("iris", n_trials=1, storage="t.journal", **MLP)
    more = ["--n-trials", "3", "--track", "tensorboard", "--quiet"]
    assert run("resume", "t.journal", *more).exit_code == 0
    [other] = set(Path("runs").iterdir()) - {folder}
    assert len(list(other.glob("trial-*"))) == 3


def n_logged():
    [folder] = Path("runs").iterdir()
    return len(list(folder.glob("trial-*")))


def test_resume_and_worker_log_where_the_study_did_unless_told_otherwise(in_folder, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    kept = ["--storage", "s.journal", "--track", "tensorboard"]
    assert run("mlp", "iris", *kept, *SMALL).exit_code == 0

    def resumed(n, *options):
        return run("resume", "s.journal", "--n-trials", str(n), "--quiet", *options)

    assert resumed(3, "--track", "none").exit_code == 0
    assert n_logged() == 2
    with monkeypatch.context() as patch:
        patch.setattr("tuner.tracking.find_spec", lambda library: None)
        unable = resumed(4)
    assert unable.exit_code == 0
    assert "not tracked here: track='tensorboard' must have tensorboard" in unable.stderr
    assert n_logged() == 2
    assert run("worker", "--storage", "s.journal").exit_code == 0
    assert n_logged() == 4
    assert resumed(5).exit_code == 0
    assert n_logged() == 5


def test_ctrl_c_while_a_tracker_is_told_the_end_gives_the_result_all_the_same(capsys):
    class Slow(Told):
        def end(self, best, files):
            raise KeyboardInterrupt

    result = tune_mlp("iris", n_trials=3, track=Slow(), **MLP)

    assert len(result.trials_dataframe()) == 3
    assert "interrupted after the search" in capsys.readouterr().err


def test_what_repeats_the_call_of_a_study_tracks_nothing_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tune_mlp("iris", n_trials=2, storage="s.journal", track="tensorboard", **MLP)
    (tmp_path / "runs").rename(tmp_path / "moved")

    result = load_result("s.journal")
    result.test_score()

    assert not (tmp_path / "runs").exists()
    assert result.study.user_attrs["fusetune:call"]["options"]["track"] == "tensorboard"
