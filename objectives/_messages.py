"""Shared ends of error messages: what there is to choose from, and what was probably meant."""

import difflib
import functools
import math
import sys
import warnings
from collections.abc import Collection, Iterable
from typing import TypeVar

SHOWN = 8

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest to a mistaken one, or what there is to choose from.

    Example:
        >>> nearest("incom", ["age", "income"])
        "did you mean 'income'?"
        >>> nearest("zzz", ["age", "income"])
        'choose from age, income'
    """
    options = list(known)
    match = _closest(name, options)
    return choices(options) if match is None else f"did you mean {match!r}?"


def hint(name: object, known: Iterable[str]) -> str:
    """End a sentence that has listed what there is by what was probably meant, if anything.

    Example:
        >>> hint("rleu", ["relu", "tanh"])
        "; did you mean 'relu'?"
        >>> hint("zzz", ["relu", "tanh"])
        ''
    """
    match = _closest(str(name), known)
    return "" if match is None else f"; did you mean {match!r}?"


def _closest(name: str, known: Iterable[str]) -> str | None:
    folded = {option.casefold().strip(): option for option in known}
    match = difflib.get_close_matches(name.casefold().strip(), folded, n=1)
    return folded[match[0]] if match else None


def choices(known: Iterable[str]) -> str:
    """List what there is to choose from, cut after a few names."""
    return f"choose from {listed(list(known), quote=False)}"


def name_of(function: object) -> str | None:
    """Return the name of a function or class, that of an object's class, or None for None.

    Example:
        >>> name_of(len), name_of(functools.partial(sorted, key=len)), name_of(None)
        ('len', 'sorted', None)
    """
    while isinstance(function, functools.partial):
        function = function.func
    if function is None:
        return None
    return str(getattr(function, "__name__", type(function).__name__))


def listed(names: Iterable[object], *, quote: bool = True) -> str:
    """Join names for a message, cut after a few."""
    every = [repr(name) if quote else str(name) for name in names]
    rest = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + rest


def by_number(names: Collection[object], one: str, many: str) -> str:
    """Say a sentence of one name or of several.

    Example:
        >>> by_number(["a"], "column {} is empty", "columns {} are empty")
        "column 'a' is empty"
        >>> by_number(["a", "b"], "column {} is empty", "columns {} are empty")
        "columns 'a', 'b' are empty"
    """
    return (one if len(names) == 1 else many).format(listed(names))


def short(value: object) -> str:
    """Write a value for people: numbers to four significant digits, a missing value as nothing.

    Example:
        >>> short(1626.0), short(0.00131234), short("relu"), short(None), short(float("nan"))
        ('1626', '0.001312', 'relu', '', '')
    """
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    text = str(value)
    return "" if value is None or text == "<NA>" else text  # as pandas writes a missing cell


def check_count(name: str, value: T, *, or_none: bool = False) -> T:
    """Return ``value`` if it is a whole number of at least 1.

    Args:
        name: what the message calls it.
        value: to check.
        or_none: whether None is allowed, too.

    Raises:
        ValueError: if it is neither.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not whole and not (or_none and value is None):
        rule = "a whole number of at least 1" + (" or None" if or_none else "")
        raise ValueError(f"{name} must be {rule}, got {name}={value!r}")
    return value


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise ValueError if ``value`` is none of the ``known`` ones."""
    if value not in known:
        raise ValueError(
            f"{name} must be one of {', '.join(known)}, got {value!r}{hint(value, known)}"
        )


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code from which the two packages were called."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] in ("objectives", "tuner"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
