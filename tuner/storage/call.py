"""The call that made a study, as plain JSON types: to show it, repeat it, or join in elsewhere."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from objectives.space.hyperparameter import UserSpace
from objectives.space.registry import READY_MADE, Options
from tuner.storage.backends import redacted
from tuner.storage.trial_attrs import CALL, study_attr

if TYPE_CHECKING:
    from tuner.storage.view import StudyView

# What concerns one run or one machine and not the study, is done once it has begun, or may hold a
# password.
_LEFT_OUT = (
    "dataset",
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


def describe_call(
    function: str, arguments: Mapping[str, Any], defaults: Mapping[str, object]
) -> Options:
    """Describe a call of an entry point by what differs from its defaults.

    Args:
        function: the entry point's name.
        arguments: the arguments given.
        defaults: of its arguments; one that is missing here has none.

    Returns:
        ``function``: its name. ``dataset``: ``{"path": ...}``, absolute; ``{"builtin": name}``; or
        ``{"object": ...}``, in words, for data that only the caller has. ``options``: the other
        arguments in JSON types, a space written as `read_space` reads it. ``objects``: the
        arguments that JSON cannot hold, in words.
    """
    options: Options = {}
    objects: dict[str, str] = {}
    for name, value in arguments.items():
        default = defaults.get(name, ...)
        is_default = type(value) is type(default) and bool(value == default)
        if name in _LEFT_OUT or value is default or is_default:
            continue
        if name == "track" and not isinstance(value, str):  # the study is the same without it
            continue
        entry = {k: _plain(v) for k, v in value.items()} if name == "space" else value
        try:
            json.dumps(entry, allow_nan=False)
            options[name] = entry
        except (TypeError, ValueError):
            objects[name] = _in_words(value)
    dataset = arguments.get("dataset")
    return {
        "function": function,
        "dataset": None if dataset is None else _describe_dataset(dataset),
        "options": options,
        "objects": objects,
    }


def _describe_dataset(dataset: object) -> dict[str, str]:
    if isinstance(dataset, str) and "://" in dataset:
        address = urlsplit(dataset)
        # What follows the path may be a token, and what precedes the host a password.
        if address.query or address.fragment or "@" in address.netloc:
            host = address.netloc.rpartition("@")[2]
            return {"object": f"{address.scheme}://{host}{address.path} and what it was asked with"}
        return {"builtin": dataset}
    if isinstance(dataset, str | os.PathLike):
        path = Path(dataset)
        return {"path": str(path.absolute())} if path.exists() else {"builtin": str(dataset)}
    return {"object": _in_words(dataset)}


def _in_words(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of {' x '.join(map(str, shape))}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_words, value))})"
    name = getattr(value, "__qualname__", None)
    return type(value).__name__ if name is None else f"{value.__module__}.{name}"


def _plain(entry: object) -> object:
    """Return an entry of a space as JSON can hold it; unchanged if it cannot."""
    match entry:
        case (low, high) if isinstance(entry, tuple):
            return {"low": low, "high": high}
        case CategoricalDistribution():
            return list(entry.choices)
        case FloatDistribution() | IntDistribution():
            kind = "float" if isinstance(entry, FloatDistribution) else "int"
            fields = {name: getattr(entry, name) for name in ("low", "high", "log", "step")}
            return fields | {"kind": kind}
        case tuple() | range():
            return list(entry)
    return entry


def read_space(entries: UserSpace, *, source: str = "space") -> dict[str, Any]:
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
    space = dict(entries)
    for name, entry in entries.items():
        if not isinstance(entry, Mapping):
            continue
        if not {"low", "high"} <= entry.keys() <= {"low", "high", "log", "step", "kind"}:
            raise ValueError(
                f"{source} must give a range as low and high, with log or step if wanted, "
                f"got {name}={dict(entry)}"
            )
        if entry.keys() == {"low", "high"}:
            space[name] = (entry["low"], entry["high"])
            continue
        is_int = isinstance(entry["low"], int) and isinstance(entry["high"], int)
        kind = entry.get("kind", "int" if is_int else "float")
        rest = {key: value for key, value in entry.items() if key != "kind" and value is not None}
        space[name] = IntDistribution(**rest) if kind == "int" else FloatDistribution(**rest)
    return space


def same_call(call: Mapping[str, Any], stored: object) -> bool:
    """Say whether a call is that which made a study, but for the number of trials
    and the tracker.

    Args:
        call: as `describe_call` describes it.
        stored: what the study records; one that records nothing yet may be of this very call.
    """
    if not isinstance(stored, Mapping):
        return True

    # The last two a study keeps as it chose them at first, if they are not given.
    ignored = {"n_trials", "dry_run", "track"} | ({"folds", "precision"} - call["options"].keys())

    def told(described: Mapping[str, Any]) -> object:
        options = {k: v for k, v in described.get("options", {}).items() if k not in ignored}
        parts = {k: described.get(k) for k in ("function", "dataset", "objects")}
        return json.loads(json.dumps(parts | {"options": options}))

    return told(call) == told(stored)


def recorded_call(study: optuna.Study, *, data: object = None) -> tuple[str, object, Options]:
    """Return entry point, dataset and options of the call that made a study.

    Args:
        study: any study.
        data: the dataset, if the study has none or it lies elsewhere on this machine.

    Raises:
        ValueError: if no call was recorded, or it needs what only the caller has.
    """
    call = study_attr(study.user_attrs, CALL)
    if call is None or not call.get("function"):
        raise ValueError(
            f"study must be one of this package's entry points, got {study.study_name!r}, which "
            "records no call; make the call in Python"
        )
    function, dataset = str(call["function"]), call.get("dataset") or {}
    missing = sorted(call.get("objects", {}))
    repeatable = {entry.function for entry in READY_MADE.values() if entry.command}
    if missing or function not in repeatable:
        what = ", ".join(missing) or "the function itself"
        kept = ", or give load_result its build= for the model" if "build" in missing else ""
        raise ValueError(
            f"study {study.study_name!r} can only be resumed by command if it was started from "
            f"plain values, got {what} as Python objects; make the same call of {function} in "
            f"Python with the same storage and study_name{kept}"
        )
    if data is None:
        data = dataset.get("path") or dataset.get("builtin")
    if data is None:
        raise ValueError(
            f"data must be given for study {study.study_name!r}, which was tuned on "
            f"{dataset.get('object', 'data')} in memory; save it to a file and give its path, or "
            "make the same call in Python"
        )
    options = dict(call["options"])
    if "space" in options:
        options["space"] = read_space(options["space"])
    return function, data, options


def call_in_python(study: optuna.Study | StudyView) -> str:
    """Write the call that made a study as a Python program.

    Storage and study name are left out, as is all that concerns one machine. A password in a URL
    becomes ``***``. What only the caller had is ``...``, with a comment that describes it.

    Args:
        study: any study, or a view of one.

    Returns:
        The program; empty if the study records no call.

    Example:
        >>> study = optuna.create_study()
        >>> call = {"function": "tune_mlp", "dataset": {"builtin": "iris"}, "options": {"seed": 1}}
        >>> study.set_user_attr("fusetune:call", call)
        >>> print(call_in_python(study))
        from tuner import tune_mlp
        <BLANKLINE>
        result = tune_mlp(
            'iris',
            seed=1,
        )
    """
    call = study_attr(study.user_attrs, CALL)
    if call is None:
        return ""
    options, objects = dict(call.get("options") or {}), dict(call.get("objects") or {})
    function, dataset = call.get("function", ""), call.get("dataset") or {}
    # A stored study may be anyone's, and what is shown as a program may be run.
    if not all(str(name).isidentifier() for name in (function, *options, *objects)):
        return ""
    space = read_space(options.get("space") or {})
    options |= {"space": space} if space else {}
    arguments: list[tuple[ast.AST, object]] = []
    if known := dataset.get("path", dataset.get("builtin")):
        arguments.append((_node(str(known)), None))
    elif dataset:
        arguments.append((_node(...), dataset.get("object")))
    arguments += [(ast.keyword(name, _node(...)), words) for name, words in objects.items()]
    arguments += [(ast.keyword(name, _node(value)), None) for name, value in options.items()]
    lines = []
    for node, words in arguments:
        comment = "" if words is None else f"  # {' '.join(redacted(words).split())}"
        lines.append(f"    {ast.unparse(node)},{comment}")
    ranges = sorted({type(e).__name__ for e in space.values() if isinstance(e, BaseDistribution)})
    imports = [f"from optuna.distributions import {', '.join(ranges)}", ""] if ranges else []
    return "\n".join(
        [*imports, f"from tuner import {function}", "", f"result = {function}(", *lines, ")"]
    )


def _node(value: object) -> ast.expr:
    """Return the syntax tree of a value of JSON, an ellipsis or a distribution."""
    if value is ...:
        return ast.Constant(value)
    tree = ast.parse(repr(value), mode="eval").body
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = redacted(node.value)
    return tree
