"""Optuna's storage in a database, with fewer statements for a trial, and fewer messages.

What Optuna's documentation does not promise is used here and in `tuner.storage.optuna_internals`
alone. Where another Optuna lacks a name, its own way is taken.
"""

from __future__ import annotations

import copy
import datetime
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from objectives.objective import PREFIX
from tuner.storage.rows import (
    End,
    create_in_database,
    distribution_of,
    statements,
    states_of,
    whole_trials,
    write_to_database,
)

# What a proxy is sent a trial's reports, attributes and end by, as if it were a system attribute.
BATCH = f"{PREFIX}batch"

# Asked for its attributes, our proxy says of this study what it can do.
NO_STUDY = -1

# What other processes write about a trial under way comes into sight after this many seconds.
_LOOK_AGAIN_S = 1.0

# Texts of trials that are kept for the next who asks, and how many asked last need.
_N_TEXTS = 512

# A study and the version of its trials are asked for by one number below zero, of 63 bits.
_VERSION_BITS = 42


def changes_id(study_id: int, since: int) -> int:
    """Return the number by which the trials of a study are asked for that are newer than a version.

    >>> changes_id(3, 1_700_000_000_000) < NO_STUDY
    True
    """
    return -2 - (study_id << _VERSION_BITS | since)


def to_text(trial: FrozenTrial) -> str:
    """Return a trial as JSON, from which `from_text` makes the same one, to the last digit."""
    params = [
        (
            name,
            distribution.to_internal_repr(trial.params[name]),
            distribution_to_json(distribution),
        )
        for name, distribution in trial.distributions.items()
    ]
    times = [t and t.isoformat() for t in (trial.datetime_start, trial.datetime_complete)]
    reports = list(trial.intermediate_values.items())
    who = trial._trial_id, trial.number, trial.state.value
    return json.dumps(
        [*who, trial.values, *times, params, trial.user_attrs, trial.system_attrs, reports]
    )


def from_text(text: str) -> FrozenTrial:
    """Return the trial of a text, see `to_text`."""
    trial_id, number, state, values, start, end, params, user, system, reports = json.loads(text)
    read = {name: (value, distribution_of(described)) for name, value, described in params}
    return FrozenTrial(
        trial_id=trial_id,
        number=number,
        state=TrialState(state),
        value=None,
        values=values,
        datetime_start=start and datetime.datetime.fromisoformat(start),
        datetime_complete=end and datetime.datetime.fromisoformat(end),
        params={name: kind.to_external_repr(value) for name, (value, kind) in read.items()},
        distributions={name: kind for name, (_, kind) in read.items()},
        user_attrs=user,
        system_attrs=system,
        intermediate_values=dict(reports),
    )


class _Changes:
    """Which trials of a study were read, and in what order they last changed.

    Versions begin with the time, so that those of a proxy that was started again are others.
    """

    def __init__(self) -> None:
        self.first = self.version = int(1000 * time.time())
        self._by_number: dict[int, int] = {}  # the latest last
        self._texts: dict[int, str] = {}

    def note(self, trials: Sequence[FrozenTrial]) -> None:
        self.version += bool(trials)
        for trial in trials:
            self._by_number.pop(trial.number, None)
            self._texts.pop(trial.number, None)
            self._by_number[trial.number] = self.version

    def since(self, version: int, trials: Mapping[int, FrozenTrial]) -> dict[str, Any]:
        """Return the texts of the trials newer than a version; all of them if it is of another."""
        is_known = self.first <= version <= self.version
        texts = []
        for number in reversed(self._by_number):
            if is_known and self._by_number[number] <= version:
                break
            if (text := self._texts.get(number)) is None:
                text = self._texts[number] = to_text(trials[number])
                if len(self._texts) > _N_TEXTS:
                    del self._texts[next(iter(self._texts))]
            texts.append(text)
        return {"version": self.version, "is_whole": not is_known, "trials": texts}


class BatchedStorage(_CachedStorage):
    """Optuna's storage in a database, with fewer statements for a trial, and fewer messages.

    Which trials there are and in what states is always read anew. A trial under way is read whole
    once it is seen first, has changed its state, or was written through this storage, and otherwise
    after a second: so late come reports and attributes into sight that another process has written
    to the database. Optuna reads all trials under way whole each time.

    `optuna.storages.run_grpc_proxy_server` has a message for a system attribute, and none for
    several reports; so they come as one, and are written as what they are. It also has none for
    what is new, so that comes as attributes of a study that does not exist, see `changes_id`.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._changes: defaultdict[int, _Changes] = defaultdict(_Changes)
        self._begin()

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    def _begin(self) -> None:
        self._fresh: dict[int, FrozenTrial] = {}
        self._written: set[int] = set()
        self._read_at: dict[int, float] = {}  # trials under way
        self._began: dict[int, float] = {}  # the last reading of a study

    def delete_study(self, study_id: int) -> None:
        """Delete a study as Optuna does; the next one may have its number."""
        super().delete_study(study_id)
        self._changes.pop(study_id, None)
        self._began.pop(study_id, None)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; whoever has just made it is given what it was made as."""
        if (fresh := self._fresh.pop(trial_id, None)) is not None:
            return fresh
        with suppress(AttributeError, ImportError, IndexError), self._lock:  # of another Optuna
            return self._get_cached_trial(trial_id) or self._whole([trial_id])[0]
        return super().get_trial(trial_id)

    def _whole(self, trial_ids: Sequence[int]) -> list[FrozenTrial]:
        from optuna.storages._rdb.storage import _create_scoped_session

        with _create_scoped_session(self._backend.scoped_session) as session:
            return whole_trials(session, trial_ids)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        asked = time.monotonic()
        with suppress(AttributeError, ImportError):  # of another Optuna
            self.get_study_directions(study_id)  # raises if there is no such study
            with self._lock:
                # Another thread may have read it all since this one waits for the lock.
                if self._began.get(study_id, asked) <= asked:
                    self._read_changes(study_id)
            return
        super()._read_trials_from_remote_storage(study_id)

    def _read_changes(self, study_id: int) -> None:
        from optuna.storages._rdb import models
        from optuna.storages._rdb.storage import _create_scoped_session

        now, study = time.monotonic(), self._studies[study_id]
        written = {t for t in set(self._written) if self._study_of(t, study_id) == study_id}
        self._written.difference_update(written)  # before it is read: it may be written again
        try:
            with _create_scoped_session(self._backend.scoped_session) as session:
                last, under_way = study.last_finished_trial_id, study.unfinished_trial_ids
                states = states_of(session, study_id, min({*under_way, last + 1}), last)
                if not states:
                    models.StudyModel.find_or_raise_by_id(study_id, session)
                old = {t for t in states if now - self._read_at.get(t, -math.inf) > _LOOK_AGAIN_S}
                ended = under_way - states.keys()
                other = {t for t, state in states.items() if self._known_state(t) is not state}
                known = written & (under_way | states.keys())
                found = whole_trials(session, sorted(old | ended | other | known))
        except BaseException:
            self._written.update(written)
            raise
        self._began[study_id] = now
        self._add_trials_to_cache(study_id, found)
        states |= {trial._trial_id: trial.state for trial in found}
        done = {trial_id for trial_id, state in states.items() if state.is_finished()}
        study.unfinished_trial_ids = states.keys() - done
        study.last_finished_trial_id = max(done, default=last)
        for trial_id in done:
            self._read_at.pop(trial_id, None)
            self._fresh.pop(trial_id, None)
        self._read_at.update((t._trial_id, now) for t in found if t._trial_id not in done)

    def _study_of(self, trial_id: int, default: int) -> int:
        return self._trial_id_to_study_id_and_number.get(trial_id, (default, 0))[0]

    def _known_state(self, trial_id: int) -> TrialState | None:
        if trial_id not in self._trial_id_to_study_id_and_number:
            return None
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return self._studies[study_id].trials[number].state

    def _add_trials_to_cache(self, study_id: int, trials: list[FrozenTrial]) -> None:
        known = self._studies[study_id].trials
        new = [trial for trial in trials if known.get(trial.number) != trial]
        super()._add_trials_to_cache(study_id, new)
        self._changes[study_id].note(new)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial; one that has but parameters like the others' takes few statements."""
        if template_trial is not None and self._is_plain(study_id, template_trial):
            trial = copy.deepcopy(template_trial)
            # Of another Optuna, or a deadlock, after which Optuna's way tries again.
            with suppress(AttributeError, ImportError, StorageInternalError):
                create_in_database(self._backend, study_id, trial)
                with self._lock:
                    self._add_trials_to_cache(study_id, [trial])
                    self._read_at[trial._trial_id] = time.monotonic()
                if trial.state is TrialState.RUNNING:
                    self._fresh[trial._trial_id] = copy.deepcopy(trial)
                return trial._trial_id
        trial_id = super().create_new_trial(study_id, template_trial)
        with self._writes(trial_id):  # what the database makes of it is yet to be read
            return trial_id

    def _is_plain(self, study_id: int, trial: FrozenTrial) -> bool:
        rest = trial.values or trial.system_attrs or trial.intermediate_values
        with self._lock:
            study = self._studies.get(study_id)
            first = None if study is None else next(iter(study.trials.values()), None)
        if rest or first is None or trial.state.is_finished():
            return False
        return bool(first.distributions == trial.distributions)

    @contextmanager
    def _writes(self, trial_id: int) -> Iterator[None]:
        """Let what is written to a trial be read by whoever asks next."""
        self._fresh.pop(trial_id, None)
        try:
            yield
        finally:
            self._written.add(trial_id)

    def set_trial_param(self, trial_id: int, *rest: Any, **options: Any) -> None:
        """Set a hyperparameter as Optuna does."""
        with self._writes(trial_id):
            super().set_trial_param(trial_id, *rest, **options)

    def set_trial_intermediate_value(self, trial_id: int, *rest: Any, **options: Any) -> None:
        """Set a report as Optuna does."""
        with self._writes(trial_id):
            super().set_trial_intermediate_value(trial_id, *rest, **options)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute as Optuna does."""
        with self._writes(trial_id):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state as Optuna does, which is news to whoever made the trial."""
        with self._writes(trial_id):
            return super().set_trial_state_values(trial_id, state, values)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write a batch, or a system attribute as Optuna does."""
        if key != BATCH:
            with self._writes(trial_id):
                return super().set_trial_system_attr(trial_id, key, value)
        reports = {int(step): float(text) for step, text in value["reports"].items()}
        end, values = None, value.get("values")
        if "state" in value:
            end = TrialState[value["state"]], values and list(map(float, values))
        return self.write(trial_id, reports, value["attributes"], end)

    def write(
        self,
        trial_id: int,
        reports: Mapping[int, float],
        attributes: Mapping[str, Any],
        end: End | None,
    ) -> None:
        """Write a batch, see `write_to_database`."""
        with self._writes(trial_id):
            with suppress(AttributeError, ImportError):  # of another Optuna
                return write_to_database(self._backend, trial_id, reports, attributes, end)
            if end is not None and self.get_trial(trial_id).state is not TrialState.RUNNING:
                raise UpdateFinishedTrialError(f"trial {trial_id} was taken over")
            for step, value in reports.items():
                super().set_trial_intermediate_value(trial_id, step, value)
            for name, attribute in attributes.items():
                super().set_trial_user_attr(trial_id, name, attribute)
            if end is not None:
                super().set_trial_state_values(trial_id, *end)
        return None

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's user attributes; or what this storage can do, or its latest changes."""
        if study_id == NO_STUDY:
            return {BATCH: 3}
        if study_id < NO_STUDY:
            which, since = divmod(-2 - study_id, 1 << _VERSION_BITS)
            self._read_trials_from_remote_storage(which)
            with self._lock:
                return self._changes[which].since(since, self._studies[which].trials)
        with suppress(AttributeError, ImportError):  # of another Optuna
            if found := self._study_attributes(study_id):
                return found
        return super().get_study_user_attrs(study_id)

    def _study_attributes(self, study_id: int) -> dict[str, Any]:
        from optuna.storages._rdb.storage import _create_scoped_session

        with _create_scoped_session(self._backend.scoped_session) as session:
            rows = session.execute(statements().attributes, {"study": study_id}).all()
        return {key: json.loads(text) for key, text in rows}

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a study's user attribute; one that is there takes one statement."""
        with suppress(AttributeError, ImportError):  # of another Optuna
            from optuna.storages._rdb.storage import _create_scoped_session

            which = {"study": study_id, "its_key": key, "text": json.dumps(value)}
            with _create_scoped_session(self._backend.scoped_session) as session:
                done = session.execute(statements().set_attribute, which)
                if cast(Any, done).rowcount > 0:
                    return
        super().set_study_user_attr(study_id, key, value)
