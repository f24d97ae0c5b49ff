"""Configuration files: a search's arguments in TOML, by the names that they have in Python."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from objectives._messages import nearest
from objectives.space.registry import ReadyMade
from tuner.search.arguments import arguments_for

# Of the command and not of the function.
_FILES = ("data", "out", "save_model")

_KINDS: dict[str, tuple[type, ...]] = {
    "a text": (str,),
    "a whole number": (int,),
    "auto, none or a whole number": (int, str, bool),
    "a number": (int, float),
    "true or false": (bool,),
    "a table": (dict,),
    "a list": (list,),
}


def read_config(path: Path, entry: ReadyMade) -> dict[str, Any]:
    """Read the arguments of a search from a TOML file.

    Args:
        path: the file. Relative paths in it start from its folder.
        entry: the objective that is tuned.

    Returns:
        The arguments; the dataset is called ``data``, as on the command line.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no TOML, or holds an unknown name or a value of the wrong kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--config must be a file that exists, got {str(path)!r}")
    try:
        arguments = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, and of text that is not UTF-8
        raise ValueError(f"--config must be a file of TOML, got {str(path)!r}: {error}") from error
    kinds: dict[str, str] = dict.fromkeys((*_FILES, "dataset"), "a text")
    kinds |= {name: argument.kind for name, argument in arguments_for(entry).items()}
    known = sorted(name for name, kind in kinds.items() if kind != "an object")
    for name, value in arguments.items():
        if name not in known:
            cure = "put it into [space]" if name in entry.table else nearest(name, known)
            raise ValueError(
                f"{path} must hold arguments of {entry.function}, got {name!r}; {cure}"
            )
        if not _is_of_kind(kinds[name], value):
            raise ValueError(f"{name} must be {kinds[name]}, got {name} = {value!r} in {path}")
    if "dataset" in arguments:
        arguments.setdefault("data", arguments.pop("dataset"))
    return arguments | _located(arguments, path.parent)


def _is_of_kind(kind: str, value: object) -> bool:
    if kind == "a list of tables":
        return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    types = _KINDS.get(kind)
    if types is None:
        return True
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _located(arguments: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the paths among the arguments, as they are from where the command runs."""

    def is_path(name: str, value: str) -> bool:
        match name:
            case "out" | "save_model" | "artifact_store":
                return True
            case "storage":
                return "://" not in value
            case "weights":
                return value.endswith((".pth", ".safetensors"))
            case "data":  # a name without suffix or folder is built in, unless it exists
                named = Path(value)
                is_name = not named.suffix and named.name == value
                return not is_name or (folder / value).exists()
        return False

    return {
        name: str(folder / value)
        for name, value in arguments.items()
        if isinstance(value, str) and is_path(name, value)
    }


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
        value = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be JSON, got {text!r}: {error}") from error
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{option} must be {wanted} in JSON, got {text!r}")
    return value


def parse_space(text: str) -> dict[str, Any]:
    """Read ``--space``: a value fixes a hyperparameter, a list is its choices, an object its range.

    Raises:
        ValueError: if it is not a JSON object, or a range lacks ``low`` or ``high``.
        FileNotFoundError: if it is neither JSON nor a file that exists.

    Example:
        >>> parse_space('{"n_layers": 2, "activation": ["relu"], "dropout": {"low": 0, "high": 1}}')
        {'n_layers': 2, 'activation': ['relu'], 'dropout': (0, 1)}
    """
    from tuner.storage.call import read_space

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
    assignments = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"{what} must be name=value, such as dropout=0, got {text!r}")
        assignments[name.strip()] = parse_scalar(value.strip())
    return assignments


def parse_scalar(text: str) -> Any:
    """Read a JSON number, true, false, null, or else a text.

    >>> parse_scalar("5"), parse_scalar("null"), parse_scalar("auto")
    (5, None, 'auto')
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, dict | list) else value
