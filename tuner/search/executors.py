"""Several workers on one study through any executor: a pool, a Dask cluster, SLURM by submitit."""

from __future__ import annotations

import os
import pickle
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from tuner.search.loop import Callback
from tuner.search.plan import Plan
from tuner.search.worker import run_search
from tuner.storage.backends import open_storage, storage_errors
from tuner.storage.heartbeat import stop_everywhere
from tuner.storage.study import TunedStudy, quiet_optuna

_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a worker is sent: everything it needs beside the storage.

    Args:
        plan: the search.
        objective: what is tuned, with its data.
        storage: path or URL of the study's storage, which the worker can reach.
        study_name: of the study.
        n_trials: finished trials in the study at which to stop.
        run: what the workers of one call have in common.
        index: of the worker in this call, which makes each share another.
    """

    plan: Plan
    objective: Any
    storage: str
    study_name: str
    n_trials: int
    run: str
    index: int

    def __repr__(self) -> str:
        """Return what may be logged: no password, no data."""
        return f"Share(study_name={self.study_name!r}, index={self.index})"


def work(share: Share) -> int:
    """Train trials of the study until it is done; return how many this worker has ended.

    This is what an executor runs, in another process and perhaps on another machine.
    """
    opened = open_storage(share.storage)
    ended: list[int] = []
    with storage_errors(share.storage), quiet_optuna():
        study = TunedStudy(study_name=share.study_name, storage=opened)
        run_search(
            share.plan,
            share.objective,
            study,
            opened,
            n_trials=share.n_trials,
            timeout=share.plan.timeout,
            run=share.run,
            callbacks=[lambda _, trial: ended.append(trial.number)],
        )
    return len(ended)


def check_executor(
    executor: Any, storage: Any, objective: Any, plan: Plan, callbacks: Sequence[Callback]
) -> None:
    """Raise unless workers elsewhere can reach the storage and be sent what they need.

    Raises:
        TypeError: if ``executor`` has no ``submit``.
        ValueError: if the storage is not a file or a URL, something cannot be sent, or there are
            callbacks, which would be called nowhere.
    """
    if not hasattr(executor, "submit"):
        raise TypeError(
            "executor must have a submit method as those of concurrent.futures have, got "
            f"{type(executor).__name__}; for Dask give client.get_executor()"
        )
    if callbacks:
        raise ValueError(
            "callbacks must be empty where executor is given, since trials end in its workers, got "
            f"{len(callbacks)}; look at result.study after the search"
        )
    if not isinstance(storage, str | os.PathLike):
        raise ValueError(
            "storage must be a .journal or .db file or a URL where executor is given, since its "
            f"workers share the study through it, got storage={storage!r}"
        )
    try:
        pickle.dumps((objective, plan))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "what is tuned must be something that can be sent to other processes where executor "
            f"is given, got {error}; define functions at the top of an importable file"
        ) from error


def run_elsewhere(
    executor: Any,
    n_workers: int,
    share: Callable[[str, int], Share],
    study: optuna.Study,
    show: Callable[[], None],
) -> None:
    """Submit the shares and wait for them; Ctrl-C stops them and returns.

    Where they run, how often one is tried again and how many run at once is the executor's to say.

    Args:
        executor: with ``submit``, whose results have ``done`` and ``result``.
        n_workers: shares to submit.
        share: makes a worker's share from the run and its index.
        study: that they work on.
        show: called time and again while they work.

    Raises:
        Exception: of a worker, if all of them failed.
    """
    run = uuid.uuid4().hex
    futures = [executor.submit(work, share(run, index)) for index in range(n_workers)]
    try:
        _wait(futures, show)
    except KeyboardInterrupt:
        stop_everywhere(study, run)
        _wait(futures, show)
    errors = [error for future in futures if (error := _error_of(future)) is not None]
    if errors and len(errors) == len(futures):
        raise errors[0]
    for error in errors:
        warnings.warn(
            f"a worker ended by an error, the others went on: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}",
            stacklevel=2,
        )


def _wait(futures: list[Any], show: Callable[[], None]) -> None:
    while not all(future.done() for future in futures):
        show()
        time.sleep(_PAUSE_S)
    show()


def _error_of(future: Any) -> Exception | None:
    try:
        future.result()
    except Exception as error:  # whatever it is, the caller raises or tells it
        return error
    return None
