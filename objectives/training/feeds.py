"""What a module is fed: any dataset's splits as tensors, in batches, on the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from objectives._messages import warn_caller
from objectives.data.encoders import TabularEncoder, TargetScaler
from objectives.data.frames import is_frame
from objectives.data.readers import role_values
from objectives.data.splits import Sealed, check_train, split_rows
from objectives.data.table import DataWarning, Split, TabularData, content_fingerprint, load_tabular
from objectives.data.targets import read_target
from objectives.images.data import ImageData, ImageSplit
from objectives.images.load import load_images
from objectives.training.tensors import loss_weight, to_device

Inputs: TypeAlias = "Tensor | tuple[Inputs, ...] | dict[str, Inputs]"


class Rows(Protocol):
    """Rows of one split, ready to be fed."""

    def __len__(self) -> int: ...

    def stream(self, order: Tensor, batch_size: int) -> Iterator[Inputs]:
        """Yield the inputs of these rows, on the device, in batches."""


@dataclass(frozen=True)
class TensorRows:
    """Rows of a tensor (n, ...), or of a tuple or dict of such, that lie on the device."""

    inputs: Inputs

    def __len__(self) -> int:
        return n_rows(self.inputs)

    def stream(self, order: Tensor, batch_size: int) -> Iterator[Inputs]:
        """Yield the inputs of these rows in batches."""
        device = next(iter(leaves(self.inputs).values())).device
        for index in torch.split(order.to(device), batch_size):
            yield take(self.inputs, index)


@dataclass(frozen=True)
class ImageRows:
    """Images as uint8 (B, C, H, W) that come to the device batch by batch, as streamed ones do."""

    split: ImageSplit
    device: torch.device

    def __len__(self) -> int:
        return len(self.split)

    def stream(self, order: Tensor, batch_size: int) -> Iterator[Inputs]:
        """Yield the images of these rows in batches."""
        for images in self.split.stream(order, batch_size=batch_size):
            yield images.to(self.device)


@dataclass(frozen=True, kw_only=True)
class ArraySplit:
    """The rows of one split of arrays.

    Attributes:
        X: a tensor (n, ...), or a tuple or dict of such.
        y: class codes (int64), or values in their own units (float64).
        weight: None: all rows count the same.
    """

    X: Inputs
    y: NDArray[Any]
    weight: None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> ArraySplit:
        """Give the rows of these numbers as a split of their own."""
        index = torch.from_numpy(rows)
        return ArraySplit(X=take(self.X, index), y=self.y[rows])


@dataclass(frozen=True, kw_only=True, repr=False)
class ArrayData(Sealed[ArraySplit]):
    """Arrays of any shape in three splits."""

    def train_and_valid(self) -> ArraySplit:
        """Give the rows of both splits as one, to refit a chosen configuration on."""
        rest = iter(leaves(self.valid.X).values())
        X = map_inputs(self.train.X, lambda tensor: torch.cat([tensor, next(rest)]))
        return ArraySplit(X=X, y=np.concatenate([self.train.y, self.valid.y]))

    def __repr__(self) -> str:
        rows = f"{len(self.train)} train / {len(self.valid)} valid / {self.n_test} test rows"
        return f"ArrayData({self.name!r}: {self.task}, {rows})"


ModuleData: TypeAlias = TabularData | ImageData | ArrayData
AnySplit: TypeAlias = Split | ImageSplit | ArraySplit


def as_inputs(X: object) -> Inputs:
    """Return arrays, tensors, or tuples or dicts of them, as tensors: floats as float32, whole
    numbers as int64.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(X, Mapping):
        return {str(name): as_inputs(value) for name, value in X.items()}
    if isinstance(X, tuple):
        return tuple(as_inputs(value) for value in X)
    array = X.detach() if isinstance(X, Tensor) else np.asarray(X)
    if not isinstance(array, Tensor) and array.dtype.kind not in "buif":
        raise TypeError(
            f"X must hold numbers, got an array of {array.dtype}; encode texts as whole numbers"
        )
    tensor = torch.as_tensor(array)
    kind = tensor.dtype
    return tensor.float() if kind.is_floating_point or kind == torch.uint8 else tensor.long()


def map_inputs(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return ``inputs`` with ``change(tensor)`` in place of each tensor."""
    if isinstance(inputs, dict):
        return {name: map_inputs(value, change) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(map_inputs(value, change) for value in inputs)
    return change(inputs)


def take(inputs: Inputs, index: Tensor) -> Inputs:
    """Return the rows of these numbers, which lie on the same device."""
    return map_inputs(inputs, lambda tensor: tensor[index])


def leaves(inputs: Inputs) -> dict[str, Tensor]:
    """Return the tensors of ``inputs`` by their place."""
    if isinstance(inputs, Tensor):
        return {"X": inputs}
    pairs = inputs.items() if isinstance(inputs, dict) else enumerate(inputs)
    return {
        f"{place}.{inner}": tensor
        for place, value in pairs
        for inner, tensor in leaves(value).items()
    }


def n_rows(inputs: Inputs) -> int:
    """Return how many rows there are.

    Raises:
        ValueError: if the tensors differ in their number of rows.
    """
    lengths = {place: len(tensor) for place, tensor in leaves(inputs).items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"X must have as many rows in each of its arrays, got {lengths}; cut them to one length"
        )
    return next(iter(lengths.values()))


def call(module: torch.nn.Module, inputs: Inputs) -> object:
    """Call a module: a tuple as its positional arguments, a dict as its named ones."""
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(**inputs) if isinstance(inputs, dict) else module(inputs)


def load_module_data(dataset: Any, *, target: str | None, seed: int, **options: Any) -> ModuleData:
    """Load what a module is to be trained on.

    Args:
        dataset: ``(X, y)`` of arrays or tensors of any shape, where X may be a tuple or dict of
            them for a module of several inputs; a map-style Dataset of ``(x, y)``; images as a
            folder, a Dataset of PIL images, or an `ImageData` of `load_images`; or a table, as
            `load_tabular` takes it.
        target: the column to predict, in a table.
        seed: decides which row goes where.
        options: of `load_tabular` for a table, of `load_images` for images; ``task``,
            ``valid_size``, ``test_size`` and ``groups`` for arrays.

    Raises:
        ValueError: if the data cannot be used as given.
    """
    if isinstance(dataset, TabularData | ImageData | ArrayData):
        return dataset
    if target is None and _holds_images(dataset):
        return load_images(dataset, seed=seed, **options)
    if isinstance(dataset, str | os.PathLike) or is_frame(dataset) or _is_frame_pair(dataset):
        return load_tabular(dataset, target=target, seed=seed, **options)
    if target is not None:
        raise ValueError(
            f"target must name a column of a table, got target={target!r} for "
            f"{type(dataset).__name__}; leave it out"
        )
    return load_arrays(dataset, seed=seed, **options)


def load_arrays(
    dataset: Any,
    *,
    task: str | None = None,
    valid_size: float = 0.2,
    test_size: float = 0.2,
    groups: Iterable[object] | None = None,
    seed: int = 0,
) -> ArrayData:
    """Split arrays of any shape into train, validation and test rows.

    Args as of `load_module_data`; a Dataset is read into memory.

    Raises:
        ValueError: if lengths differ, values are not finite, or the rows are too few.

    Example:
        >>> load_arrays((np.zeros((60, 3, 4)), np.arange(60) % 3))
        ArrayData('arrays': multiclass, 36 train / 12 valid / 12 test rows)
    """
    name, X, y = _read(dataset)
    if n_rows(X) != len(y):
        raise ValueError(
            f"X and y must have the same length, got {n_rows(X)} and {len(y)}; give one y a row"
        )
    for place, tensor in leaves(X).items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{place} must hold finite numbers, got NaN or infinite ones; fill in")
    labels = read_target(pd.Series(y, name="y"), name="y", task=task)
    given = None if groups is None else pd.Series(list(groups), name="groups")
    series = role_values(pd.DataFrame(index=range(len(y))), "groups", given)
    rows = split_rows(
        labels.y,
        labels=labels.classes,
        valid_size=valid_size,
        test_size=test_size,
        groups=series,
        seed=seed,
    )
    for note in check_train(labels.y, labels.classes, rows):
        warn_caller(note, DataWarning)
    every = ArraySplit(X=X, y=labels.y)
    train, valid, test = (every.take(part) for part in rows[1:])
    content = {place: tensor.flatten().numpy() for place, tensor in leaves(X).items()}
    others = {"target": labels.y, "classes": labels.classes, "groups": series}
    return ArrayData(
        name=name,
        task=labels.task,
        train=train,
        valid=valid,
        _test=test,
        classes=labels.classes,
        fingerprint=content_fingerprint(content | others),
        split=rows.record(valid_size=valid_size, test_size=test_size, seed=seed),
    )


def _holds_images(dataset: Any) -> bool:
    if isinstance(dataset, str | os.PathLike):
        return Path(dataset).is_dir()
    if not isinstance(dataset, Dataset) or not hasattr(dataset, "__len__") or not len(dataset):
        return False
    first = _pair(dataset, 0)
    return isinstance(first, tuple | list) and isinstance(first[0], Image)


def _is_frame_pair(dataset: Any) -> bool:
    pair = isinstance(dataset, tuple | list) and len(dataset) == 2
    # A dict of arrays is the inputs of a module with several.
    return pair and not isinstance(dataset[0], Mapping) and is_frame(dataset[0])


def _read(dataset: Any) -> tuple[str, Inputs, NDArray[Any]]:
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        return "arrays", as_inputs(dataset[0]), _labels(dataset[1])
    if not isinstance(dataset, Dataset) and not hasattr(dataset, "__getitem__"):
        raise TypeError(
            "dataset must be (X, y), a map-style Dataset, a table or images, got "
            f"{type(dataset).__name__}; pass (X, y)"
        )
    pairs = [_pair(dataset, row) for row in range(len(dataset))]
    if not pairs or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise ValueError(
            "dataset must give (x, y) for each index, one row or more, got something else from "
            f"{type(dataset).__name__}; give several inputs as ((x1, x2), y)"
        )
    X, y = default_collate(pairs)
    return type(dataset).__name__, as_inputs(tuple(X) if isinstance(X, list) else X), _labels(y)


def _pair(dataset: Any, row: int) -> Any:
    try:
        return dataset[row]
    except Exception as error:  # the user's own code may raise anything
        raise ValueError(
            f"dataset must give (x, y) for each index, got {type(error).__name__}: {error} at row "
            f"{row} of {len(dataset)}; mend or leave out that row"
        ) from error


def _labels(y: object) -> NDArray[Any]:
    labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"y must hold one value for each row, got shape {labels.shape}")
    return labels


@dataclass(frozen=True, kw_only=True)
class FedSplit:
    """One split as training takes it, on the device.

    Args:
        rows: gives the inputs.
        y: class codes (n,), or values in the target's units.
        targets: what the loss compares with: class codes (n,), or standardised values (n,).
        weight: of each row (n,) in the loss, with mean 1, or None.
        metric_weight: of each row (n,) in the metric, or None.
    """

    rows: Rows
    y: Tensor
    targets: Tensor
    weight: Tensor | None = None
    metric_weight: Tensor | None = None


def feed(
    data: ModuleData,
    split: AnySplit,
    *,
    encoder: TabularEncoder | None,
    scaler: TargetScaler | None,
    device: torch.device,
) -> FedSplit:
    """Return a split of ``data`` as training takes it; only tables have an encoder, only values a
    scaler.
    """
    rows: Rows
    if isinstance(split, ImageSplit):
        held = split.images  # what fits in memory goes to the device once
        rows = ImageRows(split, device) if held is None else TensorRows(held.to(device))
    elif isinstance(split, Split):
        assert encoder is not None, "a table has an encoder"
        rows = encoder.rows(split.X).to(device)
    else:
        rows = TensorRows(map_inputs(split.X, lambda tensor: tensor.to(device)))
    y = to_device(torch.as_tensor(split.y), device)
    weight = loss_weight(split, data.class_weight)
    own = split.weight
    return FedSplit(
        rows=rows,
        y=y,
        targets=y if scaler is None else scaler.transform(y).float(),
        weight=None if weight is None else weight[:, 0].to(device),
        metric_weight=None if own is None else to_device(torch.as_tensor(own), device),
    )
