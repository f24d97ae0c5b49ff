"""Run a planned search: open its study, queue the known trials, train, return the outcome."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import psutil
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from objectives._messages import warn_caller
from objectives.objective import PREFIX, Objective
from objectives.space.space import defaults, describe, from_stored, sample, searched, to_stored
from tuner.search.loop import BestModel, Callback, Tuned, Watch, has_cohorts
from tuner.search.plan import Params, Plan, listed_trials, total_trials, with_brought
from tuner.search.progress import ProgressBar
from tuner.search.samplers import LISTED, make_pruner
from tuner.search.start_from import HasStudy, open_study
from tuner.search.trial_queue import enqueue
from tuner.search.worker import Share, Worker, check_executor, library_for, run_elsewhere
from tuner.storage.artifacts import Artifacts, ArtifactStore, check_artifact_store, default_folder
from tuner.storage.backends import storage_errors
from tuner.storage.study import Session, load_study, quiet_optuna
from tuner.storage.trial_attrs import OPENINGS, best_complete, finished, model_id, study_attr

if TYPE_CHECKING:
    from objectives.models.ensemble import Library


# A search of fewer seconds, were each trial the default one and trained to its last epoch, is not
# worth the start of processes; in fact it takes about a third of that.
_WORTH_S = 30.0

# Each process has the table for itself; above so many cells, that takes too much memory.
_MAX_CELLS = 5_000_000


def jobs_that_pay(plan: Plan, objective: Tuned, n_trials: int) -> int:
    """Return in how many processes a search trains where the caller does not say.

    It is all physical cores for a search by TPE that is long enough by its counts (trials, epochs,
    and what an epoch of the default configuration costs), and otherwise one: stacks of known trials
    are fast as they are, and only for tables is it known beforehand what trials cost.
    """
    if plan.is_known or not has_cohorts(objective) or not isinstance(plan.sampler, str):
        return 1
    cost = getattr(objective.cohort(seed=plan.seed), "epoch_cost", None)
    on_cpu = str(getattr(objective, "device", "cpu")) == "cpu"
    if cost is None or not on_cpu or multiprocessing.current_process().daemon:
        return 1
    try:
        pickle.dumps((objective.metric, getattr(objective, "functions", ())))
    except (pickle.PicklingError, AttributeError, TypeError):
        return 1
    seconds = n_trials * plan.max_steps * cost(defaults(plan.space))
    short = min(seconds, math.inf if plan.timeout is None else plan.timeout) < _WORTH_S
    if short or getattr(objective, "n_cells", 0) > _MAX_CELLS:
        return 1
    n_cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):  # of Linux, where a process may have fewer
        n_cores = min(n_cores, len(os.sched_getaffinity(0)))
    return max(1, min(n_cores, n_trials))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search leaves behind.

    Args:
        session: of the study, which has all trials.
        objective: what was tuned.
        model: number and fitted model of the best trial, if this process trained it.
        library: the best trials of this process, or of the executor's workers; None where none are
            kept.
        interrupted: whether Ctrl-C ended the search.
        try_params: runs one more configuration in the study; returns its number and model if it is
            the best.
    """

    session: Session
    objective: Tuned
    model: BestModel | None
    library: Library | None
    interrupted: bool
    try_params: Callable[[dict[str, Any]], BestModel | None]

    @property
    def study(self) -> optuna.Study:
        """The study, with all trials."""
        return self.session.study

    @property
    def artifacts(self) -> Artifacts:
        """Where checkpoints and the best trial's model are stored."""
        return self.session.artifacts

    @property
    def has_model(self) -> bool:
        """Whether the best trial's model is at hand, so that nothing must be trained for it."""
        best = best_complete(self.study)
        if best is None:
            return False
        own = {self.model[0]} if self.model else set()
        own |= self.library.numbers if self.library else set()
        return best.number in own or model_id(best) is not None


def optimize(
    plan: Plan,
    objective: Tuned,
    storage: str | os.PathLike[str] | BaseStorage | None,
    study_name: str,
    callbacks: Sequence[Callback],
    show_progress_bar: bool,
    executor: Any = None,
    start_from: str | optuna.Study | HasStudy | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run ``plan`` until its budget is spent and return the outcome.

    Ctrl-C stops the search early; finished trials are kept. ``watch`` is called with the session in
    this process whenever trials may have ended, wherever they train.

    Raises:
        ValueError: if the plan cannot run; before any training. `StudyMismatchError` if the storage
            holds another study of that name, or ``start_from`` is of another task.
        TypeError: if ``executor`` or ``start_from`` has the wrong type.
    """
    planned = [*plan.firsts, *listed_trials(plan.sampler, plan.space, plan.trials)]
    total = total_trials(plan.n_trials, plan.sampler, planned, plan.timeout)
    make_pruner(plan.pruner, epochs=plan.max_steps)  # raises before anything is stored
    for params in planned:
        to_stored(plan.space, params)  # as above
    if executor is not None:
        check_executor(executor, storage, objective, plan, callbacks)
    plan = replace(plan, record=_record(plan), artifact_store=_artifact_store(plan, storage))
    session = plan.session(storage, study_name)
    worker = Worker(
        plan=plan,
        objective=objective,
        session=session,
        callbacks=callbacks,
        library=library_for(objective),
        watch=watch,
    )
    model = None
    with session:
        open_study(session, start_from, n_trials=plan.n_trials)
        session.record_call(plan.call)
        enqueue(session, planned)
        study, total = session.study, with_brought(session.study, plan, total)
        if plan.sampler == "grid":
            print(f"grid of {len(planned)} trials", file=sys.stderr)
        if study_attr(study.user_attrs, OPENINGS) and len(finished(study)) < total:
            warn_caller(
                f"study {study_name!r} continues after its test split was opened, which is no "
                "longer unseen by what is tuned from here on; keep the first score, or judge on "
                "new data"
            )
        if executor is None:
            model = worker.run(total, timeout=plan.timeout, show_progress_bar=show_progress_bar)
        else:
            location = os.fspath(storage)  # type: ignore[arg-type]  # as `check_executor` knows
            share = Share(
                plan=plan.for_one_process(),
                objective=objective,
                storage=location if "://" in location else str(Path(location).absolute()),
                study_name=study_name,
                n_trials=total,
                n_workers=plan.n_jobs,
            )
            with ProgressBar(
                total=total, timeout=plan.timeout, metric=plan.metric, enabled=show_progress_bar
            ) as progress:
                worker.interrupted = run_elsewhere(
                    executor, share, session, progress, watch=watch, library=worker.library
                )
    return Outcome(
        session=session,
        objective=objective,
        model=model,
        library=worker.library,
        interrupted=worker.interrupted,
        try_params=worker.try_params,
    )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a search would take at most: pruning, patience and trained stacks make it shorter.

    Args:
        n_trials: trials to train.
        seconds: that they take if all train to their last epoch, one after another in each process.
        n_bytes: memory of the processes that train.
    """

    n_trials: int
    seconds: float
    n_bytes: int

    def __str__(self) -> str:
        time_ = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return (
            f"dry run: {self.n_trials} trials to train, at most about {time_}, "
            f"{self.n_bytes / 1e6:.0f} MB of memory; nothing was stored"
        )


# Configurations whose epochs are timed, and seconds after which no further one is.
_N_TIMED, _TIMING_S = 3, 20.0


def estimate(
    plan: Plan,
    objective: Objective,
    storage: str | os.PathLike[str] | BaseStorage | None,
    study_name: str,
) -> Estimate:
    """Time two epochs of a few configurations, and say what the search would take.

    Raises:
        ValueError: if the plan cannot run.
    """
    planned = [*plan.firsts, *listed_trials(plan.sampler, plan.space, plan.trials)]
    total = total_trials(plan.n_trials, plan.sampler, planned, plan.timeout)
    make_pruner(plan.pruner, epochs=plan.max_steps)
    with contextlib.suppress(ValueError, FileNotFoundError), storage_errors(storage):
        total -= len(finished(load_study(storage, study_name))) if storage is not None else 0
    timed: list[float] = []
    start = time.monotonic()
    cohort = objective.cohort(seed=plan.seed)
    for number, params in enumerate(_typical(plan, planned)):
        if timed and time.monotonic() - start > _TIMING_S:
            break
        cohort.add(number, params)
        for _ in range(2):  # the first one also warms up
            before = time.perf_counter()
            ended = cohort.train_epoch()[number].stopped is not None
            seconds = time.perf_counter() - before
            if ended:
                break
        cohort.drop(number)
        timed.append(seconds * int(params["epochs"]))
    n_trials = max(0, total)
    n_jobs = max(1, min(plan.n_jobs, n_trials))
    seconds = n_trials * sum(timed) / len(timed) / n_jobs
    memory = psutil.Process().memory_info().rss * n_jobs
    limit = math.inf if plan.timeout is None else plan.timeout
    return Estimate(n_trials=n_trials, seconds=min(seconds, limit), n_bytes=memory)


def _typical(plan: Plan, planned: Sequence[Params]) -> list[Params]:
    """Return a few of the configurations that the search may train."""
    if plan.sampler in LISTED:
        return list(planned[:: max(1, len(planned) // _N_TIMED)][:_N_TIMED])
    with quiet_optuna():
        study = optuna.create_study()
    sampler = RandomSampler(seed=plan.seed)
    drawn = [from_stored(plan.space, sample(plan.space, sampler, study)) for _ in range(_N_TIMED)]
    return [*planned[:1], *drawn][:_N_TIMED]


def _artifact_store(plan: Plan, storage: Any) -> str | ArtifactStore | None:
    """Return the plan's artifact store, by default the folder beside the study's file."""
    store = plan.artifact_store
    check_artifact_store(store)
    if isinstance(store, str | os.PathLike):
        return str(Path(store).absolute())
    if store is None:
        store = default_folder(storage)
    if plan.checkpoint and store is None:
        raise ValueError(
            "checkpoint=True must have a place to save to, got neither a .journal or .db file as "
            "storage nor an artifact_store; give one"
        )
    return store


def _record(plan: Plan) -> dict[str, Any]:
    sampler, pruner = plan.sampler, plan.pruner
    rows = searched(plan.space)
    return plan.record | {
        "params": list(plan.space),
        "space": describe(plan.space),
        "grid": {n: list(r.grid) for n, r in rows.items()} if plan.sampler == "grid" else None,
        "seed": plan.seed,
        "n_jobs": plan.n_jobs,
        "versions": _versions(),
        "prefix": PREFIX,  # of our attributes; earlier versions had none
        "sampler": sampler if isinstance(sampler, str) else type(sampler).__name__,
        "pruner": pruner if isinstance(pruner, str) else type(pruner).__name__,
    }


def _versions() -> dict[str, str]:
    """Return the versions of what decides how a trial comes out."""
    versions = {"python": platform.python_version()}
    for name in ("fusetune", "optuna", "torch", "torchvision", "scikit-learn", "pandas"):
        # A checkout that was not installed has no version of its own.
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
