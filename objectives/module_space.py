"""The search space of a module: what training knows, and what ``build`` takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from objectives.hyperparameters import Hyperparameter
from objectives.messages import hint
from objectives.space import free_space, make_space

Table = Mapping[str, Hyperparameter]


def module_space(
    table: Table, space: Mapping[str, Any], build: Callable[..., Any]
) -> dict[str, Hyperparameter]:
    """Return the hyperparameters of training and those of ``build``.

    Args:
        table: the hyperparameters that training knows.
        space: what to search, see `objectives.space.make_space`.
        build: the function that has an argument for each of the others.

    Raises:
        ValueError: for a name that neither knows.
    """
    known = {name: wish for name, wish in space.items() if name in table}
    rest = {name: wish for name, wish in space.items() if name not in table}
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


def with_names(space: Mapping[str, Any], table: Table, **arguments: Any) -> dict[str, Any]:
    """Return the space with those arguments that are names, such as ``optimizer="sgd"``.

    Raises:
        ValueError: if the space asks for something else.

    Example:
        >>> from objectives.training_table import TRAINING_TABLE
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


def is_named(name: str, space: Mapping[str, Any], table: Table) -> bool:
    """Return whether the space asks for anything but a hyperparameter's default."""
    return name in space and bool(space[name] != table[name].default)


def without(
    rows: Mapping[str, Hyperparameter],
    space: Mapping[str, Any],
    table: Table,
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
