"""What stands in for torch's private kernels comes to the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from objectives.space.hyperparameter import ACTIVATIONS as NAMES
from objectives.space.hyperparameter import OPTIMIZERS
from objectives.training.kernels import ACTIVATIONS, PUBLIC_STEPS, STEPS, by_autograd
from objectives.training.recipe import RECIPES
from objectives.training.stack import RowOptimizer


def test_every_documented_activation_has_a_kernel() -> None:
    assert tuple(ACTIVATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_kernel_and_by_autograd_are_equal(name: str) -> None:
    activation = ACTIVATIONS[name]
    with torch.inference_mode():
        z = torch.linspace(-4, 4, 90).view(2, 3, 15)
        h, grad = activation.forward(z), torch.cos(z)

        expected, found, in_place = grad.clone(), grad.clone(), z.clone()
        by_autograd(activation.forward).backward_(expected, z, h)

        activation.backward_(found, z if activation.needs_z else h, h)
        activation.forward_(in_place)

        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(in_place, h, rtol=0, atol=1e-6)
        assert not torch.equal(found, grad)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_by_kernel_and_by_torch_optim_are_equal(
    optimizer: str, momentum: float, recipe: str
) -> None:
    params = {"optimizer": optimizer, "momentum": momentum, "weight_decay": 0.01}
    rows = [torch.linspace(-1, 1, 40) for _ in range(2)]
    pair = [
        RowOptimizer(params, RECIPES[recipe], row, steps=steps)
        for row, steps in zip(rows, (STEPS, PUBLIC_STEPS), strict=True)
    ]
    with torch.inference_mode():
        for step in range(6):
            grad = torch.sin(torch.arange(40) * (step + 1.0))
            for optimiser, row in zip(pair, rows, strict=True):
                optimiser.joined([], [row], [grad])(lr=0.1 / (step + 1))

    assert not torch.equal(rows[0], torch.linspace(-1, 1, 40))
    torch.testing.assert_close(rows[0], rows[1], rtol=0, atol=1e-6)
    for fused, public in zip(pair[0].moments, pair[1].moments, strict=True):
        torch.testing.assert_close(fused, public, rtol=0, atol=1e-6)


TRAIN = """
from objectives.mlp import MLPObjective
from objectives.space.space import defaults

objective = MLPObjective("iris", space={"epochs": 3, "hidden_units": 8, "activation": "gelu"})
cohort = objective.cohort(seed=0)
for number, optimizer in enumerate(("sgd", "adam", "adamw")):
    cohort.add(number, defaults(objective.space) | {"optimizer": optimizer})
for _ in range(3):
    results = cohort.train_epoch()
print(*[result.valid_loss for result in results.values()])
"""
WITHOUT_KERNELS = """
import types, torch, torch.optim
del torch._fused_sgd_, torch._fused_adam_, torch._fused_adamw_
operators, torch.ops.aten = torch.ops.aten, types.SimpleNamespace()
from objectives.training import kernels
torch.ops.aten = operators
assert kernels.STEPS is kernels.PUBLIC_STEPS
"""


def test_training_does_without_the_private_kernels() -> None:
    curves = []
    for program in (TRAIN, WITHOUT_KERNELS + TRAIN):
        run = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
        assert run.returncode == 0, run.stderr
        curves.append([float(number) for number in run.stdout.split()])

    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
