"""Reads images in whatever form they are handed in, and images to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torchvision.datasets import VisionDataset

from objectives.image_arrays import ArrayImages, ImageOptions, Images, read_array
from objectives.image_folder import Folder, list_folder
from objectives.image_items import Pairs, common_scale, read_items
from objectives.messages import nearest
from objectives.pixels import Size, fit, read_image
from objectives.readers import as_array

BUILTINS = ("digits",)


def read_images(dataset: Any, options: ImageOptions) -> tuple[str, Folder | None, Images]:
    """Read ``dataset`` in any of the forms that `objectives.images.load_images` accepts.

    Returns:
        Its name, the folder if it is one, and the images.

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
    if isinstance(dataset, pd.DataFrame) or not (
        hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    ):
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


def _held_in_memory(dataset: Any) -> tuple[Any, Any] | None:
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


def _read_pair(X: Any, y: Any, options: ImageOptions) -> Images:
    labels = y if isinstance(y, pd.Series) else as_array(y, "y")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"y must hold one value for each image, got shape {labels.shape}; "
            "for one-hot classes give y.argmax(axis=1)"
        )
    if len(X) != len(labels):
        raise ValueError(
            f"X and y must have the same length, got {len(X)} images and {len(labels)} labels; "
            "give one label for each image"
        )
    _check_rows(len(X))
    if isinstance(X, Tensor) or (isinstance(X, np.ndarray) and X.dtype.kind not in "OSU"):
        return read_array(X, np.asarray(labels), options)
    return read_items(Pairs(list(X), np.asarray(labels)), options)


def _check_rows(n_rows: int) -> None:
    if not n_rows:
        raise ValueError("dataset must hold images, got 0 images; check where they come from")


def image_batch(X: Any, *, n_channels: int, image_size: Size) -> Tensor:
    """Turn images for prediction into the form of the training images.

    Args:
        X: an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W); a PIL image or a path; or a
            list of PIL images, paths, or arrays of one image each. Each kind is read as
            `objectives.images.load_images` reads it; floats are told apart over all of ``X``.
        n_channels: 1 or 3, as in training; colour becomes grey, or grey colour.
        image_size: height and width that the images are stretched to.

    Returns:
        uint8 (N, C, H, W).

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
