"""Calls to Optuna that its documentation does not promise. They are all in this file, but for
the studies of `tuner.storage.study`.

A search needs them to start a trial of a given number, so that its seed follows from the number,
and to return a trial to the queue under its own number. Where an Optuna lacks them (`AVAILABLE`),
the search falls back on `optuna.Study.ask` and `optuna.Study.enqueue_trial`, and a trial that was
cut off runs again under a new number.
"""

from __future__ import annotations

import copy
import datetime
import json
import math
import threading
import time
from collections.abc import Container, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    InMemoryStorage,
    JournalStorage,
)
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.database import BATCH, NO_STUDY, changes_id, from_text
from tuner.storage.rows import End, write_to_database
from tuner.storage.trial_attrs import PARAMS, trial_attr

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


class Session(Protocol):
    """A study in its storage, such as `tuner.storage.study.Session`."""

    storage: BaseStorage

    @property
    def study(self) -> optuna.Study:
        """The study."""


# Reports are written this many seconds after the first one that is not, for dashboards and for the
# pruners of other processes that look at trials under way.
_WRITE_AFTER_S = 5.0


class _HeldReports:
    """A storage as one trial uses it: reports are held back, and written many at a time.

    Args:
        storage: of the study.
        trial_id: of the trial in it.
    """

    def __init__(self, storage: BaseStorage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id
        self._reports: dict[int, float] = {}
        self._since = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        """Keep a report, and write all that are kept if the first one has waited for long."""
        if isinstance(self._storage, InMemoryStorage):
            self._storage.set_trial_intermediate_value(trial_id, step, value)
            return
        if not self._reports:
            self._since = time.monotonic()
        self._reports[step] = value
        if time.monotonic() - self._since >= _WRITE_AFTER_S:
            self.write({})

    def write(self, attributes: Mapping[str, Any], end: End | None = None) -> None:
        """Write the reports that are held back, user attributes and how the trial ends, at once."""
        reports, self._reports = self._reports, {}
        write_batch(self._storage, self._trial_id, reports, attributes, end)


class RunningTrial(optuna.Trial):
    """A trial that holds its reports back, and remembers whether the pruner ended it.

    Args:
        study: that the trial belongs to.
        trial_id: of the trial in the storage.

    Attributes:
        given: hyperparameters that are no longer to be drawn, whatever range is suggested.
    """

    is_pruned = False
    given: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        super().__init__(study, trial_id)
        self._held = _HeldReports(self.storage, trial_id)
        self.storage = cast(BaseStorage, self._held)

    def write(self, attributes: Mapping[str, Any]) -> None:
        """Write what is held back, together with user attributes of plain JSON types."""
        self._held.write(attributes)
        self._know(attributes)

    def _know(self, attributes: Mapping[str, Any]) -> None:
        known = self._cached_frozen_trial
        known.user_attrs = {**known.user_attrs, **attributes}

    def end(
        self, state: TrialState, value: float | None, attributes: Mapping[str, Any]
    ) -> FrozenTrial:
        """Write what is held back and end the trial, as `optuna.Study.tell` does.

        Returns:
            The trial as this process knows it.

        Raises:
            UpdateFinishedTrialError: if another process has ended it, or put it back.
        """
        self._know(attributes)
        trial = self._get_latest_trial()
        if state is TrialState.PRUNED and trial.last_step is not None:
            last = trial.intermediate_values[trial.last_step]
            value = None if math.isnan(last) else last
        values = None if value is None else [float(value)]
        study = optuna.pruners._filter_study(self.study, trial)
        try:
            study.sampler.after_trial(study, trial, state, values)
        finally:
            self._held.write(attributes, (state, values))
            getattr(self.study, "renew", lambda: None)()
        trial.state, trial.values = state, values
        trial.datetime_complete = datetime.datetime.now()
        return trial

    @property
    def params(self) -> dict[str, Any]:
        """The hyperparameters so far, with those that are given."""
        return {**super().params, **self.given}

    def _suggest(self, name: str, distribution: Any) -> Any:
        return self.given[name] if name in self.given else super()._suggest(name, distribution)

    def _check_distribution(self, name: str, distribution: Any) -> None:
        if name not in self.given:
            super()._check_distribution(name, distribution)

    def should_prune(self) -> bool:
        """Ask the study's pruner as `optuna.Trial.should_prune` does."""
        self.is_pruned = self.study.pruner.prune(self.study, self.judged())
        return self.is_pruned

    def judged(self) -> FrozenTrial:
        """Return the trial as the pruner sees it."""
        return self._get_latest_trial()

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
        self._stale = set(self._cached_frozen_trial.intermediate_values)

    def keep_until(self, step: int) -> None:
        """Let the reports up to ``step`` count: training continues after it, from a checkpoint."""
        self._stale = {s for s in self._stale if s > step}

    def report(self, value: float, step: int) -> None:
        """Report as `optuna.Trial.report` does, over what an earlier run reported at the step."""
        if step in self._stale:
            self.storage.set_trial_intermediate_value(self._id, int(step), float(value))
            self._cached_frozen_trial.intermediate_values[int(step)] = float(value)
            self._stale.discard(step)
        else:
            super().report(value, step)

    def judged(self) -> FrozenTrial:
        """Return the trial as the pruner sees it: with this run's reports alone."""
        trial = self._get_latest_trial()
        values = trial.intermediate_values
        trial.intermediate_values = {s: v for s, v in values.items() if s not in self._stale}
        return trial


def judged(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """Return a trial as the study's pruner sees it."""
    if isinstance(trial, RunningTrial):
        return trial.judged()
    return next(t for t in study.get_trials(deepcopy=False) if t.number == trial.number)


def create_trial(session: Session, template: FrozenTrial) -> RunningTrial:
    """Create a copy of ``template``, whose hyperparameters it has, and return its handle."""
    trial_id = session.storage.create_new_trial(session.study._study_id, template)
    return RunningTrial(session.study, trial_id)


def claim_trial(session: Session, trial: FrozenTrial) -> bool:
    """Set a WAITING trial to RUNNING; return False if another process was faster."""
    try:
        return session.storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
    except UpdateFinishedTrialError:  # so fast that it has ended the trial by now
        return False


def claimed_trial(session: Session, trial: FrozenTrial) -> optuna.Trial:
    """Return the handle of a trial from the queue, whose hyperparameters the study's sampler draws
    as far as it has none, and which may have reports of an earlier run.
    """
    return RequeuedTrial(session.study, trial._trial_id)


def write_batch(
    storage: BaseStorage,
    trial_id: int,
    reports: Mapping[int, float],
    attributes: Mapping[str, Any],
    end: End | None = None,
) -> None:
    """Write reports and user attributes of a trial, and how it ends, in one message, where the
    storage can do so.

    Raises:
        UpdateFinishedTrialError: if it has ended, or is to end and no longer runs.
    """
    if not reports and not attributes and end is None:
        return None
    with suppress(AttributeError, ImportError):  # of another Optuna
        if isinstance(storage, _CachedStorage):
            write = getattr(storage, "write", partial(write_to_database, storage._backend))
            write(trial_id, reports, attributes, end)
            return None
    level = level_of(storage) if isinstance(storage, GrpcStorageProxy) else 0
    if end is not None and level < 2:
        if storage.get_trial(trial_id).state is not TrialState.RUNNING:
            raise UpdateFinishedTrialError(f"trial {trial_id} was taken over")
        write_batch(storage, trial_id, reports, attributes)
        storage.set_trial_state_values(trial_id, *end)
    elif level:
        texts = {str(step): repr(float(value)) for step, value in reports.items()}
        batch: dict[str, Any] = {"reports": texts, "attributes": dict(attributes)}
        if end is not None:
            values = None if end[1] is None else [repr(value) for value in end[1]]
            batch |= {"state": end[0].name, "values": values}
        storage.set_trial_system_attr(trial_id, BATCH, batch)
    else:
        with suppress(AttributeError, ImportError):  # as above
            if isinstance(storage, JournalStorage):
                return _write_to_journal(storage, trial_id, reports, attributes)
        for step, value in reports.items():
            storage.set_trial_intermediate_value(trial_id, step, value)
        for name, attribute in attributes.items():
            storage.set_trial_user_attr(trial_id, name, attribute)
    return None


def _write_to_journal(
    storage: JournalStorage,
    trial_id: int,
    reports: Mapping[int, float],
    attributes: Mapping[str, Any],
) -> None:
    """Append all lines at once."""
    report, attribute = (
        JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
        JournalOperation.SET_TRIAL_USER_ATTR,
    )
    entries: list[tuple[int, dict[str, Any]]] = [
        (report, {"step": step, "intermediate_value": value}) for step, value in reports.items()
    ]
    entries += [(attribute, {"user_attr": {name: value}}) for name, value in attributes.items()]
    with storage._thread_lock:
        common = {"worker_id": storage._replay_result.worker_id, "trial_id": trial_id}
        storage._backend.append_logs([common | {"op_code": c} | entry for c, entry in entries])
        error = None
        for _ in entries:  # each of them is refused if another process has ended the trial
            try:
                storage._sync_with_backend()
            except UpdateFinishedTrialError as refusal:
                error = refusal
        if error is not None:
            raise error


def level_of(proxy: GrpcStorageProxy) -> int:
    """Return what a proxy can do, which it says of a study that no storage has: 0 what Optuna's
    can, 1 it takes reports and attributes as a batch, 2 a trial's end as well, 3 it also says what
    has changed.
    """
    if (known := vars(proxy).get(BATCH)) is None:
        known = 0
        with suppress(KeyError):
            known = int(proxy.get_study_user_attrs(NO_STUDY).get(BATCH, 0))
        vars(proxy)[BATCH] = known
    return int(known)


class ChangesProxy(GrpcStorageProxy):
    """Optuna's client of a proxy, which asks ours for those trials alone that have changed.

    Optuna's is sent all trials under way each time, and reads each of their distributions anew.

    Args:
        host: of the proxy.
        port: of the proxy.
    """

    def __init__(self, *, host: str, port: int) -> None:
        super().__init__(host=host, port=port)
        self._begin()

    def __getstate__(self) -> dict[Any, Any]:
        left = ("_reading", "_known")
        return {k: v for k, v in super().__getstate__().items() if k not in left}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    def _begin(self) -> None:
        self._reading = threading.Lock()
        self._known: dict[int, tuple[int, dict[int, FrozenTrial]]] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials as Optuna's client does."""
        if level_of(self) < 3:
            return super().get_all_trials(study_id, deepcopy, states)
        try:
            with self._reading:
                every = self._read_changes(study_id)
        except KeyError:  # there is no such study, or another proxy by now
            vars(self).pop(BATCH)
            return super().get_all_trials(study_id, deepcopy, states)
        found = [t for _, t in sorted(every.items()) if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _read_changes(self, study_id: int) -> dict[int, FrozenTrial]:
        version, known = self._known.pop(study_id, (0, {}))
        answer = self.get_study_user_attrs(changes_id(study_id, version))
        trials = [from_text(text) for text in answer["trials"]]
        known = {} if answer["is_whole"] else known
        known.update((trial.number, trial) for trial in trials)
        self._known[study_id] = answer["version"], known
        return known


def study_attrs(session: Session) -> dict[str, Any]:
    """Return a study's user attributes, which are only to be read: `optuna.Study` copies each."""
    return dict(session.storage.get_study_user_attrs(session.study._study_id))


def requeue_trial(session: Session, number: int) -> None:
    """Return a RUNNING trial to the queue; others are left alone."""
    trial = next(t for t in session.study.get_trials(deepcopy=False) if t.number == number)
    if trial.state is not TrialState.RUNNING:
        return
    if AVAILABLE:
        session.storage.set_trial_state_values(trial._trial_id, state=TrialState.WAITING)
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
