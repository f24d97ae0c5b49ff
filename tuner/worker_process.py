"""One process that trains trials: how the others see it, and what runs in it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from objectives.objective import Cohort, EpochResult, Objective, SavableCohort

# As in `objectives.cohort`: more members do not make a stack faster.
_MAX_MEMBERS = 16

_PRELOADED = ["torch", "objectives.mlp"]


class Worker:
    """One process, as the others see it."""

    def __init__(self, objective: Objective, seed: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, objective, seed), daemon=True)
        with _nothing_of_main():
            self._process.start()
        theirs.close()
        self.trials: dict[int, Mapping[str, Any]] = {}
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

    def add(
        self, number: int, params: Mapping[str, Any], group: Hashable, state: bytes | None
    ) -> None:
        """Give it a trial, to train from its start or from ``state`` on."""
        self._group = group
        self.trials[number] = dict(params)
        self._send("enter", number, dict(params), state)

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


def enter(cohort: Cohort, number: int, params: Mapping[str, Any], state: bytes | None) -> None:
    """Let a trial begin, or go on from a state."""
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
            elif what == "enter":
                enter(cohort, *arguments)
            else:
                cohort.drop(*arguments)
        except Exception as error:  # whatever it is, the process with the study deals with it
            connection.send(error)
