"""Cohorts whose trials are cut off and continue, by states that run no code when read."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from objectives.space.hyperparameter import Params


class ResumableCohort(ABC):
    """What cohorts share that write the state of a trial and take it in again."""

    @abstractmethod
    def add(self, number: int, params: Params) -> None:
        """Take in a trial."""

    @abstractmethod
    def drop(self, number: int) -> None:
        """Let a trial go and free its memory; a number that is not here is no error."""

    @abstractmethod
    def _state(self, number: int) -> Mapping[str, object]:
        """Return what `pack` takes."""

    @abstractmethod
    def _load_state(self, number: int, state: Mapping[str, Any]) -> None:
        """Put a trial that was just taken in where `_state` left it."""

    def state(self, number: int) -> bytes:
        """Return all that the next epochs of a trial follow from."""
        return pack(self._state(number))

    def restore(self, number: int, params: Params, state: bytes) -> None:
        """Take in a trial where `state` left it.

        Raises:
            ValueError: if ``state`` is damaged or of another trial, which is then not taken in.
        """
        saved = unpack(state)
        self.add(number, params)
        try:
            self._load_state(number, saved)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            self.drop(number)
            raise ValueError(f"state must be of trial {number}, got another ({error})") from error


def pack(state: object) -> bytes:
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
