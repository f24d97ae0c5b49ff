"""What a search is going to run: how many trials, and which are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from objectives.configurations import complete, grid_cells, to_stored
from objectives.hyperparameters import Hyperparameter
from tuner.samplers import LISTED, SamplerName

Params = Mapping[str, Any]
Space = Mapping[str, Hyperparameter]

_N_TRIALS = 30


def check_count(name: str, value: Any) -> int:
    """Return ``value`` if it is a whole number of at least 1.

    Raises:
        ValueError: if it is not; the message calls it ``name``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {name}={value!r}")
    return value


def given(space: Space, params: Params) -> dict[str, Any]:
    """Return a configuration of the user's, checked and completed where there is a space."""
    return complete(space, params) if space else dict(params)


def listed_trials(
    sampler: SamplerName | BaseSampler, space: Space, trials: Sequence[Params] | None
) -> list[dict[str, Any]]:
    """Return the configurations of a grid or of a manual search; none for other samplers.

    Raises:
        ValueError: if ``trials`` are given to another sampler than manual, or not given to it.
    """
    if (trials is not None) != (sampler == "manual"):
        raise ValueError(
            "trials must be given for sampler='manual' and only there, "
            f"got trials={trials!r}, sampler={sampler!r}"
        )
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
    if timeout is not None and timeout <= 0:
        raise ValueError(f"timeout must be above 0 seconds, got timeout={timeout}")
    if n_trials is not None:
        check_count("n_trials", n_trials)
    if n_trials is None:
        return len(_distinct(planned)) if sampler in LISTED else _N_TRIALS
    return min(n_trials, len(_distinct(planned))) if sampler in LISTED else n_trials


def _distinct(planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(params, sort_keys=True): params for params in planned}.values())


def queue(
    study: optuna.Study,
    space: Space,
    planned: list[dict[str, Any]],
    *,
    strict: bool,
    again: bool = False,
) -> None:
    """Put planned trials into the study's queue, except those that are in the study already."""
    there = [trial.user_attrs.get("params") for trial in study.get_trials(deepcopy=False)]
    known = {json.dumps(params, sort_keys=True) for params in there if params}
    for params in _distinct(planned):
        if again or json.dumps(params, sort_keys=True) not in known:
            stored = to_stored(space, params, strict=strict) if space else params
            study.enqueue_trial(stored, user_attrs={"params": params})
