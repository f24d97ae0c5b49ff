"""Configuration files: a search's arguments in TOML, by the names that they have in Python."""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives._messages import nearest
from objectives.registry import READY_MADE

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Space

# Of the command and not of the function.
_FILES = ("data", "out", "save_model")
# Python objects, which no file can hold.
_OBJECTS = ("callbacks", "executor")

_KINDS: dict[str, tuple[type, ...]] = {
    "a text": (str,),
    "a whole number": (int,),
    "a number": (int, float),
    "true or false": (bool,),
    "a table": (dict,),
    "a list of tables": (list,),
    "a list": (list,),
}
_KIND_OF = {
    **dict.fromkeys(
        (
            *_FILES,
            "dataset",
            "target",
            "task",
            "metric",
            "sampler",
            "pruner",
            "recipe",
            "storage",
            "precision",
            "start_from",
            "artifact_store",
            "study_name",
            "device",
            "backbone",
            "weights",
        ),
        "a text",
    ),
    **dict.fromkeys(
        ("n_trials", "epochs", "patience", "n_jobs", "n_repeats", "folds", "seed", "n_workers"),
        "a whole number",
    ),
    **dict.fromkeys(("timeout", "valid_size", "test_size"), "a number"),
    **dict.fromkeys(
        ("include_default", "show_progress_bar", "skip_corrupt", "checkpoint"), "true or false"
    ),
    "space": "a table",
    "categorical": "a list",
    **dict.fromkeys(("trials", "enqueue"), "a list of tables"),
}


def _table(function: str) -> Space:
    return READY_MADE[function.removeprefix("tune_")].table


def read_config(path: Path, entry: str) -> dict[str, Any]:
    """Read the arguments of an entry point from a TOML file.

    Args:
        path: the file. Relative paths in it start from its folder.
        entry: the entry point's name, such as ``"tune_mlp"``.

    Returns:
        The arguments; the dataset is called ``data``, as on the command line.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no TOML, or holds an unknown name or a value of the wrong kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--config must be a file that exists, got {str(path)!r}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, and of text that is not UTF-8
        raise ValueError(f"--config must be a file of TOML, got {str(path)!r}: {error}") from error
    known = sorted(set(_known(entry)))
    for name, value in found.items():
        if name not in known:
            cure = "put it into [space]" if name in _table(entry) else nearest(name, known)
            raise ValueError(f"{path} must hold arguments of {entry}, got {name!r}; {cure}")
        _check_kind(path, name, value)
    if "dataset" in found:
        found.setdefault("data", found.pop("dataset"))
    return found | _located(found, path.parent)


def _known(entry: str) -> Iterator[str]:
    """Give the names of all arguments that an entry point takes, those of its loader included."""
    import tuner
    from tuner.api import SEARCH_OPTIONS

    yield from _FILES
    if entry == "tune_mlp":
        from objectives.data.table import load_tabular as load
    else:
        from objectives.images.load import load_images as load  # type: ignore[assignment]

        yield from (name for name in SEARCH_OPTIONS if name not in _OBJECTS)
    for function in (getattr(tuner, entry), load):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in _OBJECTS:
                yield name


def _check_kind(path: Path, name: str, value: Any) -> None:
    kind = _KIND_OF.get(name)
    if kind is None:
        return
    of_kind = isinstance(value, _KINDS[kind]) and (
        not isinstance(value, bool) or kind == "true or false"
    )
    if not of_kind or (kind == "a list of tables" and not all(isinstance(v, dict) for v in value)):
        raise ValueError(f"{name} must be {kind}, got {name} = {value!r} in {path}")


def _located(found: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the paths among the arguments, as they are from where the command runs."""
    paths = {name: str(folder / found[name]) for name in ("out", "save_model") if name in found}
    if "storage" in found and "://" not in found["storage"]:
        paths["storage"] = str(folder / found["storage"])
    if "artifact_store" in found:
        paths["artifact_store"] = str(folder / found["artifact_store"])
    if "weights" in found and found["weights"].endswith((".pth", ".safetensors")):
        paths["weights"] = str(folder / found["weights"])
    if "data" in found and (_is_path(found["data"]) or (folder / found["data"]).exists()):
        paths["data"] = str(folder / found["data"])
    return paths


def _is_path(data: str) -> bool:
    """Say whether what is not there is a path all the same, and not a built-in name."""
    return bool(Path(data).suffix) or Path(data).name != data


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
