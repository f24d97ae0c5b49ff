"""Run a planned search: open its study, queue the known trials, train, return the outcome."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from objectives._messages import warn_caller
from objectives.objective import PREFIX
from objectives.space.space import describe, searched, to_stored
from tuner.search.executors import Share, check_executor, run_elsewhere
from tuner.search.loop import BestModel, Callback, Tuned, has_cohorts
from tuner.search.plan import Plan, listed_trials, total_trials, with_brought
from tuner.search.progress import ProgressBar
from tuner.search.samplers import make_pruner
from tuner.search.start_from import HasStudy, open_study
from tuner.search.trial_queue import enqueue
from tuner.search.worker import Worker
from tuner.storage.artifacts import Artifacts, ArtifactStore, check_artifact_store, default_folder
from tuner.storage.trial_attrs import OPENINGS, finished, study_attr

if TYPE_CHECKING:
    from objectives.models.ensemble import Library


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search leaves behind.

    Args:
        study: with all trials.
        objective: what was tuned.
        model: number and fitted model of the best trial, if this process trained it.
        library: the best trials that this process has trained; None where none are kept.
        artifacts: where checkpoints and the best trial's model are stored.
        interrupted: whether Ctrl-C ended the search.
        try_params: runs one more configuration in the study; returns its number and model if it is
            the best.
    """

    study: optuna.Study
    objective: Tuned
    model: BestModel | None
    library: Library | None
    artifacts: Artifacts
    interrupted: bool
    try_params: Callable[[dict[str, Any]], BestModel | None]


def optimize(
    plan: Plan,
    objective: Tuned,
    storage: str | os.PathLike[str] | BaseStorage | None,
    study_name: str,
    callbacks: Sequence[Callback],
    show_progress_bar: bool,
    executor: Any = None,
    start_from: str | optuna.Study | HasStudy | None = None,
) -> Outcome:
    """Run ``plan`` until its budget is spent and return the outcome.

    Ctrl-C stops the search early; finished trials are kept.

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
        library=_library(objective),
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
            )
            with ProgressBar(
                total=total, timeout=plan.timeout, metric=plan.metric, enabled=show_progress_bar
            ) as progress:
                worker.interrupted = run_elsewhere(executor, plan.n_jobs, share, study, progress)
    return Outcome(
        study=study,
        objective=objective,
        model=model,
        library=worker.library,
        artifacts=session.artifacts,
        interrupted=worker.interrupted,
        try_params=worker.try_params,
    )


def _library(objective: Tuned) -> Library | None:
    if not (has_cohorts(objective) and hasattr(objective, "held_out")):
        return None
    from objectives.models.ensemble import Library  # torch is loaded, as the objective needs it

    return Library(objective.metric.direction)


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
