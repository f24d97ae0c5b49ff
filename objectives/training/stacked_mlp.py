"""K multilayer perceptrons of one shape, held and trained as one tensor: the fused engine.

Shapes: K members, n or B rows, I inputs, H hidden units, C outputs. All parameters of a member lie
in one row of ``flat`` (K, n_parameters); the layers are views into it, so that one optimizer call
moves a whole member. The gradients are written by hand: for a network this small, recording a graph
costs more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from objectives._messages import hint
from objectives.training.kernels import ACTIVATIONS

# Products that give fewer columns than a processor's vector has places take up to four times as
# long as those that give so few rows. The last layer's are made that way round.
_FEW = 16


class Shape(TypedDict):
    """The layer arguments of `StackedMLP`, the same for all members of a stack."""

    n_inputs: int
    n_outputs: int
    n_layers: int
    hidden_units: int
    reference_width: float | None


class StackedMLP(nn.Module):
    """K multilayer perceptrons of one shape, each with its own activation.

    Args:
        activations: one name a member: relu, tanh, sigmoid, gelu or silu.
        n_inputs: I.
        n_outputs: C; 1 for two classes and for regression.
        n_layers: hidden layers.
        hidden_units: H, the width of each hidden layer.
        reference_width: None for ordinary layers ``h @ W + b``; a number r for ``h @ W * sqrt(r /
            fan_in) + b``, which makes one learning rate fit all widths (the neural-tangent
            parametrisation of RealMLP, Holzmueller et al. 2024, scaled so that a layer of r inputs
            is an ordinary one).

    Raises:
        ValueError: for an unknown activation.

    Example:
        >>> net = StackedMLP(
        ...     activations=["relu", "tanh"], n_inputs=3, n_outputs=2, n_layers=1, hidden_units=4
        ... )
        >>> net(torch.zeros(5, 3)).shape
        torch.Size([2, 5, 2])
    """

    def __init__(
        self,
        *,
        activations: Sequence[str],
        n_inputs: int,
        n_outputs: int,
        n_layers: int,
        hidden_units: int,
        reference_width: float | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted(set(activations) - set(ACTIVATIONS))
        if unknown:
            raise ValueError(
                f"activations must be of {', '.join(ACTIVATIONS)}, got {unknown[0]!r}"
                f"{hint(unknown[0], ACTIVATIONS)}"
            )
        self.config: dict[str, Any] = {
            "activations": list(activations),
            "n_inputs": n_inputs,
            "n_outputs": n_outputs,
            "n_layers": n_layers,
            "hidden_units": hidden_units,
            "reference_width": reference_width,
        }
        self.widths = (n_inputs, *[hidden_units] * n_layers, n_outputs)
        self.n_parameters = sum(
            (i + 1) * o for i, o in zip(self.widths, self.widths[1:], strict=False)
        )
        self.register_buffer("flat", torch.zeros(len(activations), self.n_parameters))
        self.flat: Tensor

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StackedMLP:
        """Build a network, with zero weights, from the ``config`` of another."""
        return cls(**config)

    def scales(self) -> list[float]:
        """Return the factor on ``h @ W`` of each layer."""
        r = self.config["reference_width"]
        return [1.0 if r is None else math.sqrt(r / fan_in) for fan_in in self.widths[:-1]]

    def layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return views W (K, fan_in, fan_out), b (K, 1, fan_out) into ``flat`` (K, n)."""
        views, start = [], 0
        for i, o in zip(self.widths, self.widths[1:], strict=False):
            weight = flat[:, start : start + i * o].view(-1, i, o)
            bias = flat[:, start + i * o : start + (i + 1) * o].view(-1, 1, o)
            views.append((weight, bias))
            start += (i + 1) * o
        return views

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (K, n, C) for ``x`` (n, I), or (K, n, I) with rows of each member's
        own: logits, or standardised values.
        """
        return self.outputs(x, range(len(self.flat)))

    def outputs(self, x: Tensor, members: Sequence[int]) -> Tensor:
        """Return the outputs (len(members), n, C) of some members, for ``x`` as in `forward`."""
        rows = [x if x.dim() == 2 else x[k] for k in members]
        return torch.stack([self._forward_member(k, h) for k, h in zip(members, rows, strict=True)])

    def _forward_member(self, member: int, h: Tensor) -> Tensor:
        # One member at a time: n is large here, and a stacked product would copy x for each member.
        layers = self.layers(self.flat[member : member + 1])
        activate = ACTIVATIONS[self.config["activations"][member]].forward
        for (weight, bias), scale in zip(layers[:-1], self.scales(), strict=False):
            h = activate(torch.addmm(bias[0, 0], h, weight[0], alpha=scale))
        weight, bias = layers[-1]
        return torch.addmm(bias[0].t(), weight[0].t(), h.t(), alpha=self.scales()[-1]).t()


class Tape:
    """Forward and backward pass of one training step through a `StackedMLP`.

    Args:
        net: the networks; their ``flat`` may be changed in place between steps, but not replaced.
        dtype: of the pass; None for that of the parameters. In bfloat16 it works on a copy of
            them, and what comes out has the type of what goes in, as ``grad`` that of the
            parameters.

    Attributes:
        grad: (K, n_parameters), overwritten by each `backward`.
    """

    def __init__(self, net: StackedMLP, dtype: torch.dtype | None = None) -> None:
        dtype = net.flat.dtype if dtype is None else dtype
        self.grad = torch.zeros_like(net.flat)
        self._flat = net.flat
        # `to` gives the same tensor where the type is its own: then nothing is copied below.
        self._rounded, self._rounded_grad = net.flat.to(dtype), self.grad.to(dtype)
        self._is_rounded = self._rounded is not self._flat
        self._layers = net.layers(self._rounded)
        self._grads = net.layers(self._rounded_grad)
        # Views are made once: in each step, they would be a tenth of a small network's time.
        self._turned = [(w.transpose(1, 2), b.transpose(1, 2)) for w, b in self._layers]
        self._few_outputs = net.widths[-1] < _FEW
        self._last_grad = self._grads[-1][0].transpose(1, 2)
        self._scales, self._nothing = net.scales(), self._rounded.new_zeros(1, 1, 1)
        # Runs of neighbouring members with the same activation share one call for it.
        runs = [(name, len(list(run))) for name, run in groupby(net.config["activations"])]
        self._activations = [ACTIVATIONS[name] for name, _ in runs]
        self._sizes = [size for _, size in runs]
        self._needs_z = any(activation.needs_z for activation in self._activations)

    def forward(self, x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """Return the outputs (K, C, B) for ``x`` (K, B, I), and remember what `backward` needs.

        Each hidden layer has a mask, dropout factors (K, B, H) of 0 or 1 / (1 - p), or None.
        """
        own = x
        if self._is_rounded:
            self._rounded.copy_(self._flat)
            own = x.to(self._rounded.dtype)
        self._h, self._z, self._out, self._masks = [own], [], [], masks
        for (weight, bias), scale, mask in zip(
            self._layers[:-1], self._scales, masks, strict=False
        ):
            h = torch.baddbmm(bias, self._h[-1], weight, alpha=scale)
            self._z.append(h.clone() if self._needs_z else h)
            for activation, run in zip(self._activations, self._runs(h), strict=True):
                activation.forward_(run)
            self._out.append(h)
            self._h.append(h if mask is None else h * mask)
        weight, bias = self._turned[-1]
        h = self._h[-1].transpose(1, 2)
        out = torch.baddbmm(bias, weight, h, alpha=self._scales[-1])
        return out.to(x.dtype) if self._is_rounded else out

    def backward(self, grad: Tensor) -> None:
        """Fill ``self.grad``, given the loss's gradient for the outputs (K, C, B)."""
        last = len(self._layers) - 1
        grad = grad.to(self._rounded.dtype) if self._is_rounded else grad
        grad = grad.transpose(1, 2)
        for layer in range(last, -1, -1):
            weight_grad, bias_grad = self._grads[layer]
            scale = self._scales[layer]
            torch.sum(grad, dim=1, keepdim=True, out=bias_grad)
            if layer == last and self._few_outputs:
                self._last_grad.copy_(self._product(grad.transpose(1, 2), self._h[layer], scale))
            else:
                h = self._h[layer].transpose(1, 2)
                torch.baddbmm(weight_grad, h, grad, beta=0, alpha=scale, out=weight_grad)
            if layer:
                grad = self._product(grad, self._turned[layer][0], scale)
                mask = self._masks[layer - 1]
                grad = grad if mask is None else grad.mul_(mask)
                runs = map(self._runs, (grad, self._z[layer - 1], self._out[layer - 1]))
                for activation, *of_run in zip(self._activations, *runs, strict=True):
                    activation.backward_(*of_run)
        if self._is_rounded:
            self.grad.copy_(self._rounded_grad)

    def _product(self, left: Tensor, right: Tensor, scale: float) -> Tensor:
        if scale == 1.0:
            return torch.bmm(left, right)
        return torch.baddbmm(self._nothing, left, right, beta=0, alpha=scale)

    def _runs(self, rows: Tensor) -> Sequence[Tensor]:
        """Return views of the runs of members with the same activation."""
        return (rows,) if len(self._sizes) == 1 else torch.split_with_sizes(rows, self._sizes)


def torch_init(net: StackedMLP, generator: torch.Generator) -> Tensor:
    """Draw one member's parameters (n_parameters,), uniform within 1 / sqrt(fan_in).

    As `torch.nn.Linear` does.
    """
    row = torch.zeros(1, net.n_parameters)
    for weight, bias in net.layers(row):
        bound = 1 / math.sqrt(weight.shape[1])
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)
    return row[0]


def he_init(net: StackedMLP, generator: torch.Generator) -> Tensor:
    """Draw one member's parameters (n_parameters,): weights normal with variance gain / fan_in,
    biases zero.

    The gain is 1 for the first layer and 2 behind a hidden layer, to make up for the half that ReLU
    cuts off (He et al. 2015). It holds for the scaled product, whatever the parametrisation.
    """
    row = torch.zeros(1, net.n_parameters)
    for layer, ((weight, _), scale) in enumerate(zip(net.layers(row), net.scales(), strict=True)):
        gain = 1.0 if layer == 0 else 2.0
        weight.normal_(0.0, math.sqrt(gain / weight.shape[1]) / scale, generator=generator)
    return row[0]
