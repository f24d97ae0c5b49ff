"""What a module is fed: any dataset's splits as tensors, in batches, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.image_data import ImageData, ImageSplit
from objectives.sealed import Sealed
from objectives.tabular import TabularData

Inputs: TypeAlias = "Tensor | tuple[Inputs, ...] | dict[str, Inputs]"


class Rows(Protocol):
    """Rows of one split, ready to be fed."""

    def __len__(self) -> int: ...

    def stream(self, order: Tensor, batch_size: int) -> Iterator[Inputs]:
        """Yield the inputs of these rows, on the device, in batches."""


@dataclass(frozen=True)
class TensorRows:
    """Rows of tensors that lie on the device.

    Args:
        inputs: a tensor (n, ...), or a tuple or dict of such.
    """

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
    """Images as uint8 (B, C, H, W) that come to the device batch by batch, such as streamed ones.

    Args:
        split: the images.
        device: where they go.
    """

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
    """Arrays of any shape in three splits; see `objectives.tabular.TabularData`.

    Attributes:
        name: kind of what was given.
        task: "binary", "multiclass" or "regression".
        train: rows to fit on.
        valid: rows to choose by.
        classes: the labels in the order of the class codes; None for regression.
        fingerprint: SHA-256 of the content.
        split: how the rows were split, as plain JSON.
    """

    name: str
    task: Any
    train: ArraySplit
    valid: ArraySplit
    _test: ArraySplit
    classes: NDArray[Any] | None
    fingerprint: str
    split: dict[str, Any]
    class_weight: None = field(default=None)

    def train_and_valid(self) -> ArraySplit:
        """Give the rows of both splits as one, to refit a chosen configuration on."""
        X = join_inputs(self.train.X, self.valid.X)
        return ArraySplit(X=X, y=np.concatenate([self.train.y, self.valid.y]))

    def __repr__(self) -> str:
        rows = f"{len(self.train)} train / {len(self.valid)} valid / {self.n_test} test rows"
        return f"ArrayData({self.name!r}: {self.task}, {rows})"


ModuleData: TypeAlias = TabularData | ImageData | ArrayData


def as_inputs(X: Any) -> Inputs:
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


def map_inputs(inputs: Inputs, change: Any) -> Inputs:
    """Return ``inputs`` with ``change(tensor)`` in place of each tensor."""
    if isinstance(inputs, dict):
        return {name: map_inputs(value, change) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(map_inputs(value, change) for value in inputs)
    changed: Tensor = change(inputs)
    return changed


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


def join_inputs(first: Inputs, second: Inputs) -> Inputs:
    """Return the rows of both, one after the other."""
    rest = iter(leaves(second).values())
    return map_inputs(first, lambda tensor: torch.cat([tensor, next(rest)]))


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


def call(module: torch.nn.Module, inputs: Inputs) -> Any:
    """Call a module: a tuple as its positional arguments, a dict as its named ones."""
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(**inputs) if isinstance(inputs, dict) else module(inputs)
