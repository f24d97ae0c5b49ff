"""Precision of the matrix products of training: float32, or bfloat16 where that is faster."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch

from objectives.messages import hint

Precision: TypeAlias = Literal["float32", "auto"]

# Multiplications a step and network from which on bfloat16, its roundings included, is faster on a
# processor with AVX512-BF16: three quarters of the time at 115 million (3 x 256 units, 256 rows),
# but 0.95 at 29 million and more than float32 below (benchmarks/roofline.py --dtype bfloat16).
_PAYS = 50e6


def check_precision(precision: str) -> Precision:
    """Return ``precision`` if it is a known one.

    Raises:
        ValueError: if it is not.
    """
    names = get_args(Precision)
    if precision not in names:
        raise ValueError(
            f"precision must be one of {', '.join(names)}, got {precision!r}"
            f"{hint(precision, names)}"
        )
    return precision  # type: ignore[return-value]


def product_dtype(
    precision: Precision, *, device: torch.device, n_multiplications: float
) -> torch.dtype:
    """Return the type that a network's matrix products are made in.

    ``"auto"`` is bfloat16 for large networks on a CPU that multiplies it natively, else float32. It
    follows from network and batch size alone, never from what trains beside, so a trial comes out
    the same in any company.

    Args:
        precision: as the user chose.
        device: where the network trains.
        n_multiplications: of one training step of one network.

    Example:
        >>> product_dtype("float32", device=torch.device("cpu"), n_multiplications=1e9)
        torch.float32
    """
    if precision == "float32" or device.type != "cpu" or n_multiplications < _PAYS:
        return torch.float32
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def multiplies_bfloat16() -> bool:
    """Return whether this machine's processor multiplies bfloat16 natively."""
    # torch has told so only since a later release than the first that is supported here.
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
