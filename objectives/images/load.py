"""Whatever images the user hands in, as checked train, validation and test splits."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torchvision.datasets import VisionDataset

from objectives._messages import nearest, warn_caller
from objectives.data.frames import as_labels
from objectives.data.readers import MapStyle, role_values
from objectives.data.splits import check_train, split_given, split_rows
from objectives.data.table import DataWarning, content_fingerprint
from objectives.data.targets import Target, class_weights, read_target
from objectives.images.data import (
    ArrayImages,
    ImageData,
    ImageOptions,
    Images,
    ImageSplit,
    channel_statistics,
    read_array,
)
from objectives.images.items import Folder, Pairs, common_scale, list_folder, read_items
from objectives.images.pixels import Size, fit, read_image

__all__ = ["MAX_BYTES", "ImageData", "ImageSplit", "load_images"]

MAX_BYTES = 2 * 2**30
"""Images of more bytes than this, one for each pixel and channel, are streamed."""

MAX_WORKERS = 4
"""More processes than this seldom read faster."""


def load_images(
    dataset: object,
    *,
    task: str | None = None,
    image_size: int | Size | None = None,
    valid_size: float = 0.2,
    test_size: float = 0.2,
    groups: object = None,
    class_weight: str | Mapping[Any, float] | None = None,
    skip_corrupt: bool = False,
    max_bytes: int = MAX_BYTES,
    n_workers: int | None = None,
    seed: int = 0,
) -> ImageData:
    """Load images, check them, and split them into train, validation and test images.

    Images are held as uint8, in memory where they fit. All are grey or all are colour: where both
    occur, grey ones become colour. Alpha channels are left out.

    Floats up to 1 are taken for 0 to 1, and floats up to 255 for 0 to 255 if all are whole or the
    largest is at least 128. The channels of an array are its axis of length 1 or 3; where both the
    second and the last are, a tensor is read as (N, C, H, W) and an array as (N, H, W, C).

    Args:
        dataset: ``(X, y)`` of an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), or of a
            list of PIL images, arrays or paths; the path of a folder with a folder of images for
            each class, or with folders train, valid (or val) and test of such folders; a
            torchvision dataset or another map-style Dataset of (image, label), read once, so
            without random transforms; or "digits". An `ImageData` is returned as it is.
        task: "binary", "multiclass" or "regression"; by default text and integers are classes, and
            floats are what `infer_task` says.
        image_size: height and width that images are stretched to, or a number for both. By default
            the size they have, or the median height and width if they differ.
        valid_size: share of the images for validation. Where folders give a split, it stays; where
            only the test split is missing, the given validation images are divided between the two
            as ``valid_size`` is to ``test_size``.
        test_size: share of the images for the test.
        groups: a value for each image, or for a folder a function of the path; images of one group
            stay in one split.
        class_weight: "balanced" (inverse to the frequency in the training split), or a weight for
            each label; labels not named weigh 1.
        skip_corrupt: whether to leave out images that cannot be read, with a warning.
        max_bytes: images that need more memory than this are streamed: read whenever they are
            needed. Loading needs up to twice as much for a moment.
        n_workers: processes that read streamed images; by default one for each core, 4 at most,
            and none where processes do not begin as copies of this one: on macOS, Windows and from
            Python 3.14 on each would run your script again, which then needs a main guard.
        seed: decides which image goes where.

    Returns:
        The splits, stratified by class where there are classes and no groups.

    Raises:
        ValueError: if the images cannot be used as given; names the argument or file and the cure.
        TypeError: if ``dataset`` has a type that holds no images.

    Example:
        >>> load_images("digits")
        ImageData('digits': multiclass, 10 classes, 1x8x8, 1079 train / 359 valid / 359 test images)
    """
    if isinstance(dataset, ImageData):
        return dataset
    for argument, value in (("max_bytes", max_bytes), ("n_workers", n_workers)):
        if value is not None and value < 0:
            raise ValueError(
                f"{argument} must be 0 or more, got {argument}={value}; leave it out for the "
                "default"
            )
    if n_workers is None:
        n_workers = _default_workers()
    options = ImageOptions(_size(image_size), skip_corrupt, max_bytes, n_workers)
    name, folder, images = read_images(dataset, options)
    target = _target(images.labels, task)
    group = _groups(groups, folder, images)
    part = None if folder is None or folder.part is None else folder.part[images.rows]
    sizes: dict[str, Any] = {"valid_size": valid_size, "test_size": test_size, "seed": seed}
    if part is None:
        rows = split_rows(target.y, labels=target.classes, groups=group, **sizes)
    else:
        rows = split_given(part, target.y, labels=target.classes, **sizes)
    messages = [*images.messages, *check_train(target.y, target.classes, rows)]
    for message in messages + ([] if folder is None else folder.messages):
        warn_caller(message, DataWarning)
    every = ImageSplit(pixels=images.pixels, y=target.y)
    train, valid, test = (every.take(numbers) for numbers in rows[1:])
    mean, std = channel_statistics(train)
    return ImageData(
        name=name,
        task=target.task,
        train=train,
        valid=valid,
        _test=test,
        classes=target.classes,
        n_channels=images.n_channels,
        image_size=images.size,
        mean=mean,
        std=std,
        fingerprint=content_fingerprint(
            {
                "images": [images.digest, images.n_channels, *images.size],
                "target": target.y,
                "classes": target.classes,
                "groups": group,
                "part": part,
            }
        ),
        split=rows.record(**sizes),
        class_weight=class_weights(class_weight, train.y, target.classes),
    )


def _default_workers() -> int:
    method = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    return min(os.cpu_count() or 1, MAX_WORKERS) if method == "fork" else 0


def _size(image_size: int | Size | None) -> Size | None:
    if image_size is None:
        return None
    pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= 1 for n in pair):
        raise ValueError(
            "image_size must be a number of pixels or a pair (height, width) of 1 or more, got "
            f"image_size={image_size!r}; 32 and (48, 64) are examples"
        )
    return pair


def _target(labels: Any, task: str | None) -> Target:
    column = pd.Series(labels, name="y")
    if task is None and pd.api.types.is_integer_dtype(column.infer_objects().dtype):
        # A hundred classes are usual here; in a table so many whole numbers are a quantity.
        n_distinct = column.nunique()
        task = {1: None, 2: "binary"}.get(n_distinct, "multiclass")
    return read_target(column, name="y", task=task)


def _groups(groups: object, folder: Folder | None, images: Images) -> pd.Series | None:
    if groups is None:
        return None
    if callable(groups) and folder is not None:
        groups = [groups(path) for path in folder.paths]
    if isinstance(groups, str) or callable(groups):
        raise TypeError(
            f"groups must be a value for each image, got groups={groups!r}; give a list, or "
            "for the path of a folder a function of the path"
        )
    if folder is not None and folder.part is not None:
        raise ValueError(
            "groups must be left out where folders give the split, got groups for "
            f"{len(folder.paths)} images; move the images into one folder for each class"
        )
    values = role_values(pd.DataFrame(index=range(images.n_given)), "groups", groups)
    assert values is not None, "groups were given"
    return values.iloc[images.rows].reset_index(drop=True)


BUILTINS = ("digits",)


def read_images(dataset: object, options: ImageOptions) -> tuple[str, Folder | None, Images]:
    """Return the name of ``dataset``, the folder if it is one, and its images.

    Raises:
        TypeError: if the form is not one of those.
        ValueError: if images cannot be read.
    """
    if isinstance(dataset, str) and dataset in BUILTINS and not Path(dataset).exists():
        return dataset, None, read_array(*_digits(), options)
    if isinstance(dataset, str) and Path(dataset).name == dataset and not Path(dataset).exists():
        raise ValueError(
            f"dataset must be a folder that exists or a built-in name, got dataset={dataset!r}; "
            f"{nearest(dataset, BUILTINS)}"
        )
    if isinstance(dataset, str | Path):
        folder = list_folder(Path(dataset))
        name = Path(dataset).expanduser().resolve().name
        return name, folder, read_items(Pairs(folder.paths, folder.labels), options)
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        return "arrays", None, _read_pair(dataset[0], dataset[1], options)
    if isinstance(dataset, pd.DataFrame) or not isinstance(dataset, MapStyle):
        raise TypeError(
            "dataset must be (X, y), the path of a folder, a map-style Dataset or 'digits', got "
            f"{type(dataset).__name__}; give lists or arrays, as in (paths, labels)"
        )
    name = type(dataset).__name__
    tensors = getattr(dataset, "tensors", None)
    pair = tensors if tensors is not None and len(tensors) == 2 else _held_in_memory(dataset)
    if pair is not None:
        return name, None, _read_pair(pair[0], pair[1], options)
    _check_rows(len(dataset))
    return name, None, read_items(dataset, options)


def _held_in_memory(dataset: object) -> tuple[Any, Any] | None:
    """Give what a torchvision dataset without transforms holds as one array."""
    if not isinstance(dataset, VisionDataset) or dataset.transforms is not None:
        return None
    pair = getattr(dataset, "data", None), getattr(dataset, "targets", None)
    regular = hasattr(pair[0], "shape") and pair[1] is not None and len(pair[1]) == len(dataset)
    return pair if regular else None


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The values are counts from 0 to 16.
    return np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target


def _read_pair(X: Any, y: object, options: ImageOptions) -> Images:
    labels = as_labels(y, len(X), row="image")
    _check_rows(len(X))
    if isinstance(X, Tensor) or (isinstance(X, np.ndarray) and X.dtype.kind not in "OSU"):
        return read_array(X, np.asarray(labels), options)
    return read_items(Pairs(list(X), np.asarray(labels)), options)


def _check_rows(n_rows: int) -> None:
    if not n_rows:
        raise ValueError("dataset must hold images, got 0 images; check where they come from")


def image_batch(X: Any, *, n_channels: int, image_size: Size) -> Tensor:
    """Turn images for prediction into the form of the training images, uint8 (N, C, H, W).

    They are an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W); a PIL image or a path; or a
    list of PIL images, paths, or arrays of one image each. Each kind is read as
    `objectives.load_images` reads it; floats are told apart over all of ``X``.

    Raises:
        ValueError: if ``X`` holds no images, or one that cannot be read.

    Example:
        >>> image_batch(np.zeros((2, 8, 8)), n_channels=3, image_size=(8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    if isinstance(X, str | Path | Image):
        X = [X]
    if not len(X):
        raise ValueError("X must hold images, got 0 images; give at least one")
    if isinstance(X, Tensor | np.ndarray):
        if X.ndim == 3 and n_channels == 3 and 3 in (X.shape[0], X.shape[2]):
            raise ValueError(
                f"X must hold a batch of images, got shape {tuple(X.shape)}; for one image give "
                "X[None]"
            )
        source = ArrayImages(X)
        return torch.cat([fit(source.chunk(p), n_channels, image_size) for p in source.parts()])
    scale = common_scale(X)
    return torch.stack([fit(read_image(x, scale).image, n_channels, image_size) for x in X])
