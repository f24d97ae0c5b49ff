"""The one loop: ask while there is room, train together, report, prune or finish, refill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from objectives.objective import Cohort, EpochResult, TrialRecord
from tuner.search import Search, best_value
from tuner.storage import StorageError


def run_cohort(search: Search, cohort: Cohort) -> None:
    """Train the study's trials in a cohort until the budget is spent."""
    pending: int | None = None
    while True:
        pending = _fill(search, cohort, pending)
        if search.interrupted:
            raise KeyboardInterrupt
        if not search.running:
            if search.waits():
                continue
            return
        numbers = [number for number in search.running if number != pending]
        try:
            results = cohort.train_epoch()
        except Exception as error:  # a user's own module may raise anything; the study goes on
            for number in numbers:
                cohort.drop(number)
                search.fail(number, error)
            continue
        search.progress.tick()
        for number, result in results.items():
            _take(search, cohort, number, result)


def _fill(search: Search, cohort: Cohort, pending: int | None) -> int | None:
    """Add trials while there is room; return the number of one that was started but has none."""
    while pending is not None or search.wants_more():
        if pending is None:
            pending = search.start(cohort.room)
        if pending is None:
            return None
        if not cohort.room(search.running[pending][1].params):
            return pending
        try:
            search.enter(cohort, pending)
        except Exception as error:  # as above
            search.fail(pending, error)
        pending = None
    return None


def _take(search: Search, cohort: Cohort, number: int, result: EpochResult) -> None:
    """Record one epoch of a trial, and end the trial if something says so."""
    trial, record = search.running[number]
    record.add(result)
    try:
        ending = _ending(search, trial, record, result)
    except UpdateFinishedTrialError:  # by another process
        ending = (TrialState.PRUNED, "taken over")
    if ending is None:
        search.checkpoints.save_if_due(trial, record, cohort)
        return
    state, stopped = ending
    value = record.best.value if state is TrialState.COMPLETE else None
    is_best = value is not None and _is_best(search, value)
    if is_best:
        search.best_model = (number, cohort.model(number))
        search.artifacts.keep_model(trial, search.best_model[1])
    cohort.drop(number)
    search.finish(number, state, stopped, value)
    if is_best:
        search.artifacts.clear_models(search.study)


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


def run_function(search: Search, function: Callable[[optuna.Trial], float]) -> None:
    """Run a user's own ``objective(trial)``, which reports and prunes by itself."""
    while search.wants_more():
        number = search.start(lambda params: True)
        if search.interrupted:
            raise KeyboardInterrupt
        if number is None:
            if search.waits():
                continue
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
        except UpdateFinishedTrialError:  # by another process
            state, stopped = TrialState.PRUNED, "taken over"
        except (StorageError, StorageInternalError):  # of a report: it is not the trial's fault
            raise
        except Exception as error:  # the user's code may raise anything; the study goes on
            search.fail(trial.number, error)
            continue
        record.params = {**record.params, **trial.params}
        told = value if state is TrialState.COMPLETE else None
        search.finish(trial.number, state, stopped, told, duration_s=time.perf_counter() - start)
