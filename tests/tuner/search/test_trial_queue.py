"""Trials that are known beforehand are queued once, however many processes begin at once."""

import os
import subprocess
import sys

import pytest

from tuner import load_study
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
