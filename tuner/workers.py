"""Cohorts in several processes: the loop stays in this one, and trials train in the others."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from objectives.objective import Cohort, EpochResult, Objective
from tuner.worker_process import DeadWorkerError, Worker, enter, savable


@contextmanager
def open_cohort(objective: Objective, *, seed: int, n_jobs: int) -> Iterator[Cohort]:
    """Give a cohort that trains in ``n_jobs`` processes, or in this one if that is 1."""
    if n_jobs == 1:
        yield objective.cohort(seed=seed)
        return
    cohort = ProcessCohort(objective, seed=seed, n_jobs=n_jobs)
    try:
        yield cohort
    finally:
        cohort.close()


class ProcessCohort:
    """A cohort whose trials train in other processes, and in this one until those have started.

    After each epoch a process sends its results and waits for what becomes of its trials, so that
    nothing trains in vain. It is the loop that decides; the processes know nothing of the study.
    Where a process dies, this one trains its trials again from their seeds: they come to the same
    epochs, of which those already reported are not reported twice.

    Args:
        objective: sent to each process once.
        seed: as for `Objective.cohort`.
        n_jobs: processes to start.
    """

    def __init__(self, objective: Objective, *, seed: int, n_jobs: int) -> None:
        self._objective, self._seed = objective, seed
        self._local = objective.cohort(seed=seed)
        self._local_numbers: set[int] = set()
        self._last_epoch: dict[int, int] = {}  # reported, by trial
        self._states: dict[int, bytes] = {}  # of trials that did not begin at their start
        self._workers = [Worker(objective, seed) for _ in range(n_jobs)]

    def group(self, params: Mapping[str, Any]) -> Hashable:
        """Return what trials have in common that train as one."""
        return self._local.group(params)

    def room(self, params: Mapping[str, Any]) -> bool:
        """Say whether some process has room for the trial."""
        return self._home(params) is not None

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Give the trial to a process that is idle, or else to one that trains its like."""
        home = self._home(params)
        self._last_epoch[number] = -1
        if isinstance(home, Worker):
            with self._rescued(home):
                home.add(number, params, self.group(params), self._states.get(number))
        else:
            self._add_here(number, params)

    def restore(self, number: int, params: Mapping[str, Any], state: bytes) -> None:
        """Give the trial to a process as `add` does, from where `state` left it.

        Raises:
            ValueError: if ``state`` is damaged or of another trial.
        """
        trial = self._objective.cohort(seed=self._seed)
        savable(trial).restore(number, params, state)  # tells here what is wrong with it
        trial.drop(number)
        self._states[number] = state
        self.add(number, params)

    def state(self, number: int) -> bytes:
        """Return all that the next epochs of a trial follow from, fetched from where it trains."""
        for worker in list(self._workers):
            if number in worker.trials:
                with self._rescued(worker):
                    return worker.state(number)
                return savable(self._caught_up(number, worker.trials[number])).state(number)
        return savable(self._local).state(number)

    def train_epoch(self) -> dict[int, EpochResult]:
        """Return the results of those that have finished an epoch; wait for at least one."""
        for worker in list(self._workers):
            with self._rescued(worker):
                worker.go()
        results = self._train_here() if self._local_numbers else {}
        while busy := {w.connection: w for w in self._workers if w.is_awaited}:
            ready = wait(list(busy), timeout=0 if results else None)
            for connection in ready:
                worker = busy[connection]  # type: ignore[index]
                with self._rescued(worker):
                    results |= worker.collect()
            if results or self._local_numbers or not any(w.trials for w in self._workers):
                break
        self._last_epoch |= {number: result.epoch for number, result in results.items()}
        return results

    def drop(self, number: int) -> None:
        """Let a trial go, wherever it trains."""
        self._states.pop(number, None)
        if number in self._local_numbers:
            self._local_numbers.discard(number)
            self._local.drop(number)
        for worker in list(self._workers):
            with self._rescued(worker):
                worker.drop(number)

    def model(self, number: int) -> Any:
        """Return the fitted model of a trial, fetched from where it trains."""
        for worker in list(self._workers):
            if number in worker.trials:
                with self._rescued(worker):
                    return worker.model(number)
                return self._caught_up(number, worker.trials[number]).model(number)
        return self._local.model(number)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def _caught_up(self, number: int, params: Mapping[str, Any]) -> Cohort:
        """Return a cohort with a trial whose process died after its last report, as it was then."""
        cohort = self._objective.cohort(seed=self._seed)
        enter(cohort, number, params, self._states.get(number))
        while cohort.train_epoch()[number].epoch < self._last_epoch[number]:
            pass
        return cohort

    def _add_here(self, number: int, params: Mapping[str, Any]) -> None:
        enter(self._local, number, params, self._states.get(number))
        self._local_numbers.add(number)

    def _train_here(self) -> dict[int, EpochResult]:
        """Train an epoch in this process; return the results that are new."""
        results = self._local.train_epoch()
        return {n: r for n, r in results.items() if r.epoch > self._last_epoch[n]}

    @contextmanager
    def _rescued(self, worker: Worker) -> Iterator[None]:
        """Take over the trials of a worker that turns out to be dead."""
        try:
            yield
        except DeadWorkerError as death:
            self._workers.remove(worker)
            worker.close()
            warnings.warn(
                f"a worker process died with exit code {death.exit_code}; its trials "
                f"{sorted(worker.trials)} are trained again in this process; if memory ran out, "
                "lower n_jobs",
                stacklevel=2,
            )
            for number, params in worker.trials.items():
                self._add_here(number, params)

    def _home(self, params: Mapping[str, Any]) -> Worker | Cohort | None:
        ready = []
        for worker in list(self._workers):
            with self._rescued(worker):
                ready += [worker] if worker.is_ready() else []
        if not ready:
            return self._local if self._local.room(params) else None
        group = self.group(params)
        idle = [worker for worker in ready if not worker.trials]
        alike = [worker for worker in ready if worker.is_paused and worker.has_room(group)]
        return next(iter([*idle, *alike]), None)
