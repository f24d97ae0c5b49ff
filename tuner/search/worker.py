"""Run one process's share of a planned search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from optuna.storages import BaseStorage

from objectives.space.space import stored_space
from tuner.search.loop import Callback, Search, run_cohort, run_function
from tuner.search.plan import Plan
from tuner.search.process_cohort import open_cohort
from tuner.search.progress import ProgressBar
from tuner.search.pruners import make_pruner, report_interval
from tuner.search.samplers import LISTED, sampler_source
from tuner.search.start_from import sampler_seed
from tuner.search.trial_queue import Claims
from tuner.storage.artifacts import Artifacts
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.study import TunedStudy

# Trials under way together where they are known beforehand. TPE learns from each trial, so it goes
# one by one.
_N_PARALLEL = 16

# Random trials drawn ahead of time: enough to find alike ones among.
_N_AHEAD = 256


def run_search(
    plan: Plan,
    objective: Any,
    study: TunedStudy,
    storage: BaseStorage,
    *,
    n_trials: int,
    callbacks: Sequence[Callback] = (),
    timeout: float | None = None,
    show_progress_bar: bool = False,
    run: str | None = None,
    only: int | None = None,
) -> tuple[int, Any] | None:
    """Train trials of the study, beside whatever other processes do, until the budget is spent.

    Args:
        plan: the search.
        objective: what is tuned; a function of a trial, or an objective with cohorts.
        study: to work on.
        storage: where it lives.
        n_trials: finished trials in the study at which to stop.
        callbacks: called with study and trial after each trial of this process.
        timeout: seconds; None for no limit.
        show_progress_bar: whether to show how far it is.
        run: of several processes that are stopped together, see `heartbeat.stop_everywhere`.
        only: the one trial to take; None for all.

    Returns:
        Number and model of the best trial if this process trained it.
    """
    study.pruner = make_pruner(plan.pruner, epochs=plan.max_steps)
    deadline = None if timeout is None else time.monotonic() + timeout
    metric = plan.record["metric"] or "value"
    n_jobs = plan.n_jobs if hasattr(objective, "cohort") else 1
    with (
        study.searches(),
        Heartbeat(study, storage, run=run) as heartbeat,
        ProgressBar(
            total=n_trials, timeout=timeout, metric=metric, enabled=show_progress_bar
        ) as progress,
    ):
        search = Search(
            claims=_claims(plan, study, storage, heartbeat, n_trials, only),
            seed=plan.seed,
            deadline=deadline,
            callbacks=callbacks,
            progress=progress,
            n_parallel=n_jobs * (_N_PARALLEL if plan.is_known else 1),
            report_every=report_interval(plan.pruner, epochs=plan.max_steps),
            artifacts=Artifacts(plan.artifact_store),
            checkpoint=plan.checkpoint,
        )
        _run(search, objective, n_jobs)
        return search.best_model


def _claims(
    plan: Plan,
    study: TunedStudy,
    storage: BaseStorage,
    heartbeat: Heartbeat,
    n_trials: int,
    only: int | None,
) -> Claims:
    distributions = stored_space(plan.space)
    return Claims(
        study=study,
        storage=storage,
        space=plan.space,
        source=sampler_source(
            plan.sampler, seed=sampler_seed(study, plan.seed), distributions=distributions
        ),
        n_trials=n_trials,
        heartbeat=heartbeat,
        n_ahead=_N_AHEAD if plan.sampler == "random" and plan.space else 0,
        listed=plan.sampler in LISTED,
        only=only,
    )


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
        search.progress.say(
            "interrupted: finished trials are kept; the same call with a storage goes on"
        )
