"""Open a study or resume it, but never a different one: `Session` and what it checks."""

from __future__ import annotations

import copy
import os
import threading
import time
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from objectives._messages import warn_caller
from objectives.space.hyperparameter import Space
from tuner.storage.artifacts import Artifacts, ArtifactStore
from tuner.storage.backends import open_storage, storage_errors
from tuner.storage.trial_attrs import CALL, RECORD, started, study_attr

OWN = "own"
"""What a study records as the objective of a user's own function."""

# Two studies that differ in one of these would mix trials that cannot be compared.
_COMPARED = (
    "objective",
    "metric",
    # before the space, which these may change
    "build",
    "loss",
    "optimizer",
    "schedule",
    "clip",
    "space",
    "recipe",
    "patience",
    "n_repeats",
    "precision",
    "backbone",
    "weights",
    "function",
    "task",
    "split",
    "fingerprint",
    "class_weight",
    "categorical",
    "folds",  # which may follow from the data
    "grid",
    "seed",
)


# The complete trials that the pruner compares with are read again once they are so old, in seconds.
_MAX_AGE_S = 5.0


class StudyMismatchError(ValueError):
    """The study in the storage is not the one that was asked for."""


View: TypeAlias = Callable[[FrozenTrial], FrozenTrial | None]
"""How a trial looks to those who may not see all of it; None for one that is not to be seen."""


class ViewedStudy(optuna.Study):
    """A study of which samplers and pruners can be shown a part."""

    # What one thread sees: that of the signs of life sees all.
    _seen: tuple[int, View, Sequence[FrozenTrial] | None] | None = None

    @contextmanager
    def seen_through(
        self, view: View | None, trials: Sequence[FrozenTrial] | None = None
    ) -> Iterator[None]:
        """Show trials through ``view`` for a while in this thread; None shows all as they are.

        Args:
            view: how each trial looks.
            trials: of the study, where they have just been read.
        """
        before = self._seen
        self._seen = None if view is None else (threading.get_ident(), view, trials)
        try:
            yield
        finally:
            self._seen = before

    @property
    def _is_viewed(self) -> bool:
        return self._seen is not None and self._seen[0] == threading.get_ident()

    def renew(self) -> None:
        """Forget the trials that were read, as one of them has ended."""
        self._thread_local.cached_all_trials = None

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Samplers of Optuna ask for trials by this name.
        if not self._is_viewed or self._seen is None:
            return super()._get_trials(deepcopy, states, use_cache)
        _, view, trials = self._seen
        seen = map(view, super()._get_trials(deepcopy=False) if trials is None else trials)
        shown = [t for t in seen if t is not None and (states is None or t.state in states)]
        return copy.deepcopy(shown) if deepcopy else shown


class StudyOfTrials(optuna.Study):
    """A study of trials at hand, for what Optuna computes from one.

    To add trials to a study in memory copies each of them with all it has, which for 10,000 takes
    seconds.

    Args:
        trials: whatever they are.
        direction: ``"minimize"`` or ``"maximize"``.
        name: of the study.
    """

    def __init__(self, trials: Sequence[FrozenTrial], direction: str, name: str = "trials") -> None:
        storage = _TrialsAtHand(trials)
        storage.create_new_study([StudyDirection[direction.upper()]], name)
        super().__init__(name, storage)


class _TrialsAtHand(InMemoryStorage):
    """A storage that gives trials as they are handed to it."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._at_hand = list(trials)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return those in the given states."""
        found = [t for t in self._at_hand if states is None or t.state in states]
        return copy.deepcopy(found) if deepcopy else found


class TunedStudy(ViewedStudy):
    """An `optuna.Study` whose `stop` also ends our loop, so that Optuna's callbacks work in it.

    While it `searches`, what the pruners ask for at each report, the complete trials, is read from
    the storage again only after some seconds, or once this study itself has ended a trial; what is
    read to choose the next trial serves them, too. Through Optuna's proxy each reading brings all
    trials under way along.
    """

    stop_requested = False
    _searching = False
    _complete: tuple[float, list[FrozenTrial]] | None = None  # until when they are good, and they

    def stop(self) -> None:
        """Ask for the end of the search after the trials under way."""
        try:
            super().stop()
        except RuntimeError:  # raised outside `optimize`, which our loop is not
            self.stop_requested = True

    @contextmanager
    def searches(self) -> Iterator[None]:
        """Let complete trials of other processes come into sight a little later, for a while."""
        self._searching, self.stop_requested = True, False
        try:
            yield
        finally:
            self._searching, self._complete = False, None

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials as `optuna.Study.get_trials` does."""
        if deepcopy or not self._searching or self._is_viewed:
            return super().get_trials(deepcopy, states)
        is_good = self._complete is not None and time.monotonic() < self._complete[0]
        if states == (TrialState.COMPLETE,) and self._complete is not None and is_good:
            return list(self._complete[1])
        trials = super().get_trials(deepcopy, states)
        if states in (None, (TrialState.COMPLETE,)):
            complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
            self._complete = time.monotonic() + _MAX_AGE_S, complete
        return trials

    def renew(self) -> None:
        """Forget the trials that were read, as one of them has ended."""
        super().renew()
        self._complete = None

    def tell(self, *args: Any, **options: Any) -> FrozenTrial:
        """Tell as `optuna.Study.tell` does."""
        try:
            return super().tell(*args, **options)
        finally:
            self.renew()

    def add_trial(self, trial: FrozenTrial) -> None:
        """Add a trial as `optuna.Study.add_trial` does."""
        super().add_trial(trial)
        self._complete = None


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's notes (not its warnings) off the screen for a while."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class Session:
    """A study in its storage, as one search works on it.

    Used as a context, it re-raises the storage's errors as `StorageError`, which names the storage
    and a remedy.

    Args:
        storage: as for `tuner.storage.backends.open_storage`.
        name: of the study.
        direction: ``"minimize"`` or ``"maximize"``.
        record: what the study is about, in plain JSON types; stored, and compared on resume.
        space: the search space; empty where the objective suggests by itself.
        artifact_store: where checkpoints and the best model are stored, see `Artifacts`.

    Attributes:
        storage: the opened storage.
        artifacts: the study's files.
    """

    def __init__(
        self,
        storage: str | os.PathLike[str] | BaseStorage | None,
        *,
        name: str,
        direction: str,
        record: Mapping[str, Any],
        space: Space | None = None,
        artifact_store: str | os.PathLike[str] | ArtifactStore | None = None,
    ) -> None:
        self._location = storage
        self.storage = open_storage(storage)
        self.name, self.direction, self.record = name, direction, record
        self.space: Space = space or {}
        self.artifacts = Artifacts(artifact_store)

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be sent to another process, where the storage is opened anew."""
        return {name: value for name, value in self.__dict__.items() if name != "_errors"}

    def __enter__(self) -> Session:
        self._errors = storage_errors(self._location)
        self._errors.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._errors.__exit__(kind, error, traceback)

    @cached_property
    def study(self) -> TunedStudy:
        """The study, which exists."""
        return self.load(self.name)

    @property
    def study_names(self) -> list[str]:
        """The names of all studies in the storage."""
        return optuna.get_all_study_names(self.storage)

    def load(self, name: str) -> TunedStudy:
        """Load a study of the same storage."""
        with quiet_optuna():
            return TunedStudy(study_name=name, storage=self.storage)

    def create_study(self) -> TunedStudy:
        """Create the study, or load it if it exists.

        Raises:
            StudyMismatchError: if the stored study has another direction.
        """
        direction = StudyDirection[self.direction.upper()]
        with quiet_optuna():
            optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                direction=direction,
                load_if_exists=True,
            )
        study = self.study
        if study.directions != [direction]:
            does = " and ".join(f"{each.name.lower()}s" for each in study.directions)
            raise StudyMismatchError(
                f"study {self.name!r} {does}, but direction={self.direction!r} was asked; {_CURE}"
            )
        return study

    def check_record(self) -> TunedStudy:
        """Record what the study is about, or compare that with what is recorded.

        Of several processes one at a time may do so while there is no record.

        Raises:
            StudyMismatchError: if the stored study has another metric, space, dataset, split, seed
                or the like; the message names what differs.

        Warns:
            UserWarning: if it was begun with other versions of the libraries; names them.
        """
        study, name = self.study, self.name
        with _RECORDING:  # threads may share a study in memory
            stored = study.user_attrs.get(RECORD)
            if study.metric_names is None and (metric := self.record.get("metric")):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    study.set_metric_names([f"valid_{metric}"])  # the axes of dashboards
            if stored is None:
                # Those of a function are compared by whoever goes on with it.
                if "fingerprint" in self.record and started(study):
                    raise StudyMismatchError(
                        f"study {name!r} has trials of Optuna alone, which record neither data nor "
                        f"split, so new ones cannot be compared with them; {_CURE}"
                    )
                study.set_user_attr(RECORD, dict(self.record))
                return study
        if (how := difference(stored, self.record)) is not None:
            raise StudyMismatchError(f"study {name!r} {how}; {_CURE}")
        warn_of_changes(name, stored, self.record)
        return study

    def open_study(self) -> TunedStudy:
        """Create the study, or continue it if it exists and is the same."""
        self.create_study()
        return self.check_record()

    def record_call(self, call: dict[str, Any]) -> None:
        """Record the latest call, with the first call's dataset path, as workers may have others,
        and the tracker that was named last.
        """
        stored = study_attr(self.study.user_attrs, CALL)
        if stored is not None:
            named = {k: v for k, v in stored["options"].items() if k == "track"}
            call = call | {"dataset": stored["dataset"], "options": named | call["options"]}
        if stored is None or stored["options"] != call["options"]:
            self.study.set_user_attr(CALL, call)


_RECORDING = threading.Lock()
_CURE = "give another study_name or storage"


def difference(
    stored: Mapping[str, Any], asked: Mapping[str, Any], *, but: Sequence[str] = ()
) -> str | None:
    """Say how a stored study was tuned differently from what is asked now; None if it was not.

    Args:
        stored: the record of the stored study.
        asked: the record of the study that is asked for.
        but: what may differ.
    """
    for key in _COMPARED:
        old, new = stored.get(key), asked.get(key)
        if key == "split":  # its sizes in rows follow from the data, which come next
            old, new = ({k: v for k, v in (s or {}).items() if k[:2] != "n_"} for s in (old, new))
        if old == new or key in but:
            continue
        if key == "precision" and old == "auto":
            continue  # earlier versions recorded it so: bfloat16 where the processor has it
        if key == "function" and asked.get("objective") == OWN:
            continue  # a warning, as it may be the same one by another name
        if key == "grid" and None in (old, new):
            continue  # a study may continue with another sampler
        if key == "fingerprint":
            return "was tuned on other data (the fingerprints differ)"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            part = next(k for k in {**old, **new} if old.get(k) != new.get(k))
            key = part if key == "space" else f"{key} {part}"
            old, new = old.get(part), new.get(part)
        return f"was tuned with {key} {_say(old)}, now {_say(new)}"
    return None


def warn_of_changes(name: str, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Warn if the study called ``name`` was begun with other versions of the libraries, or with a
    function of another name.
    """
    was, now = stored.get("function"), asked.get("function")
    if was != now and stored.get("objective") == asked.get("objective") == OWN:
        warn_caller(
            f"study {name!r} was tuned with the function {was}, now {now}: its trials can be "
            "compared only if both compute the same; otherwise give another study_name"
        )
    old, new = stored.get("versions", {}), asked.get("versions", {})
    differing = [p for p in new if p in old and old[p] != new[p]]
    if differing:
        changes = ", ".join(
            f"{package} {old[package]} (now {new[package]})" for package in differing
        )
        warn_caller(
            f"study {name!r} was begun with {changes}: new trials may come out differently than "
            "they would have; install the old versions if that matters"
        )


def _say(what: Any) -> str:
    if isinstance(what, Mapping):
        if "fixed" in what:
            return f"fixed at {what['fixed']!r}"
        if "choices" in what:
            return f"in {what['choices']}"
        if "low" in what:
            return f"in [{what['low']}, {what['high']}]" + (" (log)" if what.get("log") else "")
    return repr(what)


def open_existing(storage: str | os.PathLike[str] | BaseStorage) -> BaseStorage:
    """Open a storage as `open_storage` does, but make no file.

    Raises:
        FileNotFoundError: if a storage file does not exist.
    """
    is_file = isinstance(storage, str | os.PathLike) and "://" not in str(storage)
    if is_file and not Path(str(storage)).exists():
        raise FileNotFoundError(f"storage must be a file that exists, got {str(storage)!r}")
    return open_storage(storage)


def load_study(
    storage: str | os.PathLike[str] | BaseStorage, study_name: str | None = None
) -> optuna.Study:
    """Load a study from a storage; its name may be left out where the storage holds only one.

    Raises:
        ValueError: if there is no such study, none at all, or several and no name was given.
        FileNotFoundError: if a storage file does not exist.
    """
    opened = open_existing(storage)
    names = optuna.get_all_study_names(opened)
    if study_name is None and len(names) == 1:
        study_name = names[0]
    if study_name not in names:
        listed = ", ".join(names) or "none"
        given = "no name" if study_name is None else repr(study_name)
        raise ValueError(f"study_name must be one of those in the storage ({listed}), got {given}")
    return TunedStudy(study_name=study_name, storage=opened)


def would_continue(
    stored: Mapping[str, Any], asked: Mapping[str, Any], *, with_its: Sequence[str]
) -> bool:
    """Say whether two studies of the same data differ in what ``with_its`` names, and only there.

    Space, grid and seed are not looked at.
    """
    ignored = ("space", "grid", "seed")
    differs = any(stored.get(name) != asked.get(name) for name in with_its)
    return differs and difference(stored, asked, but=(*with_its, *ignored)) is None


def stored_record(
    storage: str | os.PathLike[str] | BaseStorage, study_name: str
) -> Mapping[str, Any] | None:
    """Return what a stored study is about; None if there is no such study, or it does not tell.

    What keeps the storage from being read is told where the study is opened.
    """
    with suppress(ValueError, OSError, ImportError), storage_errors(storage):
        record = load_study(storage, study_name).user_attrs.get(RECORD)
        return record if isinstance(record, Mapping) else None
    return None
