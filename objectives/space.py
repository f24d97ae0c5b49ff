"""Search spaces: what the user writes as ``space=`` becomes one `Hyperparameter` per name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from objectives.hyperparameters import Hyperparameter, Space
from objectives.messages import hint


def make_space(
    table: Space, space: Mapping[str, Any] | None = None, *, only_named: bool = False
) -> dict[str, Hyperparameter]:
    """Return the search space: ``table`` with the user's entries in place of its own.

    Args:
        table: the hyperparameters there are.
        space: name -> fixed value, list of choices, ``(low, high)``, Optuna distribution or
            `Hyperparameter`.
        only_named: keep every hyperparameter that ``space`` does not name fixed at its default, as
            a grid does.

    Raises:
        ValueError: for an unknown name, an impossible value or an empty range.
    """
    space = dict(space or {})
    for name in space:
        if name not in table:
            raise ValueError(
                f"space must name hyperparameters out of {', '.join(table)}, got {name!r}"
                f"{hint(name, table)}"
            )
    rest = {
        n: dataclasses.replace(h, distribution=None) if only_named else h for n, h in table.items()
    }
    return {
        name: _entry(rest[name], space[name]) if name in space else rest[name] for name in table
    }


def _entry(row: Hyperparameter, wish: Any) -> Hyperparameter:
    if isinstance(wish, Hyperparameter):
        if wish.name != row.name:
            raise ValueError(
                f"space[{row.name!r}] must be a Hyperparameter of that name, got name={wish.name!r}"
            )
        return wish
    if isinstance(wish, BaseDistribution):
        return _from_distribution(row, wish)
    if isinstance(wish, tuple):
        return _from_range(row, wish)
    if isinstance(wish, Sequence) and not isinstance(wish, str):
        return _from_choices(row, wish)
    return dataclasses.replace(
        row, distribution=None, default=row.check(wish), grid=(row.check(wish),)
    )


def _from_range(row: Hyperparameter, wish: tuple[Any, ...]) -> Hyperparameter:
    if len(wish) != 2 or row.kind == "choice":
        raise ValueError(
            f"{row.name} must be a list for choices or a (low, high) pair for a range, got {wish!r}"
        )
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
    return dataclasses.replace(
        row, distribution=CategoricalDistribution(values), default=default, grid=values
    )


def _from_distribution(row: Hyperparameter, wish: BaseDistribution) -> Hyperparameter:
    if isinstance(wish, CategoricalDistribution):
        return _from_choices(row, wish.choices)
    if row.kind == "choice" or (row.kind == "int") != isinstance(wish, IntDistribution):
        raise ValueError(
            f"{row.name} must have a distribution over its kind of value ({row.kind}), got {wish!r}"
        )
    low, high = row.check(wish.low), row.check(wish.high)  # type: ignore[attr-defined]
    plain = dataclasses.replace(row, distribution=wish, powers_of_two=False)
    return _keep_default(plain, low, high)


def _keep_default(row: Hyperparameter, low: Any, high: Any) -> Hyperparameter:
    """Restrict the grid to the range; a default outside it gives way to the nearest end."""
    levels = tuple(v for v in row.grid if not isinstance(v, str) and low <= v <= high)
    default = row.default if isinstance(row.default, str) else min(max(row.default, low), high)
    return dataclasses.replace(row, grid=levels, default=default)


def stored_space(space: Space) -> dict[str, BaseDistribution]:
    """Return the distributions that are searched, by the names that a study stores."""
    return {
        row.stored_name: row.distribution
        for row in space.values()
        if row.distribution is not None and not row.distribution.single()
    }


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
    """Return the space of a user's own objective, whose names are free; kinds follow from the
    values.

    >>> describe(free_space({"x": (0.0, 1.0), "kernel": ["rbf", "poly"], "skip": [True, False]}))
    {'x': {'low': 0.0, 'high': 1.0}, 'kernel': {'choices': ['rbf', 'poly']},
     'skip': {'choices': [True, False]}}
    """
    return {
        name: wish if isinstance(wish, Hyperparameter) else _free_row(name, wish)
        for name, wish in space.items()
    }


def _free_row(name: str, wish: Any) -> Hyperparameter:
    values = _ends(wish)
    if not values:
        raise ValueError(f"{name} must have at least one choice, got an empty list")
    words = tuple(value for value in values if isinstance(value, str))
    flags = tuple(value for value in values if isinstance(value, bool))
    numbers = [value for value in values if not isinstance(value, str | bool)]
    kind: Any = (
        "choice"
        if not numbers
        else "int"
        if all(isinstance(value, int) for value in numbers)
        else "float"
    )
    row = Hyperparameter(name=name, kind=kind, default=values[0], words=words, flags=flags)
    return _entry(row, wish)


def _ends(wish: Any) -> Sequence[Any]:
    if isinstance(wish, CategoricalDistribution):
        return wish.choices
    if isinstance(wish, BaseDistribution):
        return (wish.low, wish.high)  # type: ignore[attr-defined]
    return wish if isinstance(wish, list | tuple) else (wish,)
