"""What the study costs beside training: asks, reports, pruning checks and storage.

    python benchmarks/overhead.py [--n-trials 200] [--trial-ms 50]

Trials do not train: each sleeps for its time, in twenty epochs, or until it is pruned. What a
search takes beyond the sleep is the study's. TPE, the median pruner, one process; each storage in
turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from objectives.metrics import METRICS
from objectives.objective import EpochResult, run_trial
from objectives.space.space import make_space
from objectives.space.tables import MLP_TABLE
from tuner import tune

N_EPOCHS = 20


class SleepingCohort:
    """One trial at a time that sleeps instead of training."""

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds, self._seed = seconds, seed
        self._epochs: dict[int, int] = {}
        self.slept = 0.0

    def batch_key(self, params: Mapping[str, Any]) -> int:
        """All are alike."""
        return 0

    def has_room(self, params: Mapping[str, Any]) -> bool:
        """Say whether none is here."""
        return not self._epochs

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Take in a trial."""
        self._epochs[number] = 0

    def train_epoch(self) -> dict[int, EpochResult]:
        """Sleep for an epoch."""
        start = time.perf_counter()
        time.sleep(self._seconds / N_EPOCHS)
        ((number, epoch),) = self._epochs.items()
        self._epochs[number] += 1
        level = np.random.default_rng((self._seed, number)).uniform()
        taken = time.perf_counter() - start
        SLEPT.append(taken)
        return {
            number: EpochResult(
                epoch=epoch,
                value=float(level * (1 - 0.5 ** (epoch + 1))),
                valid_loss=1.0,
                train_loss=1.0,
                learning_rate=0.1,
                duration_s=taken,
                stopped="epochs" if epoch + 1 == N_EPOCHS else None,
            )
        }

    def drop(self, number: int) -> None:
        """Let a trial go."""
        self._epochs.pop(number, None)

    def model(self, number: int) -> None:
        """There is none."""


SLEPT: list[float] = []


class Sleeping:
    """An objective that sleeps."""

    space = make_space(MLP_TABLE, {"epochs": N_EPOCHS})
    metric = METRICS["accuracy"]

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def cohort(self, *, seed: int) -> SleepingCohort:
        """Return an empty cohort."""
        return SleepingCohort(self._seconds, seed)

    def __call__(self, trial: Any) -> float:
        """Sleep through one trial."""
        return run_trial(self, trial, seed=0)


def main() -> None:
    """Run the search in each storage and print the study's share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-trials", type=int, default=200)
    parser.add_argument("--trial-ms", type=float, default=50)
    options = parser.parse_args()
    for name in ("memory", "journal", "db"):
        SLEPT.clear()
        with tempfile.TemporaryDirectory() as folder:
            storage = None if name == "memory" else Path(folder) / f"s.{name}"
            start = time.perf_counter()
            result = tune(
                Sleeping(options.trial_ms / 1000),
                n_trials=options.n_trials,
                storage=storage,
                show_progress_bar=False,
            )
            wall = time.perf_counter() - start
            states = result.trials_dataframe()["state"]
        each = (wall - sum(SLEPT)) / len(states) * 1000
        share = each / (each + options.trial_ms)
        pruned = (states == "PRUNED").sum()
        print(
            f"{name:8} {len(states)} trials, {pruned} pruned, {wall:6.2f} s: the study takes "
            f"{each:5.2f} ms a trial, {share:5.1%} beside {options.trial_ms:g} ms of training"
        )


if __name__ == "__main__":
    main()
