"""What a diagnosis looks at: a study's tables, its search space, and how much its values jitter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from objectives.space.registry import READY_MADE
from objectives.space.space import defaults, make_space
from objectives.space.tables import MLP_TABLE
from tuner.diagnosis.ranges import Levels, Range, search_range
from tuner.storage.study import RECORD
from tuner.storage.trial_attrs import finished, study_metric, trial_params
from tuner.tables import curves_dataframe, trials_dataframe

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


Floats = npt.NDArray[np.float64]

_JITTER_EPOCHS = 10  # Up to and around the best epoch: the values that best was chosen from.
_MIN_JITTER_EPOCHS = 5
_JITTER_TRIALS = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a study shows.

    Args:
        code: a short name that does not change, for programs.
        finding: what was found, in a sentence.
        evidence: the numbers it rests on.
        advice: what to do next.
        hyperparameter: the one it is about; None for the study as a whole.
        change: what the next space does with it: ``("widen", "low")`` or ``("widen", "high")``,
            ``("cap", number)`` or ``("fix", value)``.
    """

    code: str
    finding: str
    evidence: str
    advice: str
    hyperparameter: str | None = None
    change: tuple[str, Any] | None = None


@dataclass(frozen=True)
class Noise:
    """How far two equally good trials may lie apart, in the metric's units, and how that is known.

    Args:
        value: one standard error.
        source: in words.
    """

    value: float
    source: str


class Evidence:
    """A study, read once for all findings.

    Args:
        study: any study with one direction.
        objective: what was tuned, if it is at hand: for its legal ranges and its class shares.

    Attributes:
        trials: `tuner.tables.trials_dataframe` of the trials that have ended, with a column
            ``cost``: the value, turned so that lower is better.
        complete: the complete ones with a finite value, the best first.
        record: what the study says about itself.
        space: name -> entry as `objectives.space.describe` writes it.
    """

    def __init__(self, study: optuna.Study, objective: Any = None) -> None:
        self.study, self.objective = study, objective
        self.metric, self.direction = study_metric(study)
        self.record: Mapping[str, Any] = study.user_attrs.get(RECORD, {})
        self.space: dict[str, Any] = dict(self.record.get("space") or _drawn_from(study))
        trials = trials_dataframe(study)
        trials["cost"] = trials["value"] * (-1.0 if self.direction == "maximize" else 1.0)
        self.trials = trials[trials["state"] != "RUNNING"]
        usable = (self.trials["state"] == "COMPLETE") & np.isfinite(self.trials["cost"])
        self.complete = self.trials[usable].sort_values("cost", kind="stable")

    @cached_property
    def searched(self) -> dict[str, dict[str, Any]]:
        """Entries of the space that are not fixed."""
        return {name: entry for name, entry in self.space.items() if "fixed" not in entry}

    @cached_property
    def ranges(self) -> dict[str, Range | Levels]:
        """The searched ranges of numbers, by name."""
        found = {n: search_range(entry, self.rows.get(n)) for n, entry in self.searched.items()}
        return {name: entry for name, entry in found.items() if entry is not None}

    @cached_property
    def rows(self) -> Mapping[str, Any]:
        """The `objectives.Hyperparameter` by name, where they are known."""
        if self.record.get("objective") == "mlp":
            # The rows as documented: those of the objective may hold another distribution.
            return MLP_TABLE
        space = getattr(self.objective, "space", None)
        return space if isinstance(space, Mapping) else {}

    @cached_property
    def curves(self) -> dict[int, pd.DataFrame]:
        """Learning curves by trial number, with a column ``cost``: the metric, lower is better."""
        frame = curves_dataframe(self.study)
        sign = -1.0 if self.direction == "maximize" else 1.0
        frame["cost"] = frame[str(frame.columns[2])] * sign
        return {int(str(number)): curve for number, curve in frame.groupby("number")}

    @cached_property
    def best_curve(self) -> pd.DataFrame | None:
        """The best trial's learning curve, if it has one."""
        return (
            None if self.complete.empty else self.curves.get(int(self.complete["number"].iloc[0]))
        )

    @cached_property
    def noise(self) -> Noise | None:
        """The standard error of a value, or None where nothing tells it.

        For accuracy that of a share of ``n_valid`` rows, with two successes and two failures added
        so that a perfect score has one too (Agresti & Coull 1998). For other metrics the jitter of
        the curve around the best epoch, in the best five trials (median).
        """
        n_valid = self.record.get("split", {}).get("n_valid")
        if self.metric == "accuracy" and n_valid and not self.complete.empty:
            share = (float(self.complete["value"].iloc[0]) * n_valid + 2) / (n_valid + 4)
            error = math.sqrt(max(share * (1 - share), 0.0) / (n_valid + 4))
            return Noise(error, f"the standard error of accuracy on {n_valid} validation rows")
        numbers = self.complete["number"].head(_JITTER_TRIALS)
        found = [jitter(self.curves[n]) for n in numbers if n in self.curves]
        known = [value for value in found if value is not None and value > 0]
        if not known:
            return None
        return Noise(
            float(np.median(known)), "what neighbouring epochs of the best trials differ by"
        )


def short(value: Any) -> str:
    """A value in a sentence, numbers to four digits.

    >>> short(1626.0), short(0.0013123), short("relu")
    ('1626', '0.001312', 'relu')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def jitter(curve: pd.DataFrame) -> float | None:
    """Standard deviation of the metric from one epoch to the next, around the best epoch.

    Differences of neighbours have twice the variance of one value, and leave a trend out.

    Args:
        curve: with a column ``cost``, one row an epoch.

    Example:
        >>> round(jitter(pd.DataFrame({"cost": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]})), 3)
        0.775
    """
    costs = curve["cost"].dropna()
    if len(costs) < _MIN_JITTER_EPOCHS:
        return None
    best = int(costs.to_numpy().argmin())
    near = costs.iloc[max(best - _JITTER_EPOCHS, 0) : best + _JITTER_EPOCHS + 1]
    return float(near.diff().std() / math.sqrt(2)) if len(near) >= _MIN_JITTER_EPOCHS else None


def _drawn_from(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """The space of a study that records none: the distributions its trials were drawn from."""
    return {
        name: _describe(distribution)
        for trial in finished(study)
        for name, distribution in trial.distributions.items()
    }


def _describe(distribution: Any) -> dict[str, Any]:
    if isinstance(distribution, CategoricalDistribution):
        return {"choices": list(distribution.choices)}
    ends = {"low": distribution.low, "high": distribution.high}
    return ends | ({"log": True} if distribution.log else {})


MIN_FOR_IMPORTANCES = 5  # Fewer trials rank hyperparameters by chance.


def importances_data(study: optuna.Study) -> dict[str, float]:
    """Share of each searched hyperparameter in what made trials good, by Optuna's PED-ANOVA.

    Args:
        study: any study with one direction.

    Returns:
        Names and shares, the largest first; empty with fewer than 5 complete trials or none that
        differ.
    """
    from optuna.importance import get_param_importances  # loads scikit-learn

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    finite = {trial.value for trial in complete if trial.value is not None}
    varied = len({str(sorted(trial.params.items())) for trial in complete}) > 1
    if len(complete) < MIN_FOR_IMPORTANCES or len(finite) < 2 or not varied:
        return {}
    with warnings.catch_warnings():
        # PED-ANOVA warns when few trials make every share equal: the bars show it.
        warnings.simplefilter("ignore", UserWarning)
        shares = get_param_importances(study)
    return {name.removeprefix("log2_"): share for name, share in shares.items()}


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
    ready = READY_MADE.get(str(record.get("objective")))
    table, described = None if ready is None else ready.table, record.get("space", {})
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
