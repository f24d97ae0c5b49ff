"""Search spaces: what the user writes as ``space=`` becomes one `Hyperparameter` per name."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from objectives._messages import hint
from objectives.space.hyperparameter import (
    Distribution,
    Hyperparameter,
    Kind,
    Params,
    Space,
    UserSpace,
    Value,
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
    entries = dict(space or {})
    for name in entries:
        if name not in table:
            raise ValueError(
                f"space must name hyperparameters out of {', '.join(table)}, got {name!r}"
                f"{hint(name, table)}"
            )
    rest = {
        n: dataclasses.replace(h, distribution=None) if only_named else h for n, h in table.items()
    }
    return {
        name: _row(row, entries[name]) if name in entries else row for name, row in rest.items()
    }


def _row(row: Hyperparameter, entry: Any) -> Hyperparameter:
    if isinstance(entry, Hyperparameter):
        if entry.name != row.name:
            raise ValueError(
                f"space[{row.name!r}] must be a Hyperparameter of that name, got "
                f"name={entry.name!r}"
            )
        return entry
    if isinstance(entry, Distribution):
        return _from_distribution(row, entry)
    if isinstance(entry, tuple):
        return _from_range(row, entry)
    if isinstance(entry, Sequence) and not isinstance(entry, str):
        return _from_choices(row, entry)
    return dataclasses.replace(
        row, distribution=None, default=row.check(entry), grid=(row.check(entry),)
    )


def _from_range(row: Hyperparameter, entry: tuple[Any, ...]) -> Hyperparameter:
    if len(entry) != 2 or row.kind == "choice":
        raise ValueError(
            f"{row.name} must be a list for choices or a (low, high) pair for a range, "
            f"got {entry!r}"
        )
    distribution = row.range(*entry)
    ranged = dataclasses.replace(row, distribution=distribution)
    ends = ranged.from_stored(distribution.low), ranged.from_stored(distribution.high)
    return _within(ranged, *ends)


def _from_choices(row: Hyperparameter, entry: Sequence[Any]) -> Hyperparameter:
    values = tuple(dict.fromkeys(row.check(value) for value in entry))
    if not values:
        raise ValueError(f"{row.name} must have at least one choice, got an empty list")
    default = row.default if row.default in values else values[0]
    if len(values) == 1:
        return dataclasses.replace(row, distribution=None, default=default, grid=values)
    return dataclasses.replace(
        row, distribution=CategoricalDistribution(values), default=default, grid=values
    )


def _from_distribution(row: Hyperparameter, entry: Distribution) -> Hyperparameter:
    if isinstance(entry, CategoricalDistribution):
        return _from_choices(row, entry.choices)
    if row.kind == "choice" or (row.kind == "int") != isinstance(entry, IntDistribution):
        raise ValueError(
            f"{row.name} must have a distribution over its kind of value ({row.kind}), "
            f"got {entry!r}"
        )
    plain = dataclasses.replace(row, distribution=entry, powers_of_two=False)
    return _within(plain, row.check(entry.low), row.check(entry.high))


def _within(row: Hyperparameter, low: Any, high: Any) -> Hyperparameter:
    """Restrict the grid to the range, and move a default outside it to the nearest end."""
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

    >>> from objectives.space.tables import MLP_TABLE
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
    low, high = row.from_stored(dist.low), row.from_stored(dist.high)
    extra = {"log": True} if dist.log else {}
    extra |= {"powers_of_two": True} if row.stored_name != row.name else {}
    return {"low": low, "high": high, **extra}


def free_space(space: UserSpace) -> dict[str, Hyperparameter]:
    """Return the space of a user's own objective, whose names are free; kinds follow from the
    values.

    >>> describe(free_space({"x": (0.0, 1.0), "kernel": ["rbf", "poly"], "skip": [True, False]}))
    {'x': {'low': 0.0, 'high': 1.0}, 'kernel': {'choices': ['rbf', 'poly']},
     'skip': {'choices': [True, False]}}
    """
    return {
        name: entry if isinstance(entry, Hyperparameter) else _free_row(name, entry)
        for name, entry in space.items()
    }


def _free_row(name: str, entry: Any) -> Hyperparameter:
    values = _ends(entry)
    if not values:
        raise ValueError(f"{name} must have at least one choice, got an empty list")
    words = tuple(value for value in values if isinstance(value, str))
    flags = tuple(value for value in values if isinstance(value, bool))
    numbers = [value for value in values if not isinstance(value, str | bool)]
    kind: Kind = "int" if all(isinstance(number, int) for number in numbers) else "float"
    row = Hyperparameter(
        name=name,
        kind=kind if numbers else "choice",
        default=values[0],
        words=words,
        flags=flags,
    )
    return _row(row, entry)


def _ends(entry: Any) -> Sequence[Any]:
    if isinstance(entry, CategoricalDistribution):
        return entry.choices
    if isinstance(entry, IntDistribution | FloatDistribution):
        return entry.low, entry.high
    return entry if isinstance(entry, list | tuple) else (entry,)


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


def suggest(space: Space, trial: BaseTrial) -> dict[str, Value]:
    """Return the configuration that ``trial``, an `optuna.Trial`, suggests; fixed values too."""
    return defaults(space) | {
        name: row.from_stored(_suggest(trial, row.stored_name, row.distribution))
        for name, row in space.items()
        if row.distribution is not None
    }


def _suggest(trial: BaseTrial, name: str, dist: Distribution) -> Value:
    if isinstance(dist, CategoricalDistribution):
        return cast(Value, trial.suggest_categorical(name, dist.choices))  # which `check` passed
    if isinstance(dist, IntDistribution):
        return trial.suggest_int(name, dist.low, dist.high, step=dist.step, log=dist.log)
    return trial.suggest_float(name, dist.low, dist.high, step=dist.step, log=dist.log)


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


def to_stored(space: Space, params: Params, *, strict: bool = True) -> dict[str, Value]:
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


def fit_into(space: Space, params: Params) -> dict[str, Value]:
    """Return ``params`` as far as the space can hold them, with the defaults elsewhere."""
    return {
        name: params[name] if name in params and holds(row, params[name]) else row.default
        for name, row in space.items()
    }


def holds(row: Hyperparameter, value: Any) -> bool:
    """Say whether ``value`` is one that a search over ``row`` can come upon.

    >>> from objectives.space.tables import MLP_TABLE
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
    fixed = defaults(space)
    return [
        fixed | dict(zip(rows, cell, strict=True))
        for cell in itertools.product(*(r.grid for r in rows.values()))
    ]


def module_space(
    table: Space, space: UserSpace, build: Callable[..., Any]
) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of training and those of ``build``.

    Args:
        table: the hyperparameters that training knows.
        space: what to search, see `objectives.space.make_space`.
        build: the function that has an argument for each of the others.

    Raises:
        ValueError: for a name that neither knows.
    """
    known = {name: entry for name, entry in space.items() if name in table}
    rest = {name: entry for name, entry in space.items() if name not in table}
    arguments = inspect.signature(build).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
    for name in rest:
        if name not in arguments and not takes_any:
            raise ValueError(
                f"space must name hyperparameters of training ({', '.join(table)}) or "
                f"arguments of build ({', '.join(arguments)}), got {name!r}"
                f"{hint(name, [*table, *arguments])}"
            )
    return make_space(table, known) | free_space(rest)


def with_names(space: UserSpace, table: Space, **arguments: Any) -> dict[str, Any]:
    """Return the space with those arguments that are names, such as ``optimizer="sgd"``.

    Raises:
        ValueError: if the space asks for something else.

    Example:
        >>> from objectives.space.tables import TRAINING_TABLE
        >>> with_names({"epochs": 5}, TRAINING_TABLE, optimizer="sgd", schedule=None)
        {'epochs': 5, 'optimizer': 'sgd'}
    """
    names = {name: value for name, value in arguments.items() if isinstance(value, str)}
    for name, value in names.items():
        if is_named(name, space, table) and space[name] != value:
            raise ValueError(
                f"{name} must be given once, got {name}={value!r} and {space[name]!r} in space; "
                "leave one out"
            )
    return {**space, **names}


def is_named(name: str, space: UserSpace, table: Space) -> bool:
    """Return whether the space asks for anything but a hyperparameter's default."""
    return name in space and bool(space[name] != table[name].default)


def without(
    rows: Space,
    space: UserSpace,
    table: Space,
    reasons: Mapping[str, str | None],
) -> dict[str, Hyperparameter]:
    """Return ``rows`` less the hyperparameters that would change nothing.

    Args:
        rows: what `module_space` gives.
        space: what was asked for.
        table: as of `module_space`.
        reasons: by hyperparameter, where it changes nothing; None where it does.

    Raises:
        ValueError: if the space asks for one of them.
    """
    idle = {name: reason for name, reason in reasons.items() if reason is not None}
    for name, reason in idle.items():
        if name in table and is_named(name, space, table):
            raise ValueError(
                f"space must leave out {name!r} {reason}, where it changes nothing, got "
                f"{space[name]!r}; remove it"
            )
    return {name: row for name, row in rows.items() if name not in idle}


def check_arguments(build: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError if ``build`` has an argument that nothing gives a value."""
    try:
        inspect.signature(build).bind(**given)
    except TypeError as error:
        raise ValueError(
            "space must name every argument of build that has no default and is not told of the "
            f"data, got {', '.join(given) or 'none'} ({error}); give space={{name: ...}}"
        ) from error


def names_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return functions, and losses by name, in words; those that are None are left out.

    Example:
        >>> names_of({"build": names_of, "clip": None})
        {'build': 'names_of'}
    """
    return {
        argument: str(getattr(value, "__qualname__", None) or getattr(value, "name", value))
        for argument, value in arguments.items()
        if value is not None
    }
