"""The command line in a terminal: its line of progress, and Ctrl-C typed on a keyboard."""

import os
import re
import select
import shlex
import signal
import sys
import time

import pandas as pd
import pytest

from tests.tuner.commands import run
from tuner import load_study

pty = pytest.importorskip("pty", reason="needs the terminals of POSIX")
termios = pytest.importorskip("termios", reason="needs the terminals of POSIX")


class Terminal:
    """A terminal of 60 columns that runs ``tuner``."""

    def __init__(self, *arguments, cwd):
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(cwd)
            os.execv(sys.executable, [sys.executable, "-m", "tuner", *arguments])
        termios.tcsetwinsize(self.screen, (24, 60))
        self.text = ""

    def read_until(self, pattern, seconds=120):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, self.text
            if not self._read():
                raise AssertionError(f"it ended by itself: {self.text}")

    def _read(self):
        if not select.select([self.screen], [], [], 1)[0]:
            return True
        try:
            part = os.read(self.screen, 4096)
        except OSError:  # Linux's end of a terminal
            part = b""
        self.text += part.decode(errors="replace")
        return bool(part)

    def end(self):
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_ctrl_c_leaves_a_study_that_the_command_it_names_goes_on_with(n_jobs, in_folder):
    arguments = "mlp iris --epochs 2 --n-trials 100000 --storage s.journal --n-jobs".split()
    terminal = Terminal(*arguments, n_jobs, cwd=in_folder)
    terminal.read_until(r"[1-9]\d*/100000, \d+ pruned, best accuracy [\d.]+ \[\d+:\d+<")
    os.write(terminal.screen, b"\x03")

    assert terminal.end() == 130, terminal.text
    assert "Traceback" not in terminal.text
    assert all(len(line) <= 60 for line in re.findall(r"[^\r\n]*pruned[^\r\n]*\]", terminal.text))
    study = load_study("s.journal")
    assert "RUNNING" not in {trial.state.name for trial in study.trials}
    n_trials = sum(trial.state.is_finished() for trial in study.trials) + 2
    command = re.search(r"to go on: tuner (.*?)\r", terminal.text).group(1)
    assert ("--n-jobs 2" in command) == (n_jobs == "2")
    done = run(*shlex.split(command), "--n-trials", n_trials, "--quiet")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv("mlp-iris-trials.csv")) == n_trials
