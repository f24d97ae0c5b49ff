"""Copy the trials of one study that lie in another one's space, each once, into that study."""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.configurations import holds, searched, to_stored
from objectives.hyperparameters import Hyperparameter
from tuner.artifacts import MODEL
from tuner.checkpoints import CHECKPOINT
from tuner.heartbeat import Heartbeat
from tuner.records import ORIGIN, trained_as, trial_params
from tuner.study import OPENINGS

# User attribute of a study: how many trials each other study has brought in, once all are there.
_BEGUN = "begun_with"

_TASK = "copying trials"

Space = Mapping[str, Hyperparameter]


def has_begun_with(study: optuna.Study, name: str) -> bool:
    """Say whether all trials that the study called ``name`` had to give are in ``study``."""
    return name in study.user_attrs.get(_BEGUN, {})


def copyable(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete and pruned trials of a study, sorted by number."""
    # A failed trial says something about the code it ran, which has perhaps been mended.
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    return sorted(trials, key=lambda trial: trial.number)


def begin_with(
    study: optuna.Study,
    storage: BaseStorage,
    source: optuna.Study,
    *,
    space: Space,
    n_trials: int | None,
) -> None:
    """Copy the trials of ``source`` that lie in the space, each once, whoever is killed meanwhile.

    Of several processes that begin the study at once one copies, and the others wait for it.

    Args:
        study: the study that begins.
        storage: where it lives.
        source: the study to begin with, from `tuner.start.find_source`.
        space: the new search space; empty where the objective suggests by itself: all trials fit.
        n_trials: the total that was asked for, if one was.

    Warns:
        UserWarning: if no trial fits, and why; or if so many do that none is left to train.
    """
    name = source.study_name
    with Heartbeat(study, storage, task=_TASK) as heartbeat:
        heartbeat.wait_for_turn()
        if has_begun_with(study, name):
            return
        fitting = _copy(study, source, space)
        _carry_openings(study, source)
        begun = study.user_attrs.get(_BEGUN, {})
        study.set_user_attr(_BEGUN, begun | {name: fitting})
        _tell(study, source, space, fitting, n_trials)


def _copy(study: optuna.Study, source: optuna.Study, space: Space) -> int:
    """Copy the fitting trials that are not there yet; return how many there are."""
    fitting = [trial for trial in copyable(source) if not _misfits(space, trial)]
    for trial in fitting:
        if trial.number not in _brought(study, source.study_name):
            study.add_trial(_encoded(study, source, space, trial))
    return len(fitting)


def _brought(study: optuna.Study, name: str) -> set[int]:
    origins = [trial.user_attrs.get(ORIGIN) for trial in study.get_trials(deepcopy=False)]
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
    stored, distributions = dict(trial.params), dict(trial.distributions)
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
        "study": source.study_name, "number": trial.number,
        "trained_as": {"seed": seed, "number": number},
    }  # fmt: skip
    copied = create_trial(
        state=trial.state, value=trial.value, params=stored, distributions=distributions,
        user_attrs=_kept(trial.user_attrs) | {"params": params, ORIGIN: origin},
        intermediate_values=trial.intermediate_values,
    )  # fmt: skip
    copied.datetime_start, copied.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copied


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out which files belong to the trial: they are the old study's to remove."""
    return {name: value for name, value in attributes.items() if name not in (MODEL, CHECKPOINT)}


def _carry_openings(study: optuna.Study, source: optuna.Study) -> None:
    """A test split that was opened for the old study is no longer unseen by the new one."""
    own = study.user_attrs.get(OPENINGS, [])
    opened = source.user_attrs.get(OPENINGS, [])
    entries = [{"study": source.study_name} | entry for entry in opened]
    if missing := [entry for entry in entries if entry not in own]:
        study.set_user_attr(OPENINGS, [*own, *missing])


def _tell(
    study: optuna.Study, source: optuna.Study, space: Space, n_fitting: int, n_trials: int | None
) -> None:
    trials, message = copyable(source), ""
    if not n_fitting:
        reasons = Counter(name for trial in trials for name in _misfits(space, trial))
        found = ", ".join(f"{name} of {n}" for name, n in reasons.most_common(3))
        message = (
            f"none of the {len(trials)} trials of study {source.study_name!r} lies in the new "
            f"space (outside: {found}), so study {study.study_name!r} begins afresh; widen space, "
            "or leave start_from out"
        )
    n_there = sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    if n_fitting and n_trials is not None and n_there >= n_trials:
        message = (
            f"study {study.study_name!r} begins with {n_fitting} trials of study "
            f"{source.study_name!r}, and n_trials={n_trials} is its total, so none is left to "
            f"train; raise n_trials above {n_there}"
        )
    if message:
        warnings.warn(message, stacklevel=6)


def sampler_seed(study: optuna.Study, seed: int) -> int:
    """Return the seed of the sampler: one of its own for a study that began with another's trials,
    or the sampler would draw by the same numbers what it drew there.
    """
    begun = study.user_attrs.get(_BEGUN)
    if not begun:
        return seed
    words = [seed, *(zlib.crc32(f"{name} {n}".encode()) for name, n in begun.items())]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
