"""Calls to Optuna that its documentation does not promise. They are all in this file.

A search needs them to start a trial of a given number, so that its seed follows from the number,
and to return a trial to the queue under its own number. Where an Optuna lacks them (`AVAILABLE`),
the search falls back on `optuna.Study.ask` and `optuna.Study.enqueue_trial`, and a trial that was
cut off runs again under a new number.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.trial_attrs import PARAMS, trial_attr

if TYPE_CHECKING:
    from tuner.storage.study import Session

AVAILABLE = all(
    hasattr(BaseStorage, name)
    for name in (
        "create_new_trial",
        "get_study_id_from_name",
        "get_trial_id_from_study_id_trial_number",
        "set_trial_intermediate_value",
        "set_trial_state_values",
    )
)


View: TypeAlias = Callable[[FrozenTrial], FrozenTrial | None]
"""How a trial looks to those who may not see all of it; None for one that is not to be seen."""


class ViewedStudy(optuna.Study):
    """A study of which samplers and pruners can be shown a part."""

    _views: tuple[int, View] | None = None  # of one thread: that of the signs of life sees all

    @contextmanager
    def seen_through(self, view: View | None) -> Iterator[None]:
        """Show trials through ``view`` for a while in this thread; None shows all as they are."""
        before, self._views = self._views, None if view is None else (threading.get_ident(), view)
        try:
            yield
        finally:
            self._views = before

    @property
    def _view(self) -> View | None:
        if self._views is None or self._views[0] != threading.get_ident():
            return None
        return self._views[1]

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Samplers of Optuna ask for trials by this name.
        if (view := self._view) is None:
            return super()._get_trials(deepcopy, states, use_cache)
        seen = [view(trial) for trial in super()._get_trials(deepcopy=False)]
        shown = [t for t in seen if t is not None and (states is None or t.state in states)]
        return copy.deepcopy(shown) if deepcopy else shown


class RunningTrial(optuna.Trial):
    """A trial that remembers whether the pruner ended it."""

    is_pruned = False

    def should_prune(self) -> bool:
        """Ask the study's pruner as `optuna.Trial.should_prune` does."""
        self.is_pruned = super().should_prune()
        return self.is_pruned

    def set_user_attr(self, key: str, value: Any) -> None:
        """Set a user attribute as `optuna.Trial.set_user_attr` does.

        Raises:
            TypeError: if the storage cannot hold it.
        """
        try:
            super().set_user_attr(key, value)
        except (TypeError, ValueError, RecursionError) as error:
            if _is_json(value):
                raise
            raise TypeError(
                f"user attribute {key!r} of trial {self.number} must be of plain JSON types, got "
                f"{type(value).__name__} ({error}); give numbers, texts, lists or dicts, such as "
                "array.tolist()"
            ) from None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


class RequeuedTrial(RunningTrial):
    """A trial from the queue; reports of an earlier run count only once they are made again.

    Optuna cannot delete a report. A trial that runs again would be judged by what it reported
    before it was cut off, and Optuna would ignore its new reports with a warning.

    Args:
        study: that the trial belongs to.
        trial_id: of the trial in the storage.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        super().__init__(study, trial_id)
        self._id = trial_id
        self._stale = set(self.storage.get_trial(trial_id).intermediate_values)

    def keep_until(self, step: int) -> None:
        """Let the reports up to ``step`` count: training continues after it, from a checkpoint."""
        self._stale = {s for s in self._stale if s > step}

    def report(self, value: float, step: int) -> None:
        """Report as `optuna.Trial.report` does, over what an earlier run reported at the step."""
        if step in self._stale:
            self.storage.set_trial_intermediate_value(self._id, int(step), float(value))
            self._stale.discard(step)
        else:
            super().report(value, step)

    def should_prune(self) -> bool:
        """Ask the study's pruner, which sees this run's reports alone."""
        self.is_pruned = self.study.pruner.prune(self.study, self.judged())
        return self.is_pruned

    def judged(self) -> FrozenTrial:
        """Return the trial as the pruner sees it: with this run's reports alone."""
        # Optuna's own asks a copy that the trial took when it was made.
        trial = copy.copy(self.storage.get_trial(self._id))
        values = trial.intermediate_values
        trial.intermediate_values = {s: v for s, v in values.items() if s not in self._stale}
        return trial


def judged(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """Return a trial as the study's pruner sees it."""
    if isinstance(trial, RequeuedTrial):
        return trial.judged()
    return next(t for t in study.get_trials(deepcopy=False) if t.number == trial.number)


def create_trial(session: Session, template: FrozenTrial) -> int:
    """Create a copy of ``template`` and return its number."""
    storage = session.storage
    study_id = storage.get_study_id_from_name(session.name)
    return storage.get_trial_number_from_id(storage.create_new_trial(study_id, template))


def claim_trial(session: Session, number: int) -> bool:
    """Set a WAITING trial to RUNNING; return False if another process was faster."""
    try:
        return session.storage.set_trial_state_values(
            _trial_id(session, number), state=TrialState.RUNNING
        )
    except UpdateFinishedTrialError:  # so fast that it has ended the trial by now
        return False


def running_trial(session: Session, number: int, *, queued: bool) -> optuna.Trial:
    """Return the handle of a RUNNING trial, whose hyperparameters the study's sampler draws.

    Args:
        session: of the study.
        number: of the trial.
        queued: whether it comes from the queue, and may have reports of an earlier run.
    """
    make = RequeuedTrial if queued else RunningTrial
    return make(session.study, _trial_id(session, number))


def requeue_trial(session: Session, number: int) -> None:
    """Return a RUNNING trial to the queue; others are left alone."""
    trial = next(t for t in session.study.get_trials(deepcopy=False) if t.number == number)
    if trial.state is not TrialState.RUNNING:
        return
    if AVAILABLE:
        session.storage.set_trial_state_values(_trial_id(session, number), state=TrialState.WAITING)
        return
    session.study.tell(number, state=TrialState.FAIL)
    params = trial_attr(trial, PARAMS)
    attributes = {} if params is None else {PARAMS: params}
    session.study.enqueue_trial(trial.params, user_attrs=attributes)


def read_anew(storage: BaseStorage) -> None:
    """Let a journal be read from its beginning, as Ctrl-C may have come between two of its lines.

    Such a line would count as read, and what it says would be missing in this process.
    """
    lock = getattr(storage, "_thread_lock", None)
    if isinstance(storage, JournalStorage) and lock is not None:
        with lock:  # the signs of life use the storage as well
            storage.__setstate__(storage.__getstate__())
            storage.__dict__["_thread_lock"] = lock  # what another thread may be waiting for


def _trial_id(session: Session, number: int) -> int:
    study_id = session.storage.get_study_id_from_name(session.name)
    return session.storage.get_trial_id_from_study_id_trial_number(study_id, number)


def percentile(pruner: BasePruner) -> float | None:
    """Return the share of trials, in percent, that a percentile or median pruner lets pass; None
    for another pruner.
    """
    share = getattr(pruner, "_percentile", None)
    return share if isinstance(pruner, optuna.pruners.PercentilePruner) else None


def last_rung(trial: FrozenTrial) -> int | None:
    """Return the last rung of successive halving that a trial has reached; None if none."""
    prefix = "completed_rung_"
    rungs = [int(k.removeprefix(prefix)) for k in trial.system_attrs if k.startswith(prefix)]
    return max(rungs, default=None)
