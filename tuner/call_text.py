"""The call that made a study, written out as a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pprint import pformat
from typing import Any

from optuna.distributions import BaseDistribution

from tuner.call import read_space
from tuner.storage import redacted
from tuner.study import CALL


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
