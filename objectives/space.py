"""Search spaces: what the user writes as ``space=`` becomes one `Hyperparameter` per name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from objectives.hyperparameters import Hyperparameter, Space, Value, nearest


def make_space(
    table: Space, space: Mapping[str, Any] | None = None, *, only_named: bool = False
) -> dict[str, Hyperparameter]:
    """Return the search space: ``table`` with the user's entries in place of its own.

    Args:
        table: the hyperparameters there are.
        space: name -> fixed value, list of choices, ``(low, high)``, Optuna distribution or `Hyperparameter`.
        only_named: keep every hyperparameter that ``space`` does not name fixed at its default, as a grid does.

    Raises:
        ValueError: for an unknown name, an impossible value or an empty range.
    """
    space = dict(space or {})
    for name in space:
        if name not in table:
            raise ValueError(
                f"space must name hyperparameters out of {', '.join(table)}, got {name!r}{nearest(name, table)}"
            )
    rest = {n: dataclasses.replace(h, distribution=None) if only_named else h for n, h in table.items()}
    return {name: _entry(rest[name], space[name]) if name in space else rest[name] for name in table}


def _entry(row: Hyperparameter, wish: Any) -> Hyperparameter:
    if isinstance(wish, Hyperparameter):
        if wish.name != row.name:
            raise ValueError(f"space[{row.name!r}] must be a Hyperparameter of that name, got name={wish.name!r}")
        return wish
    if isinstance(wish, BaseDistribution):
        return _from_distribution(row, wish)
    if isinstance(wish, tuple):
        return _from_range(row, wish)
    if isinstance(wish, Sequence) and not isinstance(wish, str):
        return _from_choices(row, wish)
    return dataclasses.replace(row, distribution=None, default=row.check(wish), grid=(row.check(wish),))


def _from_range(row: Hyperparameter, wish: tuple[Any, ...]) -> Hyperparameter:
    if len(wish) != 2 or row.kind == "choice":
        raise ValueError(f"{row.name} must be a list for choices or a (low, high) pair for a range, got {wish!r}")
    ranged = dataclasses.replace(row, distribution=row.range(*wish))
    ends = (ranged.distribution.low, ranged.distribution.high)  # type: ignore[union-attr]
    return _keep_default(ranged, *map(ranged.from_stored, ends))


def _from_choices(row: Hyperparameter, wish: Sequence[Any]) -> Hyperparameter:
    values = tuple(dict.fromkeys(row.check(value) for value in wish))
    if not values:
        raise ValueError(f"{row.name} must have at least one choice, got an empty list")
    default = row.default if row.default in values else values[0]
    if len(values) == 1:
        return dataclasses.replace(row, distribution=None, default=default, grid=values)
    return dataclasses.replace(row, distribution=CategoricalDistribution(values), default=default, grid=values)


def _from_distribution(row: Hyperparameter, wish: BaseDistribution) -> Hyperparameter:
    if isinstance(wish, CategoricalDistribution):
        return _from_choices(row, wish.choices)
    if row.kind == "choice" or (row.kind == "int") != isinstance(wish, IntDistribution):
        raise ValueError(f"{row.name} must have a distribution over its kind of value ({row.kind}), got {wish!r}")
    low, high = row.check(wish.low), row.check(wish.high)  # type: ignore[attr-defined]
    plain = dataclasses.replace(row, distribution=wish, powers_of_two=False)
    return _keep_default(plain, low, high)


def _keep_default(row: Hyperparameter, low: Any, high: Any) -> Hyperparameter:
    """Restrict the grid levels to the range; where the default lies outside, take the nearest end."""
    levels = tuple(v for v in row.grid if not isinstance(v, str) and low <= v <= high)
    default = row.default if isinstance(row.default, str) else min(max(row.default, low), high)
    return dataclasses.replace(row, grid=levels, default=default)


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
                f"params must name hyperparameters out of {', '.join(space)}, got {name!r}{nearest(name, space)}"
            )
    return {name: row.check(params[name]) if name in params else row.default for name, row in space.items()}


def suggest(space: Space, trial: Any) -> dict[str, Value]:
    """Return the configuration that ``trial`` (an `optuna.Trial`) suggests, fixed values included."""
    params = {}
    for name, row in space.items():
        params[name] = row.default if row.distribution is None else row.from_stored(_suggest(trial, row))
    return params


def _suggest(trial: Any, row: Hyperparameter) -> Any:
    dist = row.distribution
    if isinstance(dist, CategoricalDistribution):
        return trial.suggest_categorical(row.stored_name, dist.choices)
    if isinstance(dist, IntDistribution):
        return trial.suggest_int(row.stored_name, dist.low, dist.high, step=dist.step, log=dist.log)
    return trial.suggest_float(row.stored_name, dist.low, dist.high, step=dist.step, log=dist.log)  # type: ignore[union-attr]


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
        name: params[name] if name in params and _holds(row, params[name]) else row.default
        for name, row in space.items()
    }


def _holds(row: Hyperparameter, value: Any) -> bool:
    dist = row.distribution
    if dist is None:
        return False
    if isinstance(dist, CategoricalDistribution):
        return value in dist.choices
    low, high = row.from_stored(dist.low), row.from_stored(dist.high)  # type: ignore[attr-defined]
    return not isinstance(value, str) and bool(low <= value <= high)


def grid_cells(space: Space) -> list[dict[str, Value]]:
    """Return every cell of the grid: the product of the searched hyperparameters' levels, defaults for the rest.

    >>> from objectives.hyperparameters import MLP_TABLE
    >>> cells = grid_cells(make_space(MLP_TABLE, {"dropout": [0.0, 0.2], "n_layers": [1, 2, 3]}, only_named=True))
    >>> len(cells), cells[0]["dropout"], cells[0]["n_layers"]
    (6, 0.0, 1)

    Raises:
        ValueError: if a searched hyperparameter has no levels inside its range.
    """
    rows = searched(space)
    for name, row in rows.items():
        if not row.grid:
            raise ValueError(f"{name} must have levels for a grid, got none inside its range; give a list of choices")
    fixed = defaults(space)
    return [fixed | dict(zip(rows, cell, strict=True)) for cell in itertools.product(*(r.grid for r in rows.values()))]


def describe(space: Space) -> dict[str, Any]:
    """Return the space as plain JSON types, to be recorded in the study and compared on resume.

    >>> from objectives.hyperparameters import MLP_TABLE
    >>> describe({"epochs": MLP_TABLE["epochs"], "dropout": MLP_TABLE["dropout"]})
    {'epochs': {'fixed': 100}, 'dropout': {'low': 0.0, 'high': 0.5}}
    """
    return {name: _describe_row(row) for name, row in space.items()}


def _describe_row(row: Hyperparameter) -> dict[str, Any]:
    dist = row.distribution
    if dist is None:
        return {"fixed": row.default}
    if isinstance(dist, CategoricalDistribution):
        return {"choices": list(dist.choices)}
    low, high = row.from_stored(dist.low), row.from_stored(dist.high)  # type: ignore[attr-defined]
    extra = {"log": True} if dist.log else {}  # type: ignore[attr-defined]
    extra |= {"powers_of_two": True} if row.stored_name != row.name else {}
    return {"low": low, "high": high, **extra}


def free_space(space: Mapping[str, Any]) -> dict[str, Hyperparameter]:
    """Return the space of a user's own objective, whose names are free; kinds follow from the values.

    >>> list(describe(free_space({"x": (0.0, 1.0), "depth": (1, 4), "kernel": ["rbf", "poly"]})).values())
    [{'low': 0.0, 'high': 1.0}, {'low': 1, 'high': 4}, {'choices': ['rbf', 'poly']}]
    """
    return {name: wish if isinstance(wish, Hyperparameter) else _free_row(name, wish) for name, wish in space.items()}


def _free_row(name: str, wish: Any) -> Hyperparameter:
    values = _ends(wish)
    if not values:
        raise ValueError(f"{name} must have at least one choice, got an empty list")
    words = tuple(value for value in values if isinstance(value, str))
    numbers = [value for value in values if not isinstance(value, str)]
    kind: Any = "choice" if not numbers else "int" if all(isinstance(value, int) for value in numbers) else "float"
    row = Hyperparameter(name=name, kind=kind, default=values[0], words=words)
    return _entry(row, wish)


def _ends(wish: Any) -> Sequence[Any]:
    if isinstance(wish, CategoricalDistribution):
        return wish.choices
    if isinstance(wish, BaseDistribution):
        return (wish.low, wish.high)  # type: ignore[attr-defined]
    return wish if isinstance(wish, list | tuple) else (wish,)
