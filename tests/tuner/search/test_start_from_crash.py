"""A study that begins with another one's trials has each of them once, whoever is killed."""

import json
import os
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from tuner import load_study

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="forks and kills as POSIX does"),
    pytest.mark.slow,
]

KILLED = """
import json, os, signal, sys, threading, time
from tuner import tune

path = sys.argv[1]
call = {"space": {"x": (0.0, 2.0)}, "storage": path, "show_progress_bar": False}

def square(trial):
    return trial.params["x"] ** 2

def copied():
    with open(path, "rb") as file:
        return file.read().count(b'"trained_as"')

def kill_at(n):
    while copied() < n:
        time.sleep(0.0002)
    os.kill(os.getpid(), signal.SIGKILL)

def begin():
    tune(square, start_from="first", study_name="second", n_trials=44, sampler="random", **call)

def child(n):
    pid = os.fork()
    if not pid:
        if n is not None:
            threading.Thread(target=kill_at, args=(n,), daemon=True).start()
        begin()
        os._exit(0)
    return pid

tune(square, n_trials=40, study_name="first", **call | {"space": {"x": (0.0, 1.0)}})
said = []
for n in json.loads(sys.argv[2]):
    pids = [child(k) for k in n]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    said.append([statuses, copied()])
print(json.dumps(said))
"""


def run_killed(path, moments):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), json.dumps(moments)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_while_it_copies_a_study_has_each_trial_once_in_the_end(tmp_path):
    path = tmp_path / "s.journal"

    said = run_killed(path, [[1], [7], [8], [23], [39], [None]])

    assert [statuses for statuses, _ in said] == [[-9]] * 5 + [[0]]
    assert 0 < said[0][1] < 40
    assert 0 < said[3][1] < 40
    check_second(path)


def test_processes_that_begin_a_study_at_once_copy_each_trial_once_also_if_one_is_killed(tmp_path):
    path = tmp_path / "s.journal"

    said = run_killed(path, [[None, 9, None]])

    assert said[0][0].count(0) >= 2
    check_second(path)


def check_second(path):
    trials = load_study(path, "second").trials
    numbers = [
        t.user_attrs["fusetune:origin"]["number"]
        for t in trials
        if "fusetune:origin" in t.user_attrs
    ]
    assert sorted(numbers) == list(range(40))
    assert len(trials) == 44
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
