"""States of training as bytes: tensors and plain values, written and read without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

_KEY = "fusetune state"
_PLAIN = (type(None), bool, int, float, str)


def pack(state: Any) -> bytes:
    """Return a state as bytes in the form of a safetensors file.

    Args:
        state: dicts, lists and tuples of tensors and plain values (None, booleans, numbers, text),
            nested as they may be, such as ``torch.optim.Optimizer.state_dict()``. Tensors are
            copied to the CPU.

    Raises:
        TypeError: if it holds anything else; the message says what and where.

    Example:
        >>> unpack(pack({"epoch": 3, "moments": [torch.zeros(2)], 7: (0.9, None)}))
        {'epoch': 3, 'moments': [tensor([0., 0.])], 7: (0.9, None)}
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(state, "state", tensors)
    return safetensors.torch.save(tensors, metadata={_KEY: json.dumps(skeleton)})


def unpack(content: bytes) -> Any:
    """Return the state that `pack` was given; nothing in ``content`` is run.

    Raises:
        ValueError: if ``content`` is cut off, altered or something else.
    """
    try:
        tensors = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        return _rebuild(json.loads(metadata[_KEY]), tensors)
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"state must be one that training wrote, got {len(content)} bytes that are none or "
            "damaged; start the trial anew"
        ) from error


def _flatten(part: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``part`` in JSON types, with its tensors moved to ``tensors`` under their places."""
    if isinstance(part, Tensor):
        # A copy: safetensors takes no tensors that share memory, as tied weights do.
        tensors[place] = part.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        return {"tensor": place}
    if isinstance(part, Mapping):
        pairs = [
            (_flatten(key, place, tensors), _flatten(value, f"{place}.{key}", tensors))
            for key, value in part.items()
        ]
        return {"dict": pairs}
    if isinstance(part, list | tuple):
        items = [_flatten(item, f"{place}.{i}", tensors) for i, item in enumerate(part)]
        return {type(part).__name__ if type(part) in (list, tuple) else "tuple": items}
    if isinstance(part, _PLAIN):
        return part
    raise TypeError(
        f"state must hold tensors and plain values, got {type(part).__name__} at {place}; "
        "give checkpoint=False"
    )


def _rebuild(part: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(part, dict):
        return part
    ((kind, content),) = part.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_rebuild(key, tensors): _rebuild(value, tensors) for key, value in content}
    items = [_rebuild(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
