"""Where memory runs out a stack is halved, and what an epoch had done by then is taken back."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from objectives.metrics import METRICS
from tests.objectives.training.test_mlp_cohort import DEFAULTS, make_objective, numbers, run


def test_an_epoch_that_ran_out_of_memory_is_taken_back_and_trained_again_in_halves() -> None:
    objective = make_objective()
    trials = {n: DEFAULTS | {"batch_size": 8, "dropout": 0.1 * n} for n in range(5)}
    expected = {}
    for number, params in trials.items():
        cohort = objective.cohort(seed=0)
        cohort.add(number, params)
        expected |= run(cohort)

    def scarce(outputs: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if len(outputs) > 2:  # when all steps of the epoch have been made
            raise MemoryError
        return METRICS["log_loss"].batched_scorer(outputs, y, weight)

    objective.metric = dataclasses.replace(objective.metric, batched_scorer=scarce)
    cohort = objective.cohort(seed=0)
    for number, params in trials.items():
        cohort.add(number, params)
    curves = run(cohort)

    assert sorted(curves) == sorted(expected)
    for number, curve in curves.items():
        np.testing.assert_allclose(numbers(curve), numbers(expected[number]), rtol=1e-4)


OUT_OF_MEMORY = """
import resource, warnings
import torch
from objectives.mlp import MLPObjective
from tests.objectives.training.test_mlp_cohort import DEFAULTS, make_objective, numbers, run

objective = make_objective(precision="float32")
wide = DEFAULTS | {"hidden_units": 1500, "n_layers": 3, "epochs": 2}
alone = objective.cohort(seed=0)
alone.add(3, wide)
expected = run(alone)[3]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
cohort = objective.cohort(seed=0)
for number in range(8):
    cohort.add(number, wide)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
# One such network takes about 20 MB, and its moments and gradients three times as much again.
resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
curves = run(cohort)
print(sorted(curves), [curve[-1].stopped for curve in curves.values()])
if "epochs" in curves[3][-1].stopped:
    assert numbers(curves[3])[0] == __import__("pytest").approx(numbers(expected)[0], rel=1e-3)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.parametrize(
    ("room", "ending"), [(500 << 20, "epochs"), (1 << 20, "out of memory")], ids=["tight", "none"]
)
def test_where_memory_runs_out_a_cohort_is_halved_and_a_lone_trial_ends(
    room: int, ending: str, pytestconfig: pytest.Config
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY.replace("ROOM", str(room))],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=pytestconfig.rootpath,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{list(range(8))} {[ending] * 8}"
    assert "is halved" in done.stderr
