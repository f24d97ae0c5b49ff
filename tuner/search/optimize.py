"""Run a planned search: open its study, queue the known trials, train, return the outcome."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from objectives.space.space import describe, searched
from tuner.search.executors import Share, check_executor, run_elsewhere
from tuner.search.loop import Callback, show
from tuner.search.plan import (
    Plan,
    Space,
    given,
    listed_trials,
    missing,
    queue,
    total_trials,
    with_brought,
)
from tuner.search.progress import ProgressBar
from tuner.search.pruners import make_pruner
from tuner.search.samplers import LISTED
from tuner.search.start_from import HasStudy, begin_with, find_source
from tuner.search.worker import run_search
from tuner.storage.artifacts import Artifacts, check_artifact_store, default_folder
from tuner.storage.backends import open_storage, storage_errors
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.study import CALL, OPENINGS, TunedStudy, open_study
from tuner.storage.trial_attrs import finished


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search leaves behind.

    Args:
        study: with all trials.
        objective: what was tuned.
        model: number and fitted model of the best trial, if this process trained it.
        artifacts: where checkpoints and the best trial's model are stored.
        try_params: runs one more configuration in the study; returns its number and model if it is
            the best.
    """

    study: optuna.Study
    objective: Any
    model: tuple[int, Any] | None
    artifacts: Artifacts
    try_params: Callable[[dict[str, Any]], tuple[int, Any] | None]


def optimize(
    plan: Plan,
    objective: Any,
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
    strict = plan.sampler not in LISTED
    make_pruner(plan.pruner, epochs=plan.max_steps)  # raises before anything is stored
    if executor is not None:
        check_executor(executor, storage, objective, plan, callbacks)
    plan = _with_artifacts(plan, storage)
    opened = open_storage(storage)
    with storage_errors(storage):
        study = _begin(opened, plan, study_name, start_from)
        _queue_once(study, opened, plan.space, planned, strict)
        total = with_brought(study, plan, total)
    if plan.sampler == "grid":
        print(f"grid of {len(planned)} trials", file=sys.stderr)

    def run(n: int, timeout: float | None, shown: bool, only: int | None) -> Any:
        with storage_errors(storage):
            return run_search(
                plan,
                objective,
                study,
                opened,
                n_trials=n,
                callbacks=callbacks,
                timeout=timeout,
                show_progress_bar=shown,
                only=only,
            )

    def one_more(params: dict[str, Any]) -> tuple[int, Any] | None:
        with storage_errors(storage):
            queue(study, plan.space, [given(plan.space, params)], strict=strict)
            number = study.get_trials(deepcopy=False)[-1].number
        return run(len(finished(study)) + 1, None, False, number)  # type: ignore[no-any-return]

    _warn_if_opened(study, total)
    model = None
    if executor is None:
        model = run(total, plan.timeout, show_progress_bar, None)
    else:
        where = os.fspath(storage)  # type: ignore[arg-type]  # as `check_executor` has found
        share = _sharing(plan, objective, where, study_name, total)
        with storage_errors(storage):
            _delegate(executor, plan, share, study, total, show_progress_bar)
    return Outcome(
        study=study,
        objective=objective,
        model=model,
        artifacts=Artifacts(plan.artifact_store),
        try_params=one_more,
    )


def _begin(opened: BaseStorage, plan: Plan, name: str, start_from: Any) -> TunedStudy:
    """Open the study, with the trials of the one that it is to begin with."""
    record = _record(plan)
    source = find_source(opened, start_from, name=name, direction=plan.direction, record=record)
    study = open_study(opened, name=name, direction=plan.direction, record=record)
    if source is not None:
        begin_with(study, opened, source, space=plan.space, n_trials=plan.n_trials)
    _note_call(study, plan.call)
    return study


def _queue_once(
    study: TunedStudy,
    opened: BaseStorage,
    space: Space,
    planned: list[dict[str, Any]],
    strict: bool,
) -> None:
    """Queue the planned trials; of several processes that begin at once one does, others wait."""
    if not missing(study, planned):
        return
    with Heartbeat(study, opened, task="queueing trials") as heartbeat:
        heartbeat.wait_for_turn()
        queue(study, space, missing(study, planned), strict=strict)


def _note_call(study: TunedStudy, call: dict[str, Any]) -> None:
    """Keep the latest call, and where its data lay at first: workers may have them elsewhere."""
    there = study.user_attrs.get(CALL)
    if there is None or there["options"] != call["options"]:
        study.set_user_attr(CALL, call if there is None else call | {"dataset": there["dataset"]})


def _with_artifacts(plan: Plan, storage: Any) -> Plan:
    """Return the plan with the folder beside the study's file where no artifact store is given."""
    store = plan.artifact_store
    check_artifact_store(store)
    if isinstance(store, str | os.PathLike):
        store = str(Path(store).absolute())
    if store is None:
        store = default_folder(storage)
    if plan.checkpoint and store is None:
        raise ValueError(
            "checkpoint=True must have a place to save to, got neither a .journal or .db file as "
            "storage nor an artifact_store; give one"
        )
    return replace(plan, artifact_store=store)


def _sharing(
    plan: Plan, objective: Any, storage: str, study_name: str, total: int
) -> Callable[[str, int], Share]:
    if "://" not in storage:
        storage = str(Path(storage).absolute())

    def share(run: str, index: int) -> Share:
        return Share(
            plan=plan.for_one_process(),
            objective=objective,
            storage=storage,
            study_name=study_name,
            n_trials=total,
            run=run,
            index=index,
        )

    return share


def _delegate(
    executor: Any,
    plan: Plan,
    share: Callable[[str, int], Share],
    study: TunedStudy,
    total: int,
    show_progress_bar: bool,
) -> None:
    metric = plan.record["metric"] or "value"
    with ProgressBar(
        total=total, timeout=plan.timeout, metric=metric, enabled=show_progress_bar
    ) as progress:
        run_elsewhere(executor, plan.n_jobs, share, study, lambda: show(study, progress))


def _record(plan: Plan) -> dict[str, Any]:
    sampler, pruner = plan.sampler, plan.pruner
    rows = searched(plan.space)
    return plan.record | {
        "params": list(plan.space),
        "space": describe(plan.space),
        "grid": {n: list(r.grid) for n, r in rows.items()} if plan.sampler == "grid" else None,
        "seed": plan.seed,
        "versions": _versions(),
        "sampler": sampler if isinstance(sampler, str) else type(sampler).__name__,
        "pruner": pruner if isinstance(pruner, str) else type(pruner).__name__,
    }


def _versions() -> dict[str, str]:
    """Return the versions of what decides how a trial comes out."""
    found = {"python": platform.python_version()}
    for name in ("fusetune", "optuna", "torch", "torchvision", "scikit-learn", "pandas"):
        # A checkout that was not installed has no version of its own.
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _warn_if_opened(study: optuna.Study, total: int) -> None:
    if study.user_attrs.get(OPENINGS) and len(finished(study)) < total:
        warnings.warn(
            f"study {study.study_name!r} goes on after its test split was opened, which is no "
            "longer unseen by what is tuned from here on; keep the first score, or judge on new "
            "data",
            stacklevel=4,
        )
