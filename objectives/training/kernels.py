"""The calls of torch that are not public, each with a public way to the same numbers.

A network's step is so small that the general calls cost more than the arithmetic: torch's
optimizers about 30 microseconds a call, a recorded graph more than that. So the step calls the
kernels beneath them. A release of torch that lacks one of them gets the public call instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

Forward: TypeAlias = Callable[[Tensor], Tensor]
Backward: TypeAlias = Callable[[Tensor, Tensor, Tensor], object]


class Activation(NamedTuple):
    """An activation: ``h = forward(z)``, and ``forward_(z)`` puts h in the place of z.

    ``backward_(grad, z, h)`` makes the gradient for h that for z, in its place; with ``needs_z``
    False it reads h alone.
    """

    forward: Forward
    forward_: Callable[[Tensor], object]
    backward_: Backward
    needs_z: bool = True


def by_autograd(forward: Forward) -> Activation:
    """Return ``forward`` with the gradient that a recorded graph gives."""

    def backward_(grad: Tensor, z: Tensor, h: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z.clone().requires_grad_()
            of_z = torch.autograd.grad(forward(leaf), leaf, grad.clone())[0]
        grad.copy_(of_z)

    return Activation(forward, lambda z: z.copy_(forward(z)), backward_)


_FORWARD: Mapping[str, Forward] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


def _by_kernels() -> Mapping[str, Activation]:
    """Return those activations whose kernels this torch has."""
    aten, found = torch.ops.aten, {}
    with contextlib.suppress(AttributeError):
        of_relu = aten.threshold_backward.grad_input
        found["relu"] = Activation(
            torch.relu, torch.relu_, lambda g, z, h: of_relu(g, h, 0, grad_input=g), False
        )
        for name, forward_ in (("tanh", torch.tanh_), ("sigmoid", torch.sigmoid_)):
            kernel = getattr(aten, f"{name}_backward").grad_input
            found[name] = Activation(_FORWARD[name], forward_, partial(_of_h, kernel), False)
        for name in ("gelu", "silu"):
            kernel, forward_ = (
                getattr(aten, f"{name}_backward").grad_input,
                getattr(aten, f"{name}_"),
            )
            found[name] = Activation(_FORWARD[name], forward_, partial(_of_z, kernel))
    return found


def _of_h(kernel: Callable[..., object], grad: Tensor, z: Tensor, h: Tensor) -> None:
    kernel(grad, h, grad_input=grad)


def _of_z(kernel: Callable[..., object], grad: Tensor, z: Tensor, h: Tensor) -> None:
    kernel(grad, z, grad_input=grad)


ACTIVATIONS: Mapping[str, Activation] = {
    name: by_autograd(forward) for name, forward in _FORWARD.items()
} | dict(_by_kernels())
"""The activations by name."""


class Steps(NamedTuple):
    """The steps of SGD, Adam and AdamW, each called as the function of `torch.optim` is.

    Moments and counts must be zero tensors at first.
    """

    sgd: Callable[..., None]
    adam: Callable[..., None]
    adamw: Callable[..., None]


def _counted(kernel: Callable[..., None]) -> Callable[..., None]:
    """Count the step before the kernel, which reads the counts only."""

    def step(
        rows: Sequence[Tensor],
        grads: Sequence[Tensor],
        means: Sequence[Tensor],
        squares: Sequence[Tensor],
        largest: Sequence[Tensor],
        counts: Sequence[Tensor],
        **options: float | bool,
    ) -> None:
        for count in counts:
            count += 1
        kernel(rows, grads, means, squares, largest, counts, **options)

    return step


def _fused_steps() -> Steps | None:
    try:
        fused_sgd, fused_adam, fused_adamw = (
            torch._fused_sgd_,
            torch._fused_adam_,
            torch._fused_adamw_,
        )
    except AttributeError:
        return None
    # A first step is as any other where the velocity is zero.
    step = partial(fused_sgd, is_first_step=False)
    return Steps(step, _counted(fused_adam), _counted(fused_adamw))


PUBLIC_STEPS = Steps(*(partial(function, foreach=False) for function in (sgd, adam, adamw)))
STEPS = _fused_steps() or PUBLIC_STEPS
