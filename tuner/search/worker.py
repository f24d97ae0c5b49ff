"""One process's share of a planned search: a `Worker` trains trials until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from objectives.space.space import stored_space
from tuner.search.loop import (
    BestModel,
    Callback,
    RunningTrials,
    Tuned,
    has_cohorts,
    run_cohort,
    run_function,
)
from tuner.search.plan import Plan, given
from tuner.search.process_cohort import ProcessCohort, allowed_jobs, open_cohort
from tuner.search.progress import ProgressBar
from tuner.search.samplers import LISTED, make_pruner, report_interval, sampler_source
from tuner.search.start_from import sampler_seed
from tuner.search.trial_queue import Timetable, TrialQueue, add_to_queue
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.optuna_internals import read_anew
from tuner.storage.study import Session
from tuner.storage.trial_attrs import finished

if TYPE_CHECKING:
    from objectives.models.ensemble import Library

# Trials under way together where they are known beforehand. TPE learns from each trial, so it
# trains one at a time.
_N_PARALLEL = 16

# Random trials drawn ahead of time: enough to find alike ones among.
_N_AHEAD = 256


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

    Attributes:
        interrupted: whether Ctrl-C ended the last run.
    """

    plan: Plan
    objective: Tuned
    session: Session
    callbacks: Sequence[Callback] = ()
    library: Library | None = None
    interrupted: bool = field(default=False, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be sent to another process: all but the callbacks."""
        return self.__dict__ | {"callbacks": ()}

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
                progress=progress,
                n_parallel=n_jobs * (_N_PARALLEL if plan.is_known else 1),
                report_every=report_interval(plan.pruner, epochs=plan.max_steps),
                checkpoint=plan.checkpoint,
                library=self.library,
                held_out=getattr(self.objective, "held_out", None),
            )
            running.show()
            try:
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
        """Run one more trial; return its number and model if it is the best."""
        plan = self.plan
        with self.session as session:
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
