"""What a trial asks of its storage: few messages, and everything in them."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import GrpcStorageProxy, get_storage
from optuna.trial import TrialState, create_trial

from tests.tuner.servers import free_port, grpc_proxy
from tuner import tune
from tuner.storage.backends import open_storage
from tuner.storage.database import BATCH
from tuner.storage.optuna_internals import RunningTrial

N_REPORTS = 20
CALL = {
    "space": {f"x{i}": (0.0, 1.0) for i in range(6)},
    "pruner": "median",
    "show_progress_bar": False,
}


def reporting(trial):
    for step in range(N_REPORTS):
        trial.report(trial.params["x0"] / (step + 1), step)
        trial.should_prune()
    return trial.params["x1"]


class CountedProxy(GrpcStorageProxy):
    """Counts the messages to the proxy; signs of life, which come by the clock, left out."""

    def _setup(self):
        super()._setup()
        self.counts, stub, thread = Counter(), self._stub, threading.get_ident()
        for name in [name for name in vars(stub) if not name.startswith("_")]:
            setattr(stub, name, self._counting(name, getattr(stub, name), thread))

    def _counting(self, name, send, thread):
        def counted(*arguments, **options):
            self.counts[name] += threading.get_ident() == thread
            return send(*arguments, **options)

        return counted


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with grpc_proxy(str(tmp_path_factory.mktemp("proxied") / "s.db")) as url:
        yield url


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_of_twenty_reports_is_at_most_five_messages_through_the_proxy(address):
    open_storage(address)  # waits until it is there
    host, port = address.removeprefix("grpc://").split(":")
    storage, at_end = CountedProxy(host=host, port=int(port)), []

    def told(study, trial):
        at_end.append(Counter(storage.counts))

    study = tune(reporting, n_trials=16, storage=storage, callbacks=[told], **CALL).study

    messages = [(late - early).total() for early, late in itertools.pairwise(at_end)]
    assert max(messages) <= 5
    assert [len(trial.intermediate_values) for trial in study.trials] == [N_REPORTS] * 16


@pytest.mark.parametrize("kind", ["memory", "journal", "db", "grpc"])
def test_plain_optuna_finds_all_that_was_reported(kind, address, tmp_path):
    storage = {"memory": None, "grpc": address}.get(kind, tmp_path / f"s.{kind}")

    ours = tune(reporting, n_trials=3, storage=storage, study_name="three", **CALL).study

    if kind == "memory":
        study = ours
    else:
        opened = get_storage(f"sqlite:///{storage}") if kind == "db" else open_storage(storage)
        study = optuna.load_study(study_name="three", storage=opened)
    for trial in study.trials:
        expected = {step: trial.params["x0"] / (step + 1) for step in range(N_REPORTS)}
        assert trial.intermediate_values == pytest.approx(expected)
        assert trial.user_attrs["fusetune:record"]["stopped"] == "returned"


@pytest.fixture(params=["memory", "journal", "db", "grpc", "grpc of before"])
def storage(request, tmp_path):
    """A storage of each kind, also a proxy that has no message for a trial's end."""
    if not request.param.startswith("grpc"):
        yield open_storage(None if request.param == "memory" else tmp_path / f"s.{request.param}")
        return
    opened = open_storage(request.getfixturevalue("address"))
    if request.param == "grpc of before":
        vars(opened)[BATCH] = 1
    yield opened


def begun(storage, name):
    """Return a trial that runs in a study, which has one that is finished."""
    study = optuna.create_study(storage=storage, study_name=f"{name} {time.time_ns()}")
    space = {"x": FloatDistribution(0.0, 1.0)}
    study.add_trial(create_trial(params={"x": 0.5}, distributions=space, value=1.0))
    template = create_trial(
        state=TrialState.RUNNING, params={"x": 0.25}, distributions=space, user_attrs={"a": [1]}
    )
    return study, RunningTrial(study, storage.create_new_trial(study._study_id, template))


def test_a_trial_ends_with_all_that_it_was_made_with_and_has_written(storage):
    study, trial = begun(storage, "whole")
    trial.report(0.5, 0)
    trial.report(float("nan"), 1)

    trial.end(TrialState.COMPLETE, float("inf"), {"b": "two"})

    ended = study.get_trials()[1]
    assert (ended.number, ended.state, ended.value) == (1, TrialState.COMPLETE, float("inf"))
    assert ended.params == {"x": 0.25}
    assert ended.distributions == study.get_trials()[0].distributions
    assert ended.user_attrs == {"a": [1], "b": "two"}
    assert str(ended.intermediate_values) == "{0: 0.5, 1: nan}"
    assert ended.datetime_start <= ended.datetime_complete


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.FAIL])
def test_a_trial_that_another_process_took_over_is_not_ended_a_second_time(state, storage):
    study, trial = begun(storage, "taken")
    trial.report(0.5, 0)
    storage.set_trial_state_values(trial._trial_id, state=state)

    with pytest.raises(UpdateFinishedTrialError):
        trial.end(TrialState.COMPLETE, 2.0, {"b": "two"})

    left = study.get_trials()[1]
    assert (left.state, left.value, left.user_attrs) == (state, None, {"a": [1]})


def test_a_parameter_whose_kind_has_changed_is_refused_as_by_optuna(tmp_path):
    storage = open_storage(tmp_path / "s.db")
    study, _ = begun(storage, "kinds")
    other = create_trial(
        state=TrialState.RUNNING, params={"x": 1}, distributions={"x": IntDistribution(0, 3)}
    )

    with pytest.raises(ValueError, match="distribution"):
        storage.create_new_trial(study._study_id, other)

    assert len(study.get_trials()) == 2


def test_values_that_are_not_finite_come_through_the_proxy(address):
    def odd(trial):
        for step, value in enumerate((float("nan"), float("inf"), 0.5)):
            trial.report(value, step)
        return 0.5

    study = tune(odd, n_trials=1, storage=address, study_name="odd", **CALL).study

    by_step = sorted(study.trials[0].intermediate_values.items())
    assert [str(value) for _, value in by_step] == ["nan", "inf", "0.5"]


def test_the_proxy_command_serves_a_database(tmp_path):
    pytest.importorskip("grpc", reason="needs the extra 'grpc'")
    port = free_port()
    command = ["proxy", str(tmp_path / "s.db"), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *command], env=os.environ, stderr=subprocess.PIPE, text=True
    )
    try:
        assert f"as grpc://localhost:{port}" in process.stderr.readline()
        study = tune(reporting, n_trials=2, storage=f"grpc://localhost:{port}", **CALL).study
        states = [trial.state.name for trial in study.trials]
    finally:
        process.kill()
        process.communicate()

    assert states == ["COMPLETE"] * 2


def test_the_proxy_command_refuses_a_journal(tmp_path):
    command = [sys.executable, "-m", "tuner", "proxy", str(tmp_path / "s.journal")]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 2
    assert "workers share a journal without a proxy" in done.stderr
