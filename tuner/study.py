"""Open a study, resume it, repair what a killed process left, and never resume another one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from tuner.storage import open_storage

RECORD = "fusetune"
OPENINGS = "test_openings"
CALL = "call"

# Two studies that differ in one of these would mix trials that cannot be compared.
_COMPARED = (
    "objective",
    "metric",
    "space",
    "recipe",
    "patience",
    "n_repeats",
    "folds",
    "precision",
    "backbone",
    "weights",
    "task",
    "fingerprint",
    "split",
    "seed",
)


class StudyMismatchError(ValueError):
    """The study in the storage is not the one that was asked for."""


class TunedStudy(optuna.Study):
    """An `optuna.Study` whose `stop` also ends our loop, so that Optuna's callbacks work in it."""

    stop_requested = False

    def stop(self) -> None:
        """Ask for the end of the search after the trials under way."""
        try:
            super().stop()
        except RuntimeError:  # raised outside `optimize`, which our loop is not
            self.stop_requested = True


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's notes (not its warnings) off the screen for a while."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(
    storage: BaseStorage, *, name: str, direction: str, record: Mapping[str, Any]
) -> TunedStudy:
    """Create the study called ``name``, or go on with it if it is there and is the same.

    Args:
        storage: where it lives.
        name: of the study.
        direction: ``"minimize"`` or ``"maximize"``.
        record: what the study is about, in plain JSON types; stored, and compared on resume.

    Raises:
        StudyMismatchError: if the study there has another direction, metric, space, dataset,
            split or seed; the message names what differs.

    Warns:
        UserWarning: if it was begun with other versions of the libraries; names them.
    """
    with quiet_optuna():
        optuna.create_study(
            storage=storage,
            study_name=name,
            direction=StudyDirection[direction.upper()],
            load_if_exists=True,
        )
        study = TunedStudy(study_name=name, storage=storage)
    if study.direction != StudyDirection[direction.upper()]:
        does = study.direction.name.lower() + "s"
        raise StudyMismatchError(
            f"study {name!r} {does}, but direction={direction!r} was asked; {_CURE}"
        )
    there = study.user_attrs.get(RECORD)
    if there is None:
        study.set_user_attr(RECORD, dict(record))
    else:
        _compare(name, there, record)
    return study


_CURE = "give another study_name or storage"


def _compare(name: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key in _COMPARED:
        old, new = there.get(key), asked.get(key)
        if old == new:
            continue
        if key == "fingerprint":
            raise StudyMismatchError(
                f"study {name!r} was tuned on other data (the fingerprints differ); {_CURE}"
            )
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            part = next(k for k in {**old, **new} if old.get(k) != new.get(k))
            key, old, new = (
                f"{key} {part}" if key == "split" else part,
                old.get(part),
                new.get(part),
            )
        raise StudyMismatchError(
            f"study {name!r} was tuned with {key} {_say(old)}, now {_say(new)}; {_CURE}"
        )
    _compare_versions(name, there.get("versions", {}), asked.get("versions", {}))


def _compare_versions(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    differing = [p for p in new if p in old and old[p] != new[p]]
    if differing:
        changes = ", ".join(
            f"{package} {old[package]} (now {new[package]})" for package in differing
        )
        warnings.warn(
            f"study {name!r} was begun with {changes}: new trials may come out otherwise than they "
            "would have; install the old versions where that matters",
            stacklevel=5,
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


def load_study(
    storage: str | os.PathLike[str] | BaseStorage, study_name: str | None = None
) -> optuna.Study:
    """Load a study from a storage; its name may be left out where the storage holds only one.

    Raises:
        ValueError: if there is no such study, none at all, or several and no name was given.
        FileNotFoundError: if a storage file does not exist.
    """
    if (
        isinstance(storage, str | os.PathLike)
        and "://" not in str(storage)
        and not Path(storage).exists()
    ):
        raise FileNotFoundError(f"storage must be a file that exists, got {str(storage)!r}")
    opened = open_storage(storage)
    names = optuna.get_all_study_names(opened)
    if study_name is None and len(names) == 1:
        study_name = names[0]
    if study_name not in names:
        listed = ", ".join(names) or "none"
        raise ValueError(
            f"study_name must be one of those in the storage ({listed}), got {study_name!r}"
        )
    return TunedStudy(study_name=study_name, storage=opened)
