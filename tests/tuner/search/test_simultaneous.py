"""Of calls that begin one study at the same moment, but ask for unlike ones, one makes it."""

import os
import subprocess
import sys
import threading

import optuna
import pytest

from tests.tuner.servers import postgresql_server
from tuner import load_study, tune
from tuner.storage.study import StudyMismatchError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

SCRIPT = """
import os, sys, traceback
from tuner import tune
from tuner.storage.study import StudyMismatchError

def run(high, storage, name):
    tune(lambda trial: trial.params["x"], space={"x": (high - 1.0, high)}, n_trials=2,
         sampler="random", storage=storage, study_name=name, show_progress_bar=False)

def begin(high, storage, name, gate):
    os.read(gate, 1)
    try:
        run(high, storage, name)
    except StudyMismatchError:
        return 7
    return 0

run(1.0, "warm.db", "warm")  # loads everything, so that the children begin at once
storage = sys.argv[1]
for k in range(int(sys.argv[2])):
    gate, opener = os.pipe()
    children = []
    for high in (1.0, 2.0, 3.0):
        children.append(os.fork())
        if not children[-1]:
            code = 1
            try:
                os.close(opener)
                code = begin(high, storage, f"s{k}", gate)
            except BaseException:
                traceback.print_exc()
            os._exit(code)
    os.close(gate)
    os.close(opener)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def check(storage, n_rounds):
    """Begin so many studies in a storage, each in three spaces at once."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(storage), str(n_rounds)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    codes = [line.split() for line in done.stdout.splitlines()]
    assert [sorted(round_) for round_ in codes] == [["0", "7", "7"]] * n_rounds, done.stderr
    for k, round_ in enumerate(codes):
        xs = [trial.params["x"] for trial in load_study(storage, f"s{k}").trials]
        assert {int(x) for x in xs} == {round_.index("0")}
        assert len(xs) == 2


def test_of_unlike_calls_at_once_one_makes_the_study(in_folder):
    check(in_folder / "s.journal", n_rounds=8)


@pytest.mark.slow
def test_of_unlike_calls_at_once_one_makes_the_study_in_sqlite(in_folder):
    check(in_folder / "s.db", n_rounds=6)


@pytest.mark.slow
def test_of_unlike_calls_at_once_one_makes_the_study_on_a_server(in_folder):
    with postgresql_server() as server:
        check(server.database(), n_rounds=8)


def test_of_unlike_threads_at_once_one_makes_the_study_in_memory():
    storage, barrier, ends = optuna.storages.InMemoryStorage(), threading.Barrier(4), []

    def begin(high):
        barrier.wait()
        try:
            tune(
                lambda trial: trial.params["x"],
                space={"x": (0.0, high)},
                n_trials=2,
                storage=storage,
                show_progress_bar=False,
            )
            ends.append("done")
        except StudyMismatchError:
            ends.append("refused")

    threads = [threading.Thread(target=begin, args=(float(k),)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ends) == ["done", "refused", "refused", "refused"]
