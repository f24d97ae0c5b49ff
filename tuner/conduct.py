"""Conduct a planned search: open its study, queue what is known, run the loop, give the result."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from objectives.space import describe, stored_space
from tuner.loop import Callback, Search, run_cohort, run_function
from tuner.plan import Params, Space, given, listed_trials, queue, total_trials
from tuner.progress import ProgressBar
from tuner.pruners import PrunerName, make_pruner, report_interval
from tuner.records import finished
from tuner.result import TuningResult
from tuner.samplers import LISTED, SamplerName, sampler_source
from tuner.storage import open_storage, storage_errors
from tuner.study import OPENINGS, hand_out_again, open_study
from tuner.workers import open_cohort

# Trials under way together where they are known beforehand. TPE learns from each trial, so it goes
# one by one.
_N_PARALLEL = 16

# Random trials drawn ahead of time: enough to find alike ones among.
_N_AHEAD = 256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search is to do; the arguments of `tuner.tune_mlp`, checked.

    Args:
        space: the search space; empty where the objective suggests by itself.
        direction: ``"minimize"`` or ``"maximize"``.
        sampler: see `tuner.samplers`.
        pruner: see `tuner.pruners`.
        n_trials: the study's total of finished trials; None for the sampler's own number.
        timeout: seconds; None for no limit.
        firsts: complete configurations to begin with.
        trials: the configurations of a manual search.
        seed: of the sampler, and of each trial.
        max_steps: reports of a trial at most.
        n_jobs: processes that train.
        record: what the study is about, in plain JSON types.
    """

    space: Space
    direction: str
    sampler: SamplerName | BaseSampler
    pruner: PrunerName | BasePruner
    n_trials: int | None
    timeout: float | None
    firsts: list[dict[str, Any]]
    trials: Sequence[Params] | None
    seed: int
    max_steps: int
    n_jobs: int
    record: dict[str, Any]


def conduct(
    plan: Plan,
    objective: Any,
    storage: str | os.PathLike[str] | BaseStorage | None,
    study_name: str,
    callbacks: Sequence[Callback],
    show_progress_bar: bool,
) -> TuningResult:
    """Run what ``plan`` says and return the result; Ctrl-C returns what there is by then.

    Raises:
        ValueError: for a plan that cannot be run, before any training; `StudyMismatchError` if the
            storage holds another study of that name.
    """
    planned = [*plan.firsts, *listed_trials(plan.sampler, plan.space, plan.trials)]
    total = total_trials(plan.n_trials, plan.sampler, planned, plan.timeout)
    pruner = make_pruner(plan.pruner, epochs=plan.max_steps)
    strict = plan.sampler not in LISTED
    opened = open_storage(storage)
    with storage_errors(storage):
        study = open_study(opened, name=study_name, direction=plan.direction, record=_record(plan))
        study.pruner = pruner
        hand_out_again(study, opened)
        queue(study, plan.space, planned, strict=strict)
    if plan.sampler == "grid":
        print(f"grid of {len(planned)} trials", file=sys.stderr)

    known = plan.sampler in (*LISTED, "random")
    n_jobs = plan.n_jobs if hasattr(objective, "cohort") else 1

    def run(n: int, timeout: float | None, shown: bool) -> tuple[int, Any] | None:
        metric = plan.record["metric"] or "value"
        with ProgressBar(total=n, timeout=timeout, metric=metric, enabled=shown) as progress:
            search = Search(
                study=study,
                storage=opened,
                space=plan.space,
                source=sampler_source(
                    plan.sampler, seed=plan.seed, distributions=stored_space(plan.space)
                ),
                seed=plan.seed,
                n_trials=n,
                deadline=None if timeout is None else time.monotonic() + timeout,
                callbacks=callbacks,
                progress=progress,
                n_parallel=n_jobs * (_N_PARALLEL if known else 1),
                n_ahead=_N_AHEAD if plan.sampler == "random" and plan.space else 0,
                report_every=report_interval(plan.pruner, epochs=plan.max_steps),
                listed=plan.sampler in LISTED,
            )
            with storage_errors(storage):
                _run(search, objective, n_jobs)
            return search.best_model

    def one_more(params: dict[str, Any]) -> tuple[int, Any] | None:
        queue(study, plan.space, [given(plan.space, params)], strict=strict, again=True)
        return run(len(finished(study)) + 1, None, False)

    _warn_if_opened(study, total)
    model = run(total, plan.timeout, show_progress_bar)
    return TuningResult(study=study, objective=objective, model=model, continue_search=one_more)


def _record(plan: Plan) -> dict[str, Any]:
    sampler, pruner = plan.sampler, plan.pruner
    return plan.record | {
        "params": list(plan.space),
        "space": describe(plan.space),
        "seed": plan.seed,
        "versions": {p: version(p) for p in ("optuna", "torch", "scikit-learn", "pandas")},
        "sampler": sampler if isinstance(sampler, str) else type(sampler).__name__,
        "pruner": pruner if isinstance(pruner, str) else type(pruner).__name__,
    }


def _run(search: Search, objective: Any, n_jobs: int) -> None:
    """Run the loop; Ctrl-C ends it and puts the trials under way back into the queue."""
    search.show()
    try:
        if hasattr(objective, "cohort"):
            with open_cohort(objective, seed=search.seed, n_jobs=n_jobs) as cohort:
                run_cohort(search, cohort)
        else:
            run_function(search, objective)
    except KeyboardInterrupt:
        search.put_back()
        print(
            "interrupted: finished trials are kept; the same call with a storage goes on",
            file=sys.stderr,
        )


def _warn_if_opened(study: optuna.Study, total: int) -> None:
    if study.user_attrs.get(OPENINGS) and len(finished(study)) < total:
        warnings.warn(
            f"study {study.study_name!r} goes on after its test split was opened, which is no "
            "longer unseen by what is tuned from here on; keep the first score, or judge on new "
            "data",
            stacklevel=4,
        )
