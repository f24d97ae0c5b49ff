"""Search spaces: what the user writes as ``space=`` becomes one `Hyperparameter` per name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from objectives._messages import hint
from objectives.space.hyperparameter import (
    Hyperparameter,
    Kind,
    Params,
    Space,
    UserSpace,
    Value,
    plain,
)

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import BaseTrial


def make_space(
    table: Space, space: UserSpace | None = None, *, only_named: bool = False
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
    entries = space or {}
    _check_names("space", entries, table)
    rows = dict(table)
    for name, row in table.items():
        if name in entries:
            rows[name] = _row(row, entries[name])
        elif only_named:
            rows[name] = dataclasses.replace(row, distribution=None)
    return rows


def _check_names(argument: str, names: Iterable[str], space: Space) -> None:
    for name in names:
        if name not in space:
            raise ValueError(
                f"{argument} must name hyperparameters out of {', '.join(space)}, got {name!r}"
                f"{hint(name, space)}"
            )


def _row(row: Hyperparameter, entry: object) -> Hyperparameter:
    if isinstance(entry, Hyperparameter):
        if entry.name != row.name:
            raise ValueError(
                f"space[{row.name!r}] must be a Hyperparameter of that name, got "
                f"name={entry.name!r}"
            )
        return entry
    if isinstance(entry, CategoricalDistribution):
        return _from_choices(row, entry.choices)
    if isinstance(entry, IntDistribution | FloatDistribution):
        if row.kind == "choice" or (row.kind == "int") != isinstance(entry, IntDistribution):
            raise ValueError(
                f"{row.name} must have a distribution over its kind of value ({row.kind}), "
                f"got {entry!r}"
            )
        plain = dataclasses.replace(row, distribution=entry, powers_of_two=False)
        return _within(plain, row.check(entry.low), row.check(entry.high))
    if isinstance(entry, tuple):
        if len(entry) != 2 or row.kind == "choice":
            raise ValueError(
                f"{row.name} must be a list for choices or a (low, high) pair for a range, "
                f"got {entry!r}"
            )
        ranged = row.ranged(*entry)
        ends: Any = ranged.distribution
        return _within(ranged, ranged.from_stored(ends.low), ranged.from_stored(ends.high))
    if isinstance(entry, Sequence) and not isinstance(entry, str):
        return _from_choices(row, entry)
    value = row.check(entry)
    return dataclasses.replace(row, distribution=None, default=value, grid=(value,))


def _from_choices(row: Hyperparameter, entry: Sequence[object]) -> Hyperparameter:
    values = tuple(dict.fromkeys(row.check(value) for value in entry))
    if not values:
        raise ValueError(f"{row.name} must have at least one choice, got an empty list")
    default = row.default if row.default in values else values[0]
    distribution = CategoricalDistribution(values) if len(values) > 1 else None
    return dataclasses.replace(row, distribution=distribution, default=default, grid=values)


def _within(row: Hyperparameter, low: Value, high: Value) -> Hyperparameter:
    """Restrict the grid to the range, and move a default outside it to the nearest end."""
    first, last = float(low), float(high)
    levels = tuple(v for v in row.grid if not isinstance(v, str) and first <= v <= last)
    default = row.default
    if not isinstance(default, str):
        default = low if default < first else high if default > last else default
    return dataclasses.replace(row, grid=levels, default=default)


def stored_space(space: Space) -> dict[str, BaseDistribution]:
    """Return the distributions that are searched, by the names that a study stores."""
    return {
        row.stored_name: row.distribution
        for row in space.values()
        if row.distribution is not None and not row.distribution.single()
    }


def describe(space: Space) -> dict[str, dict[str, object]]:
    """Return the space as plain JSON types, to be recorded in the study and compared on resume.

    >>> from objectives.space.tables import MLP_TABLE
    >>> describe({"epochs": MLP_TABLE["epochs"], "dropout": MLP_TABLE["dropout"]})
    {'epochs': {'fixed': 100}, 'dropout': {'low': 0.0, 'high': 0.5}}
    """
    described: dict[str, dict[str, object]] = {}
    for name, row in space.items():
        match row.distribution:
            case None:
                described[name] = {"fixed": row.default}
            case CategoricalDistribution(choices=choices):
                described[name] = {"choices": list(choices)}
            case numbers:
                ends = row.from_stored(numbers.low), row.from_stored(numbers.high)
                described[name] = dict(zip(("low", "high"), ends, strict=True))
                if numbers.log:
                    described[name]["log"] = True
                if row.stored_name != name:
                    described[name]["powers_of_two"] = True
    return described


def free_space(space: UserSpace) -> dict[str, Hyperparameter]:
    """Return the space of a user's own objective, whose names are free; kinds follow from the
    values.

    >>> describe(free_space({"x": (0.0, 1.0), "kernel": ["rbf", "poly"], "skip": [True, False]}))
    {'x': {'low': 0.0, 'high': 1.0}, 'kernel': {'choices': ['rbf', 'poly']},
     'skip': {'choices': [True, False]}}
    """
    return {name: _free_row(name, entry) for name, entry in space.items()}


def _free_row(name: str, entry: object) -> Hyperparameter:
    if isinstance(entry, Hyperparameter):
        return entry
    given = entry if isinstance(entry, list | tuple) else (entry,)
    values: Sequence[object] = [plain(value) for value in given]
    if isinstance(entry, CategoricalDistribution):
        values = entry.choices
    elif isinstance(entry, IntDistribution | FloatDistribution):
        values = entry.low, entry.high
    if not values:
        raise ValueError(f"{name} must have at least one choice, got an empty list")
    words = tuple(value for value in values if isinstance(value, str))
    flags = tuple(value for value in values if isinstance(value, bool))
    numbers = [value for value in values if not isinstance(value, str | bool)]
    kind: Kind = "int" if all(isinstance(number, int) for number in numbers) else "float"
    row = Hyperparameter(
        name=name,
        kind=kind if numbers else "choice",
        default=cast(Value, values[0]),  # `_row` checks it
        words=words,
        flags=flags,
    )
    return _row(row, entry)


def searched(space: Space) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of ``space`` that are searched, the fixed ones left out."""
    return {name: row for name, row in space.items() if row.distribution is not None}


def defaults(space: Space) -> dict[str, Value]:
    """Return the default configuration: every hyperparameter's default."""
    return {name: row.default for name, row in space.items()}


def complete(space: Space, params: Params) -> dict[str, Value]:
    """Return ``params`` checked and filled up with the defaults of what they leave out.

    Raises:
        ValueError: for an unknown hyperparameter or an impossible value.
    """
    _check_names("params", params, space)
    return {
        name: row.check(params[name]) if name in params else row.default
        for name, row in space.items()
    }


def suggest(space: Space, trial: BaseTrial) -> dict[str, Value]:
    """Return the configuration that ``trial``, an `optuna.Trial`, suggests; fixed values too."""
    params = defaults(space)
    for row in searched(space).values():
        name, stored, dist = row.stored_name, row.default, row.distribution
        if isinstance(dist, CategoricalDistribution):
            stored = cast(Value, trial.suggest_categorical(name, dist.choices))  # `check` passed it
        elif isinstance(dist, IntDistribution):
            stored = trial.suggest_int(name, dist.low, dist.high, step=dist.step, log=dist.log)
        elif dist is not None:
            stored = trial.suggest_float(name, dist.low, dist.high, step=dist.step, log=dist.log)
        params[row.name] = row.from_stored(stored)
    return params


def sample(space: Space, sampler: BaseSampler, study: Study) -> dict[str, Value]:
    """Return what ``sampler``, one that regards no other trial, draws for a study to store."""
    no_trial: Any = None  # such a sampler does not look at it
    return {
        row.stored_name: sampler.sample_independent(
            study, no_trial, row.stored_name, row.distribution
        )
        for row in space.values()
        if row.distribution is not None
    }


def from_stored(space: Space, stored: Params) -> dict[str, Value]:
    """Return the configuration that a study's parameters stand for, fixed values included."""
    return defaults(space) | {
        name: row.from_stored(stored[row.stored_name]) for name, row in searched(space).items()
    }


def to_stored(space: Space, params: Params) -> dict[str, Value]:
    """Return what an Optuna study stores of ``params``: the searched ones, by their stored names.

    Args:
        space: the search space.
        params: a configuration.

    Raises:
        ValueError: if the space cannot express a value, so that the study would tell another one.
    """
    return {
        row.stored_name: row.to_stored(params[name])
        for name, row in searched(space).items()
        if name in params
    }


def fits(space: Space, params: Params) -> bool:
    """Say whether a search over ``space`` can come upon a configuration with these values.

    >>> from objectives.space.tables import MLP_TABLE
    >>> space = make_space(MLP_TABLE, {"n_layers": 2})
    >>> [fits(space, {"n_layers": n, "dropout": 0.1}) for n in (2, 3)]
    [True, False]
    """
    return all(holds(space[name], value) for name, value in params.items())


def holds(row: Hyperparameter, value: object) -> bool:
    """Say whether ``value`` is one that a search over ``row`` can come upon.

    >>> from objectives.space.tables import MLP_TABLE
    >>> [holds(MLP_TABLE["batch_size"], value) for value in (64, 100, 512)]
    [True, False, False]
    """
    try:
        stored = row.to_stored(row.check(value))
    except ValueError:
        return False
    dist = row.distribution
    if dist is None:
        return stored == row.default
    if isinstance(dist, CategoricalDistribution):
        return True  # or `to_stored` had raised
    if isinstance(stored, str) or not dist.low <= stored <= dist.high:
        return False
    steps = 0.0 if dist.step is None else (stored - dist.low) / dist.step
    return abs(steps - round(steps)) < 1e-8  # as Optuna's own check


def grid_cells(space: Space) -> list[dict[str, Value]]:
    """Return every cell of the grid: the product of the searched hyperparameters' levels, defaults
    for the rest.

    >>> from objectives.space.tables import MLP_TABLE
    >>> from objectives.space.space import make_space
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
    cells = itertools.product(*(row.grid for row in rows.values()))
    return [defaults(space) | dict(zip(rows, cell, strict=True)) for cell in cells]
