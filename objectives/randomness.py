"""Random numbers of a trial's own, beside those of the program around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers as they were: a trial's are its own."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return the states of the CPU's and, on CUDA, of the device's random numbers."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
