"""What trials cost that train alone or as one stack: a model of the fused engine's speed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from lcbench import EPOCHS, decoded

# How many times cheaper a member is in a stack than alone, by members and width; measured with
# benchmarks/roofline.py and benchmarks/throughput.py on one thread. Wider networks train alone.
_MEMBERS = (1, 4, 8, 16)
_SPEEDUP = {64: (1.0, 2.5, 3.5, 4.0), 128: (1.0, 1.5, 1.8, 2.0)}

# The mean over the space's batch sizes: the unit of time.
_MEAN_STEPS = float(np.mean([EPOCHS / 2**power for power in range(4, 10)]))

_SHAPE = ("num_layers", "max_units", "log2_max_units", "log2_batch_size")

Params = Mapping[str, Any]
Widths = Literal["product", "narrow"]
# What a trial alone costs: its steps, or the same whatever its batch size.
CLOCKS = ("steps", "equal")


def shape_of(params: Params) -> dict[str, Any]:
    """Return those of a study's parameters that decide which trials train as one stack."""
    return {name: params[name] for name in _SHAPE if name in params}


def width(shape: Params, widths: Widths) -> float:
    """Return the width at the same place in this project's range, 16 to 512, as in LCBench's."""
    if widths == "narrow":
        return float(min(_SPEEDUP))
    return float(2 ** (4 + (math.log2(decoded(shape)["max_units"]) - 6) * 5 / 4))


def speedup(k: int, units: float) -> float:
    """Return how many times cheaper a member is in a stack of ``k`` than alone."""
    for limit, row in _SPEEDUP.items():
        if units <= limit:
            return float(np.interp(math.log2(k), np.log2(_MEMBERS), row))
    return 1.0


def gains(shape: Params, widths: Widths) -> bool:
    """Say whether trials of this shape are cheaper as a stack."""
    return width(shape, widths) <= max(_SPEEDUP)


def costs(shape: Params, k: int, widths: Widths) -> tuple[float, ...]:
    """Return the time of ``k`` trials of one shape by each clock."""
    each = 1 / speedup(k, width(shape, widths))
    steps = EPOCHS / float(decoded(shape)["batch_size"])
    return k * each * steps / _MEAN_STEPS, k * each
