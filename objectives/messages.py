"""Shared ends of error messages: what there is to choose from, and what was probably meant."""

import difflib
from collections.abc import Iterable

SHOWN = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest to a mistaken one, or what there is to choose from.

    Example:
        >>> nearest("incom", ["age", "income"])
        "did you mean 'income'?"
        >>> nearest("zzz", ["age", "income"])
        'choose from age, income'
    """
    options = list(known)
    folded = {option.casefold().strip(): option for option in options}
    match = difflib.get_close_matches(name.casefold().strip(), folded, n=1)
    return f"did you mean {folded[match[0]]!r}?" if match else choices(options)


def choices(known: Iterable[str]) -> str:
    """List what there is to choose from, cut after a few names."""
    return f"choose from {listed(list(known), quote=False)}"


def listed(names: Iterable[object], *, quote: bool = True) -> str:
    """Join names for a message, cut after a few."""
    every = [repr(name) if quote else str(name) for name in names]
    rest = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + rest
