"""The one loop: ask while there is room, train together, report, prune or finish, refill."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from objectives.configurations import from_stored, sample, suggest
from objectives.hyperparameters import Hyperparameter
from objectives.objective import Cohort, EpochResult, TrialRecord, trial_seed
from tuner.handed import HandedTrial
from tuner.progress import ProgressBar
from tuner.storage import StorageError
from tuner.study import TunedStudy, hand_out_again

Callback = Callable[[optuna.Study, FrozenTrial], None]

# A user's own code that fails alike in each of the first trials will fail for ever.
_HOPELESS = 3


@dataclass(kw_only=True)
class Search:
    """One process's work on a study: its budget, its trials under way, and the best model so far.

    Args:
        study: to work on.
        storage: where it lives.
        space: the search space; empty where the objective suggests by itself.
        source: gives the sampler for the next trial, see `tuner.samplers.sampler_source`.
        seed: trials' own seeds follow from it and their numbers.
        n_trials: finished trials in the study at which to stop.
        deadline: `time.monotonic` at which to stop, inside trials too; None for no limit.
        callbacks: called with study and trial after each trial.
        progress: shows how far it is.
        n_parallel: trials under way at most.
        n_ahead: trials to draw ahead of time; 0 where one trial's outcome steers the next.
        report_every: epochs from one report to the next; the curve is kept whole all the same.
        listed: whether all trials are queued, so that none is left to sample.
        worker: number of this process.
    """

    study: TunedStudy
    storage: BaseStorage
    space: Mapping[str, Hyperparameter]
    source: Callable[[int], BaseSampler]
    seed: int
    n_trials: int
    deadline: float | None
    callbacks: Sequence[Callback]
    progress: ProgressBar
    n_parallel: int = 1
    n_ahead: int = 0
    report_every: int = 1
    listed: bool = False
    worker: int = 0
    running: dict[int, tuple[optuna.Trial, TrialRecord]] = field(default_factory=dict)
    best_model: tuple[int, Any] | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def direction(self) -> str:
        """Of the study, as a word."""
        return self.study.direction.name.lower()

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def wants_more(self) -> bool:
        """Say whether another trial should be started."""
        if self.study.stop_requested or self.late or len(self.running) >= self.n_parallel:
            return False
        return len(self._finished()) + len(self.running) < self.n_trials

    def start(self, room: Callable[[Mapping[str, Any]], bool]) -> int | None:
        """Start a trial and return its number: a queued one that has room, else a sampled one.

        Queued trials are known beforehand, so those that train as one are started together; each
        keeps its number, and so its seed.

        Returns:
            None if no queued trial has room, or a listed search has no further trial.
        """
        self._queue_ahead()
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for frozen in waiting:
            params = frozen.user_attrs.get("params")
            fits = not self.running if params is None else room(params)
            if fits and (trial := self._claim(frozen.number)) is not None:
                return self._begin(trial)
        if waiting or self.listed:
            return None
        self.study.sampler = self.source(len(self.study.get_trials(deepcopy=False)))
        return self._begin(self.study.ask())

    def _begin(self, trial: optuna.Trial) -> int:
        with warnings.catch_warnings():
            # A value given by hand may lie outside the range; it is meant.
            warnings.filterwarnings("ignore", message="Fixed parameter .* out of range")
            sampled = suggest(self.space, trial)
        params = trial.user_attrs.get("params") or sampled
        seed = trial_seed(self.seed, trial.number)
        record = TrialRecord(
            direction=self.direction,
            params=params,
            seed=seed,
            worker=self.worker,
            has_params="params" in trial.user_attrs,
        )
        self.running[trial.number] = (trial, record)
        return trial.number

    def _claim(self, number: int) -> optuna.Trial | None:
        """Take a queued trial; None if another process was faster."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        if not self.storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
            return None
        self.study.sampler = self.source(number)
        return HandedTrial(self.study, trial_id)

    def _queue_ahead(self) -> None:
        """Draw trials that depend on no other, so that alike ones can train together."""
        trials = self.study.get_trials(deepcopy=False)
        n_left = self.n_trials - sum(t.state.is_finished() for t in trials) - len(self.running)
        n_waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        for _ in range(n_waiting, min(n_left, self.n_ahead)):
            sampler = self.source(len(self.study.get_trials(deepcopy=False)))
            stored = sample(self.space, sampler, self.study)
            self.study.enqueue_trial(stored, user_attrs={"params": from_stored(self.space, stored)})

    def finish(
        self,
        number: int,
        state: TrialState,
        stopped: str,
        value: float | None = None,
        **attributes: Any,
    ) -> None:
        """Write a trial's records, with ``attributes`` over them; tell its state; call back."""
        trial, record = self.running.pop(number)
        for name, attribute in (record.attributes(stopped) | attributes).items():
            trial.set_user_attr(name, attribute)
        with warnings.catch_warnings():
            # Optuna notes that a trial without reports has no value.
            warnings.simplefilter("ignore", UserWarning)
            frozen = self.study.tell(trial, value, state=state)
        self.show()
        for callback in self.callbacks:
            callback(self.study, frozen)

    def fail(self, number: int, error: Exception) -> None:
        """Mark a trial as failed; raise the error if the first trials all failed by it."""
        self.running[number][0].set_user_attr("error", f"{type(error).__name__}: {error}")
        self.errors.append(repr(error))
        self.finish(number, TrialState.FAIL, "error")
        if len(self.errors) == len(self._finished()) == _HOPELESS and len(set(self.errors)) == 1:
            raise error

    def put_back(self) -> None:
        """Return the trials under way to the queue, for another run."""
        self.running.clear()
        hand_out_again(self.study, self.storage)

    def show(self) -> None:
        """Refresh the progress line."""
        finished = self._finished()
        states = [trial.state for trial in finished]
        self.progress.update(
            finished=len(states), pruned=states.count(TrialState.PRUNED),
            failed=states.count(TrialState.FAIL), best=best_value(finished, self.direction),
        )  # fmt: skip

    def _finished(self) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished()]


def run_cohort(search: Search, cohort: Cohort) -> None:
    """Train the study's trials in a cohort until the budget is spent."""
    pending: int | None = None
    while True:
        pending = _fill(search, cohort, pending)
        if not search.running:
            return
        numbers = [number for number in search.running if number != pending]
        try:
            results = cohort.train_epoch()
        except Exception as error:  # a user's own module may raise anything; the study goes on
            for number in numbers:
                cohort.drop(number)
                search.fail(number, error)
            continue
        for number, result in results.items():
            _take(search, cohort, number, result)


def _fill(search: Search, cohort: Cohort, pending: int | None) -> int | None:
    """Add trials while there is room; return the number of one that was started but has none."""
    while pending is not None or search.wants_more():
        if pending is None:
            pending = search.start(cohort.room)
        if pending is None:
            return None
        params = search.running[pending][1].params
        if not cohort.room(params):
            return pending
        try:
            cohort.add(pending, params)
        except Exception as error:  # as above
            search.fail(pending, error)
        pending = None
    return None


def _take(search: Search, cohort: Cohort, number: int, result: EpochResult) -> None:
    """Record one epoch of a trial, and end the trial if something says so."""
    trial, record = search.running[number]
    record.add(result)
    ending = _ending(search, trial, record, result)
    if ending is None:
        return
    state, stopped = ending
    value = record.best.value if state is TrialState.COMPLETE else None
    if value is not None and _is_best(search, value):
        search.best_model = (number, cohort.model(number))
    cohort.drop(number)
    search.finish(number, state, stopped, value)


def _ending(
    search: Search, trial: optuna.Trial, record: TrialRecord, result: EpochResult
) -> tuple[TrialState, str] | None:
    if result.failed:
        return TrialState.PRUNED, str(result.stopped)
    is_step = result.epoch % search.report_every == 0
    if is_step or result.stopped is not None:
        trial.report(result.value, step=result.epoch)
    if result.stopped is not None:
        return TrialState.COMPLETE, result.stopped
    if is_step and trial.should_prune():
        return TrialState.PRUNED, "pruned"
    if search.late:
        return TrialState.COMPLETE, "timeout"
    return None


def _is_best(search: Search, value: float) -> bool:
    best = best_value(search.study.get_trials(deepcopy=False), search.direction)
    if best is None:
        return True
    return value < best if search.direction == "minimize" else value > best


def best_value(trials: Sequence[FrozenTrial], direction: str) -> float | None:
    """Return the best complete trial's value, or None while no trial is complete."""
    complete = [t.value for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    choose = min if direction == "minimize" else max
    return choose(complete) if complete else None


def run_function(search: Search, function: Callable[[optuna.Trial], float]) -> None:
    """Run a user's own ``objective(trial)``, which reports and prunes by itself."""
    while search.wants_more():
        number = search.start(lambda params: True)
        if number is None:
            return
        trial, record = search.running[number]
        start = time.perf_counter()
        try:
            value = float(function(trial))
            state, stopped = TrialState.COMPLETE, "returned"
            if not math.isfinite(value):
                state, stopped = TrialState.PRUNED, f"returned {value}"
        except optuna.TrialPruned:
            state, stopped = TrialState.PRUNED, "pruned"
        except (StorageError, StorageInternalError):  # of a report: it is not the trial's fault
            raise
        except Exception as error:  # the user's code may raise anything; the study goes on
            search.fail(trial.number, error)
            continue
        record.params = {**record.params, **trial.params}
        told = value if state is TrialState.COMPLETE else None
        search.finish(trial.number, state, stopped, told, duration_s=time.perf_counter() - start)
