"""What each storage costs: a time per ask, report and tell, and 64 workers on one database.

    python benchmarks/storage.py [--storages memory journal db ...] [--finished 10 100 1000]
    python benchmarks/storage.py --workers 64

The first prints milliseconds at a number of finished trials: from the end of a trial's telling to
the next one's first line (ask), for a report with its pruning check, and from a trial's last line
to the call of the callbacks (tell). TPE over six hyperparameters, the median pruner, one process,
20 reports a trial; the median of five trials.

The second has processes that make the same call of `tune` on one PostgreSQL through Optuna's gRPC
proxy. Each trial sleeps for 2 s and reports 20 values on the way. What a worker's time from its
first trial's first line to the end of its last has beyond the sleep is lost to the storage. Servers
are started as the tests start theirs, and those that are not installed are left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from optuna.distributions import FloatDistribution  # noqa: E402 - the checkout comes first
from optuna.trial import create_trial  # noqa: E402

from tests.tuner.servers import grpc_proxy, postgresql_server, redis_server  # noqa: E402
from tuner import load_study, tune  # noqa: E402
from tuner.storage.backends import open_storage  # noqa: E402
from tuner.tables import trials_dataframe  # noqa: E402

N_REPORTS = 20
SPACE = {f"x{i}": (0.0, 1.0) for i in range(6)}
KINDS = ("memory", "journal", "db", "postgresql", "grpc", "redis")
CALL: dict[str, Any] = {"space": SPACE, "pruner": "median", "show_progress_bar": False}


@contextmanager
def storage_of(kind: str) -> Iterator[Any]:
    """Give an empty storage of a kind, with its server where it needs one."""
    with ExitStack() as stack:
        if kind == "memory":
            yield open_storage(None)
        elif kind in ("journal", "db"):
            yield Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"s.{kind}"
        elif kind == "redis":
            yield stack.enter_context(redis_server())
        else:
            url = stack.enter_context(postgresql_server()).database()
            yield url if kind == "postgresql" else stack.enter_context(grpc_proxy(url))


class Clocked:
    """An objective that reports values and keeps the time; its callback ends a trial."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.asks: list[float] = []
        self.reports: list[float] = []
        self.tells: list[float] = []
        self.slept = self.began = self.ended = self.cpu = 0.0

    def __call__(self, trial: optuna.Trial) -> float:
        """Report twenty values, alike in each trial so that none is pruned."""
        start = time.perf_counter()
        if not self.began:
            self.began, self.cpu = start, time.process_time()
        if self.ended:
            self.asks.append(start - self.ended)
        for step in range(N_REPORTS):
            before = time.perf_counter()
            if self._seconds:
                time.sleep(self._seconds / N_REPORTS)
            now = time.perf_counter()
            self.slept += now - before
            trial.report(1.0 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
            self.reports.append(time.perf_counter() - now)
        self._last_line = time.perf_counter()
        return float(sum((value - 0.3) ** 2 for value in trial.params.values()))

    def told(self, study: optuna.Study, trial: Any) -> None:
        """Note the end of a trial."""
        self.ended = time.perf_counter()
        self.tells.append(self.ended - self._last_line)


def fill(storage: Any, n_trials: int) -> None:
    """Add finished trials, each with reports, up to a number."""
    study = load_study(storage, "tune")
    for number in range(len(study.trials), n_trials):
        params = {name: (0.137 * number + 0.31 * i) % 1.0 for i, name in enumerate(SPACE)}
        study.add_trial(
            create_trial(
                value=sum((value - 0.3) ** 2 for value in params.values()),
                params=params,
                distributions={name: FloatDistribution(0.0, 1.0) for name in SPACE},
                intermediate_values={step: 1.0 / (step + 1) for step in range(N_REPORTS)},
            )
        )


def time_storage(kind: str, n_finished: list[int]) -> None:
    """Print what asks, reports and tells take in one storage."""
    with storage_of(kind) as storage:
        tune(Clocked(), n_trials=1, storage=storage, **CALL)
        for n in n_finished:
            fill(storage, n)
            clocked = Clocked()
            n_there = len(load_study(storage, "tune").trials)
            tune(clocked, n_trials=n_there + 6, storage=storage, callbacks=[clocked.told], **CALL)
            ask, report, tell = (
                1000 * statistics.median(times)
                for times in (clocked.asks, clocked.reports, clocked.tells)
            )
            print(
                f"{kind:10s} {n:5d} finished: ask {ask:7.2f} ms, report and check {report:7.2f} "
                f"ms, tell {tell:7.2f} ms, a trial of {N_REPORTS} reports "
                f"{ask + N_REPORTS * report + tell:8.1f} ms",
                flush=True,
            )


READY: list[Any] = []  # of this process: the barrier that all workers start from


def prepare(barrier: Any) -> None:
    """Take the barrier, which cannot be sent with the work."""
    READY.append(barrier)


def work(url: str, n_trials: int, seconds: float) -> dict[str, Any]:
    """Be one of the workers, which begin together; return where the time went."""
    clocked = Clocked(seconds)
    READY[0].wait(timeout=600)
    start = time.perf_counter()
    tune(clocked, n_trials=n_trials, storage=url, callbacks=[clocked.told], **CALL)
    return {
        "joined": clocked.began - start,
        "span": clocked.ended - clocked.began,
        "slept": clocked.slept,
        "ask": clocked.asks,
        "report": clocked.reports,
        "tell": clocked.tells,
        "cpu": time.process_time() - clocked.cpu,
    }


def time_workers(n_workers: int, n_trials: int, seconds: float, kind: str) -> None:
    """Print the share of time that workers lose to the storage, and what became of the trials."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "sqlalchemy", "grpc", "tuner.api"])
    with (
        storage_of(kind) as storage,
        ProcessPoolExecutor(
            n_workers, context, initializer=prepare, initargs=(context.Barrier(n_workers),)
        ) as executor,
    ):
        start = time.perf_counter()
        arguments = ([storage] * n_workers, [n_trials] * n_workers, [seconds] * n_workers)
        every = list(executor.map(work, *arguments))
        found = [worker for worker in every if worker["slept"]]  # the others came too late
        print(f"{time.perf_counter() - start:.0f} s with the start of all processes")
        frame = trials_dataframe(load_study(storage, "tune"))
    there = frame["number"].tolist()
    span, slept, cpu = (sum(worker[name] for worker in found) for name in ("span", "slept", "cpu"))
    median = {
        name: 1000 * statistics.median(t for worker in found for t in worker[name])
        for name in ("ask", "report", "tell")
    }
    print(
        f"{kind}: {n_workers} workers, {n_trials} trials of {seconds:g} s and {N_REPORTS} reports: "
        f"lost to the storage {1 - slept / span:.1%}\n"
        f"  medians: ask {median['ask']:.0f} ms, report and check {median['report']:.1f} ms, tell "
        f"{median['tell']:.0f} ms; a worker's processor time {1000 * cpu / n_trials:.0f} ms a "
        f"trial; joining took {statistics.median(w['joined'] for w in found):.1f} s\n"
        f"  trials: {int((frame['state'] == 'COMPLETE').sum())} complete, "
        f"{len(set(range(n_trials)) - set(there))} lost, {len(there) - n_trials} too many",
        flush=True,
    )


def main() -> None:
    """Time the storages one by one, or workers together on one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--storages", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--finished", nargs="+", type=int, default=[10, 100, 1000])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--trials-each", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--on", default="grpc", choices=KINDS[1:])
    options = parser.parse_args()
    if options.workers:
        n_trials = options.workers * options.trials_each
        time_workers(options.workers, n_trials, options.seconds, options.on)
        return
    for kind in options.storages:
        try:
            time_storage(kind, options.finished)
        except pytest.skip.Exception as reason:
            print(f"{kind}: left out, {reason}")


if __name__ == "__main__":
    main()
