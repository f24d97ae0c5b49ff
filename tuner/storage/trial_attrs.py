"""What a study's trials and user attributes say, also for a study made by Optuna alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    import optuna


ORIGIN = "origin"
"""User attribute of a trial that comes from another study: that study and its number in it."""

PRUNED = "pruned"
"""How ``stopped`` begins for a trial that a pruner ended; older studies say no more than that."""

# A foreign study may use these names for something else: only a value of the right type is ours.
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
    metric = study.user_attrs.get("fusetune", {}).get("metric") or named[0]
    return str(metric), study.direction.name.lower()


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have ended, pruned and failed ones included, sorted by number."""
    return [trial for trial in started(study) if trial.state.is_finished()]


def has_complete(study: optuna.Study) -> bool:
    """Whether any trial is complete, so that the study has a best trial."""
    return any(trial.state is TrialState.COMPLETE for trial in finished(study))


def count_states(study: optuna.Study) -> str:
    """Count the started trials by state, in words; empty for a study without any.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> study.add_trials([optuna.trial.create_trial(value=value) for value in (1.0, 2.0)])
        >>> count_states(study)
        '2 trials: 2 complete'
    """
    return counted(started(study))


def counted(trials: Iterable[FrozenTrial]) -> str:
    """Count trials by state, as `count_states` does."""
    states = [trial.state for trial in trials]
    counts = [f"{states.count(state)} {word}" for state, word in _WORDS.items() if state in states]
    n_trials = "1 trial" if len(states) == 1 else f"{len(states)} trials"
    return f"{n_trials}: {', '.join(counts)}" if counts else ""


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
    origin = trial.user_attrs.get(ORIGIN)
    if origin is not None:
        return int(origin["trained_as"]["seed"]), int(origin["trained_as"]["number"])
    return int(study.user_attrs.get("fusetune", {}).get("seed", 0)), trial.number


def started(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are running or have ended, sorted by number; waiting ones are left out."""
    started = tuple(state for state in TrialState if state is not TrialState.WAITING)
    return sorted(study.get_trials(deepcopy=False, states=started), key=lambda t: t.number)


def records(trial: FrozenTrial) -> dict[str, Any]:
    """What this package recorded in a trial's user attributes; empty for a foreign trial."""
    record = trial.user_attrs.get("record")
    attrs = trial.user_attrs | (record if isinstance(record, dict) else {})
    return {k: attrs[k] for k, kinds in _RECORDS.items() if k in attrs and type(attrs[k]) in kinds}
