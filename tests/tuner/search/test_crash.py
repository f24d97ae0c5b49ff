"""The crash contract: killed at any moment and started again, a study ends as if never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest

from tuner import load_study
from tuner.storage.backends import open_storage
from tuner.storage.trial_attrs import finished
from tuner.tables import trials_dataframe

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks and kills as POSIX does")

# Loads everything once, and forks a child for each run: a kill then costs a tenth of a second.
WARM = """
import json, os, sys
import objectives.mlp, tuner, tuner.search.optimize
from tuner import tune, tune_mlp

def slow_square(trial):
    import time
    for step in range(5):
        time.sleep(0.01)
        trial.report(trial.params["x"] ** 2 + 1 / (1 + step), step)
        if trial.should_prune():
            import optuna
            raise optuna.TrialPruned
    return trial.params["x"] ** 2

def say_finished(study, trial):
    print("finished", flush=True)

for line in sys.stdin:
    call = json.loads(line) | {"callbacks": [say_finished]}
    child = os.fork()
    if child == 0:
        if call.pop("function"):
            call["space"] = {name: tuple(ends) for name, ends in call["space"].items()}
            tune(slow_square, **call)
        else:
            tune_mlp("iris", **call)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
MLP = {
    "function": False,
    "epochs": 6,
    "folds": None,  # short trials: a kill falls amid a study, not after it
    "pruner": "none",
    "show_progress_bar": False,
    "space": {"hidden_units": 8, "n_layers": 1, "batch_size": [16, 32], "dropout": [0.0, 0.2]},
}
CALLS = {
    "tpe": MLP | {"sampler": "tpe", "n_trials": 14, "pruner": "median"},
    "random": MLP | {"sampler": "random", "n_trials": 20},
    "folds": MLP | {"sampler": "random", "n_trials": 12, "folds": "auto"},
    "grid": MLP | {"sampler": "grid", "space": MLP["space"] | {"learning_rate": [0.1, 0.01]}},
    "manual": MLP
    | {
        "sampler": "manual",
        "trials": [{"learning_rate": 0.1 / k} for k in range(1, 13)],
    },
    "enqueued": MLP
    | {
        "sampler": "tpe",
        "n_trials": 12,
        "enqueue": [{"learning_rate": 0.05}, {"dropout": 0.2}],
    },
    "function": {
        "function": True,
        "sampler": "tpe",
        "n_trials": 15,
        "space": {"x": [-1.0, 1.0]},
        "enqueue": [{"x": 0.5}],
        "show_progress_bar": False,
        "max_steps": 5,
    },
}


class Warm:
    """Starts runs in children of a process that has everything loaded, and kills them."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WARM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        )

    def run(self, call, kill=None):
        """Run a call; return its exit status, and the seconds it took.

        Args:
            call: arguments of `tune_mlp` or `tune`.
            kill: when to kill it: so many trials of the run finished, then so many seconds later.
        """
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        child, start = int(self.process.stdout.readline()), time.monotonic()
        said = ""
        if kill is not None:
            n_finished, delay = kill
            while n_finished and not said.lstrip("-").isdigit():
                said = self.process.stdout.readline().strip()
                n_finished -= 1
            time.sleep(delay)
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was done already, and its status says so
        while not said.lstrip("-").isdigit():
            said = self.process.stdout.readline().strip()
        return int(said), time.monotonic() - start


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    running = Warm(tmp_path_factory.mktemp("runs"))
    yield running
    running.process.communicate(timeout=30)


def table(path):
    frame = trials_dataframe(load_study(path))
    return frame.drop(columns=["duration_s"])


def n_finished(storage):
    """Count the finished trials of a study; 0 while there is none."""
    if "://" not in storage and not os.path.exists(storage):
        return 0
    names = optuna.get_all_study_names(open_storage(storage))
    return len(finished(load_study(storage))) if names else 0


def files(folder, kind):
    return {what: str(folder / f"{what}.{kind}") for what in ("whole", "killed")}


def killed_and_unbroken(warm, name, storages, n_kills, seed):
    """Return the tables of a study killed time and again and of one never killed, and how many
    trials were finished at each kill.

    A study that ends before its last kill is whole, however fast the machine is.
    """
    moments = random.Random(seed)
    status, duration = warm.run(CALLS[name] | {"storage": storages["whole"]})
    assert status == 0
    call = CALLS[name] | {"storage": storages["killed"]}
    hits = []
    for k in range(n_kills):
        at_any_time = (0, moments.uniform(0.0, 0.5 * duration))
        just_after_a_trial = (1, moments.uniform(0.0, 0.01))
        status, _ = warm.run(call, kill=just_after_a_trial if k % 2 else at_any_time)
        assert status in (0, signal.SIGKILL)  # nothing but the kill ends a run early
        if status == 0:
            break
        hits.append(n_finished(storages["killed"]))
    assert warm.run(call)[0] == 0
    return table(storages["killed"]), table(storages["whole"]), hits


def check(killed, whole):
    assert killed["number"].tolist() == list(range(len(whole)))
    assert set(killed["state"]) <= {"COMPLETE", "PRUNED"}
    pd.testing.assert_frame_equal(killed, whole, rtol=1e-4)


@pytest.mark.parametrize("kind", ["journal", "db"])
@pytest.mark.parametrize("name", ["tpe", "random", "function"])
def test_a_study_that_was_killed_ends_as_one_that_was_not(name, kind, warm, tmp_path):
    killed, whole, _ = killed_and_unbroken(warm, name, files(tmp_path, kind), 1, seed=1)

    check(killed, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["journal", "db"])
def test_studies_killed_thirty_times_and_more_lose_and_double_nothing(kind, warm, tmp_path):
    at_kill = []
    midway = []
    for k in range(6):  # rounds: the faster the machine, the fewer kills until a study is whole
        if len(at_kill) >= 30 and len(midway) >= 10:
            break
        for name in CALLS:
            folder = tmp_path / f"{name}{k}"
            folder.mkdir()
            killed, whole, hits = killed_and_unbroken(warm, name, files(folder, kind), 12, seed=k)
            check(killed, whole)
            at_kill += [n / len(whole) for n in hits]
        midway = [share for share in at_kill if 0 < share < 1]
    print(f"{kind}: {len(at_kill)} kills, {len(midway)} with some trials finished and some not")

    assert len(at_kill) >= 30
    assert len(midway) >= 10
