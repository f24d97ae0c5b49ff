"""Cohorts in several processes: the loop stays in this one, and trials train in the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import TYPE_CHECKING, Any

from objectives._messages import warn_caller
from objectives.objective import Cohort, EpochResult, Objective, SavableCohort
from tuner.search.loop import ends_forks

if TYPE_CHECKING:
    from tuner.search.plan import Params


def allowed_jobs(n_jobs: int) -> int:
    """Return the number of processes that may train: 1 in a process that may start none.

    Warns:
        UserWarning: if that is fewer than ``n_jobs``.
    """
    if n_jobs > 1 and multiprocessing.current_process().daemon:
        warn_caller(
            f"n_jobs={n_jobs} needs processes, which a daemonic process (of a pool or a Dask "
            "worker) may not start, so trials train in this one; give n_jobs=1 there"
        )
        return 1
    return n_jobs


@contextmanager
def open_cohort(
    objective: Objective, *, seed: int, n_jobs: int, alone: bool = False
) -> Iterator[Cohort]:
    """Give a cohort that trains in ``n_jobs`` processes, or in this one if that is 1.

    Args:
        objective: whose trials train.
        seed: as for `Objective.cohort`.
        n_jobs: processes to start.
        alone: whether each of several processes trains one trial at a time, so that no trial's
            rounding depends on which others were at hand.
    """
    if n_jobs == 1:
        yield objective.cohort(seed=seed)
        return
    cohort = ProcessCohort(objective, seed=seed, n_jobs=n_jobs, alone=alone)
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
        alone: see `open_cohort`.
    """

    def __init__(
        self, objective: Objective, *, seed: int, n_jobs: int, alone: bool = False
    ) -> None:
        self._objective, self._seed, self._alone = objective, seed, alone
        self._n_jobs = n_jobs
        self._local = objective.cohort(seed=seed)
        self._local_numbers: set[int] = set()
        self._last_epoch: dict[int, int] = {}  # reported, by trial
        self._states: dict[int, bytes] = {}  # of trials that did not begin at their start
        self._workers: list[WorkerProcess] = []
        try:
            for _ in range(n_jobs):
                self._start_worker()
        except BaseException:  # Ctrl-C: who opens the cohort has nothing to close yet
            self.close()
            raise

    def batch_key(self, params: Params) -> Hashable:
        """Return what trials have in common that train as one."""
        return self._local.batch_key(params)

    @property
    def n_machines(self) -> int:
        """Trials that a timetable has under way, so that no process waits long for another.

        Simulated with two processes: 1.8 times the trials where costs are known to 15%, with as
        many machines; where they are not known, 1.3 times, and 1.7 with twice as many.
        """
        return self._n_jobs * (1 if hasattr(self._local, "epoch_cost") else 2)

    def epoch_cost(self, params: Params) -> float:
        """Return what an epoch costs in the objective's own unit; the same for all by default."""
        cost = getattr(self._local, "epoch_cost", None)
        return 1.0 if cost is None else float(cost(params))

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
                worker = busy[connection]
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

    def _start_worker(self) -> None:
        """Start a process if that can be done; those there are, or this one, do its work too."""
        try:
            self._workers.append(WorkerProcess(self._objective, self._seed))
        except (EOFError, OSError) as error:
            warn_caller(
                f"a worker process could not be started ({type(error).__name__}: {error}); the "
                "others, or this process, train its trials; if memory ran out, lower n_jobs"
            )
            time.sleep(_PAUSE_S)

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
            warn_caller(
                f"a worker process died with exit code {death.exit_code}; its trials "
                f"{sorted(worker.trials)} are trained again in this process; if memory ran out, "
                "lower n_jobs"
            )
            for number, params in worker.trials.items():
                self._add_here(number, params)

    def _home(self, params: Params) -> WorkerProcess | Cohort | None:
        ready = []
        for worker in list(self._workers):
            with self._rescued(worker):
                ready += [worker] if worker.is_ready() else []
        if not ready:
            taken = self._local_numbers if self._alone else not self._local.has_room(params)
            return None if taken else self._local
        idle = [worker for worker in ready if not worker.trials]
        if self._alone:
            return next(iter(idle), None)
        group = self.batch_key(params)
        alike = [worker for worker in ready if worker.is_paused and worker.has_room(group)]
        return next(iter([*idle, *alike]), None)


# As in `objectives.training.mlp_cohort`: more members do not make a stack faster.
_MAX_MEMBERS = 16

_PRELOADED = ["torch", "objectives.mlp"]

# A server that was killed needs a moment until it is seen to be gone.
_PAUSE_S = 0.1

# How long a process may take to end before it is killed; one that is stopped takes for ever.
_GRACE_S = 5


class WorkerProcess:
    """One process, as the others see it."""

    def __init__(self, objective: Objective, seed: int) -> None:
        context: Any = multiprocessing.get_context(_start_method())
        self.connection, theirs = context.Pipe()
        self._pid = os.getpid()
        arguments = (theirs, objective, seed)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        try:
            with _nothing_of_main():
                self._process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
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
        if os.getpid() != self._pid:  # forked by a user's code: the process is not its own
            return
        self._process.terminate()
        self._process.join(timeout=_GRACE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self.connection.close()

    def _send(self, *message: Any) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise self._death() from error

    def _receive(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, OSError) as error:  # the latter if it died in the midst of a message
            raise self._death() from error
        if isinstance(message, Exception):
            raise message
        return message

    def _death(self) -> DeadWorkerError:
        self._process.join(timeout=_GRACE_S)
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


def _start_method() -> str:
    """Return how processes are started here; a server that forks them is started if need be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    from multiprocessing import forkserver, resource_tracker  # of POSIX

    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    try:
        resource_tracker.ensure_running()  # first, as it lets signals through when it starts
        with _signals_held():
            forkserver.ensure_running()
    except ChildProcessError:  # the server belongs to the process that this one was forked from
        return "spawn"
    return "forkserver"


# What reaches all processes of a terminal; the one with the study decides what follows.
_OF_TERMINALS = [getattr(signal, n) for n in ("SIGINT", "SIGHUP") if hasattr(signal, n)]


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start a process that a terminal's signals do not reach, not even while it loads."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_MAIN_LOCK = threading.Lock()


@contextmanager
def _nothing_of_main() -> Iterator[None]:
    """Start processes that do not import the user's script, which may lack a main guard.

    One thread at a time, or the second would put the first one's stand-in back for good.
    """
    with _MAIN_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _serve(connection: Connection, objective: Objective, seed: int) -> None:
    """Train what comes through ``connection``, an epoch at each ``go``."""
    import torch

    for signum in _OF_TERMINALS:
        signal.signal(signum, signal.SIG_IGN)
    torch.set_num_threads(1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the other end is gone
        cohort = objective.cohort(seed=seed)
        connection.send({})
        while True:
            try:
                message = connection.recv()
            except EOFError:
                return
            try:
                with ends_forks():
                    answer = _answer(cohort, *message)
            except Exception as error:  # the process with the study deals with it
                connection.send(error)
            else:
                if message[0] in _ANSWERED:
                    connection.send(answer)


_ANSWERED = ("go", "model", "state")


def _answer(cohort: Cohort, what: str, *arguments: Any) -> Any:
    """Do what a message asks for, and return the answer of those in `_ANSWERED`."""
    if what == "go":
        return cohort.train_epoch()
    if what == "model":
        return cohort.model(*arguments)
    if what == "state":
        return savable(cohort).state(*arguments)
    if what == "add_or_restore":
        add_or_restore(cohort, *arguments)
    else:
        cohort.drop(*arguments)
    return None
