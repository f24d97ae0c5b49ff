"""Cohorts in several processes: the loop stays in this one, and trials train in the others."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import TYPE_CHECKING, Any

from objectives.objective import Cohort, EpochResult, Objective, SavableCohort

if TYPE_CHECKING:
    from tuner.search.plan import Params


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
        self._workers = [WorkerProcess(objective, seed) for _ in range(n_jobs)]

    def batch_key(self, params: Params) -> Hashable:
        """Return what trials have in common that train as one."""
        return self._local.batch_key(params)

    def has_room(self, params: Params) -> bool:
        """Say whether some process has room for the trial."""
        return self._home(params) is not None

    def add(self, number: int, params: Params) -> None:
        """Give the trial to a process that is idle, or else to one that trains its like."""
        home = self._home(params)
        self._last_epoch[number] = -1
        if isinstance(home, WorkerProcess):
            with self._rescued(home):
                home.add(number, params, self.batch_key(params), self._states.get(number))
        else:
            self._add_here(number, params)

    def restore(self, number: int, params: Params, state: bytes) -> None:
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

    def _caught_up(self, number: int, params: Params) -> Cohort:
        """Return a cohort with a trial whose process died after its last report, as it was then."""
        cohort = self._objective.cohort(seed=self._seed)
        add_or_restore(cohort, number, params, self._states.get(number))
        while cohort.train_epoch()[number].epoch < self._last_epoch[number]:
            pass
        return cohort

    def _add_here(self, number: int, params: Params) -> None:
        add_or_restore(self._local, number, params, self._states.get(number))
        self._local_numbers.add(number)

    def _train_here(self) -> dict[int, EpochResult]:
        """Train an epoch in this process; return the results that are new."""
        results = self._local.train_epoch()
        return {n: r for n, r in results.items() if r.epoch > self._last_epoch[n]}

    @contextmanager
    def _rescued(self, worker: WorkerProcess) -> Iterator[None]:
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

    def _home(self, params: Params) -> WorkerProcess | Cohort | None:
        ready = []
        for worker in list(self._workers):
            with self._rescued(worker):
                ready += [worker] if worker.is_ready() else []
        if not ready:
            return self._local if self._local.has_room(params) else None
        group = self.batch_key(params)
        idle = [worker for worker in ready if not worker.trials]
        alike = [worker for worker in ready if worker.is_paused and worker.has_room(group)]
        return next(iter([*idle, *alike]), None)


# As in `objectives.training.mlp_cohort`: more members do not make a stack faster.
_MAX_MEMBERS = 16

_PRELOADED = ["torch", "objectives.mlp"]


class WorkerProcess:
    """One process, as the others see it."""

    def __init__(self, objective: Objective, seed: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, objective, seed), daemon=True)
        with _nothing_of_main():
            self._process.start()
        theirs.close()
        self.trials: dict[int, Params] = {}
        self.is_paused = False
        self._started = False
        self._max_trials = max(1, _MAX_MEMBERS // getattr(objective, "n_members", 1))
        self._group: Hashable = None

    @property
    def is_awaited(self) -> bool:
        """Whether it is starting or training."""
        return not self.is_paused

    def is_ready(self) -> bool:
        """Whether it has started."""
        if not self._started and self.connection.poll():
            self.collect()
        return self._started

    def has_room(self, group: Hashable) -> bool:
        """Say whether it trains trials of that group and has a place left."""
        return group is not None and group == self._group and len(self.trials) < self._max_trials

    def add(self, number: int, params: Params, group: Hashable, state: bytes | None) -> None:
        """Give it a trial, to train from its start or from ``state`` on."""
        self._group = group
        self.trials[number] = dict(params)
        self._send("add_or_restore", number, dict(params), state)

    def go(self) -> None:
        """Let it train its trials for an epoch, if it has any and waits."""
        if self.is_paused and self.trials:
            self.is_paused = False
            self._send("go")

    def collect(self) -> dict[int, EpochResult]:
        """Receive its results; the first message says only that it has started."""
        results = self._receive()
        self.is_paused = self._started = True
        return {number: r for number, r in results.items() if number in self.trials}

    def drop(self, number: int) -> None:
        """Let a trial go, if it is here."""
        if self.trials.pop(number, None) is not None:
            self._send("drop", number)

    def model(self, number: int) -> Any:
        """Return the fitted model of a trial."""
        self._send("model", number)
        return self._receive()

    def state(self, number: int) -> bytes:
        """Return all that the next epochs of a trial follow from."""
        self._send("state", number)
        return bytes(self._receive())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()
        self.connection.close()

    def _send(self, *message: Any) -> None:
        try:
            self.connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error

    def _receive(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._death() from error
        if isinstance(message, Exception):
            raise message
        return message

    def _death(self) -> DeadWorkerError:
        self._process.join(timeout=5)
        return DeadWorkerError(self._process.exitcode)


def savable(cohort: Cohort) -> SavableCohort:
    """Return the cohort if its trials can be saved.

    Raises:
        TypeError: if not.
    """
    if not isinstance(cohort, SavableCohort):
        raise TypeError(f"cohort must have state and restore, got {type(cohort).__name__}")
    return cohort


def add_or_restore(cohort: Cohort, number: int, params: Params, state: bytes | None) -> None:
    """Add a trial, from ``state`` if there is one."""
    if state is None:
        cohort.add(number, params)
    else:
        savable(cohort).restore(number, params, state)


class DeadWorkerError(Exception):
    """A worker process that is gone."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


@contextmanager
def _nothing_of_main() -> Iterator[None]:
    """Start processes that do not import the user's script, which may lack a main guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(connection: Connection, objective: Objective, seed: int) -> None:
    """Train what comes through ``connection``, an epoch at each ``go``."""
    import torch

    # Ctrl-C in a terminal reaches all processes; the one with the study decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cohort = objective.cohort(seed=seed)
    connection.send({})
    while True:
        try:
            what, *arguments = connection.recv()
        except EOFError:
            return
        try:
            if what == "go":
                connection.send(cohort.train_epoch())
            elif what == "model":
                connection.send(cohort.model(*arguments))
            elif what == "state":
                connection.send(savable(cohort).state(*arguments))
            elif what == "add_or_restore":
                add_or_restore(cohort, *arguments)
            else:
                cohort.drop(*arguments)
        except Exception as error:  # whatever it is, the process with the study deals with it
            connection.send(error)
