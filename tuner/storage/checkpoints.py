"""Checkpoints: trials continue where they were when their process died."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from dataclasses import asdict, dataclass, field

import optuna
from optuna.trial import FrozenTrial

from objectives._messages import warn_caller
from objectives.objective import Cohort, EpochResult, SavableCohort, TrialRecord
from tuner.storage.optuna_internals import RunningTrial
from tuner.storage.study import Session
from tuner.storage.trial_attrs import CHECKPOINT, trial_attr

# By default only trials that last are saved: a short one is as quickly trained again.
_LONG_S = 60.0
_EVERY_EPOCHS = 5

_STATE, _CURVE = "state.pt", "curve.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A trial as it was at the end of an epoch.

    Args:
        state: of its training, as its cohort wrote it.
        results: of the epochs so far.
    """

    state: bytes
    results: list[EpochResult]

    def pack(self) -> bytes:
        """Return all of it as one file, in which nothing is a program."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(_STATE, self.state)
            archive.writestr(_CURVE, json.dumps([asdict(result) for result in self.results]))
        return buffer.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Saved:
        """Return what `pack` wrote.

        Raises:
            ValueError: if it is anything else.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                curve = json.loads(archive.read(_CURVE))
                state = archive.read(_STATE)
            return cls(state=state, results=[EpochResult(**entry) for entry in curve])
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"a checkpoint must be a file of two parts, got {error}") from error


@dataclass(kw_only=True)
class Checkpoints:
    """Saves and loads the trials of one process.

    A trial has two places, which it writes to in turn: the one before stays until the study says
    where the newer one is, so that a process killed in mid-write leaves a whole one.

    Args:
        session: of the study; its artifacts hold the checkpoints.
        checkpoint: True saves every trial each five epochs; None those that have been under way for
            a minute, and again each minute; False none.
    """

    session: Session
    checkpoint: bool | None
    _saved_at: dict[int, float] = field(default_factory=dict)
    _kept: set[int] = field(default_factory=set)
    _failed: bool = False

    def add_or_restore(self, trial: optuna.Trial, record: TrialRecord, cohort: Cohort) -> None:
        """Add a trial to the cohort, from its checkpoint if it has a sound one."""
        self._saved_at[trial.number] = time.monotonic()
        if isinstance(cohort, SavableCohort) and (saved := self._load(trial)) is not None:
            try:
                cohort.restore(trial.number, record.params, saved.state)
            except ValueError as error:
                _say_damaged(trial.number, error)
            else:
                record.results = saved.results
                return
        cohort.add(trial.number, record.params)

    def save_if_due(self, trial: optuna.Trial, record: TrialRecord, cohort: Cohort) -> None:
        """Save a trial that continues, if a checkpoint is due."""
        if not self._is_due(trial.number, record) or not isinstance(cohort, SavableCohort):
            return
        self._saved_at[trial.number] = time.monotonic()
        before = _entry(trial) or {}
        place = "b" if before.get("place") == "a" else "a"
        try:
            state = cohort.state(trial.number)
            content = Saved(state=state, results=record.results).pack()
            self.session.artifacts.write(self._id(trial.number, place), content)
        except Exception as error:  # a store or an optimizer of the user's own may raise anything
            # Not worth the search: trials still come out the same, only from their start.
            self._failed = True
            warn_caller(f"no checkpoint of a trial could be written ({error})")
            return
        self._kept.add(trial.number)
        entry = {"place": place, "sha256": hashlib.sha256(content).hexdigest()}
        if isinstance(trial, RunningTrial):
            trial.write({CHECKPOINT: entry})  # with the reports up to here
        else:
            trial.set_user_attr(CHECKPOINT, entry)

    def forget(self, number: int) -> None:
        """Remove what was saved of a trial that has ended."""
        self._saved_at.pop(number, None)
        if number in self._kept:
            self._kept.discard(number)
            self._remove(number)

    def clear(self) -> None:
        """Remove what processes that died just after a trial's end have left."""
        for trial in self.session.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and _entry(trial) is not None:
                self._remove(trial.number)

    def _is_due(self, number: int, record: TrialRecord) -> bool:
        if not self.session.artifacts or self.checkpoint is False or self._failed:
            return False
        if self.checkpoint:
            return len(record.results) % _EVERY_EPOCHS == 0
        return time.monotonic() - self._saved_at[number] >= _LONG_S

    def _load(self, trial: optuna.Trial) -> Saved | None:
        entry = _entry(trial)
        if entry is None or not self.session.artifacts or self.checkpoint is False:
            return None
        self._kept.add(trial.number)
        try:
            content = self.session.artifacts.read(self._id(trial.number, entry["place"]))
            if content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise ValueError("it is not there" if content is None else "it is another file")
            return Saved.unpack(content)
        except Exception as error:  # a store of the user's own may raise anything
            _say_damaged(trial.number, error)
            return None

    def _remove(self, number: int) -> None:
        if self.session.artifacts:
            self.session.artifacts.remove(*(self._id(number, place) for place in "ab"))

    def _id(self, number: int, place: str) -> str:
        # A study's name may hold what no file name does.
        study = hashlib.sha256(self.session.study.study_name.encode()).hexdigest()[:16]
        return f"checkpoint-{study}-{number}-{place}"


def _entry(trial: FrozenTrial | optuna.Trial) -> dict[str, str] | None:
    entry = trial_attr(trial, CHECKPOINT) or {}
    return entry if entry.get("place") in ("a", "b") and "sha256" in entry else None


def _say_damaged(number: int, error: Exception) -> None:
    warn_caller(f"the checkpoint of trial {number} cannot be used ({error}); the trial starts anew")
