"""Several processes: the same trials, found faster."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import psutil
import pytest

from objectives.mlp import MLPObjective
from objectives.space.space import defaults
from tuner import tune_mlp
from tuner.search.process_cohort import ProcessCohort

SMALL = {"n_layers": 1, "hidden_units": [8, 16], "batch_size": 32}
FAST = {"space": SMALL, "epochs": 5, "pruner": "none", "show_progress_bar": False}


def values(result):
    frame = result.trials_dataframe()
    return frame.set_index("number")["value"].sort_index().tolist()


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_two_processes_find_what_one_finds(sampler):
    call = FAST | {"sampler": sampler}
    if sampler == "random":
        call["n_trials"] = 12
    else:
        call["space"] = SMALL | {"dropout": [0.0, 0.2, 0.4]}

    alone = tune_mlp("digits", **call)
    together = tune_mlp("digits", n_jobs=2, **call)

    assert values(together) == pytest.approx(values(alone), abs=0.02)
    valid = together.objective.data.valid
    assert together.best_model.score(valid.X, valid.y) == pytest.approx(together.best_value)


def test_tpe_with_pruning_runs_in_several_processes():
    call = FAST | {"pruner": "median", "epochs": 12}

    result = tune_mlp("digits", n_trials=14, n_jobs=2, **call)

    frame = result.trials_dataframe()
    assert len(frame) == 14
    assert set(frame["state"]) <= {"COMPLETE", "PRUNED"}
    assert frame["number"].tolist() == list(range(14))


@pytest.mark.parametrize("n_deaths", [1, 2])
def test_trials_of_a_process_that_is_killed_are_trained_again_and_come_out_the_same(n_deaths):
    call = FAST | {"sampler": "random", "n_trials": 24, "epochs": 20, "patience": None}
    alone = tune_mlp("digits", **call)
    killed = []

    def kill(study, trial):
        running = [p for p in multiprocessing.active_children() if p.pid not in killed]
        if len(killed) < n_deaths and running:
            killed.append(running[0].pid)
            os.kill(running[0].pid, signal.SIGKILL)

    with pytest.warns(UserWarning, match="died with exit code -9; its trials"):
        together = tune_mlp("digits", n_jobs=2, callbacks=[kill], **call)

    assert len(killed) == n_deaths
    assert values(together) == pytest.approx(values(alone), abs=0.02)
    frame = together.curves_dataframe()
    assert frame.groupby("number")["epoch"].apply(list).map(len).tolist() == [20] * 24


def of_this_search(victim):
    """Return the servers that fork our processes, or those processes."""
    servers = [p for p in psutil.Process().children() if is_server(p)]
    return servers if victim == "server" else [p for s in servers for p in s.children()]


def is_server(process):
    try:
        return "forkserver" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie by now
        return False


def kill_one_that_starts(victim, before, killed, until):
    """Kill the next such process, which is not one of those before, as soon as it is there."""
    while not until.is_set():
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in of_this_search(victim):
                if process.pid not in before:
                    process.kill()
                    killed.append(process.pid)
                    return
        time.sleep(0.001)


@pytest.mark.parametrize("victim", ["server", "worker"])
def test_a_process_that_is_killed_while_it_starts_does_not_end_the_search(victim):
    if victim == "server":
        for server in of_this_search(victim):  # else none would start
            server.kill()
            while is_server(server):
                time.sleep(0.01)
    done, killed = threading.Event(), []
    before = {process.pid for process in of_this_search(victim)}
    killer = threading.Thread(target=kill_one_that_starts, args=(victim, before, killed, done))
    killer.start()
    # Python itself starts the server anew, without a word, where it is killed early enough.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = tune_mlp("iris", n_trials=40, n_jobs=2, **FAST)
    done.set()
    killer.join()
    again = tune_mlp("iris", n_trials=2, n_jobs=2, **FAST)

    assert len(killed) == 1
    assert said or victim == "server"
    assert all(re.search("not be started|died with exit code", str(w.message)) for w in said)
    assert len(result.trials_dataframe()) == 40
    assert len(again.trials_dataframe()) == 2


def tune_in_two():
    return len(tune_mlp("iris", n_trials=2, n_jobs=2, **FAST).trials_dataframe())


@pytest.mark.slow
def test_a_daemonic_process_trains_by_itself_and_says_so():
    script = (
        "import multiprocessing\n"
        "from tests.tuner.search.test_process_cohort import tune_in_two\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(tune_in_two))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )

    assert done.stdout.split() == ["2"], done.stderr
    assert "n_jobs=2 needs processes, which a daemonic process" in done.stderr


FORKED = """
import os
from tuner import tune_mlp
call = dict(n_trials=2, n_jobs=2, epochs=2, show_progress_bar=False)
tune_mlp("iris", **call)
if not os.fork():
    print(len(tune_mlp("iris", **call).trials_dataframe()), flush=True)
    os._exit(0)
assert os.wait()[1] == 0
"""


@pytest.mark.slow
def test_a_process_forked_from_one_with_workers_can_start_its_own():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120
    )

    assert done.stdout.split() == ["2"], done.stderr
    assert "could not be started" not in done.stderr


def test_networks_too_large_to_gain_by_stacking_train_one_a_process():
    objective = MLPObjective("iris", space={"epochs": 2})
    wide = defaults(objective.space) | {"hidden_units": 700}
    cohort, number = ProcessCohort(objective, seed=0, n_jobs=2), 0
    try:
        while not all(worker.trials for worker in cohort._workers):
            if cohort.has_room(wide):
                cohort.add(number, wide)
                number += 1
            cohort.train_epoch()
        for _ in range(3):
            cohort.train_epoch()
            assert not cohort.has_room(wide)
    finally:
        cohort.close()


SCRIPT = """
from tuner import tune_mlp
print("once")
result = tune_mlp("iris", n_trials=4, epochs=2, n_jobs=2, show_progress_bar=False)
print(len(result.trials_dataframe()))
"""


def test_a_script_without_a_main_guard_may_use_several_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )

    assert done.stdout.split() == ["once", "4"], done.stderr


def test_a_number_of_processes_that_is_none_is_refused():
    with pytest.raises(ValueError, match="n_jobs must be a whole number of at least 1"):
        tune_mlp("iris", n_jobs=0, **FAST)
