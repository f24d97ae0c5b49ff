"""Images of one array, and the form that images have once they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.image_data import _CHUNK_IMAGES, LazyImages
from objectives.pixels import Size, as_tensor, channel_axis, fit, to_uint8, value_range
from objectives.readers import as_array


class ImageOptions(NamedTuple):
    """How images are to be read; see `objectives.images.load_images`."""

    image_size: Size | None
    skip_corrupt: bool
    max_bytes: int
    n_workers: int


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images as read, in one size and number of channels.

    Attributes:
        pixels: uint8 (N, C, H, W), or what reads them.
        labels: one for each image.
        rows: which of the images handed in these are; without those that cannot be read.
        n_given: how many images were handed in.
        n_channels: 1 or 3.
        size: height and width.
        digest: hash of the content.
        messages: what looks wrong.
    """

    pixels: Tensor | LazyImages
    labels: Sequence[Any] | NDArray[Any]
    rows: NDArray[np.int64]
    n_given: int
    n_channels: int
    size: Size
    digest: str
    messages: list[str] = field(default_factory=list)


class ArrayImages:
    """Images of one array (N, H, W), (N, H, W, C) or (N, C, H, W), which may be a memory map."""

    def __init__(self, X: Any) -> None:
        self.X = X
        if len(X.shape) not in (3, 4) or 0 in X.shape:
            raise ValueError(
                "X must hold images, (N, H, W), (N, H, W, C) or (N, C, H, W), got shape "
                f"{tuple(X.shape)}; for flattened ones give X.reshape(-1, height, width)"
            )
        grey = len(X.shape) == 3
        is_tensor = isinstance(X, Tensor)
        self.axis = None if grey else 1 + channel_axis(tuple(X.shape[1:]), is_tensor=is_tensor)
        self.alpha = self.axis is not None and X.shape[self.axis] == 4
        ranges = [value_range(as_array(X[part], "X")) for part in self.parts()]
        total = ranges[0]
        for part in ranges[1:]:
            total = total.join(part)
        self.scale = total.scale()

    def __len__(self) -> int:
        return len(self.X)

    def parts(self) -> Iterator[slice]:
        """Give slices that cover all images, a few hundred each."""
        for start in range(0, len(self.X), _CHUNK_IMAGES):
            yield slice(start, start + _CHUNK_IMAGES)

    def chunk(self, part: slice) -> Tensor:
        """Give some images, uint8 (B, C, H, W)."""
        pixels = to_uint8(as_array(self.X[part], "X"), self.scale)
        pixels = pixels[:, None] if self.axis is None else np.moveaxis(pixels, self.axis, 1)
        return as_tensor(pixels[:, :3])

    def read(self, row: int) -> Tensor:
        """Give one image, uint8 (C, H, W)."""
        return self.chunk(slice(row, row + 1))[0]


def read_array(X: Any, y: Any, options: ImageOptions) -> Images:
    """Read images of one size from an array or tensor."""
    source = ArrayImages(X)
    first = source.read(0)
    n_channels = len(first)
    size = options.image_size or (int(first.shape[1]), int(first.shape[2]))
    rows = np.arange(len(source))
    fits = len(source) * n_channels * size[0] * size[1] <= options.max_bytes
    digest, kept = hashlib.sha256(), []
    for part in source.parts():
        images = source.chunk(part)
        digest.update(images.numpy().tobytes())
        if fits:
            kept.append(fit(images, n_channels, size))
    return Images(
        pixels=torch.cat(kept) if fits
        else LazyImages(source, rows, n_channels, size, options.n_workers),
        labels=y, rows=rows, n_given=len(rows), n_channels=n_channels, size=size,
        digest=digest.hexdigest(), messages=alpha_messages(len(source) * source.alpha),
    )  # fmt: skip


def alpha_messages(n_alpha: int) -> list[str]:
    """Say that alpha channels were dropped, if any were."""
    if not n_alpha:
        return []
    return [
        f"{n_alpha} images have an alpha channel, which is left out; "
        "lay them on a background first if it matters"
    ]
