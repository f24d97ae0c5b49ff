"""Our training step against the bare matrix products of the same shapes, in the same run.

    python benchmarks/roofline.py [--repeats 5] [--dtype bfloat16]

One thread. A step of K stacked networks (64 inputs, 10 classes, dropout 0.2, Adam) needs three
products for each layer: forward, and backward for weights and inputs (the first layer's inputs need
none). The table has microseconds a step and network for one network and for sixteen as one, the
products alone, and the ratios of the medians. The bare products are in float32, also beside steps
in bfloat16: what the two tables differ in is what that type gains.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch

from objectives.data.encoders import TableRows
from objectives.metrics import METRICS
from objectives.space.tables import MLP_TABLE
from objectives.training.recipe import RECIPES, Loss
from objectives.training.stack import Member, RowOptimizer, Stack
from objectives.training.tensors import Parts, TensorData

SHAPES = ((2, 64, 16), (2, 64, 64), (2, 128, 32), (2, 128, 128), (3, 256, 64), (3, 256, 256))
N_INPUTS, N_CLASSES, N_STEPS = 64, 10, 40


def make_stack(
    k: int, n_layers: int, width: int, batch: int, dtype: torch.dtype = torch.float32
) -> Stack:
    """Return a stack of ``k`` networks on random rows, enough for N_STEPS steps an epoch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch * N_STEPS, N_INPUTS, generator=generator)
    y = torch.randint(N_CLASSES, (len(x),), generator=generator)
    targets = torch.nn.functional.one_hot(y, N_CLASSES).float()
    data = TensorData(
        x=TableRows(x),
        targets=targets,
        weight=None,
        valid_x=TableRows(x[:1]),
        valid_targets=targets[:1],
        valid_y=y[:1],
        valid_weight=None,
    )
    shape = {
        "n_inputs": N_INPUTS,
        "n_outputs": N_CLASSES,
        "n_layers": n_layers,
        "hidden_units": width,
        "reference_width": None,
    }
    recipe = RECIPES["plain"]
    stack = Stack(
        data=Parts([data]),
        recipe=recipe,
        loss=Loss("multiclass"),
        metric=METRICS["accuracy"],
        batch_size=batch,
        shape=shape,
        dtype=dtype,
    )
    params = {name: row.default for name, row in MLP_TABLE.items()}
    for number in range(k):
        row = recipe.init(stack.network(["relu"]), torch.Generator().manual_seed(number))
        stack.add(
            Member(
                number=number,
                params=params,
                row=row,
                optimizer=RowOptimizer(params, recipe, row),
                order=torch.Generator().manual_seed(number),
                noise=torch.Generator().manual_seed(number),
            )
        )
    return stack


def products(k: int, n_layers: int, width: int, batch: int) -> Callable[[], None]:
    """Return a function that makes N_STEPS steps' matrix products and nothing else."""
    widths = [N_INPUTS, *[width] * n_layers, N_CLASSES]
    layers = [
        (torch.randn(k, batch, i), torch.randn(k, i, o), torch.randn(k, batch, o))
        for i, o in itertools.pairwise(widths)
    ]

    def run() -> None:
        for _ in range(N_STEPS):
            for index, (h, weight, grad) in enumerate(layers):
                torch.bmm(h, weight)
                torch.bmm(h.transpose(1, 2), grad)
                if index:
                    torch.bmm(grad, weight.transpose(1, 2))

    return run


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Time both sides in turn and print a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    print("layers x width, batch   ours K=1  bare K=1  ratio   ours K=16  bare K=16  ratio")
    for n_layers, width, batch in SHAPES:
        line = f"{n_layers} x {width}, {batch}".ljust(22)
        for k in (1, 16):
            shape = (k, n_layers, width, batch)
            stack, bare = make_stack(*shape, dtype), products(*shape)
            sides: list[list[float]] = [[], []]
            for _ in range(options.repeats + 1):
                sides[0].append(seconds(stack.train_epoch))
                sides[1].append(seconds(bare))
            # The first round warms up.
            each = [statistics.median(taken[1:]) / N_STEPS / k * 1e6 for taken in sides]
            line += f"{each[0]:10.0f}{each[1]:10.0f}{each[0] / each[1]:7.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
