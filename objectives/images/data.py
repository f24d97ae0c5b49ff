"""Images in three splits, the last of them out of reach of a search."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from objectives.data.frames import as_array
from objectives.data.splits import Sealed
from objectives.images.pixels import (
    Size,
    ValueRange,
    as_tensor,
    channel_axis,
    fit,
    to_uint8,
    value_range,
)

CHUNK_IMAGES = 256


class ImageSource(Protocol):
    """Where images are read from one at a time, wherever they are kept."""

    def read(self, row: int) -> Tensor:
        """Read one image, uint8 (C, H, W), in the size and channels that it is kept in."""


@dataclass(frozen=True, eq=False)
class LazyImages(Dataset[Tensor]):
    """Images that are read whenever they are asked for, in one size and number of channels.

    They are those ``rows`` of the source; ``n_workers`` processes read them, with 0 this one.
    """

    source: ImageSource
    rows: NDArray[np.int64]
    n_channels: int
    size: Size
    n_workers: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Tensor:
        return fit(self.source.read(int(self.rows[row])), self.n_channels, self.size)

    def take(self, rows: NDArray[np.int64]) -> LazyImages:
        """Return the images of these numbers."""
        return replace(self, rows=self.rows[rows])

    def batches(self, batches: list[list[int]]) -> Iterator[Tensor]:
        """Read the images of these numbers, (B, C, H, W) a batch, ahead of their use."""
        # A process of a pool may not start processes of its own.
        may_fork = not multiprocessing.current_process().daemon
        n_workers = min(self.n_workers, len(batches)) if may_fork else 0
        yield from DataLoader(
            self,
            batch_sampler=batches,
            num_workers=n_workers,
            collate_fn=torch.stack,
            # It seeds the workers; by default it would draw from the generator that training uses.
            generator=torch.Generator(),
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageSplit:
    """The images of one split, in memory or read when they are needed.

    Attributes:
        pixels: uint8 (N, C, H, W) in memory, or what reads them.
        y: class codes (int64), or values in their own units (float64).
        weight: None: all images count the same.
    """

    pixels: Tensor | LazyImages
    y: np.ndarray
    weight: None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def X(self) -> Self:  # noqa: N802  as of a table's split
        """What a fitted model predicts for: the split itself."""
        return self

    @property
    def images(self) -> Tensor | None:
        """All images, uint8 (N, C, H, W); None if they are not kept in memory."""
        return self.pixels if isinstance(self.pixels, Tensor) else None

    def batch(self, rows: Sequence[int] | NDArray[np.int64] | Tensor) -> Tensor:
        """Give the images of these numbers, uint8 (B, C, H, W)."""
        if isinstance(self.pixels, Tensor):
            return self.pixels[torch.as_tensor(rows, dtype=torch.int64)]
        return torch.stack([self.pixels[int(row)] for row in rows])

    def stream(
        self, order: Sequence[int] | NDArray[np.int64] | Tensor | None = None, *, batch_size: int
    ) -> Iterator[Tensor]:
        """Give images in batches, uint8 (B, C, H, W), the last of which may be smaller.

        Images that are not in memory are read ahead by worker processes, started for each call.
        """
        if batch_size < 1:
            raise ValueError(
                f"batch_size must be 1 or more, got batch_size={batch_size}; 64 is usual"
            )
        rows = torch.arange(len(self)) if order is None else torch.as_tensor(order).long()
        batches = torch.split(rows, batch_size) if len(rows) else ()
        if isinstance(self.pixels, Tensor):
            yield from (self.pixels[numbers] for numbers in batches)
        else:
            yield from self.pixels.batches([numbers.tolist() for numbers in batches])

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Give the images of these numbers as a split of their own."""
        if isinstance(self.pixels, Tensor):
            return type(self)(pixels=self.pixels[torch.from_numpy(rows)], y=self.y[rows])
        return type(self)(pixels=self.pixels.take(rows), y=self.y[rows])

    def __repr__(self) -> str:
        return f"ImageSplit({len(self)} images{'' if self.images is not None else ', streamed'})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageData(Sealed[ImageSplit]):
    """Images in three splits, as `load_images` makes them; see `Sealed` for the other attributes.

    Attributes:
        n_channels: 1 (grey) or 3 (red, green, blue).
        image_size: height and width in pixels.
        mean: of the training images by channel, where black is 0 and white 1.
        std: likewise, the standard deviation; 1 where a channel is the same everywhere.
    """

    n_channels: int
    image_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def is_streamed(self) -> bool:
        """Whether images are read when they are needed instead of kept in memory."""
        return self.train.images is None

    def train_and_valid(self) -> ImageSplit:
        """Give the images of both splits as one, to refit a chosen configuration on."""
        first, second = self.train.pixels, self.valid.pixels
        y = np.concatenate([self.train.y, self.valid.y])
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return ImageSplit(pixels=torch.cat([first, second]), y=y)
        assert isinstance(first, LazyImages)
        assert isinstance(second, LazyImages)
        rows = np.concatenate([first.rows, second.rows])
        return ImageSplit(pixels=replace(first, rows=rows), y=y)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f"{len(self.classes)} classes, "
        shape = "x".join(map(str, (self.n_channels, *self.image_size)))
        counts = f"{len(self.train)} train / {len(self.valid)} valid / {self.n_test} test images"
        streamed = ", streamed" if self.is_streamed else ""
        return f"ImageData({self.name!r}: {self.task}, {classes}{shape}, {counts}{streamed})"


def channel_statistics(split: ImageSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, where black is 0 and white 1.

    They come from exact counts of each of the 256 values, so they are the same in any order and
    however the images are kept. A channel that is the same everywhere gets a deviation of 1.
    """
    counts: Tensor | int = 0
    for images in split.stream(batch_size=CHUNK_IMAGES):
        channels = images.movedim(1, 0).flatten(1)
        counts = counts + torch.stack([torch.bincount(c, minlength=256) for c in channels])
    assert isinstance(counts, Tensor), "a split holds images"
    share = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


class ImageOptions(NamedTuple):
    """How images are to be read; see `objectives.load_images`."""

    image_size: Size | None
    skip_corrupt: bool
    max_bytes: int
    n_workers: int


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images as read, in one size and number of channels.

    Attributes:
        rows: which of the ``n_given`` images these are; without those that cannot be read.
        digest: hash of the content.
        messages: what looks wrong.
    """

    pixels: Tensor | LazyImages
    labels: Sequence[object] | np.ndarray
    rows: NDArray[np.int64]
    n_given: int
    n_channels: int
    size: Size
    digest: str
    messages: list[str] = field(default_factory=list)


class ArrayImages:
    """Images of one array (N, H, W), (N, H, W, C) or (N, C, H, W), which may be a memory map."""

    def __init__(self, X: np.ndarray | Tensor) -> None:
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
        ranges = (value_range(as_array(X[part], "X")) for part in self.parts())
        self.scale = reduce(ValueRange.join, ranges).scale()

    def __len__(self) -> int:
        return len(self.X)

    def parts(self) -> Iterator[slice]:
        """Give slices that cover all images, a few hundred each."""
        for start in range(0, len(self.X), CHUNK_IMAGES):
            yield slice(start, start + CHUNK_IMAGES)

    def chunk(self, part: slice) -> Tensor:
        """Give some images, uint8 (B, C, H, W)."""
        pixels = to_uint8(as_array(self.X[part], "X"), self.scale)
        pixels = pixels[:, None] if self.axis is None else np.moveaxis(pixels, self.axis, 1)
        return as_tensor(pixels[:, :3])

    def read(self, row: int) -> Tensor:
        """Give one image, uint8 (C, H, W)."""
        return self.chunk(slice(row, row + 1))[0]


def read_array(X: np.ndarray | Tensor, y: np.ndarray, options: ImageOptions) -> Images:
    """Read images of one size from an array or tensor."""
    source = ArrayImages(X)
    first = source.read(0)
    n_channels = len(first)
    size = options.image_size or (int(first.shape[1]), int(first.shape[2]))
    rows = np.arange(len(source))
    fits = len(source) * n_channels * size[0] * size[1] <= options.max_bytes
    digest, chunks = hashlib.sha256(), []
    for part in source.parts():
        images = source.chunk(part)
        digest.update(images.numpy().tobytes())
        if fits:
            chunks.append(fit(images, n_channels, size))
    return Images(
        pixels=torch.cat(chunks)
        if fits
        else LazyImages(source, rows, n_channels, size, options.n_workers),
        labels=y,
        rows=rows,
        n_given=len(rows),
        n_channels=n_channels,
        size=size,
        digest=digest.hexdigest(),
        messages=alpha_messages(len(source) * source.alpha),
    )


def alpha_messages(n_alpha: int) -> list[str]:
    """Say that alpha channels were dropped, if any were."""
    if not n_alpha:
        return []
    images, them = ("image has", "it") if n_alpha == 1 else ("images have", "them")
    return [
        f"{n_alpha} {images} an alpha channel, which is left out; lay {them} on a background first "
        "if it matters"
    ]
