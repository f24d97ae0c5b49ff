"""The crash contract for signals: interrupted or stopped at any moment, a study stays whole."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from tuner import load_study, tune_mlp

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="sends the signals of POSIX"),
    pytest.mark.slow,
]

INTERRUPTED = """
import random, signal, sys
from tuner import load_study, tune

def interrupt(signum, frame):
    raise KeyboardInterrupt

moments, every = random.Random(5), float(sys.argv[1])
signal.signal(signal.SIGALRM, interrupt)
call = {"space": {"x": (0.0, 1.0)}, "storage": "s.journal", "show_progress_bar": False}

def square(trial):
    trial.report(trial.params["x"], 0)
    return trial.params["x"] ** 2

def arm(study, trial):
    if not armed:
        armed.append(signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-4, 0.05), every))

left = 0
for _ in range(int(sys.argv[2])):
    armed = []
    try:
        tune(square, n_trials=100_000, callbacks=[arm], **call)
    except KeyboardInterrupt:
        pass
    while True:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            break
        except KeyboardInterrupt:
            pass
    left += any(t.state.name == "RUNNING" for t in load_study("s.journal").trials)
n = sum(t.state.is_finished() for t in load_study("s.journal").trials)
tune(square, n_trials=n + 1, **call)
print(left)
"""


@pytest.mark.parametrize(("every", "n"), [(0.0, 40), (0.01, 6)], ids=["single", "repeated"])
def test_an_interruption_at_any_moment_loses_no_trial(every, n, in_folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED, str(every), str(n)],
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == 0, done.stderr
    trials = load_study("s.journal").trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert "RUNNING" not in {trial.state.name for trial in trials}
    if not every:  # a second one may cut off the putting back, which the next call does
        assert int(done.stdout) == 0


STOPPED = """
import os, sys, time
from tuner import tune
from tuner.storage import heartbeat

heartbeat.Heartbeat.__init__.__kwdefaults__["interval"] = 0.2
heartbeat._machine = lambda: sys.argv[1]  # so that only the signs of life tell

def square(trial):
    time.sleep(0.05)
    return trial.params["x"] ** 2

tune(square, space={"x": (0.0, 1.0)}, n_trials=120, storage="s.journal", show_progress_bar=False)
"""


def test_a_process_that_is_stopped_for_longer_than_its_signs_last_does_no_harm_afterwards(
    in_folder,
):
    workers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", STOPPED, name]) for name in "ab"
    ]
    end = time.monotonic() + 60
    while not os.path.exists("s.journal") or len(load_study("s.journal").trials) < 10:
        assert time.monotonic() < end
        time.sleep(0.1)
    workers[0].send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    workers[0].send_signal(signal.SIGCONT)

    assert [worker.wait(120) for worker in workers] == [0, 0]
    trials = load_study("s.journal").trials
    # One that was made by a process that did not know of the last ones is put into the queue.
    done = [trial for trial in trials if trial.state.name != "WAITING"]
    assert [trial.number for trial in done] == list(range(120))
    assert {trial.state.name for trial in done} == {"COMPLETE"}


def test_searches_in_threads_and_in_asyncio_start_their_own_processes(in_folder):
    main = sys.modules["__main__"]

    def search():
        return len(
            tune_mlp("iris", n_trials=3, epochs=2, n_jobs=2, show_progress_bar=False).study.trials
        )

    async def both():
        return await asyncio.gather(asyncio.to_thread(search), asyncio.to_thread(search))

    assert asyncio.run(both()) == [3, 3]
    assert sys.modules["__main__"] is main
