"""Signals end the commands that search in good order, whichever they are and however many."""

import os
import re
import signal
import time

import psutil
import pytest

from tests.tuner.cli.test_search import start
from tuner import load_study

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends the signals of POSIX")

LONG = ["--n-trials", "100000", "--epochs", "2", "--storage", "s.journal"]


def wait_for_trials(process):
    """Read the line of progress until some trials have ended."""
    seen = ""
    while not re.search(r"[1-9]\d*/100000", seen):
        letter = process.stderr.read(1)
        assert letter, f"the search ended by itself: {seen}"
        seen += letter


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_search_that_is_told_to_end_puts_back_its_trials_and_says_how_to_go_on(
    name, code, in_folder
):
    process = start("mlp", "iris", *LONG, cwd=in_folder)
    wait_for_trials(process)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)

    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "to go on: tuner resume s.journal --study-name mlp-iris\n" in errors
    assert "RUNNING" not in {trial.state.name for trial in load_study("s.journal").trials}


def test_two_interruptions_are_one(in_folder):
    process = start("mlp", "iris", *LONG, "--n-jobs", "2", cwd=in_folder)
    wait_for_trials(process)
    for pause in (0.05, 0.0):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "to go on: tuner resume s.journal --study-name mlp-iris --n-jobs 2\n" in errors
    assert "RUNNING" not in {trial.state.name for trial in load_study("s.journal").trials}


@pytest.mark.skipif(not os.path.exists("/proc"), reason="looks into a process as Linux does")
@pytest.mark.parametrize("storage", ["s.journal", "none"])
def test_an_interruption_while_it_loads_says_that_nothing_was_trained(storage, in_folder):
    process = start("mlp", "iris", "--n-trials", "100000", "--storage", storage, cwd=in_folder)
    end = time.monotonic() + 60
    while not any("libtorch" in each.path for each in psutil.Process(process.pid).memory_maps()):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted while loading, before any training" in errors
    assert "run the same command" in errors
    assert "tuner resume" not in errors
    assert "--storage" not in errors
