"""`confirm`: the best configurations and the default one, trained again from fresh seeds."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from objectives._messages import check_count
from objectives.objective import BestEpoch, Objective
from objectives.space.hyperparameter import Params
from objectives.space.space import defaults
from tuner.storage.trial_attrs import trial_params
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna


COLUMNS: dict[str, str] = {
    "rank": "int64",
    "number": "Int64",
    "is_default": "bool",
    "value": "float64",
    "mean": "float64",
    "std": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
}

_FRESH = 0xF2E54  # Apart from the seeds of any trial: another stream of the same study's seed.
_MAX_SEEDS = 1000
_N_PARALLEL = 16


class _Candidate(NamedTuple):
    """A configuration to run: its trial (None for the default) and its value in the study."""

    number: int | None
    params: Params
    is_default: bool
    value: float


def confirm(
    study: optuna.Study | StudyView,
    objective: Objective,
    *,
    k: int = 3,
    seeds: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Train the best ``k`` configurations and the default one from fresh seeds, and rank them.

    The runs do not become trials: the study does not change. The best of many trials owes some of
    its value to a lucky seed, which fresh seeds do not repeat. The validation rows are the same, so
    luck with them remains. Press Ctrl-C to stop early; you get the finished runs.

    Args:
        study: with complete trials.
        objective: a ready-made one: it has a ``space``, a ``metric`` and cohorts.
        k: distinct configurations to take, the best first.
        seeds: runs of each.
        seed: the same seed gives the same table; runs that two calls share come out the same.

    Returns:
        One row a configuration, the best mean first: ``rank`` (from 1), ``number`` of its trial
        (empty for a default that was not among the best), ``is_default``, ``value`` in the study,
        ``mean``, ``std``, ``low`` and ``high`` (a 95% t interval of the mean over seeds, empty for
        one run) and ``n`` runs; runs that diverged are left out of them.

    Raises:
        ValueError: if ``k`` or ``seeds`` is not a whole number of at least 1, or no trial is
            complete.

    Example:
        >>> from tuner import tune_mlp
        >>> result = tune_mlp("iris", n_trials=2, epochs=2, show_progress_bar=False)
        >>> confirm(result.study, result.objective, k=1, seeds=2)["n"].tolist()
        [2, 2]
    """
    check_count("k", k)
    if check_count("seeds", seeds) > _MAX_SEEDS:
        raise ValueError(f"seeds must be at most {_MAX_SEEDS}, got seeds={seeds}")
    view = view_of(study)
    candidates = _candidates(view, objective, k)
    study_seed = int(view.record.get("seed", 0))
    fresh = int(np.random.SeedSequence((_FRESH, study_seed, seed)).generate_state(1)[0])
    # A run's seed follows from its number, which depends on its trial's, not on k or seeds.
    runs = {
        _MAX_SEEDS * (0 if c.number is None else c.number + 1) + i: (position, c.params)
        for position, c in enumerate(candidates)
        for i in range(seeds)
    }
    values = _train(objective, fresh, {number: params for number, (_, params) in runs.items()})
    by_candidate: dict[int, list[float]] = {}
    for number, value in values.items():
        by_candidate.setdefault(runs[number][0], []).append(value)
    rows = []
    for i in sorted(by_candidate):
        finite = pd.Series(by_candidate[i], dtype="float64").dropna()
        mean, std, n = finite.mean(), finite.std(), len(finite)
        half = float(t.ppf(0.975, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
        measured = {"mean": mean, "std": std, "low": mean - half, "high": mean + half, "n": n}
        rows.append(candidates[i]._asdict() | measured)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "rank"])
    rising = objective.metric.direction == "minimize"
    frame = frame.sort_values("mean", ascending=rising, kind="stable", ignore_index=True)
    return frame.assign(rank=frame.index + 1)[list(COLUMNS)].astype(COLUMNS)


def _candidates(view: StudyView, objective: Objective, k: int) -> list[_Candidate]:
    """The best ``k`` distinct configurations, and the default one if it is not among them."""
    if view.ranked.empty:
        raise ValueError("study must have a complete trial to confirm, got none; raise n_trials")
    default = defaults(objective.space)
    distinct: dict[str, _Candidate] = {}
    for number, value in zip(view.ranked["number"], view.ranked["value"], strict=True):
        params = trial_params(view.by_number[number])
        candidate = _Candidate(number, params, _key(params) == _key(default), float(value))
        distinct.setdefault(_key(params), candidate)
    chosen = list(distinct.values())[:k]
    if any(candidate.is_default for candidate in chosen):
        return chosen
    return [*chosen, distinct.get(_key(default), _Candidate(None, default, True, math.nan))]


def _key(params: Params) -> str:
    return json.dumps(params, sort_keys=True, default=str)


def _train(objective: Objective, seed: int, runs: Mapping[int, Params]) -> dict[int, float]:
    """Train the runs, side by side where they fit, and return each one's best value by number."""
    cohort = objective.cohort(seed=seed)
    direction = objective.metric.direction
    waiting, under_way = dict(runs), dict[int, BestEpoch]()
    values: dict[int, float] = {}
    try:
        while waiting or under_way:
            for number, params in list(waiting.items()):
                if len(under_way) < _N_PARALLEL and (not under_way or cohort.has_room(params)):
                    cohort.add(number, waiting.pop(number))
                    under_way[number] = BestEpoch(direction=direction, patience=None)
            for number, result in cohort.train_epoch().items():
                under_way[number].update(result.epoch, result.value)
                if result.stopped is not None:
                    cohort.drop(number)
                    best = under_way.pop(number).value
                    values[number] = math.nan if best is None or result.failed else best
    except KeyboardInterrupt:
        print(f"interrupted: {len(values)} of {len(runs)} runs are finished", file=sys.stderr)
    return values
