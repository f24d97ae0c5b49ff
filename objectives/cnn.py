"""`CNNObjective`: a small residual network for images, tuned over `CNN_TABLE`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from objectives._messages import warn_caller
from objectives.data.table import DataWarning
from objectives.images.augment import Augmentation, augment
from objectives.images.data import ImageData
from objectives.images.load import load_images
from objectives.module import ModuleObjective
from objectives.space.hyperparameter import Params, Space, UserSpace
from objectives.space.space import make_space
from objectives.space.tables import CNN_TABLE
from objectives.training.feeds import Inputs
from objectives.training.recipe import decayed, make_optimizer

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}

_SMALL = 24
"""Images of at least this many pixels a side are halved by the stem, twice from four times it on:
a convolution at full size costs four times as much and gains little."""

_LARGEST = 128


class Normalise(nn.Module):
    """Turns pixels from 0 to 255 into numbers of mean 0 and deviation 1 by channel.

    Args:
        mean: of each channel, where white is 1.
        std: likewise, the standard deviation.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 (B, C, H, W) for pixels (B, C, H, W) of any type."""
        return (images.float() - self.mean) / self.std


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016).

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        stride: 2 halves height and width.
        activation: ``"relu"``, ``"gelu"`` or ``"silu"``.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            _ACTIVATIONS[activation](),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or n_in != n_out:
            # Pixels are left out first: given a stride, a 1x1 convolution of fewer than 8 channels
            # writes beyond its memory (channels last on a CPU, torch 2.14).
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(1, stride),
                nn.Conv2d(n_in, n_out, 1, bias=False),
                nn.BatchNorm2d(n_out),
            )
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, n_out, H / stride, W / stride) for (B, n_in, H, W)."""
        out: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


def build(
    *,
    n_channels: int,
    image_size: Sequence[int],
    n_outputs: int,
    n_layers: int,
    hidden_units: int,
    activation: str,
    dropout: float,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **_: Any,
) -> nn.Sequential:
    """Build a residual network of three stages, for pixels from 0 to 255.

    Args:
        n_channels: of the images.
        image_size: height and width.
        n_outputs: 1 for values and two classes, else one a class.
        n_layers: blocks a stage.
        hidden_units: channels of the first stage; the others have twice and four times as many.
        activation: ``"relu"``, ``"gelu"`` or ``"silu"``.
        dropout: share of features silenced before the last layer.
        mean: of the training images by channel; None for 0.5.
        std: likewise; None for 0.25.
        _: hyperparameters of training, which have no part in the network.

    Example:
        >>> net = build(
        ...     n_channels=1, image_size=(8, 8), n_outputs=10, n_layers=1, hidden_units=8,
        ...     activation="relu", dropout=0.0,
        ... )
        >>> net(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """
    stem_stride = 2 if min(image_size) >= _SMALL else 1
    layers: list[nn.Module] = [
        Normalise(mean or [0.5] * n_channels, std or [0.25] * n_channels),
        nn.Conv2d(n_channels, hidden_units, 3, stem_stride, 1, bias=False),
        nn.BatchNorm2d(hidden_units),
        _ACTIVATIONS[activation](),
    ]
    if min(image_size) >= 4 * _SMALL:
        layers.append(nn.MaxPool2d(2))
    width = hidden_units
    for stage in range(3):
        n_out = hidden_units * 2**stage
        for block in range(n_layers):
            stride = 2 if stage and not block else 1
            layers.append(Block(width, n_out, stride, activation))
            width = n_out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, n_outputs))


class CNNObjective(ModuleObjective):
    """Train small residual networks on images of 8 to 128 pixels, and report the tuned metric on
    the validation split.

    Args:
        dataset: whatever `objectives.load_images` takes.
        options: as of `ModuleObjective`: ``space``, ``metric``, ``patience``, ``seed``, ``device``;
            others go to `load_images`.

    Example:
        >>> CNNObjective("digits").data.n_channels
        1
    """

    kind = "cnn"
    table = CNN_TABLE
    data: ImageData

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(build, dataset, **options)
        height, width = self.data.image_size
        if max(height, width) > _LARGEST:
            warn_caller(
                f"images are {height}x{width}, more than the {_LARGEST} pixels a side that this "
                f"network is made for; give image_size={_LARGEST}, or use tune_finetune",
                DataWarning,
            )

    def _load(self, dataset: Any, **options: Any) -> ImageData:
        options.pop("target", None)
        return load_images(dataset, **options)

    def _space(self, space: UserSpace) -> Space:
        return make_space(self.table, space)

    @property
    def hints(self) -> dict[str, object]:
        """What the network is told of the data."""
        return super().hints | {"mean": list(self.data.mean), "std": list(self.data.std)}

    def _build(self, params: Params) -> nn.Module:
        # Convolutions on a CPU are up to twice as fast with the channels last in memory.
        return super()._build(params).to(memory_format=torch.channels_last)

    def _make_optimizer(self, module: nn.Module, params: Params) -> torch.optim.Optimizer:
        if self._optimizer is not None:
            return super()._make_optimizer(module, params)
        return make_optimizer(decayed(module), params)

    def _change(self, inputs: Inputs, params: Params, generator: torch.Generator) -> Inputs:
        assert isinstance(inputs, Tensor), "images are one tensor"
        return augment(inputs, cast(Augmentation, params["augmentation"]), generator)
