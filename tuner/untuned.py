"""The default configuration of a space, and the trial that ran it: what tuning is to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from objectives.configurations import defaults
from objectives.hyperparameters import MLP_TABLE, Hyperparameter
from objectives.space import make_space
from objectives.training_table import CNN_TABLE, FINETUNE_TABLE
from tuner.records import finished, trial_params
from tuner.study import RECORD

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_TABLES: dict[str, Mapping[str, Hyperparameter]] = {
    "mlp": MLP_TABLE,
    "cnn": CNN_TABLE,
    "finetune": FINETUNE_TABLE,
}


def default_params(study: optuna.Study, objective: Any = None) -> dict[str, Any] | None:
    """The default configuration of the space that a study searched.

    Args:
        study: any study.
        objective: what was tuned, if it is at hand.

    Returns:
        A value for each hyperparameter; None where the objective is not at hand and the study was
        not made with a ready-made one whose hyperparameters are documented.
    """
    space = getattr(objective, "space", None)
    if space:
        return defaults(space)
    record = study.user_attrs.get(RECORD, {})
    table, described = _TABLES.get(str(record.get("objective"))), record.get("space", {})
    if table is None or not described or not described.keys() <= table.keys():
        return None
    named = {name: table[name] for name in described}
    return defaults(make_space(named, {name: _wish(entry) for name, entry in described.items()}))


def _wish(entry: Mapping[str, Any]) -> Any:
    if "fixed" in entry:
        return entry["fixed"]
    return list(entry["choices"]) if "choices" in entry else (entry["low"], entry["high"])


def default_trial(study: optuna.Study, params: Mapping[str, Any] | None) -> FrozenTrial | None:
    """The first complete trial of the default configuration, if one ran it."""
    complete = [trial for trial in finished(study) if trial.state.name == "COMPLETE"]
    return next((t for t in complete if params is not None and trial_params(t) == params), None)
