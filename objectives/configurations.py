"""Configurations: one value for each hyperparameter of a space, checked, completed and stored."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from objectives.hyperparameters import Hyperparameter, Space, Value
from objectives.messages import hint


def searched(space: Space) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of ``space`` that are searched, the fixed ones left out."""
    return {name: row for name, row in space.items() if row.distribution is not None}


def defaults(space: Space) -> dict[str, Value]:
    """Return the default configuration: every hyperparameter's default."""
    return {name: row.default for name, row in space.items()}


def complete(space: Space, params: Mapping[str, Any]) -> dict[str, Value]:
    """Return ``params`` checked and filled up with the defaults of what they leave out.

    Raises:
        ValueError: for an unknown hyperparameter or an impossible value.
    """
    for name in params:
        if name not in space:
            raise ValueError(
                f"params must name hyperparameters out of {', '.join(space)}, got {name!r}"
                f"{hint(name, space)}"
            )
    return {
        name: row.check(params[name]) if name in params else row.default
        for name, row in space.items()
    }


def suggest(space: Space, trial: Any) -> dict[str, Value]:
    """Return the configuration that ``trial``, an `optuna.Trial`, suggests; fixed values too."""
    found = {name: row.from_stored(_suggest(trial, row)) for name, row in searched(space).items()}
    return defaults(space) | found


def _suggest(trial: Any, row: Hyperparameter) -> Any:
    dist = row.distribution
    if isinstance(dist, CategoricalDistribution):
        return trial.suggest_categorical(row.stored_name, dist.choices)
    if isinstance(dist, IntDistribution):
        return trial.suggest_int(row.stored_name, dist.low, dist.high, step=dist.step, log=dist.log)
    return trial.suggest_float(row.stored_name, dist.low, dist.high, step=dist.step, log=dist.log)  # type: ignore[union-attr]


def sample(space: Space, sampler: Any, study: Any) -> dict[str, Any]:
    """Return what ``sampler``, one that regards no other trial, draws for a study to store."""
    return {
        row.stored_name: sampler.sample_independent(study, None, row.stored_name, row.distribution)
        for row in searched(space).values()
    }


def from_stored(space: Space, stored: Mapping[str, Any]) -> dict[str, Value]:
    """Return the configuration that a study's parameters stand for, fixed values included."""
    found = {
        name: row.from_stored(stored[row.stored_name]) for name, row in searched(space).items()
    }
    return defaults(space) | found


def to_stored(space: Space, params: Mapping[str, Any], *, strict: bool = True) -> dict[str, Value]:
    """Return what an Optuna study stores of ``params``: the searched ones, by their stored names.

    Args:
        space: the search space.
        params: a configuration.
        strict: raise where the space cannot express a value; otherwise leave that one out.

    Raises:
        ValueError: see ``strict``.
    """
    stored = {}
    for name, row in searched(space).items():
        if name in params:
            try:
                stored[row.stored_name] = row.to_stored(params[name])
            except ValueError:
                if strict:
                    raise
    return stored


def fit_into(space: Space, params: Mapping[str, Any]) -> dict[str, Value]:
    """Return ``params`` as far as the space can hold them, with the defaults elsewhere."""
    return {
        name: params[name] if name in params and holds(row, params[name]) else row.default
        for name, row in space.items()
    }


def holds(row: Hyperparameter, value: Any) -> bool:
    """Say whether ``value`` is one that a search over ``row`` can come upon.

    >>> from objectives.hyperparameters import MLP_TABLE
    >>> [holds(MLP_TABLE["batch_size"], value) for value in (64, 100, 512)]
    [True, False, False]
    """
    try:
        value = row.check(value)
        stored = row.to_stored(value)
    except ValueError:
        return False
    dist = row.distribution
    if dist is None:
        return bool(value == row.default)
    if isinstance(dist, CategoricalDistribution):
        return True  # or `to_stored` had raised
    assert isinstance(dist, FloatDistribution | IntDistribution), "there are three kinds"
    if isinstance(stored, str) or not dist.low <= stored <= dist.high:
        return False
    steps = 0.0 if dist.step is None else (stored - dist.low) / dist.step
    return abs(steps - round(steps)) < 1e-8  # as Optuna's own check


def grid_cells(space: Space) -> list[dict[str, Value]]:
    """Return every cell of the grid: the product of the searched hyperparameters' levels, defaults
    for the rest.

    >>> from objectives.hyperparameters import MLP_TABLE
    >>> from objectives.space import make_space
    >>> levels = {"dropout": [0.0, 0.2], "n_layers": [1, 2, 3]}
    >>> cells = grid_cells(make_space(MLP_TABLE, levels, only_named=True))
    >>> len(cells), cells[0]["dropout"], cells[0]["n_layers"]
    (6, 0.0, 1)

    Raises:
        ValueError: if a searched hyperparameter has no levels inside its range.
    """
    rows = searched(space)
    for name, row in rows.items():
        if not row.grid:
            raise ValueError(
                f"{name} must have levels for a grid, got none inside its range; "
                "give a list of choices"
            )
    fixed = defaults(space)
    return [
        fixed | dict(zip(rows, cell, strict=True))
        for cell in itertools.product(*(r.grid for r in rows.values()))
    ]
