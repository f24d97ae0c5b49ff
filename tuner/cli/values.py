"""Values that are typed: JSON, and ``name=value``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_json(text: str, option: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Read an option's value: JSON itself, or the path of a file of JSON.

    Args:
        text: what was typed.
        option: the option's name, for messages.
        kind: what the JSON must be.

    Raises:
        ValueError: if it is not JSON of that kind.
        FileNotFoundError: if it is neither JSON nor a file that exists.
    """
    inline = text.lstrip().startswith(("{", "["))
    if not inline and not Path(text).is_file():
        raise FileNotFoundError(f"{option} must be JSON or a file that exists, got {text!r}")
    source = text if inline else Path(text).read_text(encoding="utf-8")
    try:
        found = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be JSON, got {text!r}: {error}") from error
    if not isinstance(found, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{option} must be {wanted} in JSON, got {text!r}")
    return found


def parse_space(text: str) -> dict[str, Any]:
    """Read ``--space``: a value fixes a hyperparameter, a list is its choices, an object its range.

    Raises:
        ValueError: if it is not a JSON object, or a range lacks ``low`` or ``high``.
        FileNotFoundError: if it is neither JSON nor a file that exists.

    Example:
        >>> parse_space('{"n_layers": 2, "activation": ["relu"], "dropout": {"low": 0, "high": 1}}')
        {'n_layers': 2, 'activation': ['relu'], 'dropout': (0, 1)}
    """
    from tuner.call import read_space

    return read_space(read_json(text, "--space", dict), source="--space")


def parse_assignments(texts: Sequence[str], what: str) -> dict[str, Any]:
    """Read ``name=value``, where a value is a JSON number, true, false, null or else a text.

    Args:
        texts: what was typed.
        what: the option's or argument's name, for messages.

    Raises:
        ValueError: if one has no name or no ``=``.

    Example:
        >>> parse_assignments(["dropout=0", "optimizer=sgd", "batch_size=full"], "--fix")
        {'dropout': 0, 'optimizer': 'sgd', 'batch_size': 'full'}
    """
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"{what} must be name=value, such as dropout=0, got {text!r}")
        found[name.strip()] = _scalar(value.strip())
    return found


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, dict | list) else value
