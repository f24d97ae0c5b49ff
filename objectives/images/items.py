"""Images that are read one at a time, from Datasets and folders, of sizes that may differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from objectives._messages import listed
from objectives.data.frames import as_array
from objectives.data.readers import MapStyle
from objectives.data.targets import MIN_CLASS_ROWS
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

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "valid"),
    "test": "test",
}


class Folder(NamedTuple):
    """The image files under a root, sorted, with the class folder that each is in.

    ``part`` holds "train", "valid" or "test" for each file; None where the root has no split.
    """

    paths: list[Path]
    labels: NDArray[np.str_]
    part: NDArray[np.str_] | None
    messages: list[str]


def list_folder(root: Path) -> Folder:
    """List the images of ``root/class/image.png`` or ``root/train/class/image.png``.

    Hidden files and folders are skipped, and files whose suffix is not that of an image.
    Folders within a class folder belong to that class. The root is split if it has a folder named
    train (or training) with class folders in it; val, valid or validation, and test, stand beside.

    Raises:
        ValueError: if the root is missing, or a class folder is missing, empty or too small.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise ValueError(
            f"dataset must be a folder that exists, got dataset={str(root)!r}; check the path"
        )
    folders = _folders(root)
    parts = {folder: _PARTS.get(folder.name.lower()) for folder in folders}
    if any(part == "train" and _folders(folder) for folder, part in parts.items()):
        return _split_folder(root, parts)
    paths, labels = _classes(root)
    names, counts = np.unique(labels, return_counts=True)
    every = zip(names.tolist(), counts.tolist(), strict=True)
    few = [f"{name!r} ({n})" for name, n in every if n < MIN_CLASS_ROWS]
    if few:
        raise ValueError(
            f"dataset must hold {MIN_CLASS_ROWS} images or more of every class, one for each "
            f"split, got too few in {listed(few, quote=False)} of {str(root)!r}; "
            "add images, or merge or remove the folder"
        )
    return Folder(paths, labels, None, [])


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and those within it, hidden ones left out, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMG_EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _classes(root: Path) -> tuple[list[Path], NDArray[np.str_]]:
    classes = {folder.name: images_in(folder) for folder in _folders(root)}
    if not classes:
        raise ValueError(
            f"dataset must hold a folder for each class, got none in {str(root)!r}; "
            "move the images into folders named after their classes"
        )
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        raise ValueError(
            f"dataset must hold images in every class folder, got none in {listed(empty)} of "
            f"{str(root)!r}; add images ({', '.join(IMG_EXTENSIONS)}) or remove the folder"
        )
    if len(classes) < 2:
        raise ValueError(
            f"dataset must hold two class folders or more, got only {listed(classes)} in "
            f"{str(root)!r}; add a folder for another class"
        )
    labels = np.repeat(list(classes), [len(paths) for paths in classes.values()])
    return [path for paths in classes.values() for path in paths], labels


def _split_folder(root: Path, parts: dict[Path, str | None]) -> Folder:
    used = {part: folder for folder, part in parts.items() if part is not None}
    if len(used) < sum(part is not None for part in parts.values()):
        raise ValueError(
            f"dataset must hold one folder for each split, got {listed(p.name for p in parts)} in "
            f"{str(root)!r}; merge those of one split"
        )
    if set(used) == {"train"}:
        raise ValueError(
            f"dataset must hold a folder 'valid' or 'test' beside 'train', got none in "
            f"{str(root)!r}; give {str(used['train'])!r} to have it split"
        )
    listings = {part: _classes(folder) for part, folder in used.items()}
    known = set(listings["train"][1])
    for part, (_, labels) in listings.items():
        strange = sorted(map(str, set(labels) - known))
        if strange:
            raise ValueError(
                f"dataset must hold every class in its train folder, got {listed(strange)} "
                f"only in {used[part].name!r} of {str(root)!r}; add images of it, or remove it"
            )
    others = [folder.name for folder, part in parts.items() if part is None]
    return Folder(
        [path for paths, _ in listings.values() for path in paths],
        np.concatenate([labels for _, labels in listings.values()]),
        np.repeat(list(listings), [len(paths) for paths, _ in listings.values()]),
        [f"folders {listed(others)} stand beside train in {str(root)!r} and are left out"][
            : len(others)
        ],
    )


class Look(NamedTuple):
    """One image, its label, and the hash of its file or pixels."""

    pixels: Pixels
    label: object
    digest: bytes


class ItemImages:
    """Images of a map-style Dataset of (image, label), read one at a time.

    An image is a path, a PIL image, or an array or tensor of its own size.
    """

    def __init__(self, dataset: MapStyle) -> None:
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

    def item(self, row: int) -> tuple[object, object]:
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

    def look(self, row: int) -> Look | UnreadableImageError:
        """Read one image and its label, or say that the image cannot be read."""
        try:
            image, label = self.item(row)
            pixels = read_image(image, self.scale)
        except UnreadableImageError as error:
            return error
        if isinstance(image, str | Path):
            content = Path(image).read_bytes()
        else:
            content = pixels.image.numpy().tobytes()
        return Look(pixels, label, hashlib.sha256(content).digest())

    def _images(self) -> Iterator[object]:
        for row in range(len(self)):
            try:
                yield self.item(row)[0]
            except UnreadableImageError:
                continue


def common_scale(images: Iterable[object]) -> int:
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

    def __init__(self, images: Sequence[object], labels: Sequence[object] | np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[object, object]:
        return self.images[row], self.labels[row]


@dataclass(kw_only=True)
class _Survey:
    """What one look at every image finds; the images themselves while they fit in memory."""

    room: int
    kept: list[Tensor] | None = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    labels: list[object] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    n_alpha: int = 0
    broken: list[str] = field(default_factory=list)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, row: int, look: Look, size: Size | None) -> None:
        image = look.pixels.image
        self.shapes.append(tuple(image.shape))
        self.rows.append(row)
        self.labels.append(_plain(look.label))
        self.n_alpha += look.pixels.alpha
        self.digest.update(look.digest)
        if size is not None:
            image = fit(image, len(image), size)
        self.room -= image.nbytes
        if self.kept is not None:
            self.kept.append(image)
        if self.room < 0:
            self.kept = None


def _plain(label: Any) -> object:
    if not hasattr(label, "item"):
        return label
    if math.prod(label.shape) != 1:
        raise ValueError(
            "dataset must give one label for each image, got one of shape "
            f"{tuple(label.shape)}; for one-hot classes give label.argmax()"
        )
    return label.item()


def read_items(dataset: MapStyle, options: ImageOptions) -> Images:
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
            survey.add(row, look, options.image_size)
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


def _looks(source: ItemImages) -> Iterator[Look | UnreadableImageError]:
    if not source.holds_paths:
        # Whether a Dataset may be asked from several threads at once is not known.
        yield from map(source.look, range(len(source)))
        return
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(source), CHUNK_IMAGES):
            yield from pool.map(source.look, range(start, min(start + CHUNK_IMAGES, len(source))))


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
    images, are, them = ("image", "is", "it") if n_broken == 1 else ("images", "are", "them")
    return [f"{n_broken} {images} cannot be read and {are} left out: {names}; replace {them}"]


def _common_size(shapes: list[tuple[int, ...]], image_size: Size | None) -> tuple[Size, list[str]]:
    """Choose the size for all, and say how many images change to the median one."""
    if image_size is not None:
        return image_size, []
    sizes = np.array([shape[1:] for shape in shapes])
    height, width = np.median(sizes, axis=0).astype(int).tolist()
    n_resized = int((sizes != (height, width)).any(axis=1).sum())
    return (height, width), [
        f"{n_resized} of {len(sizes)} images {'is' if n_resized == 1 else 'are'} resized to "
        f"{height}x{width} (height x width), the median; give image_size to choose another size"
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
