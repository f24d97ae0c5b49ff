"""Who trains: a `Worker` in this process, or several elsewhere through any executor: a pool, Dask,
SLURM by submitit.
"""

from __future__ import annotations

import os
import pickle
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from objectives._messages import nearest, warn_caller
from objectives.space.space import stored_space
from tuner.search.loop import (
    BestModel,
    Callback,
    RunningTrials,
    Tuned,
    Watch,
    has_cohorts,
    run_cohort,
    run_function,
    show,
)
from tuner.search.plan import Plan, given
from tuner.search.process_cohort import ProcessCohort, allowed_jobs, open_cohort
from tuner.search.progress import ProgressBar
from tuner.search.samplers import LISTED, make_pruner, report_interval, sampler_source
from tuner.search.start_from import sampler_seed
from tuner.search.trial_queue import Timetable, TrialQueue, add_to_queue
from tuner.storage.heartbeat import Heartbeat, stop_everywhere
from tuner.storage.optuna_internals import read_anew
from tuner.storage.study import Session, quiet_optuna
from tuner.storage.trial_attrs import finished, trial_params

if TYPE_CHECKING:
    from objectives.models.ensemble import Library

# Trials under way together where they are known beforehand. TPE learns from each trial, so it
# trains one at a time.
_N_PARALLEL = 16

# Random trials drawn ahead of time: enough to find alike ones among.
_N_AHEAD = 256

# Between two looks at what the workers of an executor do.
_PAUSE_S = 0.5


# Of a timeout, where the best trials are trained again afterwards.
_KEPT_BACK = 1 / 3


@dataclass(kw_only=True)
class Worker:
    """Trains trials of a study, beside whatever other processes do.

    Args:
        plan: the search.
        objective: what is tuned; a function of a trial, or an objective with cohorts.
        session: of the study.
        callbacks: called with study and trial after each trial of this process.
        library: where this process keeps the best trials; None for nowhere.
        watch: called with the session when trials may have ended, in whatever process.

    Attributes:
        interrupted: whether Ctrl-C ended the last run.
    """

    plan: Plan
    objective: Tuned
    session: Session
    callbacks: Sequence[Callback] = ()
    library: Library | None = None
    watch: Watch | None = None
    interrupted: bool = field(default=False, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be sent to another process: all but what is called in this one."""
        return self.__dict__ | {"callbacks": (), "watch": None}

    def run(
        self,
        n_trials: int,
        *,
        timeout: float | None = None,
        show_progress_bar: bool = False,
        run: str | None = None,
        only: int | None = None,
    ) -> BestModel | None:
        """Train until the budget is spent; Ctrl-C returns the trials under way to the queue.

        Args:
            n_trials: finished trials in the study at which to stop.
            timeout: seconds; None for no limit.
            show_progress_bar: whether to show progress.
            run: of several processes that stop together, see `heartbeat.stop_everywhere`.
            only: the one trial to take; None for all.

        Returns:
            Number and model of the best trial if this process trained it.
        """
        plan, study = self.plan, self.session.study
        study.pruner = make_pruner(plan.pruner, epochs=plan.max_steps)
        deadline = None if timeout is None else time.monotonic() + timeout
        n_jobs = 1
        if has_cohorts(self.objective) and only is None:
            n_jobs = allowed_jobs(plan.n_jobs)
        steered = n_jobs > 1 and not plan.is_known
        with (
            study.searches(),
            Heartbeat(self.session, run=run) as heartbeat,
            ProgressBar(
                total=n_trials, timeout=timeout, metric=plan.metric, enabled=show_progress_bar
            ) as progress,
        ):
            running = RunningTrials(
                queue=self._queue(heartbeat, n_trials, only),
                seed=plan.seed,
                deadline=deadline,
                kept_back_s=_KEPT_BACK * (timeout or 0.0),
                n_finalists=getattr(self.objective, "n_finalists", lambda n_trials: 0),
                callbacks=self.callbacks,
                watch=self.watch,
                progress=progress,
                n_parallel=n_jobs * (_N_PARALLEL if plan.is_known else 1),
                report_every=report_interval(plan.pruner, epochs=plan.max_steps),
                checkpoint=plan.checkpoint,
                library=self.library,
                held_out=getattr(self.objective, "held_out", None),
            )
            try:
                running.show()
                if has_cohorts(self.objective):
                    with open_cohort(
                        self.objective, seed=plan.seed, n_jobs=n_jobs, alone=steered
                    ) as cohort:
                        if steered and isinstance(cohort, ProcessCohort):
                            running.queue.timetable = Timetable(
                                n_machines=cohort.n_machines, cost=cohort.epoch_cost
                            )
                        run_cohort(running, cohort)
                else:
                    run_function(running, self.objective)
            except KeyboardInterrupt:
                self.interrupted = True
                read_anew(self.session.storage)
                running.requeue()
                progress.say(
                    "interrupted: finished trials are kept; repeat the call with a storage to "
                    "continue"
                )
            return running.best_model

    def try_params(self, params: dict[str, Any]) -> BestModel | None:
        """Run one more trial; return its number and model if it is the best.

        Raises:
            ValueError: for a name or a value that the space does not have or, of a function without
                a space, a name that no trial has had.
        """
        plan = self.plan
        with self.session as session:
            tried = {name for trial in session.study.trials for name in trial_params(trial)}
            unknown = sorted(params.keys() - tried)
            if unknown and tried and not plan.space:
                raise ValueError(
                    "params must name hyperparameters that the objective has suggested so far, "
                    f"got {unknown[0]!r}; {nearest(unknown[0], sorted(tried))}"
                )
            add_to_queue(session, given(plan.space, params))
            number = session.study.get_trials(deepcopy=False)[-1].number
            return self.run(len(finished(session.study)) + 1, only=number)

    def _queue(self, heartbeat: Heartbeat, n_trials: int, only: int | None) -> TrialQueue:
        plan, session = self.plan, self.session
        source = sampler_source(
            plan.sampler,
            seed=sampler_seed(session.study, plan.seed),
            distributions=stored_space(plan.space),
        )
        return TrialQueue(
            session=session,
            source=source,
            n_trials=n_trials,
            heartbeat=heartbeat,
            n_ahead=_N_AHEAD if plan.sampler == "random" and plan.space else 0,
            listed=plan.sampler in LISTED,
            only=only,
            stop_after=plan.stop_after,
        )


class Executor(Protocol):
    """What runs functions elsewhere, as those of `concurrent.futures` do."""

    def submit(self, function: Callable[[Share], Ended], share: Share, /) -> Any:
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
        n_workers: of the call.
        run: what the workers of one call have in common.
        index: of the worker in this call, which makes each share another.
    """

    plan: Plan
    objective: Tuned
    storage: str
    study_name: str
    n_trials: int
    n_workers: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    index: int = 0

    def __repr__(self) -> str:
        """Return what may be logged: no password, no data."""
        return f"Share(study_name={self.study_name!r}, index={self.index})"


class Ended(NamedTuple):
    """What a worker gives back.

    Args:
        n_trials: how many it has ended.
        library: the best of them, pickled, as an executor may know less of pickling than a process
            does; None where none are kept.
        problem: why they cannot be sent, if they cannot.
    """

    n_trials: int
    library: bytes | None = None
    problem: str = ""


def library_for(objective: Tuned, *, n_workers: int = 1) -> Library | None:
    """Return where one of some processes keeps its best trials, which share the memory; None for an
    objective that has no use for it.
    """
    if not (has_cohorts(objective) and hasattr(objective, "held_out")):
        return None
    from objectives.models.ensemble import MAX_BYTES, Library  # torch is loaded for the objective

    # Without an ensemble, the best one suffices.
    max_bytes = MAX_BYTES // n_workers if getattr(objective, "ensemble", None) else 0
    return Library(objective.metric.direction, max_bytes=max_bytes)


def work(share: Share) -> Ended:
    """Train trials of the study until it is done; return what came of it.

    This is what an executor runs, in another process and perhaps on another machine.
    """
    library = library_for(share.objective, n_workers=share.n_workers)
    ended: list[int] = []
    with quiet_optuna(), share.plan.session(share.storage, share.study_name) as session:
        worker = Worker(
            plan=share.plan,
            objective=share.objective,
            session=session,
            callbacks=[lambda _, trial: ended.append(trial.number)],
            library=library,
        )
        worker.run(share.n_trials, timeout=share.plan.timeout, run=share.run)
    if not library:
        return Ended(len(ended))
    try:
        return Ended(len(ended), pickle.dumps(library))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return Ended(len(ended), problem=str(error))


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
    executor: Executor,
    share: Share,
    session: Session,
    progress: ProgressBar,
    *,
    watch: Watch | None = None,
    library: Library | None = None,
) -> bool:
    """Submit a share to each worker and wait for them; Ctrl-C stops them and returns.

    The executor decides placement, retries and concurrency.

    Args:
        executor: with ``submit``, whose results have ``done`` and ``result``.
        share: of the first worker; the others differ in the index.
        session: of the study that they work on.
        progress: shows how far they are.
        watch: called here with the session when trials may have ended.
        library: takes in the best trials of the workers that end without an error.

    Returns:
        Whether it was Ctrl-C that ended them.

    Raises:
        Exception: of a worker, if all of them failed.
    """
    shares = [replace(share, index=index) for index in range(share.n_workers)]
    futures = [executor.submit(work, each) for each in shares]
    interrupted = False
    try:
        _wait(futures, session, progress, watch)
    except KeyboardInterrupt:
        interrupted = True
        stop_everywhere(session.study, share.run)
        _wait(futures, session, progress, watch)
    errors = [error for future in futures if (error := _error_of(future)) is not None]
    if errors and len(errors) == len(futures):
        raise errors[0]
    for error in errors:
        warn_caller(
            f"a worker ended with an error, the others continued: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}"
        )
    if library is not None:
        for future in futures:
            if _error_of(future) is None:
                _take_in(library, future.result())
    return interrupted


def _take_in(library: Library, ended: Ended) -> None:
    problem = ended.problem
    if ended.library is not None:
        try:
            library.merge(pickle.loads(ended.library))  # from a worker that this call has started
        except Exception as error:  # a module of the user's own may raise anything
            problem = f"{type(error).__name__}: {error}"
    if problem:
        warn_caller(
            f"the models of a worker cannot be sent here ({problem}), so an ensemble does without "
            "its trials; define the module's class and functions at the top of an importable file"
        )


def _wait(futures: list[Any], session: Session, progress: ProgressBar, watch: Watch | None) -> None:
    is_done = False
    while not is_done:
        is_done = all(future.done() for future in futures)
        show(session.study, progress)
        if watch is not None:
            watch(session)
        if not is_done:
            time.sleep(_PAUSE_S)


def _error_of(future: Any) -> Exception | None:
    try:
        future.result()
    except Exception as error:  # whatever it is, the caller raises or tells it
        return error
    return None
