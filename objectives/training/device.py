"""Where and how training computes: device, threads, precision, random numbers, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Products: TypeAlias = Literal["float32", "bfloat16"]
RandomState: TypeAlias = tuple[Tensor, Tensor | None]  # of the CPU, and of CUDA where it trains

# Multiplications a step and network from which on bfloat16, its roundings included, is faster on a
# processor with AVX512-BF16: three quarters of the time at 115 million (3 x 256 units, 256 rows),
# but 0.95 at 29 million and more than float32 below (benchmarks/roofline.py --dtype bfloat16).
_PAYS = 50e6


def products_of(precision: Precision, device: torch.device) -> Products:
    """Return ``precision`` with ``"auto"`` settled: bfloat16 on a CPU that multiplies it natively,
    else float32.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cpu" and multiplies_bfloat16() else "float32"


def product_dtype(products: Products, n_multiplications: float) -> torch.dtype:
    """Return the type that a network's matrix products are made in: bfloat16 for large networks
    alone.

    It follows from network and batch size, never from what trains beside, so a trial comes out the
    same in any company.

    ``n_multiplications`` are those of one training step of one network.

    Example:
        >>> product_dtype("bfloat16", 1e9), product_dtype("bfloat16", 1e6)
        (torch.bfloat16, torch.float32)
    """
    large = products == "bfloat16" and n_multiplications >= _PAYS
    return torch.bfloat16 if large else torch.float32


def multiplies_bfloat16() -> bool:
    """Return whether this machine's processor multiplies bfloat16 natively."""
    # torch has told so only since a later release than the first that is supported here.
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def is_out_of_memory(error: Exception) -> bool:
    """Tell a failed allocation from other errors; on a CPU torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread for a while.

    What is computed here is too small to share well, be it a product or a copy, and threads that
    wait for one another slow down tenfold and more as soon as anything else runs on the machine.
    Further cores are for further processes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_double(outputs: Tensor) -> Tensor:
    """Return outputs in double precision where the device has it: values of a large mean, such as
    seconds since 1970, have no digits left for their differences in single precision.
    """
    return outputs if outputs.device.type == "mps" else outputs.double()


def pick_device(device: str | torch.device | None) -> torch.device:
    """Return the device called ``device``, by default the best there is.

    Raises:
        ValueError: if torch knows no such device, or this machine has none.
    """
    if device is None:
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device must be one that this machine has, such as 'cpu' or 'cuda', got {device=} "
            f"({str(error).splitlines()[0]})"
        ) from error


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave torch's random numbers as they were: a trial's are its own."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def random_state(device: torch.device) -> RandomState:
    """Return the states of the CPU's and, on CUDA, of the device's random numbers."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


def set_random_state(state: RandomState, device: torch.device) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
