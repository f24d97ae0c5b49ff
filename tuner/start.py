"""Find the study that another one is to begin with, `start_from`, and check that it may."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage

from objectives.messages import hint
from tuner.copying import copyable, has_begun_with
from tuner.records import study_metric
from tuner.result import TuningResult
from tuner.study import (
    RECORD,
    StudyMismatchError,
    TunedStudy,
    difference,
    quiet_optuna,
    warn_of_versions,
)

_MARK = "start_from_mark"


def find_source(
    storage: BaseStorage,
    start_from: str | optuna.Study | TuningResult | None,
    *,
    name: str,
    direction: str,
    record: Mapping[str, Any],
) -> optuna.Study | None:
    """Return the study that the study called ``name`` is to begin with; None if there is none, or
    its trials have been brought in already.

    Args:
        storage: of the study called ``name``, and of one that is given by its name.
        start_from: a name, an `optuna.Study` or a `TuningResult`.
        name: of the study that begins.
        direction: of that study.
        record: of that study, see `tuner.study.open_study`.

    Raises:
        ValueError: if there is no such study, it is the one that begins, or has no trials that
            could be copied; `StudyMismatchError` if its trials cannot be compared with new ones.
        TypeError: if ``start_from`` is something else.

    Warns:
        UserWarning: if it was begun with other versions of the libraries.
    """
    if start_from is None:
        return None
    names = optuna.get_all_study_names(storage)
    there = _load(storage, name) if name in names else None
    source_name = start_from if isinstance(start_from, str) else _study(start_from).study_name
    if there is not None and has_begun_with(there, source_name):
        return None
    if isinstance(start_from, str) and start_from not in names:
        raise ValueError(
            f"start_from must be the name of a study in the storage ({', '.join(names) or 'none'}),"
            f" a study or a result, got {start_from!r}{hint(start_from, names)}"
        )
    source = _load(storage, start_from) if isinstance(start_from, str) else _study(start_from)
    if there is not None and _are_one(source, there):
        raise ValueError(
            f"start_from must be another study than the one that begins, got {name!r} for both; "
            "give another study_name"
        )
    _check(source, direction, record)
    return source


def _load(storage: BaseStorage, name: str) -> optuna.Study:
    with quiet_optuna():
        return TunedStudy(study_name=name, storage=storage)


def _study(start_from: Any) -> optuna.Study:
    study = start_from.study if isinstance(start_from, TuningResult) else start_from
    if not isinstance(study, optuna.Study):
        raise TypeError(
            "start_from must be a study's name, an optuna.Study or a TuningResult, got "
            f"{type(start_from).__name__}"
        )
    return study


def _are_one(source: optuna.Study, there: optuna.Study) -> bool:
    """Whether two studies of one name are one, which may have been opened as two storages."""
    if source.study_name != there.study_name:
        return False
    mark = uuid.uuid4().hex
    there.set_user_attr(_MARK, mark)
    found = source.user_attrs.get(_MARK) == mark
    there.set_user_attr(_MARK, None)
    return found


def _check(source: optuna.Study, direction: str, record: Mapping[str, Any]) -> None:
    name, there = source.study_name, source.user_attrs.get(RECORD)
    how = None
    if study_metric(source)[1] != direction:
        how = f"was to {study_metric(source)[1]}, now to {direction}"
    elif there is not None:
        how = difference(there, record, but=_may_differ(record))
    elif "fingerprint" in record:
        how = "was made by Optuna alone and records neither data nor split"
    if how is not None:
        raise StudyMismatchError(
            f"start_from must be a study of the same task, whose values can be compared with new "
            f"ones, got {name!r}, which {how}; change that back, or leave start_from out"
        )
    if not copyable(source):
        raise ValueError(
            f"start_from must be a study with complete or pruned trials, got {name!r} without any; "
            "run it first, or leave start_from out"
        )
    warn_of_versions(name, there or {}, record, stacklevel=6)


def _may_differ(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what may differ: the space, and the seed where it decides no folds."""
    return ("space", "grid", *(() if record.get("folds") else ("seed",)))
