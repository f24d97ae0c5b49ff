"""What a trial asks of its storage: few messages, and everything in them."""

import itertools
import os
import subprocess
import sys
import threading
from collections import Counter

import optuna
import pytest
from optuna.storages import GrpcStorageProxy, get_storage

from tests.tuner.servers import free_port, grpc_proxy
from tuner import tune
from tuner.storage.backends import open_storage

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
