"""The best configurations trained again: `confirm`, and `Finals`, the end of a search."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import pandas as pd

from objectives._messages import check_count
from objectives.metrics import METRICS, Metric
from objectives.objective import Cohort, Objective, TrialRecord
from objectives.space.hyperparameter import Params
from objectives.space.space import defaults
from tuner.storage.chosen import choose, n_complete
from tuner.storage.trial_attrs import (
    CONFIRMED,
    Confirmed,
    best_confirmed,
    best_of,
    study_attr,
    trial_params,
)
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna

    from objectives.mlp import MLPObjective
    from objectives.models.ensemble import Choice, Library

Show: TypeAlias = Callable[[int, int, float | None], None]
"""What is told how many runs have ended, of how many, and the best mean so far."""

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

_FRESH = 0xF2E54
_FINALS = 0xF17A1  # beside what users may give as seed
_MAX_SEEDS = 1000

# How far a metric of ours reaches, at most.
_RANGES = {name: (0.0, 1.0) for name in ("accuracy", "balanced_accuracy", "roc_auc", "f1_macro")}
_RANGES |= {name: (0.0, math.inf) for name in ("log_loss", "rmse", "mae")}
_RANGES |= {"r2": (-math.inf, 1.0)}

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
    show: Show = lambda n_ended, n_runs, best: None,
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
        show: is told how many runs have ended, of how many, and the best mean so far.

    Returns:
        One row a configuration, the best mean first: ``rank`` (from 1), ``number`` of its trial
        (empty for a default that was not among the best), ``is_default``, ``value`` in the study,
        ``mean``, ``std``, ``low`` and ``high`` (a 95% t interval of the mean over seeds, cut off at
        the ends of the range of one of our metrics, empty for one run) and ``n`` runs; runs that
        diverged are left out of them.

    Raises:
        ValueError: if ``k`` or ``seeds`` is not a whole number of at least 1, or no trial is
            complete.

    Example:
        >>> from tuner import tune_mlp
        >>> result = tune_mlp("iris", n_trials=2, epochs=2, show_progress_bar=False)
        >>> confirm(result.study, result.objective, k=1, seeds=2)["n"].tolist()
        [2, 2]
    """
    from scipy.stats import t  # loading takes longer than a whole trial may

    check_count("k", k)
    if check_count("seeds", seeds) > _MAX_SEEDS:
        raise ValueError(f"seeds must be at most {_MAX_SEEDS}, got seeds={seeds}")
    view = view_of(study)
    candidates = _candidates(view, objective, k)
    fresh = _fresh_seed(view, seed)
    # A run's seed follows from its number, which depends on its trial's, not on k or seeds.
    runs = {
        _MAX_SEEDS * (0 if c.number is None else c.number + 1) + i: (position, c.params)
        for position, c in enumerate(candidates)
        for i in range(seeds)
    }
    by_candidate: dict[int, list[float]] = {}
    n_ended, of_best = 0, max if objective.metric.direction == "maximize" else min
    show(0, len(runs), None)
    try:
        for run in _train(objective, fresh, {n: params for n, (_, params) in runs.items()}):
            by_candidate.setdefault(runs[run.number][0], []).append(run.value)
            n_ended += 1
            means = (float(pd.Series(values).mean()) for values in by_candidate.values())
            best = of_best((mean for mean in means if not math.isnan(mean)), default=None)
            show(n_ended, len(runs), best)
    except KeyboardInterrupt:
        print(f"interrupted: {n_ended} of {len(runs)} runs are finished", file=sys.stderr)
    rows = []
    for i in sorted(by_candidate):
        finite = pd.Series(by_candidate[i], dtype="float64").dropna()
        mean, std, n = finite.mean(), finite.std(), len(finite)
        half = float(t.ppf(0.975, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
        low, high = _within(objective.metric, mean - half, mean + half)
        measured = {"mean": mean, "std": std, "low": low, "high": high, "n": n}
        rows.append(candidates[i]._asdict() | measured)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "rank"])
    rising = objective.metric.direction == "minimize"
    frame = frame.sort_values("mean", ascending=rising, kind="stable", ignore_index=True)
    return frame.assign(rank=frame.index + 1)[list(COLUMNS)].astype(COLUMNS)


def _within(metric: Metric, low: float, high: float) -> tuple[float, float]:
    """Return an interval without what a metric of ours cannot be; NaN stays."""
    if METRICS.get(metric.name) is not metric:  # another one may be called so
        return low, high
    least, most = _RANGES[metric.name]
    return (least if low < least else low), (most if high > most else high)


def _candidates(view: StudyView, objective: Objective, k: int) -> list[_Candidate]:
    """The best ``k`` distinct configurations, and the default one if it is not among them."""
    if view.ranked.empty:
        raise ValueError("study must have a complete trial to confirm, got none; raise n_trials")
    default = defaults(objective.space)
    distinct: dict[str, _Candidate] = {}
    # Of equal ones the first, whichever the storage calls the best: databases have no order.
    ranked = view.ranked.sort_values(["cost", "number"])
    for number, value in zip(ranked["number"], ranked["value"], strict=True):
        params = trial_params(view.by_number[number])
        candidate = _Candidate(number, params, _key(params) == _key(default), float(value))
        distinct.setdefault(_key(params), candidate)
    chosen = list(distinct.values())[:k]
    if any(candidate.is_default for candidate in chosen):
        return chosen
    return [*chosen, distinct.get(_key(default), _Candidate(None, default, True, math.nan))]


def _fresh_seed(view: StudyView, seed: int) -> int:
    """Return a seed of another stream of the same study's seed, apart from those of any trial."""
    study_seed = int(view.record.get("seed", 0))
    return int(np.random.SeedSequence((_FRESH, study_seed, seed)).generate_state(1)[0])


def _key(params: Params) -> str:
    return json.dumps(params, sort_keys=True, default=str)


class _Run(NamedTuple):
    """A run that has ended: its best value, NaN where it broke down, the standard deviation of its
    folds, and its model where that was asked for.
    """

    number: int
    value: float
    std: float
    model: Any


def _train(
    objective: Objective,
    seed: int,
    runs: Mapping[int, Params],
    *,
    opened: OpenCohort | None = None,
    deadline: float | None = None,
    with_models: bool = False,
) -> Iterator[_Run]:
    """Train the runs, side by side where they fit, and give each as it ends.

    Those that have not ended by the deadline are left out.
    """
    waiting, under_way = dict(runs), dict[int, TrialRecord]()
    direction = objective.metric.direction
    here = nullcontext(objective.cohort(seed=seed))
    with here if opened is None else opened(objective, seed=seed) as cohort:
        while (waiting or under_way) and (deadline is None or time.monotonic() < deadline):
            for number, params in list(waiting.items()):
                n = len(under_way)
                if n == 0 or (n < _N_PARALLEL and cohort.has_room(params)):
                    cohort.add(number, waiting.pop(number))
                    under_way[number] = TrialRecord(direction=direction, params=params, seed=seed)
            for number, result in cohort.train_epoch().items():
                under_way[number].add(result)
                if result.stopped is None:
                    continue
                best, record = under_way[number].best, under_way.pop(number)
                value, std = math.nan, math.nan
                if best.value is not None and not result.failed:
                    value, std = best.value, record.results[best.epoch].value_std or math.nan
                is_wanted = with_models and not math.isnan(value)
                model = cohort.model(number) if is_wanted else None
                cohort.drop(number)
                yield _Run(number, value, std, model)


class OpenCohort(Protocol):
    """Gives an empty cohort as a context."""

    def __call__(self, objective: Objective, *, seed: int) -> AbstractContextManager[Cohort]:
        """Return the context."""


class Finals:
    """The best trials of a study and its default one, trained again on folds: their mean decides.

    The rows are divided anew and the networks begin from fresh seeds, the same for the same study
    and trial, so that a trial's luck with its seed and its validation rows is not repeated. What
    the trials were worth is an attribute of the study.

    Args:
        objective: of the search.
        opened: gives the cohort that trains, as a context; by default one in this process.
    """

    def __init__(self, objective: MLPObjective, *, opened: OpenCohort | None = None) -> None:
        self._objective, self._opened = objective, opened
        self._judge: MLPObjective | None = None
        self._library: Library | None = None

    @property
    def are_trained(self) -> bool:
        """Whether this process has their models."""
        return bool(self._library)

    def are_of(self, study: optuna.Study) -> bool:
        """Say whether they were chosen from all trials that the study has now."""
        about = study_attr(study.user_attrs, CONFIRMED)
        return about is not None and about["n_complete"] == n_complete(study)

    def judge(self, study: optuna.Study) -> MLPObjective:
        """Return the objective that judges them, by folds."""
        if self._judge is None:
            self._judge = self._objective.on_folds(seed=_fresh_seed(view_of(study), _FINALS))
        return self._judge

    def run(
        self,
        study: optuna.Study,
        *,
        deadline: float | None = None,
        show: Show = lambda n_ended, n_runs, best: None,
    ) -> None:
        """Train the finalists that this process has not trained yet, and record their values.

        The best comes first, then the default one. Where fewer than two have ended by the deadline,
        or after Ctrl-C, nothing is recorded, and the search's own values decide.

        Args:
            study: with all trials.
            deadline: `time.monotonic` at which to stop; None for no limit.
            show: as in `confirm`.
        """
        from objectives.models.ensemble import Library

        view = view_of(study)
        finalists = self._finalists(view)
        if not finalists:
            return
        seed, judge = _fresh_seed(view, _FINALS), self.judge(study)
        if self._library is None:
            self._library = Library(view.direction)
        library = self._library
        runs = {n: c.params for n, c in finalists.items() if n not in library}
        values = dict(view.confirmed)
        train = partial(_train, opened=self._opened, deadline=deadline, with_models=True)
        if runs:
            show(0, len(runs), None)
        try:
            for n_ended, run in enumerate(train(judge, seed, runs), 1):
                if run.model is not None:
                    is_default = finalists[run.number].is_default
                    rows = judge.held_out(run.model)
                    library.add(run.number, run.value, run.model, rows, is_default=is_default)
                    values[run.number] = Confirmed(run.value, run.std, judge.n_members)
                best = best_of(values, view.direction)
                show(n_ended, len(runs), None if best is None else values[best].mean)
        except KeyboardInterrupt:
            print(
                "interrupted: the best trials are not confirmed; repeat the call", file=sys.stderr
            )
            return
        if len(values.keys() & finalists.keys()) >= min(2, len(finalists)):
            plain = {str(number): list(value) for number, value in values.items()}
            study.set_user_attr(CONFIRMED, {"n_complete": n_complete(study), "values": plain})

    def _finalists(self, view: StudyView) -> dict[int, _Candidate]:
        """Return what to train, in this order: the best trial, the default one, the next best ones,
        and those that an earlier call has confirmed.
        """
        k = self._objective.n_finalists(len(view.finished))
        if k == 0 or view.ranked.empty:
            return {}
        best, *others = _candidates(view, self._objective, k)
        earlier = [
            _Candidate(n, trial_params(view.by_number[n]), False, 0.0) for n in view.confirmed
        ]
        in_order = [best, *sorted(others, key=lambda c: not c.is_default), *earlier]
        found: dict[int, _Candidate] = {}
        for candidate in in_order:
            if candidate.number is not None:
                found.setdefault(candidate.number, candidate)
        return found

    def choose(self, study: optuna.Study) -> Choice:
        """Return what predicts: the best finalist, or several where they do better."""
        if self._library is None:  # another process has trained them
            self.run(study)
        assert self._library is not None
        best = best_confirmed(study.user_attrs, study.direction.name.lower())
        assert best is not None, "there are values of these trials"
        return choose(study, self._library, self.judge(study), {}, best)
