"""What a study's trials and user attributes say, also for a study made by Optuna alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from objectives.objective import PREFIX

if TYPE_CHECKING:
    import optuna


PARAMS = f"{PREFIX}params"
"""User attribute of a trial: its whole configuration."""

RECORD_OF_TRIAL = f"{PREFIX}record"
"""User attribute of a trial: what tables say of it, in one."""

ERROR = f"{PREFIX}error"
"""User attribute of a failed trial: the error that ended it."""

ORIGIN = f"{PREFIX}origin"
"""User attribute of a trial that comes from another study: that study and its number in it."""

MODEL = f"{PREFIX}model"
"""User attribute of a trial: the artifact id of its model."""

CHECKPOINT = f"{PREFIX}checkpoint"
"""User attribute of a trial under way: where its newest checkpoint lies."""

RECORD = "fusetune"
"""User attribute of a study: what it is about."""

CALL = f"{PREFIX}call"
"""User attribute of a study: the call that made it."""

OPENINGS = f"{PREFIX}test_openings"
"""User attribute of a study: each opening of its test split."""

CONFIRMED = f"{PREFIX}confirmed"
"""User attribute of a study: what its best trials were worth when they were trained again. Trials
that have ended take no more attributes."""

CHOSEN = f"{PREFIX}chosen_model"
"""User attribute of a study: which trials its result predicts with, and how that compares with the
default configuration."""

FILES = f"{PREFIX}files"
"""User attribute of a study: the files that the command line wrote of it, which it may renew."""

BEGUN = f"{PREFIX}begun_with"
"""User attribute of a study: how many trials each other study has brought in, once all are in."""

PRUNED = "pruned"
"""How ``stopped`` begins for a trial that a pruner ended; older studies say no more than that."""

# Earlier versions wrote their attributes without a prefix, where a user's own may stand, and those
# of Optuna's studies: there only a value of the right type is ours.
_PLAIN: dict[str, type] = {
    PARAMS: dict,
    RECORD_OF_TRIAL: dict,
    ORIGIN: dict,
    MODEL: str,
    CHECKPOINT: dict,
    CALL: dict,
    OPENINGS: list,
    CONFIRMED: dict,
    CHOSEN: dict,
    FILES: list,
    BEGUN: dict,
}
_RECORDS: dict[str, tuple[type, ...]] = {
    "params": (dict,),
    "curve": (dict,),
    "seed": (int,),
    "worker": (int,),
    "best_epoch": (int,),
    "epochs_run": (int,),
    "best_value": (int, float, type(None)),
    "value_last": (int, float, type(None)),
    "value_std": (int, float),
    "duration_s": (int, float),
    "stopped": (str,),
    "error": (str,),
}
_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def study_metric(study: optuna.Study) -> tuple[str, str]:
    """Name and direction of the metric that a study tunes.

    Args:
        study: any study with one direction.

    Returns:
        The recorded metric's name, or the name given with `optuna.Study.set_metric_names`, or
        ``"value"``; and ``"maximize"`` or ``"minimize"``.

    Raises:
        ValueError: if the study has several directions.
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"study must have one direction, got {len(study.directions)} directions in study "
            f"{study.study_name!r}; use study.trials_dataframe() of Optuna for several objectives"
        )
    named = study.metric_names or ["value"]
    metric = study_record(study.user_attrs).get("metric") or named[0]
    return str(metric), study.direction.name.lower()


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended, pruned and failed ones included, sorted by number."""
    return [trial for trial in started(study) if trial.state.is_finished()]


def has_complete(study: optuna.Study) -> bool:
    """Whether any trial is complete, so that the study has a best trial."""
    return any(trial.state is TrialState.COMPLETE for trial in finished(study))


def best_complete(study: optuna.Study) -> FrozenTrial | None:
    """Return the best trial; None if no trial is complete, or none keeps within constraints.

    It is Optuna that says which: storages differ in which of equal ones they call the best.
    """
    try:
        return study.best_trial
    except ValueError:
        return None


class Confirmed(NamedTuple):
    """What a trial was worth when it was trained again: mean and standard deviation over folds."""

    mean: float
    std: float
    n_folds: int


def confirmed_values(attributes: Mapping[str, Any]) -> dict[int, Confirmed]:
    """Return what is confirmed of trials, by number, from the user attributes of their study."""
    about = study_attr(attributes, CONFIRMED) or {"values": {}}
    return {int(number): Confirmed(*value) for number, value in about["values"].items()}


def best_confirmed(attributes: Mapping[str, Any], direction: str) -> int | None:
    """Return the trial with the best confirmed value; None if none was confirmed."""
    return best_of(confirmed_values(attributes), direction)


def best_of(values: Mapping[int, Confirmed], direction: str) -> int | None:
    """Return the trial with the best mean; of equals the first one, None of none."""
    choose = min if direction == "minimize" else max
    return choose(sorted(values), key=lambda number: values[number].mean, default=None)


def count_states(study: optuna.Study) -> str:
    """Count the started trials by state, in words, and say if ``stop_after`` has ended the study;
    empty for a study without any.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> study.add_trials([optuna.trial.create_trial(value=value) for value in (1.0, 2.0)])
        >>> count_states(study)
        '2 trials: 2 complete'
    """
    trials, direction = started(study), study.direction.name.lower()
    return counted(trials) + stop_in_words(study.user_attrs, trials, direction)


def counted(trials: Iterable[FrozenTrial]) -> str:
    """Count trials by state, as `count_states` does."""
    states = [trial.state for trial in trials]
    counts = [f"{states.count(state)} {word}" for state, word in _WORDS.items() if state in states]
    n_trials = "1 trial" if len(states) == 1 else f"{len(states)} trials"
    return f"{n_trials}: {', '.join(counts)}" if counts else ""


def stop_in_words(
    attributes: Mapping[str, Any], trials: Sequence[FrozenTrial], direction: str
) -> str:
    """Say that ``stop_after`` of the study's latest call has ended it; empty if it has not."""
    call = study_attr(attributes, CALL) or {}
    limit = (call.get("options") or {}).get("stop_after")
    if not isinstance(limit, int) or not has_stalled(trials, direction, limit):
        return ""
    return f"; stopped after {limit} without a better one"


def has_stalled(trials: Iterable[FrozenTrial], direction: str, limit: int) -> bool:
    """Whether ``limit`` trials have ended, one after another, none of them the best so far.

    It is judged in the order of their numbers, up to the first that has not ended: so it is the
    same whichever ends first, and once true it stays so. Trials that another study has brought in
    only set the value that is to be beaten.
    """
    sign = 1 if direction == "minimize" else -1
    best, n_worse = math.inf, 0
    for number, trial in enumerate(trials):
        if trial.number != number or not trial.state.is_finished():
            return False
        value = trial.value if trial.state is TrialState.COMPLETE else None
        cost = math.inf if value is None else sign * value
        n_worse = 0 if cost < best else n_worse + (origin_of(trial) is None)
        best = min(best, cost)
        if n_worse >= limit:
            return True
    return False


def trial_params(trial: FrozenTrial) -> dict[str, Any]:
    """Hyperparameters of a trial by their documented names, searched and fixed.

    Args:
        trial: a trial of any study.

    Returns:
        What the trial recorded, or `optuna.trial.FrozenTrial.params` where it recorded nothing.
    """
    return dict(records(trial).get("params", trial.params))


def trained_as(study: optuna.Study, trial: FrozenTrial) -> tuple[int, int]:
    """Return seed and number from which all that is random in a trial follows: its study's and its
    own, or those it was first trained under where it came from another study.
    """
    if (origin := origin_of(trial)) is not None:
        return int(origin["trained_as"]["seed"]), int(origin["trained_as"]["number"])
    return int(study_record(study.user_attrs).get("seed", 0)), trial.number


def started(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are running or have ended, sorted by number; waiting ones are left out."""
    started = tuple(state for state in TrialState if state is not TrialState.WAITING)
    return sorted(study.get_trials(deepcopy=False, states=started), key=lambda t: t.number)


def records(trial: FrozenTrial) -> dict[str, Any]:
    """What this package recorded in a trial's user attributes; empty for a foreign trial."""
    attrs = _without_prefix(trial)
    record = attrs.get("record")
    attrs |= record if isinstance(record, dict) else {}
    known = {k: attrs[k] for k, kinds in _RECORDS.items() if k in attrs and type(attrs[k]) in kinds}
    return {k: v for k, v in known.items() if type(v) is not int or -(2**63) <= v < 2**63}


def trial_attr(trial: FrozenTrial | optuna.Trial, name: str) -> Any | None:
    """Return one of this package's user attributes of a trial, also as earlier versions wrote it.

    Args:
        trial: of any study.
        name: with the prefix, such as `PARAMS`.

    Returns:
        None if the trial has none, or one that is not this package's.
    """
    value = _without_prefix(trial).get(name.removeprefix(PREFIX))
    return value if isinstance(value, _PLAIN[name]) else None


def planned_params(trial: optuna.Trial) -> dict[str, Any] | None:
    """Return the configuration that a trial was queued with; None for one that the sampler draws.

    What an earlier version wrote of it is written anew, before anything else is written today.
    """
    stored = {name: trial_attr(trial, name) for name in (CHECKPOINT, PARAMS)}
    for name, value in stored.items():
        if value is not None and name not in trial.user_attrs:
            trial.set_user_attr(name, value)
    return stored[PARAMS]


def origin_of(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return study and number that a trial was copied from; None for one of the study itself."""
    origin = trial_attr(trial, ORIGIN)
    return origin if origin and {"study", "number", "trained_as"} <= origin.keys() else None


def model_id(trial: FrozenTrial) -> str | None:
    """Return the artifact id of the model that this package kept of a trial; None without one."""
    artifact_id = trial_attr(trial, MODEL)
    # As Optuna notes what it uploads. An id that the user wrote has another file, or none.
    noted = trial.system_attrs.get(f"artifacts:{artifact_id}")
    if noted is None or not json.loads(noted)["filename"].startswith(f"trial-{trial.number}."):
        return None
    return str(artifact_id)


def copied_attrs(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's user attributes for a copy of it in another study, as written today.

    Which files belong to the trial is left out: they are the old study's to remove.
    """
    recorded = records(trial)
    apart = {f"{PREFIX}{k}": recorded.pop(k) for k in ("params", "curve", "error") if k in recorded}
    others = {k: v for k, v in trial.user_attrs.items() if not k.startswith(PREFIX)}
    if len(others) == len(trial.user_attrs) and isinstance(others.get("record"), dict):
        # As an earlier version wrote it, with names of its own between the user's.
        for name in ("record", "params", "curve", "error", "origin", "checkpoint"):
            others.pop(name, None)
        others = {k: v for k, v in others.items() if k != "model" or model_id(trial) is None}
    return others | {RECORD_OF_TRIAL: recorded} | apart


def study_record(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study is about, from its user attributes; empty for a foreign study."""
    record = attributes.get(RECORD)
    return record if isinstance(record, dict) else {}


def study_attr(attributes: Mapping[str, Any], name: str) -> Any | None:
    """Return one of this package's user attributes of a study, as `trial_attr` does of a trial."""
    value = attributes.get(name)
    if value is None and study_record(attributes).get("prefix") != PREFIX:
        value = attributes.get(name.removeprefix(PREFIX))
    return value if isinstance(value, _PLAIN[name]) else None


def _without_prefix(trial: FrozenTrial | optuna.Trial) -> dict[str, Any]:
    """This package's user attributes of a trial, by their names without the prefix.

    A trial of today has at least one with it, and what it has without is the user's.
    """
    attrs = trial.user_attrs
    ours = {k.removeprefix(PREFIX): v for k, v in attrs.items() if k.startswith(PREFIX)}
    return ours or dict(attrs)
