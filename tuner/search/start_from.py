"""Open a search's study, and begin it with the trials of another one that lie in its space."""

from __future__ import annotations

import random
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives._messages import hint, warn_caller
from objectives.objective import PREFIX
from objectives.space.hyperparameter import Space
from objectives.space.space import holds, searched, to_stored
from tuner.storage.heartbeat import Heartbeat, others_begin
from tuner.storage.optuna_internals import study_attrs
from tuner.storage.study import (
    Session,
    StudyMismatchError,
    difference,
    warn_of_changes,
)
from tuner.storage.trial_attrs import (
    BEGUN,
    OPENINGS,
    ORIGIN,
    PARAMS,
    RECORD,
    copied_attrs,
    origin_of,
    study_attr,
    study_metric,
    trained_as,
    trial_params,
)

_TASK = "copying trials"

# Seconds to wait for another process's record of the study before it is this one's turn.
_PATIENCE_S = 3.0


class HasStudy(Protocol):
    """What has a study, such as a `tuner.TuningResult`."""

    @property
    def study(self) -> optuna.Study:
        """The study."""


def _has_begun_with(study: optuna.Study, name: str) -> bool:
    """Say whether all trials that the study called ``name`` had to give are in ``study``."""
    return name in (study_attr(study.user_attrs, BEGUN) or {})


def _copyable(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete and pruned trials of a study, sorted by number."""
    # A failed trial says something about the code it ran, which has perhaps been mended.
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    return sorted(trials, key=lambda trial: trial.number)


def open_study(
    session: Session, start_from: str | optuna.Study | HasStudy | None, *, n_trials: int | None
) -> None:
    """Open the session's study, and copy into it the trials of another one that lie in its space.

    Each trial is copied once, whichever process is killed meanwhile. Of several processes that
    begin the study at once one copies, and the others wait for it.

    Args:
        session: of the study that begins.
        start_from: a study's name in the same storage, an `optuna.Study`, or what has a ``study``,
            such as a `TuningResult`; None for none.
        n_trials: the total that was asked for, if one was.

    Raises:
        ValueError: if there is no such study, it is the one that begins, or has no trials that
            could be copied; `StudyMismatchError` if its trials cannot be compared with new ones.
        TypeError: if ``start_from`` is something else.

    Warns:
        UserWarning: if no trial fits, and why; if so many do that none is left to train; or if the
            other study was begun with other versions of the libraries.
    """
    source = _find_source(session, start_from)
    study = _opened(session)
    if source is None:
        return
    name, space = source.study_name, session.space
    with Heartbeat(session, task=_TASK) as heartbeat:
        heartbeat.wait_for_turn()
        if _has_begun_with(study, name):
            return
        fitting = _copy(study, source, space)
        _carry_openings(study, source)
        begun = study_attr(study.user_attrs, BEGUN) or {}
        study.set_user_attr(BEGUN, begun | {name: fitting})
        _warn_of_misfits(study, source, space, fitting, n_trials)


def _opened(session: Session) -> optuna.Study:
    """Open the study; of processes that begin it at once one records it, and the others compare."""
    attrs, deadline = session.create_study().user_attrs, time.monotonic() + _PATIENCE_S
    while RECORD not in attrs and others_begin(attrs) and time.monotonic() < deadline:
        time.sleep(random.uniform(0.1, 0.5))  # it costs others less than to wait in their queue
        attrs = study_attrs(session)
    if RECORD in attrs:
        return session.check_record()
    with Heartbeat(session, task="recording the study") as heartbeat:
        heartbeat.wait_for_turn(is_done=lambda: RECORD in session.study.user_attrs)
        return session.check_record()


def _copy(study: optuna.Study, source: optuna.Study, space: Space) -> int:
    """Copy the fitting trials that are not there yet; return how many there are."""
    fitting = [trial for trial in _copyable(source) if not _misfits(space, trial)]
    for trial in fitting:
        if trial.number not in _brought(study, source.study_name):
            study.add_trial(_encoded(study, source, space, trial))
    return len(fitting)


def _brought(study: optuna.Study, name: str) -> set[int]:
    origins = [origin_of(trial) for trial in study.get_trials(deepcopy=False)]
    return {origin["number"] for origin in origins if origin and origin["study"] == name}


def _misfits(space: Space, trial: FrozenTrial) -> list[str]:
    """Return the hyperparameters by which a trial lies outside the space."""
    params = trial_params(trial)
    names = dict.fromkeys([*space, *params]) if space else {}
    return [
        name
        for name in names
        if name not in space or name not in params or not holds(space[name], params[name])
    ]


def _encoded(
    study: optuna.Study, source: optuna.Study, space: Space, trial: FrozenTrial
) -> FrozenTrial:
    """Return the trial as one of the new space, with all that is recorded of it."""
    params = trial_params(trial)
    # An earlier version may have trained another value than it stored.
    stored = {name: v for name, v in trial.params.items() if params.get(name, v) == v}
    distributions = {name: trial.distributions[name] for name in stored}
    if space:
        params = {name: row.check(params[name]) for name, row in space.items()}
        stored = to_stored(space, params)
        distributions = {
            row.stored_name: row.distribution
            for row in searched(space).values()
            if row.distribution is not None
        }
    seed, number = trained_as(source, trial)
    origin = {
        "study": source.study_name,
        "number": trial.number,
        "trained_as": {"seed": seed, "number": number},
    }
    copied = create_trial(
        state=trial.state,
        value=trial.value,
        params=stored,
        distributions=distributions,
        user_attrs=copied_attrs(trial) | {PARAMS: params, ORIGIN: origin},
        intermediate_values=trial.intermediate_values,
    )
    copied.datetime_start, copied.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copied


def _carry_openings(study: optuna.Study, source: optuna.Study) -> None:
    """A test split that was opened for the old study is no longer unseen by the new one."""
    recorded = study_attr(study.user_attrs, OPENINGS) or []
    openings = study_attr(source.user_attrs, OPENINGS) or []
    entries = [{"study": source.study_name} | entry for entry in openings]
    if missing := [entry for entry in entries if entry not in recorded]:
        study.set_user_attr(OPENINGS, [*recorded, *missing])


def _warn_of_misfits(
    study: optuna.Study, source: optuna.Study, space: Space, n_fitting: int, n_trials: int | None
) -> None:
    trials, message = _copyable(source), ""
    if not n_fitting:
        reasons = Counter(name for trial in trials for name in _misfits(space, trial))
        counts = ", ".join(f"{name} of {n}" for name, n in reasons.most_common(3))
        message = (
            f"none of the {len(trials)} trials of study {source.study_name!r} lies in the new "
            f"space (outside: {counts}), so study {study.study_name!r} begins afresh; widen space, "
            "or leave start_from out"
        )
    n_finished = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    if n_fitting and n_trials is not None and n_finished >= n_trials:
        message = (
            f"study {study.study_name!r} begins with {n_fitting} trials of study "
            f"{source.study_name!r}, and n_trials={n_trials} is its total, so none is left to "
            f"train; raise n_trials above {n_finished}"
        )
    if message:
        warn_caller(message)


def sampler_seed(study: optuna.Study, seed: int) -> int:
    """Return the seed of the sampler: one of its own for a study that began with another's trials,
    or the sampler would draw by the same numbers what it drew there.
    """
    begun = study_attr(study.user_attrs, BEGUN)
    if not begun:
        return seed
    seeds = [seed, *(zlib.crc32(f"{name} {n}".encode()) for name, n in begun.items())]
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


_MARK = f"{PREFIX}start_from_mark"


def _find_source(
    session: Session, start_from: str | optuna.Study | HasStudy | None
) -> optuna.Study | None:
    """Return the study to begin with; None if there is none, or its trials are copied already."""
    if start_from is None:
        return None
    name, names = session.name, session.study_names
    stored = session.study if name in names else None
    source_name = start_from if isinstance(start_from, str) else _study(start_from).study_name
    if stored is not None and _has_begun_with(stored, source_name):
        return None
    if isinstance(start_from, str) and start_from not in names:
        raise ValueError(
            f"start_from must be the name of a study in the storage ({', '.join(names) or 'none'}),"
            f" a study or a result, got {start_from!r}{hint(start_from, names)}"
        )
    source = session.load(start_from) if isinstance(start_from, str) else _study(start_from)
    if stored is not None and _are_one(source, stored):
        raise ValueError(
            f"start_from must be another study than the one that begins, got {name!r} for both; "
            "give another study_name"
        )
    _check(source, session.direction, session.record)
    return source


def _study(start_from: Any) -> optuna.Study:
    study = getattr(start_from, "study", start_from)
    if not isinstance(study, optuna.Study):
        raise TypeError(
            "start_from must be a study's name, an optuna.Study or a TuningResult, got "
            f"{type(start_from).__name__}"
        )
    return study


def _are_one(source: optuna.Study, stored: optuna.Study) -> bool:
    """Whether two studies of one name are one, which may have been opened as two storages."""
    if source.study_name != stored.study_name:
        return False
    mark = uuid.uuid4().hex
    stored.set_user_attr(_MARK, mark)
    is_marked: bool = source.user_attrs.get(_MARK) == mark
    stored.set_user_attr(_MARK, None)
    return is_marked


def _check(source: optuna.Study, direction: str, record: Mapping[str, Any]) -> None:
    name, stored = source.study_name, source.user_attrs.get(RECORD)
    how = None
    if study_metric(source)[1] != direction:
        how = f"was to {study_metric(source)[1]}, now to {direction}"
    elif stored is not None:
        how = difference(stored, record, but=_may_differ(record))
    elif "fingerprint" in record:
        how = "was made by Optuna alone and records neither data nor split"
    if how is not None:
        raise StudyMismatchError(
            f"start_from must be a study of the same task, whose values can be compared with new "
            f"ones, got {name!r}, which {how}; change that back, or leave start_from out"
        )
    if not _copyable(source):
        raise ValueError(
            f"start_from must be a study with complete or pruned trials, got {name!r} without any; "
            "run it first, or leave start_from out"
        )
    warn_of_changes(name, stored or {}, record)


def _may_differ(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what may differ: the space, and the seed where it decides no folds."""
    return ("space", "grid", *(() if record.get("folds") else ("seed",)))
