"""States of training as bytes, which hold tensors and plain values and run no code when read."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint


def pack(state: Any) -> bytes:
    """Return a state as bytes.

    Args:
        state: dicts, lists and tuples of tensors and plain values, nested as they may be, such as
            ``torch.optim.Optimizer.state_dict()``.

    Raises:
        TypeError: if it holds something that `unpack` would refuse.

    Example:
        >>> unpack(pack({"epoch": 3, "moments": [torch.zeros(2)], 7: (0.9, None)}))
        {'epoch': 3, 'moments': [tensor([0., 0.])], 7: (0.9, None)}
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    others = get_unsafe_globals_in_checkpoint(buffer)
    if others:
        raise TypeError(
            f"state must hold tensors and plain values, got {', '.join(sorted(others))}; "
            "give checkpoint=False"
        )
    return buffer.getvalue()


def unpack(content: bytes) -> Any:
    """Return the state that `pack` was given, its tensors on the CPU.

    Raises:
        ValueError: if ``content`` is cut off, altered or something else.
    """
    try:
        if not content.startswith(b"PK"):  # torch also reads older forms, which `pack` never wrote
            raise ValueError("it is no zip file")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may raise anything
        raise ValueError(
            f"state must be one that training wrote, got {len(content)} bytes of another kind or "
            "damaged; start the trial anew"
        ) from error
