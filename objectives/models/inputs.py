"""What a fitted module is fed: images and tables as they were handed in, as its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from objectives.data.encoders import TabularEncoder
from objectives.data.frames import frame_from

if TYPE_CHECKING:
    from objectives.images.pixels import Size
    from objectives.training.feeds import Rows


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What images a network takes.

    Args:
        n_channels: 1 or 3.
        size: height and width in pixels.
    """

    n_channels: int
    size: Size

    def example(self) -> Tensor:
        """Return the form of one image, without memory, whatever size an altered file asks for."""
        shape = (1, self.n_channels, *self.size)
        return torch.empty(shape, dtype=torch.uint8, device="meta")

    def rows(self, X: Any) -> Rows:
        """Read arrays, PIL images or paths, one or many, as the network takes them."""
        # Here, as torchvision takes longer to import than a model of tables to predict.
        from objectives.images.data import ImageSplit
        from objectives.images.load import image_batch
        from objectives.training.feeds import ImageRows, TensorRows

        if isinstance(X, ImageSplit):
            return ImageRows(X, torch.device("cpu"))
        return TensorRows(image_batch(X, n_channels=self.n_channels, image_size=self.size))


@dataclass(frozen=True, kw_only=True)
class TableInputs:
    """Turns tables as they were handed in into a module's inputs (n, I).

    Args:
        columns: that the module was trained on.
        input_columns: all columns as first handed in, which arrays must have.
        encoder: fitted on the training split.
    """

    columns: tuple[str, ...]
    input_columns: tuple[str, ...]
    encoder: TabularEncoder

    def __call__(self, X: Any) -> Tensor:
        """Return the inputs for ``X``, a table or an array of all columns."""
        frame = frame_from(X, self.columns, input_columns=self.input_columns)
        return torch.from_numpy(self.encoder.transform(frame))


def accepted(
    build: Callable[..., Any], params: Mapping[str, Any], hints: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those of ``params`` and ``hints`` that ``build`` has arguments for."""
    known = signature(build).parameters.values()
    if any(p.kind is Parameter.VAR_KEYWORD for p in known):
        return {**hints, **params}
    names = {p.name for p in known}
    return {name: value for name, value in {**hints, **params}.items() if name in names}
