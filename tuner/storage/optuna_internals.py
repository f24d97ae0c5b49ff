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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, cast

import optuna
from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    InMemoryStorage,
    JournalStorage,
    RDBStorage,
)
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, TrialState

from objectives.objective import PREFIX
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

_BATCH = f"{PREFIX}batch"
_NO_STUDY = -1


End: TypeAlias = tuple[TrialState, list[float] | None]
"""The state that a trial ends in, and its value."""


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
            return _write_to_database(storage, trial_id, reports, attributes, end)
    level = _batches_of(storage) if isinstance(storage, GrpcStorageProxy) else 0
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
        storage.set_trial_system_attr(trial_id, _BATCH, batch)
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


def _write_to_database(
    storage: _CachedStorage,
    trial_id: int,
    reports: Mapping[int, float],
    attributes: Mapping[str, Any],
    end: End | None,
) -> None:
    """Write all rows in one transaction."""
    from optuna.storages._rdb import models
    from optuna.storages._rdb.storage import _create_scoped_session

    database, Value = storage._backend, models.TrialIntermediateValueModel
    with _create_scoped_session(database.scoped_session, True) as session:
        trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=end is not None)
        database.check_trial_is_updatable(trial_id, cast(TrialState, trial.state))
        if end is not None and trial.state != TrialState.RUNNING:
            raise UpdateFinishedTrialError(f"trial {trial_id} was taken over")
        known = {cast(int, row.step): row for row in Value.where_trial_id(trial_id, session)}
        for step, value in reports.items():
            stored, kind = Value.intermediate_value_to_stored_repr(value)
            if (row := known.get(step)) is None:
                session.add(row := Value(trial_id=trial_id, step=step))
            row.intermediate_value, row.intermediate_value_type = stored, kind
        for name, attribute in attributes.items():
            database._set_trial_attr_without_commit(
                session, models.TrialUserAttributeModel, trial_id, name, attribute
            )
        if end is not None:
            for objective, value in enumerate(end[1] or ()):
                database._set_trial_value_without_commit(session, trial, objective, value)
            trial.state, trial.datetime_complete = end[0], datetime.datetime.now()


def _batches_of(proxy: GrpcStorageProxy) -> int:
    """Return what batches a proxy takes, which it says of a study that no storage has: 0 none, as
    those that are not ours, 1 reports and attributes, 2 a trial's end as well.
    """
    if (known := vars(proxy).get(_BATCH)) is None:
        known = 0
        with suppress(KeyError):
            known = int(proxy.get_study_user_attrs(_NO_STUDY).get(_BATCH, 0))
        vars(proxy)[_BATCH] = known
    return int(known)


class BatchedStorage(_CachedStorage):
    """Optuna's storage in a database, with fewer statements for a trial, and fewer messages.

    `optuna.storages.run_grpc_proxy_server` has a message for a system attribute, and none for
    several reports; so they come as one, and are written as what they are.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._fresh: dict[int, FrozenTrial] = {}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; whoever has just made it is given what it was made as."""
        return self._fresh.pop(trial_id, None) or super().get_trial(trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial; one that has but parameters like the others' takes few statements."""
        if template_trial is None or not self._is_plain(study_id, template_trial):
            return super().create_new_trial(study_id, template_trial)
        trial = copy.deepcopy(template_trial)
        # Of another Optuna, or a deadlock, after which Optuna's way tries again.
        with suppress(AttributeError, ImportError, StorageInternalError):
            self._create_at_once(study_id, trial)
            with self._lock:
                self._add_trials_to_cache(study_id, [trial])
            if trial.state is TrialState.RUNNING:
                self._fresh[trial._trial_id] = copy.deepcopy(trial)
            return trial._trial_id
        return super().create_new_trial(study_id, template_trial)

    def _is_plain(self, study_id: int, trial: FrozenTrial) -> bool:
        rest = trial.values or trial.system_attrs or trial.intermediate_values
        with self._lock:
            study = self._studies.get(study_id)
            first = None if study is None else next(iter(study.trials.values()), None)
        return not rest and first is not None and first.distributions == trial.distributions

    def _create_at_once(self, study_id: int, trial: FrozenTrial) -> None:
        from optuna.storages._rdb import models
        from optuna.storages._rdb.storage import _create_scoped_session

        with _create_scoped_session(self._backend.scoped_session) as session:
            # As Optuna does: the number is that of the trials before.
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            row = models.TrialModel(study_id=study_id, number=None, state=trial.state)
            row.datetime_start = trial.datetime_start
            session.add(row)
            session.flush()
            session.add_all(
                models.TrialParamModel(
                    trial_id=row.trial_id,
                    param_name=name,
                    param_value=distribution.to_internal_repr(trial.params[name]),
                    distribution_json=distribution_to_json(distribution),
                )
                for name, distribution in trial.distributions.items()
            )
            session.add_all(
                models.TrialUserAttributeModel(
                    trial_id=row.trial_id, key=name, value_json=json.dumps(value)
                )
                for name, value in trial.user_attrs.items()
            )
            row.number = row.count_past_trials(session)
            trial.number, trial._trial_id = cast(int, row.number), cast(int, row.trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state as Optuna does, which is news to whoever made the trial."""
        self._fresh.pop(trial_id, None)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write a batch, or a system attribute as Optuna does."""
        if key != _BATCH:
            return super().set_trial_system_attr(trial_id, key, value)
        self._fresh.pop(trial_id, None)
        reports = {int(step): float(text) for step, text in value["reports"].items()}
        end, values = None, value.get("values")
        if "state" in value:
            end = TrialState[value["state"]], values and list(map(float, values))
        return write_batch(self, trial_id, reports, value["attributes"], end)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's user attributes, or say that batches are taken."""
        return {_BATCH: 2} if study_id == _NO_STUDY else super().get_study_user_attrs(study_id)


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
