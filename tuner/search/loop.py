"""The one loop: take trials while there is room, train, report, prune or finish, refill."""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from objectives.objective import Cohort, EpochResult, Objective, TrialRecord, trial_seed
from objectives.space.space import defaults, searched, suggest
from tuner.search.plan import Params
from tuner.search.progress import ProgressBar
from tuner.search.samplers import why_pruned
from tuner.search.trial_queue import TrialQueue
from tuner.storage.backends import StorageError
from tuner.storage.checkpoints import Checkpoints
from tuner.storage.optuna_internals import RequeuedTrial, RunningTrial, judged
from tuner.storage.study import Session, TunedStudy
from tuner.storage.trial_attrs import (
    ERROR,
    PRUNED,
    best_complete,
    finished,
    origin_of,
    planned_params,
)

if TYPE_CHECKING:
    from objectives.models.ensemble import Library


def run_cohort(running: RunningTrials, cohort: Cohort) -> None:
    """Train the study's trials in a cohort until the budget is spent."""
    pending: int | None = None
    while True:
        pending = _fill(running, cohort, pending)
        if running.interrupted:
            raise KeyboardInterrupt
        if not running.trials:
            if running.wait_for_others():
                continue
            return
        numbers = [number for number in running.trials if number != pending]
        try:
            with ends_forks():
                results = cohort.train_epoch()
        except Exception as error:  # a user's module may raise anything; the study continues
            for number in numbers:
                cohort.drop(number)
                running.fail(number, error)
            continue
        running.progress.tick()
        for number, result in results.items():
            _take(running, cohort, number, result)


def _fill(running: RunningTrials, cohort: Cohort, pending: int | None) -> int | None:
    """Add trials while there is room; return the number of one that was started but has none."""
    while pending is not None or running.wants_more():
        if pending is None:
            pending = running.start(cohort.has_room)
        if pending is None:
            return None
        if not cohort.has_room(running.trials[pending][1].params):
            return pending
        try:
            with ends_forks():
                running.add_or_restore(cohort, pending)
        except Exception as error:  # as above
            running.fail(pending, error)
        pending = None
    return None


def _take(running: RunningTrials, cohort: Cohort, number: int, result: EpochResult) -> None:
    """Record one epoch of a trial, and end the trial if something says so."""
    trial, record = running.trials[number]
    record.add(result)
    running.queue.note(number, len(record.results))
    try:
        with running.queue.seen_by(number):
            ending = _ending(running, trial, record, result)
        if ending is None:
            running.checkpoints.save_if_due(trial, record, cohort)
            return
    except UpdateFinishedTrialError:  # by another process
        ending = (TrialState.PRUNED, "taken over")
    state, stopped = ending
    value = record.best.value if state is TrialState.COMPLETE else None
    may_be_best = value is not None and _may_be_best(running, value)
    keeps = value is not None and running.would_keep(value, record)
    model = cohort.model(number) if may_be_best or keeps else None
    cohort.drop(number)  # before its model predicts, which takes memory as well
    if keeps and value is not None and model is not None:
        running.keep(number, value, record, model)
    if may_be_best and model is not None:
        running.artifacts.keep_model(trial, model)
    running.finish(number, state, stopped, value)
    if may_be_best and model is not None:
        best = best_complete(running.study)
        if best is not None and best.number == number:
            running.best_model = (number, model)
        running.artifacts.clear_models(running.study)


def _ending(
    running: RunningTrials, trial: optuna.Trial, record: TrialRecord, result: EpochResult
) -> tuple[TrialState, str] | None:
    if result.failed:
        return TrialState.PRUNED, str(result.stopped)
    is_step = result.epoch % running.report_every == 0
    if is_step or result.stopped is not None:
        trial.report(result.value, step=result.epoch)
    if result.stopped is not None:
        return TrialState.COMPLETE, result.stopped
    if is_step and trial.should_prune():
        return TrialState.PRUNED, why_pruned(running.study, judged(running.study, trial))
    if running.late:
        return TrialState.COMPLETE, "timeout"
    return None


def _may_be_best(running: RunningTrials, value: float) -> bool:
    """Whether a trial that ends with ``value`` may become the study's best.

    Which of two equal ones does, and which keeps within constraints, only Optuna says, afterwards.
    """
    best = best_complete(running.study)
    if best is None or best.value is None:
        return True
    return value <= best.value if running.direction == "minimize" else value >= best.value


def run_function(running: RunningTrials, function: Callable[[optuna.Trial], float]) -> None:
    """Run a user's own ``objective(trial)``, which reports and prunes by itself."""
    while running.wants_more():
        number = running.start(lambda params: True)
        if running.interrupted:
            raise KeyboardInterrupt
        if number is None:
            if running.wait_for_others():
                continue
            return
        trial, record = running.trials[number]
        if isinstance(trial, RunningTrial):
            trial.given = {name: record.params[name] for name in running.queue.session.space}
        start = time.perf_counter()
        try:
            with ends_forks():
                value = _number(function(trial), number)
            state, stopped = TrialState.COMPLETE, "returned"
            if not math.isfinite(value):
                state, stopped = TrialState.PRUNED, f"returned {value}"
        except optuna.TrialPruned as error:
            state = TrialState.PRUNED
            if getattr(trial, "is_pruned", True):
                stopped = why_pruned(running.study, judged(running.study, trial), step="step")
            else:
                stopped = f"{PRUNED} by the objective" + (f": {error}" if str(error) else "")
        except UpdateFinishedTrialError:  # by another process
            state, stopped = TrialState.PRUNED, "taken over"
        except (StorageError, StorageInternalError):  # of a report: it is not the trial's fault
            raise
        except Exception as error:  # the user's code may raise anything; the study continues
            running.fail(trial.number, error)
            continue
        _note_params(running, trial, record)
        told = value if state is TrialState.COMPLETE else None
        running.finish(trial.number, state, stopped, told, duration_s=time.perf_counter() - start)


def _number(value: Any, number: int) -> float:
    """Return what an objective returned in trial ``number`` as a number."""
    try:
        if isinstance(value, np.generic | np.ndarray) and np.iscomplexobj(value):
            raise TypeError("of which float() would drop the imaginary part")
        return float(value)
    except Exception:  # an object of the user's own may raise anything
        shape = getattr(value, "shape", ())
        what = "None" if value is None else type(value).__name__
        what += f" of shape {tuple(shape)}" if shape else ""
        raise TypeError(
            f"objective must return a number, got {what} in trial {number}; return the value to "
            "tune, such as float(loss)"
        ) from None


def _note_params(running: RunningTrials, trial: optuna.Trial, record: TrialRecord) -> None:
    """Note what a function has trained: the space's configuration, and what it has suggested."""
    space = running.queue.session.space
    stored_names = {row.stored_name for row in space.values()}
    suggested = {k: v for k, v in trial.params.items() if k not in stored_names}
    params = {**(record.params if space else {}), **suggested}
    record.has_params = record.has_params and params == record.params
    record.params = params


Callback = Callable[[optuna.Study, FrozenTrial], None]
Watch = Callable[[Session], None]
BestModel: TypeAlias = tuple[int, Any]  # number and fitted model of a trial
Tuned: TypeAlias = Objective | Callable[[optuna.Trial], float]


def has_cohorts(objective: Tuned) -> TypeGuard[Objective]:
    """Whether trials of the objective train side by side, in cohorts."""
    return hasattr(objective, "cohort")


# Code that raises the same error in each of the first trials will never succeed.
_HOPELESS = 3

_ERROR_LENGTH = 300  # characters of an error that a study keeps
_PAUSE_S = 0.5  # between two looks at what other processes do


@dataclass(kw_only=True)
class RunningTrials:
    """One process's trials under way, its budget, and the best model so far.

    Args:
        queue: gives the process its trials.
        seed: trials' own seeds follow from it and their numbers.
        deadline: `time.monotonic` at which to stop, inside trials too; None for no limit.
        kept_back_s: seconds to stop earlier where ``n_finalists`` of the trials train again.
        callbacks: called with study and trial after each trial.
        watch: called with the session when trials may have ended.
        progress: shows how far it is.
        n_parallel: trials under way at most.
        report_every: epochs from one report to the next; the curve is kept whole all the same.
        library: where the best trials are kept that may predict together; None for nowhere.
        held_out: gives what a trial's model predicts for held-out rows.
        checkpoint: which trials are saved on the way, see `tuner.storage.checkpoints.Checkpoints`.
    """

    queue: TrialQueue
    seed: int
    deadline: float | None
    kept_back_s: float = 0.0
    n_finalists: Callable[[int], int] = field(default=lambda n_trials: 0)
    callbacks: Sequence[Callback]
    progress: ProgressBar
    watch: Watch | None = None
    n_parallel: int = 1
    report_every: int = 1
    checkpoint: bool | None = False
    library: Library | None = None
    held_out: Callable[[Any], Any] | None = None
    trials: dict[int, tuple[optuna.Trial, TrialRecord]] = field(default_factory=dict)
    best_model: BestModel | None = None
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Clear away what processes that died have left."""
        session = self.queue.session
        self.checkpoints = Checkpoints(session=session, checkpoint=self.checkpoint)
        self.artifacts = session.artifacts
        if self.artifacts:
            self.checkpoints.clear()
            self.artifacts.clear_models(self.study)

    @property
    def study(self) -> TunedStudy:
        """The study worked on."""
        return self.queue.study

    @property
    def direction(self) -> str:
        """Of the study, as a word."""
        return self.study.direction.name.lower()

    @property
    def late(self) -> bool:
        """Whether the time is up, or what is left is for training the best trials again."""
        now = time.monotonic()
        if self.deadline is None or now < self.deadline - self.kept_back_s:
            return False
        return now >= self.deadline or self.n_finalists(len(finished(self.study))) > 0

    @property
    def interrupted(self) -> bool:
        """Whether the run is to stop in all its processes."""
        return self.queue.heartbeat.stopped.is_set()

    def would_keep(self, value: float, record: TrialRecord) -> bool:
        """Say whether a complete trial goes into the library."""
        if self.library is None or self.held_out is None:
            return False
        return self.library.would_keep(value) or self._is_default(record)

    def keep(self, number: int, value: float, record: TrialRecord, model: Any) -> None:
        """Take a complete trial into the library, with what its model predicts."""
        if self.library is not None and self.held_out is not None:
            predictions, is_default = self.held_out(model), self._is_default(record)
            self.library.add(number, value, model, predictions, is_default=is_default)

    def _is_default(self, record: TrialRecord) -> bool:
        return dict(record.params) == defaults(self.queue.session.space)

    def wants_more(self) -> bool:
        """Whether another trial should be started, if there is one."""
        return not (self.study.stop_requested or self.late or len(self.trials) >= self.n_parallel)

    def wait_for_others(self) -> bool:
        """Wait while other processes train the last trials, which are this one's if they die.

        Returns:
            Whether there may be something to do again.
        """
        if not self.wants_more() or not self.queue.others_at_work():
            return False
        time.sleep(_PAUSE_S)
        self.show()
        return True

    def start(self, has_room: Callable[[Params], bool]) -> int | None:
        """Start the next trial and return its number; None if there is none for this process."""
        while (trial := self.queue.take(has_room)) is not None:
            try:
                with self.queue.seen_by(trial.number):
                    return self._begin(trial)
            except UpdateFinishedTrialError:  # by another process, which took this one for dead
                self.queue.heartbeat.trials.discard(trial.number)
        return None

    def _begin(self, trial: optuna.Trial) -> int:
        space = self.queue.session.space
        with warnings.catch_warnings():
            # A value given by hand may lie outside the range; it is meant.
            warnings.filterwarnings("ignore", message="Fixed parameter .* out of range")
            params = suggest(space, trial)
        if (planned := planned_params(trial)) is not None:
            # What the study's parameters say is trained, whatever was planned.
            params = planned | {name: params[name] for name in searched(space)}
        seed = trial_seed(self.seed, trial.number)
        record = TrialRecord(
            direction=self.direction,
            params=params,
            seed=seed,
            worker=self.queue.heartbeat.number,
            has_params=params == planned,
        )
        self.trials[trial.number] = (trial, record)
        self.queue.note(trial.number, 0, params)
        return trial.number

    def add_or_restore(self, cohort: Cohort, number: int) -> None:
        """Add a started trial to the cohort, from its checkpoint if there is one."""
        trial, record = self.trials[number]
        self.checkpoints.add_or_restore(trial, record, cohort)
        if record.results and isinstance(trial, RequeuedTrial):
            trial.keep_until(record.results[-1].epoch)

    def finish(
        self,
        number: int,
        state: TrialState,
        stopped: str,
        value: float | None = None,
        *,
        duration_s: float | None = None,
        error: str | None = None,
    ) -> None:
        """Write a trial's records, tell its state, and call the callbacks.

        A trial that another process has ended, taking this one for dead, is left alone.
        """
        trial, record = self.trials.pop(number)
        self.queue.note(number, None)
        failed = {} if error is None else {ERROR: error}
        written = record.attributes(stopped, duration_s=duration_s) | failed
        try:
            frozen = self._tell(trial, value, state, written)
        except UpdateFinishedTrialError:
            self.queue.heartbeat.trials.discard(number)
            return
        self.queue.heartbeat.trials.discard(number)
        self.checkpoints.forget(number)
        self.show()
        for callback in self.callbacks:
            with ends_forks():
                callback(self.study, frozen)

    def _tell(
        self, trial: optuna.Trial, value: float | None, state: TrialState, written: dict[str, Any]
    ) -> FrozenTrial:
        if isinstance(trial, RunningTrial):
            return trial.end(state, value, written)
        for name, attribute in written.items():
            trial.set_user_attr(name, attribute)
        with warnings.catch_warnings():
            # Optuna notes that a trial without reports has no value.
            warnings.simplefilter("ignore", UserWarning)
            try:
                return self.study.tell(trial, value, state=state)
            except ValueError:
                if self.study.trials[trial.number].state is TrialState.RUNNING:
                    raise
                raise UpdateFinishedTrialError(f"trial {trial.number} was taken over") from None

    def fail(self, number: int, error: Exception) -> None:
        """Mark a trial as failed; raise the error if the first trials all failed by it."""
        text = _first_line(error)
        self.errors.append(text.replace(f"trial {number}", "trial"))
        self.finish(number, TrialState.FAIL, "error", error=text)
        if len(self.errors) == self._n_own() == _HOPELESS and len(set(self.errors)) == 1:
            raise error

    def requeue(self) -> None:
        """Return the trials under way to the queue."""
        self.trials.clear()
        self.queue.heartbeat.requeue()

    def show(self) -> None:
        """Refresh the progress line, and let the study be watched."""
        show(self.study, self.progress)
        if self.watch is not None:
            self.watch(self.queue.session)

    def _n_own(self) -> int:
        """Count the finished trials, without those that another study brought in."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state.is_finished() and origin_of(t) is None for t in trials)


def _first_line(error: Exception) -> str:
    """Return an error's kind and first line, as far as a table shows it."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # of the user's own, which may raise anything here, too
        lines = []
    text = ": ".join([type(error).__name__, *lines[:1]])
    return text.encode("utf-8", "backslashreplace").decode()[:_ERROR_LENGTH]


def show(study: optuna.Study, progress: ProgressBar) -> None:
    """Refresh the progress line of a study; a line that is not shown costs no look at the study."""
    if not progress.is_shown:
        return
    trials = finished(study)
    states = [trial.state for trial in trials]
    progress.update(
        finished=len(states),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        best=best_value(trials, study.direction.name.lower()),
    )


def best_value(trials: Sequence[FrozenTrial], direction: str) -> float | None:
    """Return the best complete trial's value, or None while no trial is complete."""
    complete = [t.value for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    choose = min if direction == "minimize" else max
    return choose(complete) if complete else None


@contextmanager
def ends_forks() -> Iterator[None]:
    """Run a user's code; a process that it has forked ends when it leaves this context.

    Such a copy has the study, the signs of life and the locks of this process, but none of its
    threads. If it went on, it would sign this process out, or wait for ever.
    """
    pid = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != pid:
            _end(error)
        raise
    if os.getpid() != pid:
        _end(None)


def _end(error: BaseException | None) -> None:
    """End this process with the exit code that Python would give it, and without exit handlers."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as under pythonw
            stream.flush()
    os._exit(code & 0xFF)
