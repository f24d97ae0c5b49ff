"""How much faster two workers are than one, on one machine with two cores.

    python benchmarks/workers.py [--n-trials 200] [--sleep-ms 200] [--storages journal db]

Workers are processes of a `concurrent.futures.ProcessPoolExecutor` that have imported everything
before the clock starts, as those of a cluster have. Once each trial sleeps for a fixed time, so
that what is lost is the study's; once each trains a real MLP on digits for twenty epochs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tuner import tune, tune_mlp

SLEEP_MS = 200.0


class Sleep:
    """An objective that sleeps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, trial: Any) -> float:
        """Sleep, and return something that TPE can learn from."""
        time.sleep(self._seconds)
        return float(trial.params["x"] ** 2)


def warm_up(index: int) -> None:
    """Import what a worker needs, and take long enough that another process takes the next."""
    import objectives.mlp  # noqa: F401 - the import is the point

    time.sleep(1.0)


def timed(n_workers: int, kind: str, search: Callable[..., Any]) -> float:
    """Return the seconds that a search takes with warm workers; check that no trial is lost."""
    context = multiprocessing.get_context("forkserver")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(n_workers, mp_context=context) as executor,
    ):
        list(executor.map(warm_up, range(n_workers)))
        start = time.perf_counter()
        result = search(
            storage=Path(folder) / f"s.{kind}",
            executor=executor,
            n_jobs=n_workers,
            show_progress_bar=False,
        )
        seconds = time.perf_counter() - start
        frame = result.trials_dataframe()
    if frame["number"].tolist() != list(range(len(frame))) or set(frame["state"]) != {"COMPLETE"}:
        raise RuntimeError("a trial was lost, doubled or not finished")
    return seconds


def main() -> None:
    """Run both searches with one worker and with two, in each storage, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-trials", type=int, default=200)
    parser.add_argument("--sleep-ms", type=float, default=SLEEP_MS)
    parser.add_argument("--storages", nargs="+", default=["journal", "db"])
    options = parser.parse_args()

    def sleeping(**search: Any) -> Any:
        space = {"x": (0.0, 1.0)}
        return tune(
            Sleep(options.sleep_ms / 1000),
            space=space,
            n_trials=options.n_trials,
            pruner="none",
            **search,
        )

    def training(**search: Any) -> Any:
        space = {"epochs": 20, "hidden_units": (64, 128), "batch_size": 32}
        return tune_mlp(
            "digits",
            space=space,
            n_trials=options.n_trials,
            pruner="none",
            patience=None,
            **search,
        )

    for name, search in (("sleep", sleeping), ("MLP", training)):
        for kind in options.storages:
            one, two = (timed(n, kind, search) for n in (1, 2))
            print(
                f"{name:5s} {kind:7s} {options.n_trials} trials: 1 worker {one:6.1f} s, "
                f"2 workers {two:6.1f} s, {one / two:.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
