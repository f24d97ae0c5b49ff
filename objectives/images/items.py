"""Images that are read one at a time, of sizes and kinds that may differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from objectives._messages import listed
from objectives.data.frames import as_array
from objectives.images.data import CHUNK_IMAGES, ImageOptions, Images, LazyImages, alpha_messages
from objectives.images.pixels import (
    Pixels,
    Size,
    UnreadableImageError,
    ValueRange,
    fit,
    read_image,
    unreadable,
    value_range,
)


class ItemImages:
    """Images of a map-style Dataset of (image, label), read one at a time.

    An image is a path, a PIL image, or an array or tensor of its own size.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.scale = common_scale(self._images())

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def holds_paths(self) -> bool:
        """Whether images are files, which threads may read side by side."""
        return isinstance(self.dataset, Pairs) and all(
            isinstance(image, str | Path) for image in self.dataset.images
        )

    def item(self, row: int) -> tuple[Any, Any]:
        """Give an image as it is kept, and its label."""
        try:
            pair = self.dataset[row]
        except OSError as error:
            raise unreadable(f"image {row} ({error})") from error
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"dataset must give (image, label) for each index, got something else from "
                f"{type(self.dataset).__name__}; wrap it so that dataset[i] is a pair"
            )
        return pair[0], pair[1]

    def read(self, row: int) -> Tensor:
        """Give one image, uint8 (C, H, W)."""
        return read_image(self.item(row)[0], self.scale).image

    def pixels(self, row: int) -> tuple[Pixels, Any, bytes]:
        """Give one image, its label, and the hash of its file or pixels."""
        image, label = self.item(row)
        pixels = read_image(image, self.scale)
        is_file = isinstance(image, str | Path)
        content = Path(image).read_bytes() if is_file else pixels.image.numpy().tobytes()
        return pixels, label, hashlib.sha256(content).digest()

    def _images(self) -> Iterator[Any]:
        for row in range(len(self)):
            try:
                yield self.item(row)[0]
            except UnreadableImageError:
                continue


def common_scale(images: Iterable[Any]) -> int:
    """Give the factor that takes arrays to 0 to 255, as `ValueRange.scale` says of all together.

    Only floats need a look at each image; files, PIL images and integers are decided by the first.
    """
    total: ValueRange | None = None
    for image in images:
        if isinstance(image, str | Path | Image):
            return 1
        values = value_range(as_array(image, "X"))
        total = values if total is None else total.join(values)
        if not total.floating:
            return 1
    return 1 if total is None else total.scale()


class Pairs:
    """Images and their labels as a map-style Dataset."""

    def __init__(self, images: Sequence[Any], labels: Sequence[Any] | np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return self.images[row], self.labels[row]


@dataclass(kw_only=True)
class _Survey:
    """What one look at every image finds; the images themselves while they fit in memory."""

    room: int
    kept: list[Tensor] | None = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    n_alpha: int = 0
    broken: list[str] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, row: int, pixels: Pixels, label: Any, digest: bytes, size: Size | None) -> None:
        image = pixels.image
        self.shapes.append(tuple(image.shape))
        self.rows.append(row)
        self.labels.append(_plain(label))
        self.n_alpha += pixels.alpha
        self.digest.update(digest)
        if size is not None:
            image = fit(image, len(image), size)
        self.room -= image.nbytes
        if self.kept is not None:
            self.kept.append(image)
        if self.room < 0:
            self.kept = None


def _plain(label: Any) -> Any:
    if not hasattr(label, "item"):
        return label
    if math.prod(label.shape) != 1:
        raise ValueError(
            "dataset must give one label for each image, got one of shape "
            f"{tuple(label.shape)}; for one-hot classes give label.argmax()"
        )
    return label.item()


def read_items(dataset: Any, options: ImageOptions) -> Images:
    """Read images of any sizes from a map-style Dataset of (image, label).

    Raises:
        ValueError: if images cannot be read, unless ``options.skip_corrupt``.
    """
    source = ItemImages(dataset)
    survey = _Survey(room=options.max_bytes)
    for row, look in enumerate(_looks(source)):
        if isinstance(look, UnreadableImageError):
            survey.broken.append(look.name)
        else:
            survey.add(row, *look, options.image_size)
    messages = _broken_messages(survey, options.skip_corrupt) + alpha_messages(survey.n_alpha)
    n_channels = max(shape[0] for shape in survey.shapes)
    size, resized = _common_size(survey.shapes, options.image_size)
    rows = np.array(survey.rows)
    messages += resized + _unsteady_messages(source, survey)
    n_bytes = len(rows) * n_channels * size[0] * size[1]
    pixels: Tensor | LazyImages
    if survey.kept is not None and n_bytes <= options.max_bytes:
        pixels = torch.empty((len(rows), n_channels, *size), dtype=torch.uint8)
        for number, image in enumerate(survey.kept):
            pixels[number] = fit(image, n_channels, size)
    else:
        pixels = LazyImages(source, rows, n_channels, size, options.n_workers)
    return Images(
        pixels=pixels,
        labels=survey.labels,
        rows=rows,
        n_given=len(source),
        n_channels=n_channels,
        size=size,
        digest=survey.digest.hexdigest(),
        messages=messages,
    )


def _looks(source: ItemImages) -> Iterator[tuple[Pixels, Any, bytes] | UnreadableImageError]:
    def look(row: int) -> tuple[Pixels, Any, bytes] | UnreadableImageError:
        try:
            return source.pixels(row)
        except UnreadableImageError as error:
            return error

    if not source.holds_paths:
        # Whether a Dataset may be asked from several threads at once is not known.
        yield from map(look, range(len(source)))
        return
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(source), CHUNK_IMAGES):
            yield from pool.map(look, range(start, min(start + CHUNK_IMAGES, len(source))))


def _broken_messages(survey: _Survey, skip_corrupt: bool) -> list[str]:
    if not survey.broken:
        return []
    n_broken, names = len(survey.broken), listed(survey.broken)
    if not skip_corrupt or not survey.rows:
        cure = "replace them, or give skip_corrupt=True to leave them out"
        raise ValueError(
            f"dataset must hold images that can be read, got {n_broken} of "
            f"{n_broken + len(survey.rows)} that cannot: {names}; {cure}"
        )
    return [f"{n_broken} images cannot be read and are left out: {names}; replace them"]


def _common_size(shapes: list[tuple[int, ...]], image_size: Size | None) -> tuple[Size, list[str]]:
    """Choose the size for all, and say how many images change to the median one."""
    if image_size is not None:
        return image_size, []
    sizes = np.array([shape[1:] for shape in shapes])
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    n_resized = int((sizes != (height, width)).any(axis=1).sum())
    return (height, width), [
        f"{n_resized} of {len(sizes)} images are resized to {height}x{width} (height x width), "
        "the median; give image_size to choose another size"
    ][:n_resized]


def _unsteady_messages(source: ItemImages, survey: _Survey) -> list[str]:
    """Find out whether a Dataset gives the same image twice."""
    row = survey.rows[0]
    first, again = (source.read(row) for _ in range(2))
    if first.shape == again.shape and bool((first == again).all()):
        return []
    return [
        f"dataset gives another image {row} each time it is asked; leave random transforms out, "
        "as training augments images anew in each epoch"
    ]
