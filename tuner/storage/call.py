"""The call that made a study, as plain JSON types: to show it, repeat it, or join in elsewhere."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.storage.backends import redacted
from tuner.storage.study import CALL

# What concerns one run or one machine and not the study, is done once it has begun, or may hold a
# password.
_LEFT_OUT = (
    "storage",
    "study_name",
    "callbacks",
    "show_progress_bar",
    "executor",
    "n_jobs",
    "timeout",
    "device",
    "artifact_store",
    "start_from",
)


def describe_call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a call of an entry point by what differs from its defaults.

    Args:
        function: the entry point.
        arguments: its arguments, as ``locals()`` has them at its first line.

    Returns:
        ``function``: its name. ``dataset``: ``{"path": ...}``, absolute; ``{"builtin": name}``; or
        ``{"object": ...}``, in words, for data that only the caller has. ``options``: the other
        arguments, in JSON types, a space written as `read_space` reads it. ``objects``: those that
        are none, in words.
    """
    options: dict[str, Any] = {}
    objects: dict[str, str] = {}
    for name, value in _given(function, arguments).items():
        plain = {k: _plain(v) for k, v in value.items()} if name == "space" else value
        if _is_json(plain):
            options[name] = plain
        else:
            objects[name] = _in_words(value)
    dataset = arguments.get("dataset")
    return {
        "function": function.__name__,
        "dataset": None if dataset is None else _describe_dataset(dataset),
        "options": options,
        "objects": objects,
    }


def _given(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        value = arguments[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        elif name != "dataset" and not _equal(value, parameter.default):
            found[name] = value
    return {name: value for name, value in found.items() if name not in _LEFT_OUT}


def _equal(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _describe_dataset(dataset: Any) -> dict[str, str]:
    if isinstance(dataset, str | os.PathLike):
        path = Path(dataset)
        return {"path": str(path.absolute())} if path.exists() else {"builtin": str(dataset)}
    return {"object": _in_words(dataset)}


def _in_words(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of {' x '.join(map(str, shape))}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_words, value))})"
    name = getattr(value, "__qualname__", None)
    return type(value).__name__ if name is None else f"{value.__module__}.{name}"


def _plain(wish: Any) -> Any:
    """Return one wish of a space so that JSON can hold it; as it is where it cannot."""
    if isinstance(wish, tuple) and len(wish) == 2:
        return {"low": wish[0], "high": wish[1]}
    if isinstance(wish, CategoricalDistribution):
        return list(wish.choices)
    if isinstance(wish, FloatDistribution | IntDistribution):
        kind = "float" if isinstance(wish, FloatDistribution) else "int"
        return {
            "low": wish.low,
            "high": wish.high,
            "log": wish.log,
            "step": wish.step,
            "kind": kind,
        }
    return list(wish) if isinstance(wish, tuple | range) else wish


def read_space(entries: Mapping[str, Any], *, source: str = "space") -> dict[str, Any]:
    """Read a space in JSON: a value fixes a hyperparameter, a list is its choices, an object its
    range.

    Args:
        entries: by the hyperparameters' names; a range is ``{"low": ..., "high": ...}``, with
            ``"log"``, ``"step"`` and ``"kind"`` (``"int"`` or ``"float"``) if wanted.
        source: what to call it in messages.

    Raises:
        ValueError: if a range lacks ``low`` or ``high``.

    Example:
        >>> read_space({"n_layers": 2, "activation": ["relu"], "dropout": {"low": 0, "high": 1}})
        {'n_layers': 2, 'activation': ['relu'], 'dropout': (0, 1)}
    """
    return {name: _read(name, entry, source) for name, entry in entries.items()}


def _read(name: str, entry: Any, source: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    if not {"low", "high"} <= entry.keys() <= {"low", "high", "log", "step", "kind"}:
        raise ValueError(
            f"{source} must give a range as low and high, with log or step if wanted, "
            f"got {name}={dict(entry)}"
        )
    if entry.keys() == {"low", "high"}:
        return (entry["low"], entry["high"])
    is_int = isinstance(entry["low"], int) and isinstance(entry["high"], int)
    kind = entry.get("kind", "int" if is_int else "float")
    rest = {key: value for key, value in entry.items() if key != "kind" and value is not None}
    return IntDistribution(**rest) if kind == "int" else FloatDistribution(**rest)


def recorded_call(study: Any, *, data: Any = None) -> tuple[str, Any, dict[str, Any]]:
    """Return entry point, dataset and options of the call that made a study.

    Args:
        study: any study.
        data: the dataset, where the study has none or it lies elsewhere here.

    Raises:
        ValueError: if no call was recorded, or it needs what only the caller has.
    """
    call = study.user_attrs.get(CALL)
    if not isinstance(call, Mapping) or not call.get("function"):
        raise ValueError(
            f"study must be one of this package's entry points, got {study.study_name!r}, which "
            "records no call; make the call in Python"
        )
    dataset = call.get("dataset") or {}
    if data is None:
        data = dataset.get("path") or dataset.get("builtin")
    missing = sorted(call.get("objects", {}))
    if missing or call["function"] not in ("tune_mlp", "tune_cnn", "tune_finetune"):
        what = ", ".join(missing) or "the function itself"
        raise ValueError(
            f"study {study.study_name!r} must be made of plain values to be gone on with by "
            f"command, got {what} as Python objects; make the same call of {call['function']} in "
            "Python with the same storage and study_name"
        )
    if data is None:
        raise ValueError(
            f"data must be given for study {study.study_name!r}, which was tuned on "
            f"{dataset.get('object', 'data')} in memory; save it to a file and give its path, or "
            "make the same call in Python"
        )
    options = dict(call["options"])
    if "space" in options:
        options["space"] = read_space(options["space"])
    return str(call["function"]), data, options


def call_in_python(study: Any) -> str:
    """Write the call that made a study as a Python program.

    Storage and study name are left out, as is all that concerns one machine; a password in a URL
    becomes ``***``. What only the caller had is ``...``, with a comment that says what it was.

    Args:
        study: any study.

    Returns:
        The program; empty if the study records no call.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> call = {"function": "tune_mlp", "dataset": {"builtin": "iris"}, "options": {"seed": 1}}
        >>> study.set_user_attr("call", call)
        >>> print(call_in_python(study))
        from tuner import tune_mlp
        <BLANKLINE>
        result = tune_mlp(
            "iris",
            seed=1,
        )
    """
    call = study.user_attrs.get(CALL)
    if not isinstance(call, Mapping):
        return ""
    options, objects = dict(call.get("options") or {}), dict(call.get("objects") or {})
    # A stored study may be anyone's, and what is shown as a program may be run.
    if not all(str(n).isidentifier() for n in (call.get("function", ""), *options, *objects)):
        return ""
    space = read_space(options.get("space") or {})
    options |= {"space": space} if space else {}
    ranges = sorted({type(e).__name__ for e in space.values() if isinstance(e, BaseDistribution)})
    imports = [f"from optuna.distributions import {', '.join(ranges)}", ""] if ranges else []
    function = call["function"]
    lines = [*_dataset_lines(call.get("dataset") or {}), *_argument_lines(options, objects)]
    return "\n".join(
        [*imports, f"from tuner import {function}", "", f"result = {function}(", *lines, ")"]
    )


def _dataset_lines(dataset: Mapping[str, Any]) -> Iterator[str]:
    known = dataset.get("path", dataset.get("builtin"))
    if known is not None:
        yield f"    {_literal(str(known))},"
    elif dataset:
        yield f"    ...,{_comment(dataset.get('object'))}"


def _argument_lines(options: Mapping[str, Any], objects: Mapping[str, Any]) -> Iterator[str]:
    for name, words in objects.items():
        yield f"    {name}=...,{_comment(words)}"
    for name, value in options.items():
        yield f"    {name}={_literal(value)},"


def _comment(words: Any) -> str:
    return f"  # {' '.join(redacted(words).split())}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(redacted(value), ensure_ascii=False)
    return pformat(_without_passwords(value), width=88, sort_dicts=False).replace("\n", "\n    ")


def _without_passwords(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_passwords(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_passwords(entry) for entry in value]
    return redacted(value) if isinstance(value, str) else value
