"""Trials that are known beforehand are queued once, however many processes begin at once."""

import os
import subprocess
import sys

import pytest

from tests.tuner.studies import open_session
from tuner import load_study, tune
from tuner.storage import optuna_internals
from tuner.storage.heartbeat import Heartbeat
from tuner.tables import trials_dataframe

# Three processes with everything loaded make the same call at the same moment.
AT_ONCE = """
import os, sys, time
from tuner import tune

def square(trial):
    return trial.params["x"] ** 2

start = time.time() + 0.5
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        time.sleep(max(0.0, start - time.time()))
        tune(square, space={"x": list(range(40))}, sampler="grid", storage=sys.argv[1],
             show_progress_bar=False)
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


@pytest.mark.skipif(os.name == "nt", reason="forks as POSIX does")
@pytest.mark.parametrize("ending", ["journal", "db"])
def test_a_grid_that_three_processes_begin_at_once_has_each_cell_once(ending, tmp_path):
    path = tmp_path / f"s.{ending}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run(
        [sys.executable, "-c", AT_ONCE, str(path)], env=environment, timeout=200, check=True
    )

    frame = trials_dataframe(load_study(path))
    assert sorted(frame["params_x"]) == list(range(40))
    assert set(frame["state"]) == {"COMPLETE"}


def square(trial):
    return trial.params["x"] ** 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_without_the_internals_of_optuna_a_search_finds_the_same_trials(sampler, monkeypatch):
    space = {"x": [1, 2, 3]} if sampler == "grid" else {"x": (-1.0, 1.0)}
    call = {"space": space, "sampler": sampler, "n_trials": 3, "show_progress_bar": False}
    expected = tune(square, **call).trials_dataframe()

    monkeypatch.setattr(optuna_internals, "AVAILABLE", False)
    found = tune(square, **call).trials_dataframe()

    assert found.drop(columns="duration_s").equals(expected.drop(columns="duration_s"))


def test_without_the_internals_of_optuna_a_trial_cut_off_is_queued_under_a_new_number(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(optuna_internals, "AVAILABLE", False)
    session = open_session(tmp_path / "s.journal")
    trial = session.study.ask()
    trial.suggest_float("x", 0, 1)

    with Heartbeat(session):
        assert [t.state.name for t in session.study.trials] == ["FAIL", "WAITING"]
    again = session.study.ask()

    assert again.suggest_float("x", 0, 1) == trial.params["x"]
