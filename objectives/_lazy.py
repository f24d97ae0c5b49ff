"""Names of a package that are fetched at first use, so that importing it loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that imports each name from its home at first use.

    Args:
        package: the module's ``__name__``.
        homes: full name of the module that defines each public name.

    Example:
        >>> fetch = lazy_names("here", {"sqrt": "math"})
        >>> fetch("sqrt")(9.0)
        3.0
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return fetch
