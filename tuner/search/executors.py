"""Several workers on one study through any executor: a pool, Dask, SLURM by submitit."""

from __future__ import annotations

import os
import pickle
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import optuna

from objectives._messages import warn_caller
from tuner.search.loop import Callback, Tuned, show
from tuner.search.plan import Plan
from tuner.search.progress import ProgressBar
from tuner.search.worker import Worker
from tuner.storage.heartbeat import stop_everywhere
from tuner.storage.study import quiet_optuna

_PAUSE_S = 0.5


class Executor(Protocol):
    """What runs functions elsewhere, as those of `concurrent.futures` do."""

    def submit(self, function: Callable[[Share], int], share: Share, /) -> Any:
        """Run the function, and return a future of its result."""


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
    objective: Tuned
    storage: str
    study_name: str
    n_trials: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    index: int = 0

    def __repr__(self) -> str:
        """Return what may be logged: no password, no data."""
        return f"Share(study_name={self.study_name!r}, index={self.index})"


def work(share: Share) -> int:
    """Train trials of the study until it is done; return how many this worker has ended.

    This is what an executor runs, in another process and perhaps on another machine.
    """
    ended: list[int] = []
    with quiet_optuna(), share.plan.session(share.storage, share.study_name) as session:
        worker = Worker(
            plan=share.plan,
            objective=share.objective,
            session=session,
            callbacks=[lambda _, trial: ended.append(trial.number)],
        )
        worker.run(share.n_trials, timeout=share.plan.timeout, run=share.run)
    return len(ended)


def check_executor(
    executor: Any, storage: Any, objective: Tuned, plan: Plan, callbacks: Sequence[Callback]
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
    executor: Executor, n_workers: int, share: Share, study: optuna.Study, progress: ProgressBar
) -> bool:
    """Submit a share to each worker and wait for them; Ctrl-C stops them and returns.

    The executor decides placement, retries and concurrency.

    Args:
        executor: with ``submit``, whose results have ``done`` and ``result``.
        n_workers: shares to submit.
        share: of the first worker; the others differ in the index.
        study: that they work on.
        progress: shows how far they are.

    Returns:
        Whether it was Ctrl-C that ended them.

    Raises:
        Exception: of a worker, if all of them failed.
    """
    shares = [replace(share, index=index) for index in range(n_workers)]
    futures = [executor.submit(work, each) for each in shares]
    interrupted = False
    try:
        _wait(futures, study, progress)
    except KeyboardInterrupt:
        interrupted = True
        stop_everywhere(study, share.run)
        _wait(futures, study, progress)
    errors = [error for future in futures if (error := _error_of(future)) is not None]
    if errors and len(errors) == len(futures):
        raise errors[0]
    for error in errors:
        warn_caller(
            f"a worker ended with an error, the others continued: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}"
        )
    return interrupted


def _wait(futures: list[Any], study: optuna.Study, progress: ProgressBar) -> None:
    while not all(future.done() for future in futures):
        show(study, progress)
        time.sleep(_PAUSE_S)
    show(study, progress)


def _error_of(future: Any) -> Exception | None:
    try:
        future.result()
    except Exception as error:  # whatever it is, the caller raises or tells it
        return error
    return None
