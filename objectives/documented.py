"""What a table of hyperparameters says to people: in the README, in help texts, in docstrings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from objectives.hyperparameters import Hyperparameter

HEADER = ("name", "range", "grid levels", "default", "meaning", "source")

F = TypeVar("F", bound=Callable[..., Any])


def search_range(row: Hyperparameter) -> str:
    """Say what random and TPE search draw a hyperparameter from.

    Raises:
        TypeError: for a kind of distribution that no table has.

    Example:
        >>> from objectives.hyperparameters import MLP_TABLE
        >>> [search_range(MLP_TABLE[name]) for name in ("learning_rate", "batch_size", "momentum")]
        ['0.0001 to 0.1, log', '16 to 256, powers of two', 'fixed']
    """
    match row.distribution:
        case None:
            return "fixed"
        case CategoricalDistribution(choices=choices):
            return ", ".join(map(str, choices))
        case FloatDistribution() | IntDistribution() as numbers:
            low, high = row.from_stored(numbers.low), row.from_stored(numbers.high)
            steps = ", powers of two" if row.powers_of_two else ", log" if numbers.log else ""
            return f"{low:g} to {high:g}{steps}"
        case other:
            raise TypeError(f"row must have a range known by words, got {other!r} in {row.name}")


def cells(row: Hyperparameter) -> tuple[str, ...]:
    """Return a row of the table, in the order of `HEADER`."""
    levels = ", ".join(map(str, row.grid))
    return row.name, search_range(row), levels, str(row.default), row.help, row.source


def documents(table: Mapping[str, Hyperparameter]) -> Callable[[F], F]:
    """Add the hyperparameters of ``table`` to a function's docstring, as its last section."""

    def decorate(function: F) -> F:
        if function.__doc__ is not None:  # python -OO leaves none
            lines = "\n".join(map(_lines, table.values()))
            function.__doc__ = f"{function.__doc__.rstrip()}\n\n    Hyperparameters:\n{lines}\n"
        return function

    return decorate


def _lines(row: Hyperparameter) -> str:
    text = f"{row.name}: {row.help}; {search_range(row)}, default {row.default}."
    return textwrap.fill(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 12)
