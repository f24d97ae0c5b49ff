"""What a search is going to run: how many trials, and which are known beforehand."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from objectives._messages import check_count
from objectives.space.hyperparameter import Space
from objectives.space.space import complete, grid_cells
from tuner.search.samplers import INDEPENDENT, LISTED, PrunerName, SamplerName
from tuner.storage.study import Session
from tuner.storage.trial_attrs import origin_of

Params = Mapping[str, Any]

N_TRIALS = 30
"""Finished trials of a search that was given no number, unless its trials are listed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search is to do; the arguments of `tuner.tune_mlp`, checked.

    Args:
        space: the search space; empty where the objective suggests by itself.
        direction: ``"minimize"`` or ``"maximize"``.
        sampler: see `tuner.search.samplers`.
        pruner: see there, too.
        n_trials: the study's total of finished trials; None for the sampler's own number.
        stop_after: trials without a better one after which to stop; None for never.
        timeout: seconds; None for no limit.
        firsts: complete configurations to begin with.
        trials: the configurations of a manual search.
        seed: of the sampler, and of each trial.
        max_steps: reports of a trial at most.
        n_jobs: processes that train.
        record: what the study is about, in plain JSON types.
        checkpoint: which trials are saved on the way, see `tuner.storage.checkpoints.Checkpoints`.
        artifact_store: where checkpoints and the best model lie; None for nowhere.
        call: that reproduces the search, see `tuner.storage.call`; empty if none does.
    """

    space: Space
    direction: str
    sampler: SamplerName | BaseSampler
    pruner: PrunerName | BasePruner
    n_trials: int | None
    stop_after: int | None
    timeout: float | None
    firsts: list[dict[str, Any]]
    trials: Sequence[Params] | None
    seed: int
    max_steps: int
    n_jobs: int
    record: dict[str, Any]
    call: dict[str, Any] = field(default_factory=dict)
    checkpoint: bool | None = None
    artifact_store: Any = None

    @property
    def is_known(self) -> bool:
        """Whether the trials are known beforehand, as no trial's outcome steers the next."""
        return self.sampler in INDEPENDENT

    @property
    def metric(self) -> str:
        """The metric's name."""
        return str(self.record["metric"] or "value")

    def session(
        self, storage: str | os.PathLike[str] | BaseStorage | None, study_name: str
    ) -> Session:
        """Open the storage for this search of the study called ``study_name``."""
        return Session(
            storage,
            name=study_name,
            direction=self.direction,
            record=self.record,
            space=self.space,
            artifact_store=self.artifact_store,
        )

    def for_one_process(self) -> Plan:
        """Return the plan for a worker that trains by itself."""
        return replace(self, n_jobs=1)


def given(space: Space, params: Params) -> dict[str, Any]:
    """Return a configuration of the user's, checked and completed where there is a space."""
    return complete(space, params) if space else dict(params)


def listed_trials(
    sampler: SamplerName | BaseSampler, space: Space, trials: Sequence[Params] | None
) -> list[dict[str, Any]]:
    """Return the configurations of a grid or of a manual search; none for other samplers.

    Raises:
        ValueError: if ``trials`` are given to another sampler than manual, or none to it.
    """
    if (trials is not None) != (sampler == "manual"):
        raise ValueError(
            "trials must be given for sampler='manual' and only there, "
            f"got trials={trials!r}, sampler={sampler!r}"
        )
    if trials is not None and not len(trials):
        raise ValueError("trials must hold at least one configuration, got none; give [{...}]")
    if sampler == "grid":
        return grid_cells(space)
    return [given(space, params) for params in trials or ()]


def total_trials(
    n_trials: int | None,
    sampler: SamplerName | BaseSampler,
    planned: list[dict[str, Any]],
    timeout: float | None,
) -> int:
    """Return how many finished trials the study is to have.

    Raises:
        ValueError: if ``n_trials`` or ``timeout`` is no number above 0.
    """
    if timeout is not None and not 0 < timeout < math.inf:
        raise ValueError(
            f"timeout must be above 0 seconds, or None for no limit, got timeout={timeout}"
        )
    if n_trials is not None:
        check_count("n_trials", n_trials)
    if n_trials is None:
        return len(distinct(planned)) if sampler in LISTED else N_TRIALS
    return min(n_trials, len(distinct(planned))) if sampler in LISTED else n_trials


def with_brought(study: optuna.Study, plan: Plan, total: int) -> int:
    """Return the total for a study that holds more than was planned: trials of another study, or
    some added by hand.
    """
    trials = study.get_trials(deepcopy=False)
    if plan.sampler in LISTED:
        return len(trials) if plan.n_trials is None else min(plan.n_trials, len(trials))
    n_brought = sum(origin_of(trial) is not None for trial in trials)
    return total + n_brought if plan.n_trials is None else total


def distinct(planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the configurations, each once."""
    return list({json.dumps(params, sort_keys=True): params for params in planned}.values())
