"""The calls of torch that are not public, each with a public way to the same numbers.

A network's step is so small that the general calls cost more than the arithmetic: torch's
optimizers about 30 microseconds a call, a recorded graph more than that. So the step calls the
kernels beneath them. A release of torch that lacks one of them gets the public call instead.
"""

from __future__ import annotations

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
Backward: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


class Activation(NamedTuple):
    """An activation: ``h = forward(z)``, and ``backward(grad_of_h, z, h)`` gives the grad of z."""

    forward: Forward
    backward: Backward


def by_autograd(forward: Forward) -> Backward:
    """Return the gradient of ``forward`` by way of a recorded graph."""

    def backward(grad: Tensor, z: Tensor, h: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z.clone().requires_grad_()
            return torch.autograd.grad(forward(leaf), leaf, grad.clone())[0]

    return backward


_ATEN = torch.ops.aten

_ROWS: Mapping[str, tuple[Forward, str, Backward]] = {
    "relu": (torch.relu, "threshold_backward", lambda g, z, h: _ATEN.threshold_backward(g, h, 0)),
    "tanh": (torch.tanh, "tanh_backward", lambda g, z, h: _ATEN.tanh_backward(g, h)),
    "sigmoid": (torch.sigmoid, "sigmoid_backward", lambda g, z, h: _ATEN.sigmoid_backward(g, h)),
    "gelu": (functional.gelu, "gelu_backward", lambda g, z, h: _ATEN.gelu_backward(g, z)),
    "silu": (functional.silu, "silu_backward", lambda g, z, h: _ATEN.silu_backward(g, z)),
}

ACTIVATIONS: Mapping[str, Activation] = {
    name: Activation(forward, backward if hasattr(_ATEN, operator) else by_autograd(forward))
    for name, (forward, operator, backward) in _ROWS.items()
}
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
