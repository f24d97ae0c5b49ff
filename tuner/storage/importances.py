"""Importances of hyperparameters that count pruned trials."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.study import StudyOfTrials, quiet_optuna

MIN_FOR_IMPORTANCES = 5
"""Fewer trials rank hyperparameters by chance."""

# Of studies of 20, 60 and 120 trials in which one choice of two was always pruned and nothing else
# mattered, it had a share of 0.04 to 0.99 with Optuna's tenth, of 0.46 to 0.97 with a quarter.
_GOOD = 0.25


def equal_step_costs(
    values: Sequence[float | None],
    curves: Sequence[Mapping[int, float]],
    states: Sequence[TrialState],
    *,
    direction: str,
) -> list[float | None]:
    """Return a cost for each trial, lower is better, in which pruned trials stand where they would.

    A pruned trial has no value that can stand beside one of all epochs. But at its last step the
    others had a value too: it is placed by its rank among the best values up to that step of all
    trials that got as far, between complete trials of that place. So the order of costs is that of
    trials compared at equal steps; a complete trial keeps its place among the complete ones.

    Args:
        values: of each trial: what it ended with; None where it has none.
        curves: of each trial: reported values by step; empty if it reported none.
        states: of each trial.
        direction: ``"minimize"`` or ``"maximize"``.

    Returns:
        For a complete trial its value, negated for ``"maximize"``; for a pruned one the value at
        its place among the complete ones; None for those that cannot be placed.

    Example:
        >>> complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
        >>> curves = [{0: 9.0, 1: 1.0}, {0: 8.0, 1: 2.0}, {0: 10.0}]
        >>> states = [complete, complete, pruned]
        >>> equal_step_costs([1.0, 2.0, 10.0], curves, states, direction="minimize")
        [1.0, 2.0, 2.0]
    """
    sign = -1.0 if direction == "maximize" else 1.0
    rows = list(zip(values, curves, states, strict=True))
    ends: list[float | None] = [
        sign * value
        if state is TrialState.COMPLETE and value is not None and math.isfinite(value)
        else None
        for value, _, state in rows
    ]
    ranked = sorted(cost for cost in ends if cost is not None)
    if not ranked:
        return ends
    best_curves = []
    for curve in curves:
        finite = {step: sign * curve[step] for step in sorted(curve) if math.isfinite(curve[step])}
        best_curves.append(dict(zip(finite, accumulate(finite.values(), min), strict=True)))
    compared = [c for c, end in zip(best_curves, ends, strict=True) if end is not None and c]
    rivals_at: dict[int, list[float]] = {}
    for number, (_, _, state) in enumerate(rows):
        if state is not TrialState.PRUNED or not best_curves[number]:
            continue
        last = max(best_curves[number])
        own = best_curves[number][last]
        if last not in rivals_at:  # of few steps, however many trials
            rivals_at[last] = sorted(
                curve[max(step for step in curve if step <= last)]
                for curve in compared
                if min(curve) <= last <= max(curve)
            )
        rivals = rivals_at[last]
        share_better = bisect_right(rivals, own) / len(rivals) if rivals else 1.0
        ends[number] = ranked[min(int(share_better * len(ranked)), len(ranked) - 1)]
    return ends


def shares_with_pruned(
    params: Sequence[Mapping[str, Any]],
    distributions: Sequence[Mapping[str, BaseDistribution]],
    costs: Sequence[float | None],
    *,
    target_quantile: float = 0.1,
) -> dict[str, float]:
    """Return the share of each hyperparameter in what made trials good, by PED-ANOVA.

    Watanabe, Bansal & Hutter 2023, "PED-ANOVA: Efficiently quantifying hyperparameter importance in
    arbitrary subspaces", as Optuna has it, over all trials that have a cost.

    Args:
        params: of each trial.
        distributions: of each trial, those it was drawn from.
        costs: as `equal_step_costs` gives them.
        target_quantile: share of the trials that counts as good; 0.1 is Optuna's own.

    Returns:
        Names and shares, the largest first; empty with fewer than 5 trials or none that differ.
    """
    # They load scikit-learn.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    rows = [row for row in zip(params, distributions, costs, strict=True) if row[2] is not None]
    n_costs = len({cost for _, _, cost in rows})
    alike = all(config == rows[0][0] for config, _, _ in rows)
    if len(rows) < MIN_FOR_IMPORTANCES or n_costs < 2 or alike:
        return {}
    trials = [
        FrozenTrial(
            number=number,
            trial_id=number,
            state=TrialState.COMPLETE,
            value=cost,
            params=dict(config),
            distributions=dict(drawn),
            datetime_start=None,
            datetime_complete=None,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        for number, (config, drawn, cost) in enumerate(rows)
    ]
    with warnings.catch_warnings(), quiet_optuna():
        study = StudyOfTrials(trials, "minimize")
        # PED-ANOVA warns when few trials make every share equal: the bars show it.
        warnings.simplefilter("ignore", UserWarning)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=target_quantile)
        shares = get_param_importances(study, evaluator=evaluator)
    return {name.removeprefix("log2_"): share for name, share in shares.items()}


def study_importances(study: optuna.Study) -> dict[str, float]:
    """Return `shares_with_pruned` of a study's trials, by what they reported.

    Args:
        study: any study with one direction.
    """
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    costs = equal_step_costs(
        [trial.value for trial in trials],
        [trial.intermediate_values for trial in trials],
        [trial.state for trial in trials],
        direction=study.direction.name.lower(),
    )
    return shares_with_pruned(
        [trial.params for trial in trials],
        [trial.distributions for trial in trials],
        costs,
        target_quantile=_GOOD if any(t.state is TrialState.PRUNED for t in trials) else 0.1,
    )
