"""Studies outlive their process: resumed, repaired, and never mistaken for another one."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from tests.tuner.studies import open_session
from tuner import load_study, tune, tune_mlp
from tuner.storage.backends import cut_torn_line, open_storage, redacted
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.optuna_internals import RequeuedTrial

FAST = {"epochs": 2, "show_progress_bar": False}
SPACE = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}


def square(trial):
    return trial.params["x"] ** 2


def table(result):
    return result.trials_dataframe().drop(columns="duration_s")


@pytest.fixture(params=["s.journal", "s.db"])
def storage(request, tmp_path):
    return tmp_path / request.param


def test_the_same_call_made_twice_does_nothing_the_second_time(storage):
    first = tune_mlp("iris", n_trials=4, storage=storage, space=SPACE, **FAST)
    second = tune_mlp("iris", n_trials=4, storage=storage, space=SPACE, **FAST)

    assert len(second.trials_dataframe()) == 4
    assert table(first).equals(table(second))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_in_two_halves_equals_one_that_ran_through(sampler, tmp_path):
    call = {"sampler": sampler, "space": SPACE, "seed": 3, **FAST}
    whole = tune_mlp("iris", n_trials=14, **call)

    tune_mlp("iris", n_trials=5, storage=tmp_path / "s.journal", **call)
    halves = tune_mlp("iris", n_trials=14, storage=tmp_path / "s.journal", **call)

    assert table(halves).equals(table(whole))


SEARCHED = {"sampler": "tpe", "n_trials": 12}, {"sampler": "random", "n_trials": 3}


@pytest.mark.parametrize("call", [*SEARCHED, {"sampler": "grid", "space": {"dropout": [0.0, 0.1]}}])
def test_a_trial_is_written_with_its_hyperparameters_and_not_one_by_one(call, tmp_path):
    path = tmp_path / "s.journal"

    tune_mlp("iris", storage=path, **FAST, **{"space": SPACE, **call})

    logs = [json.loads(line) for line in path.read_text().splitlines()]
    whole = [set(log["params"]) == set(log["distributions"]) for log in logs if "params" in log]
    assert whole == [True] * len(load_study(path).trials)
    assert not any("param_name" in log for log in logs)


def test_trials_left_running_are_handed_out_again_under_their_own_numbers(storage):
    session = open_session(storage)
    study = session.study
    distribution = {"x": optuna.distributions.FloatDistribution(0, 1)}
    left = study.ask(distribution)

    with Heartbeat(session):
        assert study.trials[0].state is TrialState.WAITING
    again = study.ask(distribution)

    assert (again.number, again.params) == (left.number, left.params)
    assert [t.state for t in study.trials] == [TrialState.RUNNING]


def test_a_trial_that_is_run_again_is_not_judged_by_what_it_reported_before(storage):
    session = open_session(storage)
    study = session.study
    study.pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    cut_off = study.ask()
    for step, value in enumerate([0.5, 9.0]):
        cut_off.report(value, step)
    with Heartbeat(session):
        pass
    session.storage.set_trial_state_values(cut_off._trial_id, state=TrialState.RUNNING)

    again = RequeuedTrial(study, cut_off._trial_id)
    judged = []
    for step, value in enumerate([0.4, 0.3, 8.0]):
        again.report(value, step)
        judged.append(again.should_prune())
    again.write({})

    assert judged == [False, False, True]
    assert study.trials[0].intermediate_values == {0: 0.4, 1: 0.3, 2: 8.0}


KILLED = """
import os, signal
from tuner import tune_mlp
def kill(study, trial):
    if trial.number == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
tune_mlp("iris", storage={storage!r}, callbacks=[kill], **{call!r})
"""
SEARCHES = {
    "tpe": {"sampler": "tpe", "n_trials": 8},
    "random": {"sampler": "random", "n_trials": 8},
    "grid": {"sampler": "grid", "space": SPACE | {"dropout": [0.0, 0.1, 0.2, 0.3, 0.4]}},
    "manual": {"sampler": "manual", "trials": [{"dropout": d / 10} for d in range(5)]},
}


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
@pytest.mark.parametrize("name", SEARCHES)
def test_a_killed_search_ends_with_the_table_of_an_unbroken_one(name, tmp_path):
    call = {**FAST, "space": SPACE, "epochs": 3, **SEARCHES[name]}
    unbroken = tune_mlp("iris", **call)
    path = str(tmp_path / "s.journal")
    code = KILLED.format(after=2, storage=path, call=call)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    resumed = tune_mlp("iris", storage=path, **call)

    assert done.returncode == -signal.SIGKILL
    assert set(resumed.trials_dataframe()["state"]) <= {"COMPLETE", "PRUNED"}
    assert table(resumed).equals(table(unbroken))


def test_a_half_written_journal_line_is_cut_off(tmp_path):
    path = tmp_path / "s.journal"
    tune(square, space={"x": (0.0, 1.0)}, n_trials=3, storage=path, show_progress_bar=False)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')

    result = tune(
        square, space={"x": (0.0, 1.0)}, n_trials=5, storage=path, show_progress_bar=False
    )

    assert len(result.trials_dataframe()) == 5
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_whole_journal_is_left_as_it_is(tmp_path):
    path = tmp_path / "s.journal"
    path.write_bytes(b"{}\n{}\n")

    assert cut_torn_line(path) == 0
    assert path.read_bytes() == b"{}\n{}\n"
    assert cut_torn_line(tmp_path / "none.journal") == 0


def test_a_study_is_loaded_by_name_which_may_be_left_out_where_it_is_the_only_one(tmp_path):
    path = tmp_path / "s.journal"
    tune(square, space={"x": (0.0, 1.0)}, n_trials=2, storage=path, show_progress_bar=False)

    assert len(load_study(path).trials) == 2
    with pytest.raises(ValueError, match=r"study_name must be one of .*tune.*, got 'x'"):
        load_study(path, "x")


@pytest.mark.parametrize(
    ("storage", "error", "words"),
    [
        ("study.txt", ValueError, r"storage must end in \.journal or \.db"),
        ("no/such/study.db", FileNotFoundError, "folder that exists"),
    ],
)
def test_a_storage_that_cannot_be_is_refused(storage, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match=words):
        open_storage(storage)


def test_passwords_of_storages_are_not_shown():
    assert redacted("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert redacted("study.db") == "study.db"
    assert redacted("sqlite:////a@b/c:d.db?token=x") == "sqlite:////a@b/c:d.db?token=***"


def test_resuming_after_the_test_split_was_opened_warns(tmp_path):
    call = {"storage": tmp_path / "s.journal", "space": SPACE, **FAST}
    tune_mlp("iris", n_trials=1, **call).test_score()

    with pytest.warns(UserWarning, match="after its test split was opened"):
        tune_mlp("iris", n_trials=2, **call)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tune_mlp("iris", n_trials=2, **call)


class CountingStorage(InMemoryStorage):
    """Counts how often its trials are read."""

    n_reads = 0

    def get_all_trials(self, *args, **options):
        self.n_reads += 1
        return super().get_all_trials(*args, **options)


COMPLETE = {"deepcopy": False, "states": (TrialState.COMPLETE,)}


def test_pruning_checks_of_a_search_share_a_reading_until_it_has_ended_a_trial(monkeypatch):
    monkeypatch.setattr("tuner.storage.study._MAX_AGE_S", 1e9)
    storage = CountingStorage()
    study = open_session(storage).study
    with study.searches():
        found = []
        for number in range(3):
            storage.n_reads = 0
            for _ in range(9):
                assert len(study.get_trials(**COMPLETE)) == number
            found.append(storage.n_reads)
            study.tell(study.ask(), 1.0)
        study.add_trial(create_trial(value=1.0))

        assert found == [1, 1, 1]
        assert len(study.get_trials(**COMPLETE)) == 4


def test_what_is_read_for_the_next_trial_serves_the_pruning_checks(monkeypatch):
    monkeypatch.setattr("tuner.storage.study._MAX_AGE_S", 1e9)
    storage = CountingStorage()
    study = open_session(storage).study
    study.tell(study.ask(), 1.0)
    with study.searches():
        running = study.ask()
        storage.n_reads = 0

        assert len(study.get_trials(deepcopy=False)) == 2
        assert [t.number for t in study.get_trials(**COMPLETE)] == [0]
        assert running.number == 1
        assert storage.n_reads == 1


def test_trials_of_other_processes_come_into_sight_of_pruning_checks(monkeypatch):
    monkeypatch.setattr("tuner.storage.study._MAX_AGE_S", 0.2)
    storage = InMemoryStorage()
    study = open_session(storage).study
    other = open_session(storage).study
    with study.searches():
        assert study.get_trials(**COMPLETE) == []
        other.tell(other.ask(), 1.0)
        time.sleep(0.3)

        assert len(study.get_trials(**COMPLETE)) == 1
        assert len(study.get_trials(deepcopy=False)) == 1
    other.tell(other.ask(), 1.0)
    assert len(study.get_trials(**COMPLETE)) == 2


def test_what_pruning_checks_are_given_may_be_changed():
    study = open_session(InMemoryStorage()).study
    study.tell(study.ask(), 1.0)
    with study.searches():
        study.get_trials(**COMPLETE).clear()

        assert len(study.get_trials(**COMPLETE)) == 1


def test_the_axis_of_a_dashboard_has_the_metric_s_name_also_in_a_study_of_old(tmp_path):
    call = {"n_trials": 1, "epochs": 1, "folds": None, "show_progress_bar": False}
    storage = f"sqlite:///{tmp_path / 's.db'}"
    old = optuna.create_study(study_name="mlp", storage=storage, direction="maximize")
    assert old.metric_names is None

    result = tune_mlp("iris", storage=storage, **call)

    assert result.study.metric_names == ["valid_accuracy"]
    assert result.trials_dataframe()["value"].notna().all()


@pytest.mark.parametrize("name", ["memory", "s.journal", "s.db"])
def test_a_trial_that_was_put_back_before_its_maker_read_it_is_told_as_waiting(name, tmp_path):
    storage = InMemoryStorage() if name == "memory" else open_storage(tmp_path / name)
    study = optuna.create_study(storage=storage)
    made = create_trial(state=TrialState.RUNNING, user_attrs={"a": 1})
    storage.create_new_trial(study._study_id, made)

    second = storage.create_new_trial(study._study_id, made)
    storage.set_trial_state_values(second, TrialState.WAITING)

    assert storage.get_trial(second).state is TrialState.WAITING
