"""The fused engine: gradients, exactness against torch, dropout, and epochs taken back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from objectives.data.encoders import TableRows
from objectives.mlp import MLPObjective
from objectives.objective import EpochResult
from objectives.scorers import get_metric
from objectives.space.hyperparameter import ACTIVATIONS, OPTIMIZERS
from objectives.space.space import defaults
from objectives.training import stack as stack_module
from objectives.training import tensors
from objectives.training.recipe import RECIPES, Loss, Recipe
from objectives.training.stack import (
    Member,
    RowOptimizer,
    Stack,
    fill_dropout_mask,
)
from objectives.training.stacked_mlp import StackedMLP, Tape, he_init
from objectives.training.tensors import Parts, TensorData

N_ROWS, N_INPUTS, N_CLASSES = 37, 5, 3
TASKS = ("binary", "multiclass", "regression")
CONFIGURATION = {
    "learning_rate": 0.01,
    "epochs": 4,
    "activation": "relu",
    "dropout": 0.0,
    "optimizer": "adam",
    "momentum": 0.9,
    "weight_decay": 0.0,
}
MODULES = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def make_targets(task: str, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
    """Return targets as the loss wants them (n, C), and as the metric wants them (n,)."""
    if task == "regression":
        y = torch.as_tensor(rng.normal(size=n))
        return y.float().unsqueeze(1), y
    n_classes = 2 if task == "binary" else N_CLASSES
    y = torch.as_tensor(np.arange(n) % n_classes)
    return (y.float().unsqueeze(1) if task == "binary" else nn.functional.one_hot(y).float()), y


def make_data(task: str, *, weighted: bool = False) -> TensorData:
    rng = np.random.default_rng(0)
    targets, _ = make_targets(task, rng, N_ROWS)
    valid_targets, valid_y = make_targets(task, rng, 20)
    weight = (
        torch.as_tensor(rng.uniform(0.5, 1.5, (N_ROWS, 1)), dtype=torch.float32)
        if weighted
        else None
    )
    return TensorData(
        x=TableRows(torch.as_tensor(rng.normal(size=(N_ROWS, N_INPUTS)), dtype=torch.float32)),
        targets=targets,
        weight=weight,
        valid_x=TableRows(torch.as_tensor(rng.normal(size=(20, N_INPUTS)), dtype=torch.float32)),
        valid_targets=valid_targets,
        valid_y=valid_y,
        valid_weight=None,
    )


def make_stack(
    data: TensorData, task: str, recipe: Recipe, *, batch_size: int = 8, n_layers: int = 2
) -> Stack:
    shape = {
        "n_inputs": N_INPUTS,
        "n_outputs": data.targets.shape[1],
        "n_layers": n_layers,
        "hidden_units": 6,
        "reference_width": recipe.reference_width,
    }
    metric = get_metric("rmse" if task == "regression" else "log_loss", task)  # type: ignore[arg-type]
    return Stack(
        data=Parts([data]),
        recipe=recipe,
        loss=Loss(task),
        metric=metric,
        batch_size=batch_size,
        shape=shape,  # type: ignore[arg-type]
    )


def make_member(stack: Stack, recipe: Recipe, number: int, **params: Any) -> Member:
    full = CONFIGURATION | params
    row = recipe.init(stack.network([full["activation"]]), torch.Generator().manual_seed(number))
    return Member(
        number=number,
        params=full,
        row=row,
        optimizer=RowOptimizer(full, recipe, row),
        order=torch.Generator().manual_seed(100 + number),
        noise=torch.Generator().manual_seed(200 + number),
    )


def train(stack: Stack, n_epochs: int) -> dict[int, list[EpochResult]]:
    """Train for some epochs and return what each member came to, by its number."""
    epochs: dict[int, list[EpochResult]] = {}
    for _ in range(n_epochs):
        for member, epoch in stack.train_epoch():
            epochs.setdefault(member.number, []).append(epoch)
    return epochs


def curve(results: list[EpochResult]) -> list[tuple[float, float, float]]:
    return [(r.value, r.valid_loss, r.train_loss) for r in results]


@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    acts=st.lists(st.sampled_from(ACTIVATIONS), min_size=1, max_size=4),
    n_layers=st.integers(1, 3),
    masked=st.booleans(),
    reference=st.sampled_from([None, 256.0]),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_hand_written_gradients_equal_autograd(
    task: str,
    acts: list[str],
    n_layers: int,
    masked: bool,
    reference: float | None,
    smoothing: float,
) -> None:
    torch.manual_seed(0)
    targets, _ = make_targets(task, np.random.default_rng(1), 7)
    net = StackedMLP(
        activations=sorted(acts),
        n_inputs=4,
        n_outputs=targets.shape[1],
        n_layers=n_layers,
        hidden_units=5,
        reference_width=reference,
    ).double()
    net.flat = torch.stack(
        [he_init(net, torch.Generator().manual_seed(k)) for k in range(len(acts))]
    ).double()
    x = torch.randn(len(acts), 7, 4, dtype=torch.float64)
    masks = [
        torch.rand(len(acts), 7, 5, dtype=torch.float64) if masked else None
        for _ in range(n_layers)
    ]
    loss = Loss(task, smoothing)  # type: ignore[arg-type]
    batch = targets.double().t().expand(len(acts), -1, -1)

    tape = Tape(net)
    smoothed = loss.smoothed(batch)
    tape.backward(loss.gradient(tape.forward(x, masks), smoothed, None))

    net.flat.requires_grad_()
    (Loss(task).total(plain_outputs(net, x, masks), smoothed, None).sum() / 7).backward()  # type: ignore[arg-type]
    torch.testing.assert_close(tape.grad, net.flat.grad)


def plain_outputs(net: StackedMLP, x: Tensor, masks: list[Tensor | None]) -> Tensor:
    """Return the outputs (K, C, B) of a pass with dropout, as autograd can follow them."""
    outputs = []
    for k, name in enumerate(net.config["activations"]):
        h = x[k]
        layers = zip(net.layers(net.flat), net.scales(), [*masks, None], strict=True)
        for number, ((weight, bias), scale, mask) in enumerate(layers):
            h = h @ weight[k] * scale + bias[k]
            h = h if number == net.config["n_layers"] else MODULES[name]()(h)
            h = h if mask is None else h * mask[k]
        outputs.append(h.t())
    return torch.stack(outputs)


@pytest.mark.parametrize("n_outputs", [1, 2, 15, 16, 20])
def test_gradients_are_right_for_few_and_many_outputs(n_outputs: int) -> None:
    net = StackedMLP(
        activations=["tanh"] * 2, n_inputs=4, n_outputs=n_outputs, n_layers=1, hidden_units=5
    ).double()
    net.flat = torch.stack([he_init(net, torch.Generator().manual_seed(k)) for k in (0, 1)])
    net.flat = net.flat.double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 4, dtype=torch.float64, generator=generator)
    grad = torch.randn(2, n_outputs, 7, dtype=torch.float64, generator=generator)

    tape = Tape(net)
    outputs = tape.forward(x, [None])
    tape.backward(grad)

    net.flat.requires_grad_()
    expected = net(x).transpose(1, 2)
    (expected * grad).sum().backward()
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(tape.grad, net.flat.grad)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_pass_in_bfloat16_gives_outputs_and_gradients_near_those_in_float32(
    activation: str,
) -> None:
    net = StackedMLP(
        activations=[activation] * 2,
        n_inputs=40,
        n_outputs=3,
        n_layers=2,
        hidden_units=50,
        reference_width=256.0,
    )
    rows = [he_init(net, torch.Generator().manual_seed(k)) for k in range(2)]
    net.flat = torch.stack(rows)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 32, 40, generator=generator)
    masks = torch.rand(2, 2, 32, 50, generator=generator)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        tape = Tape(net, dtype)
        outputs = tape.forward(x, list(masks.to(dtype)))
        tape.backward(outputs)
        found.append((outputs, tape.grad))

    for exact, rounded in zip(*found, strict=True):
        assert rounded.dtype == torch.float32
        error = (rounded - exact).norm() / exact.norm()
        assert 0 < error < 0.02  # a rounding is up to 0.004


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_plain_recipe_trains_exactly_as_a_torch_loop_does(activation: str, optimizer: str) -> None:
    data, recipe = make_data("multiclass"), RECIPES["plain"]
    stack = make_stack(data, "multiclass", recipe)
    decay = 0.01
    member = make_member(
        stack, recipe, 1, activation=activation, optimizer=optimizer, weight_decay=decay
    )
    act = MODULES[activation]
    module = nn.Sequential(
        nn.Linear(N_INPUTS, 6), act(), nn.Linear(6, 6), act(), nn.Linear(6, N_CLASSES)
    )
    linears = [m for m in module if isinstance(m, nn.Linear)]
    for linear, (weight, bias) in zip(
        linears, stack.network([activation]).layers(member.row[None]), strict=True
    ):
        linear.weight.data, linear.bias.data = weight[0].T.clone(), bias[0, 0].clone()
    kinds: dict[str, Any] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=decay),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=decay),
    }
    torch_optimizer, order = (
        kinds[optimizer](module.parameters()),
        torch.Generator().manual_seed(101),
    )

    stack.add(member)
    for _ in range(3):
        ((_, result),) = stack.train_epoch()
        for rows in torch.randperm(N_ROWS, generator=order).split(8):
            torch_optimizer.zero_grad()
            nn.functional.cross_entropy(
                module(data.x.expand(rows)), data.targets[rows].argmax(1)
            ).backward()
            torch_optimizer.step()
        expected = nn.functional.cross_entropy(module(data.valid_x.expand()), data.valid_y)
        assert result.valid_loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_dropout_silences_the_share_it_names_and_keeps_the_mean(rate: float) -> None:
    mask = torch.empty(50, 8, 501)

    fill_dropout_mask(mask, rate, torch.Generator().manual_seed(0))

    share = (mask == 0).float().mean().item()
    assert share == pytest.approx(rate, abs=4 * math.sqrt(0.25 / mask.numel()))
    assert mask.mean().item() == pytest.approx(1.0, abs=0.02)


def test_a_dropout_mask_follows_from_its_probability_and_generator() -> None:
    mask = torch.empty(2, 5)

    fill_dropout_mask(mask, 0.25, torch.Generator().manual_seed(3))

    up = 4 / 3
    expected = torch.tensor([[up, up, up, 0, up], [up, up, 0, up, up]])
    torch.testing.assert_close(mask, expected)
    fill_dropout_mask(mask, 0.0, torch.Generator().manual_seed(3))
    assert mask.unique().tolist() == [1.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_epoch_that_is_taken_back_goes_the_same_way_again(optimizer: str) -> None:
    stack = make_stack(make_data("binary"), "binary", RECIPES["modern"])
    stack.add(make_member(stack, RECIPES["modern"], 0, dropout=0.5, optimizer=optimizer))
    before = stack.snapshot()

    first = curve(train(stack, 1)[0])
    stack.restore(before)
    again = curve(train(stack, 1)[0])

    assert first == again
    assert curve(train(stack, 1)[0]) != first


def test_inputs_that_are_kept_train_as_those_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = []
    for kept_bytes in (0, tensors._KEPT_BYTES):
        monkeypatch.setattr(tensors, "_KEPT_BYTES", kept_bytes)
        objective = MLPObjective("iris", space={"epochs": 2, "hidden_units": 8}, folds=3)
        cohort = objective.cohort(seed=0)
        cohort.add(0, defaults(objective.space))
        curves.append(curve([cohort.train_epoch()[0] for _ in range(2)]))

    assert curves[0] == curves[1]


def test_steps_do_not_depend_on_how_many_are_prepared_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves = []
    for chunk_bytes in (1, 2 * 4 * 8 * (N_INPUTS + 2 * 6), stack_module._CHUNK_BYTES):
        monkeypatch.setattr(stack_module, "_CHUNK_BYTES", chunk_bytes)
        stack = make_stack(make_data("multiclass"), "multiclass", RECIPES["modern"])
        for number, dropout in enumerate((0.0, 0.2, 0.5)):
            stack.add(make_member(stack, RECIPES["modern"], number, dropout=dropout))
        curves.append([curve(results) for results in train(stack, 3).values()])

    np.testing.assert_allclose(curves[0], curves[2], rtol=1e-5)
    np.testing.assert_allclose(curves[1], curves[2], rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stack_on_the_gpu_trains_as_on_the_cpu() -> None:
    recipe, curves = RECIPES["modern"], []
    for device in ("cpu", "cuda"):
        fields = {
            f.name: getattr(make_data("multiclass"), f.name) for f in dataclasses.fields(TensorData)
        }
        data = TensorData(**{k: v.to(device) if hasattr(v, "to") else v for k, v in fields.items()})
        stack = make_stack(data, "multiclass", recipe)
        member = make_member(stack, recipe, 0)
        member.row = member.row.to(device)
        member.optimizer = RowOptimizer(member.params, recipe, member.row)
        stack.add(member)
        curves.append(curve(train(stack, 3)[0]))
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-3)
