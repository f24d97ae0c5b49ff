"""An objective may fork: its children end by themselves and leave the study alone."""

import os
import subprocess
import sys

import pytest

from tuner import load_study

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

SCRIPT = """
import os, sys
from tuner import tune

def objective(trial):
    if not os.fork():
        {ending}
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    return trial.params["x"]

tune(objective, space={{"x": (0.0, 1.0)}}, n_trials=3, storage="s.journal", show_progress_bar=False)
print("end", flush=True)
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [("sys.exit(3)", 3), ("raise KeyError('x')", 1), ("return 0.0", 0)],
    ids=["exit", "error", "return"],
)
def test_a_child_that_an_objective_forks_ends_where_the_objective_does(ending, code, in_folder):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ending=ending)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(code)] * 3 + ["end"]
    study = load_study("s.journal")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert ("KeyError" in done.stderr) == (code == 1)
