"""Resident memory over many trials: flat once the first have run.

    python benchmarks/memory.py [--n-trials 1000] [--every 50]

Two epochs a trial on digits, random search, in memory.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import optuna

from tuner import tune_mlp


def resident_mb() -> float:
    """Return this process's resident memory, as Linux tells it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Run the trials and print the memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-trials", type=int, default=1000)
    parser.add_argument("--every", type=int, default=50)
    options = parser.parse_args()
    taken: list[float] = []
    n_done = 0

    def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        nonlocal n_done
        n_done += 1
        if n_done % options.every == 0:
            taken.append(resident_mb())
            print(f"{n_done:6d} trials {taken[-1]:8.1f} MB", flush=True)

    tune_mlp(
        "digits",
        sampler="random",
        n_trials=options.n_trials,
        epochs=2,
        callbacks=[note],
        show_progress_bar=False,
    )
    print(f"growth after the first {options.every}: {taken[-1] - taken[0]:.1f} MB")


if __name__ == "__main__":
    main()
