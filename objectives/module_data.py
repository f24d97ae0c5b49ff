"""Any dataset as `ModuleData`: tables, images, or arrays of any shape; and how it is fed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from objectives.data import load_tabular
from objectives.feeds import (
    ArrayData,
    ArraySplit,
    ImageRows,
    Inputs,
    ModuleData,
    Rows,
    TensorRows,
    as_inputs,
    leaves,
    map_inputs,
    n_rows,
)
from objectives.image_data import ImageData
from objectives.images import load_images
from objectives.module_training import FedSplit
from objectives.prepared import training_weight
from objectives.preprocessing import TabularEncoder, TargetScaler
from objectives.splits import check_train, split_rows
from objectives.tabular import TabularData, content_fingerprint
from objectives.targets import read_target


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
    if isinstance(dataset, str | os.PathLike | pd.DataFrame) or _is_frame_pair(dataset):
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
    groups: Any = None,
    seed: int = 0,
) -> ArrayData:
    """Split arrays of any shape into train, validation and test rows.

    Args:
        dataset: ``(X, y)``, or a map-style Dataset of ``(x, y)``, which is read into memory.
        task: "binary", "multiclass" or "regression"; by default inferred.
        valid_size: share of the rows for validation.
        test_size: share of the rows for the test.
        groups: a value for each row; rows of one group stay in one split.
        seed: decides which row goes where.

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
    found = read_target(pd.Series(y, name="y"), name="y", task=task)
    series = None if groups is None else pd.Series(list(groups), name="groups")
    rows = split_rows(
        found.y, labels=found.classes, valid_size=valid_size, test_size=test_size, groups=series,
        seed=seed,
    )  # fmt: skip
    check_train(found.y, found.classes, rows)
    every = ArraySplit(X=X, y=found.y)
    train, valid, test = (every.take(part) for part in rows[1:])
    content = {place: tensor.flatten().numpy() for place, tensor in leaves(X).items()}
    others = {"target": found.y, "classes": found.classes, "groups": series}
    return ArrayData(
        name=name, task=found.task, train=train, valid=valid, _test=test, classes=found.classes,
        fingerprint=content_fingerprint(content | others),
        split={
            "kind": rows.kind, "valid_size": valid_size, "test_size": test_size, "seed": seed,
            "n_train": len(train), "n_valid": len(valid), "n_test": len(test),
        },
    )  # fmt: skip


def _holds_images(dataset: Any) -> bool:
    if isinstance(dataset, str | os.PathLike):
        return Path(dataset).is_dir()
    if not isinstance(dataset, Dataset) or not hasattr(dataset, "__len__") or not len(dataset):
        return False
    first = dataset[0]
    return isinstance(first, tuple | list) and isinstance(first[0], Image)


def _is_frame_pair(dataset: Any) -> bool:
    pair = isinstance(dataset, tuple | list) and len(dataset) == 2
    return pair and isinstance(dataset[0], pd.DataFrame)


def _read(dataset: Any) -> tuple[str, Inputs, Any]:
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        return "arrays", as_inputs(dataset[0]), _labels(dataset[1])
    if not isinstance(dataset, Dataset) and not hasattr(dataset, "__getitem__"):
        raise TypeError(
            "dataset must be (X, y), a map-style Dataset, a table or images, got "
            f"{type(dataset).__name__}; pass (X, y)"
        )
    pairs = [dataset[row] for row in range(len(dataset))]
    if not pairs or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise ValueError(
            "dataset must give (x, y) for each index, one row or more, got something else from "
            f"{type(dataset).__name__}; give several inputs as ((x1, x2), y)"
        )
    X, y = default_collate(pairs)
    return type(dataset).__name__, as_inputs(tuple(X) if isinstance(X, list) else X), _labels(y)


def _labels(y: Any) -> Any:
    labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"y must hold one value for each row, got shape {labels.shape}")
    return labels


def feed(
    data: ModuleData,
    split: Any,
    *,
    encoder: TabularEncoder | None,
    scaler: TargetScaler | None,
    device: torch.device,
) -> FedSplit:
    """Return a split as training takes it, on the device.

    Args:
        data: that it is of.
        split: of the training, validation or both kinds of rows.
        encoder: turns tables into inputs; None for arrays and images.
        scaler: standardises the values of a regression; None for classes.
        device: where training happens.
    """
    y = torch.as_tensor(split.y).to(device)
    weight = training_weight(split, data.class_weight)
    return FedSplit(
        rows=_rows(data, split, encoder, device), y=y,
        targets=y if scaler is None else scaler.transform(y).float(),
        weight=None if weight is None else weight[:, 0].to(device),
    )  # fmt: skip


def _rows(
    data: ModuleData, split: Any, encoder: TabularEncoder | None, device: torch.device
) -> Rows:
    if isinstance(data, ImageData):
        held = split.images  # what fits in memory goes to the device once
        return ImageRows(split, device) if held is None else TensorRows(held.to(device))
    X = split.X if encoder is None else torch.from_numpy(encoder.transform(split.X))
    return TensorRows(map_inputs(X, lambda tensor: tensor.to(device)))
