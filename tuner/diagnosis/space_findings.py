"""What a study says about its search space, and the space to search next.

The rules are those of the Deep Learning Tuning Playbook (Godbole et al. 2023), "Identifying bad
search space boundaries" and "Not sampling enough points in the search space", with thresholds of
ours where it names none.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pandas as pd
from optuna.trial import TrialState

from objectives._messages import short
from objectives.space.hyperparameter import Value
from tuner.diagnosis.evidence import Finding, Levels, Range, Side, ranges
from tuner.diagnosis.trial_findings import stalled
from tuner.storage.study import StudyOfTrials
from tuner.storage.trial_attrs import trial_params
from tuner.storage.view import StudyView

# The best trial this near an end of the range, as a share of it, lies at the edge ...
_EDGE = 0.05
# ... if most of the best trials lie in the outer fifth too. One trial alone is there by chance in
# one of ten hyperparameters; with this rule, in values of noise alone, in one of thirty.
_NEAR, _N_NEAR = 0.2, 5

# Below, either measure of importance ranks by chance: with 30 random trials of a test function,
# PED-ANOVA gave up to 0.7, fANOVA up to 0.07, to hyperparameters that did nothing. Of two that did
# something, both were below 0.05 in 2% of such studies, and in none of 50 trials or more.
_MIN_FOR_NO_DIFFERENCE = 30
_NO_DIFFERENCE = 0.05
# Half of Optuna's trees, and 256 leaves at most where it has one for each trial: of 1,000 trials, a
# second instead of fifteen, and the effect of one hyperparameter needs no more.
_N_TREES, _DEPTH = 32, 8
_MAX_IN_FOREST = 1000

# Loeppky, Sacks & Welch 2009, "Choosing the sample size of a computer experiment".
TRIALS_A_DIMENSION = 10
# 1 - 0.95**60 = 95%: the chance that one of 60 random trials is among the best 5% of the space,
# whatever its dimension (Bergstra & Bengio 2012 show random search's indifference to dimension).
_RANDOM_TRIALS = 60

# The next space holds the best quarter of the trials, if they are enough.
_GOOD, _MIN_GOOD, _MIN_TO_NARROW = 0.25, 5, 10
Changes: TypeAlias = dict[tuple[str | None, str], Any]  # by hyperparameter and kind of change
_TRIED = 5  # A choice tried less often has not had its chance.


def at_an_edge(view: StudyView) -> list[Finding]:
    """Hyperparameters whose best values lie at an end of their range, on its own scale."""
    if len(view.ranked) < _N_NEAR:
        return []
    findings = (_edge(view, name, entry) for name, entry in ranges(view).items())
    return [finding for finding in findings if finding is not None]


def _edge(view: StudyView, name: str, entry: Range | Levels) -> Finding | None:
    if f"params_{name}" not in view.ranked:
        return None
    top = view.ranked[f"params_{name}"].head(_N_NEAR)
    where = entry.position(top)
    side: Side = "low" if where[0] < 0.5 else "high"
    distance = where if side == "low" else 1 - where
    n_near = int((distance <= _NEAR).sum())
    if not distance[0] <= _EDGE or n_near <= len(top) / 2 or entry.ends_at_limit(side):
        return None
    wider = entry.widened(side)
    end, new = (entry.low, wider.low) if side == "low" else (entry.high, wider.high)
    return Finding(
        finding=f"the best {name} lies at the {side} end of its range",
        evidence=f"best {short(top.iloc[0])}, range {short(entry.low)} to {short(entry.high)}; "
        f"{n_near} of the best {len(top)} trials are in the fifth next to {short(end)}",
        advice=f"move the {side} end of {name} to {short(new)}",
        hyperparameter=name,
        change=("widen", side),
    )


def no_difference(view: StudyView) -> list[Finding]:
    """Hyperparameters that fANOVA and PED-ANOVA both find without effect."""
    n = len(view.ranked)
    if n < _MIN_FOR_NO_DIFFERENCE:
        return []
    # They load scikit-learn, which a small study does without.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    narrow = view.importances
    if len(narrow) < 2 or min(narrow.values()) >= _NO_DIFFERENCE:
        return []
    # Of a large study every so many trials: a forest of 10,000 takes seconds and says the same.
    every = math.ceil(n / _MAX_IN_FOREST)
    complete = view.in_memory.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        wide = get_param_importances(
            StudyOfTrials(complete[::every], view.direction),
            evaluator=FanovaImportanceEvaluator(n_trees=_N_TREES, max_depth=_DEPTH, seed=0),
        )
    overall = {name.removeprefix("log2_"): share for name, share in wide.items()}
    best = trial_params(view.by_number[int(view.ranked["number"].iloc[0])])
    return [
        Finding(
            finding=f"{name} made no difference",
            evidence=f"importance {overall[name]:.2f} (fANOVA) and {share:.2f} (PED-ANOVA) of 1, "
            f"from {n} complete trials",
            advice=f"fix {name} at the best trial's {short(best[name]) or best[name]} and search "
            "the others",
            hyperparameter=name,
            change=("fix", best[name]),
        )
        for name, share in narrow.items()
        if share < _NO_DIFFERENCE and overall.get(name, 1.0) < _NO_DIFFERENCE and name in best
    ]


def too_few_trials(view: StudyView) -> Finding | None:
    """Fewer trials than the space needs. A grid or a list of configurations has a fixed length."""
    sampler = view.record.get("sampler")
    n_dimensions = sum("fixed" not in entry for entry in view.space.values())
    if sampler in ("grid", "manual") or not n_dimensions or view.ended.empty:
        return None
    if sampler == "random":
        needed, rule = _RANDOM_TRIALS, "60 find the best 5% of a space with 95% probability"
    else:
        needed = TRIALS_A_DIMENSION * n_dimensions
        rule = f"{TRIALS_A_DIMENSION} for each is the rule of thumb"
    n = int((view.ended["state"] != "FAIL").sum())
    if n >= needed:
        return None
    advice = f"continue to n_trials={needed}, or search fewer hyperparameters; until then do not"
    if stalled(view) is not None:  # which says to stop
        advice = "do not"
    return Finding(
        finding="too few trials for the space",
        evidence=f"{n} trials for {n_dimensions} searched hyperparameters; {rule}",
        advice=f"{advice} rely on importances",
    )


def duplicates(view: StudyView) -> Finding | None:
    """Configurations that were run more than once."""
    trials = view.ended[view.ended["state"] != "FAIL"]
    params = {trial.number: trial_params(trial) for trial in view.trials}
    texts = {n: json.dumps(p, sort_keys=True, default=str) for n, p in params.items() if p}
    key = pd.Series(texts, dtype="str").reindex(trials["number"]).dropna()
    again = int(key.duplicated().sum())
    if not again:
        return None
    values = view.ranked.set_index("number")["value"]
    groups = values.groupby(key.reindex(values.index))
    spread = (groups.max() - groups.min())[groups.size() > 1]
    differ = f"; their values differ by up to {short(spread.max())}" if len(spread) else ""
    return Finding(
        finding="identical configurations were run more than once",
        evidence=f"{again} of {len(trials)} trials repeat an earlier configuration{differ}",
        advice="search finer ranges, or fewer trials; to measure noise, use result.confirm()",
    )


def next_space(view: StudyView, findings: Sequence[Finding]) -> dict[str, Any]:
    """The space to search next: around the best quarter of the trials, and as the findings say.

    Args:
        view: of the study.
        findings: whose ``change`` is followed.

    Returns:
        Entries for ``space=``. A hyperparameter that the study kept fixed stays so; it is left out
        where the documented table keeps it fixed at that value anyway.
    """
    changes = {(f.hyperparameter, f.change[0]): f.change[1] for f in findings if f.change}
    fixed = {name: value for (name, kind), value in changes.items() if kind == "fix" and name}
    space: dict[str, Any] = {}
    for name, described in view.space.items():
        if name in fixed:
            space[name] = fixed[name]
        elif "fixed" in described:
            row = view.documented.get(name)
            if row is None or row.distribution is not None or row.default != described["fixed"]:
                space[name] = described["fixed"]
        else:
            space[name] = _next_entry(view, name, changes)
    return space


def _next_entry(view: StudyView, name: str, changes: Changes) -> object:
    entry = ranges(view).get(name)
    best_values = _best_values(view, name)
    side, limit = changes.get((name, "widen")), changes.get((name, "cap"))
    if isinstance(entry, Levels) and side is not None:
        return entry.widened(side).entry()
    if isinstance(entry, Levels) and limit is not None:
        return entry.capped(limit).entry()
    if not isinstance(entry, Range):
        return _next_choices(view, name, best_values)
    part = entry.narrowed(best_values)
    if side == "low":
        part = replace(part, low=entry.widened(side).low)
    elif side == "high":
        part = replace(part, high=entry.widened(side).high)
    return (part if limit is None else part.capped(limit)).entry()


def _best_values(view: StudyView, name: str) -> pd.Series:
    """Values of a hyperparameter in the best trials; none if they are too few to narrow by."""
    n = len(view.ranked)
    if n < _MIN_TO_NARROW or f"params_{name}" not in view.ranked:
        return pd.Series(dtype="float64")
    best = view.ranked.head(max(_MIN_GOOD, math.ceil(_GOOD * n)))
    values: pd.Series = best[f"params_{name}"].dropna()
    return values


def _next_choices(view: StudyView, name: str, best_values: pd.Series) -> list[Value]:
    """The choices without those that were tried often enough and never among the best trials."""
    choices = list(view.space[name]["choices"])
    if best_values.empty:
        return choices
    tried = view.ended[f"params_{name}"].astype("str").value_counts()
    liked = set(best_values.astype("str"))
    return [c for c in choices if str(c) in liked or tried.get(str(c), 0) < _TRIED] or choices
