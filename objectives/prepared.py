"""From splits to what a network trains on: encoder, target scaler, and tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.data import Split, TabularData
from objectives.preprocessing import TabularEncoder, TargetScaler
from objectives.recipe import Recipe
from objectives.stacked import StackedMLP
from objectives.tensors import TensorData


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Training and validation rows as a network takes them.

    Args:
        encoder: fitted on the training rows alone.
        scaler: of a regression target, fitted on the training rows alone; None for classes.
        tensors: the encoded rows on the device.
    """

    encoder: TabularEncoder
    scaler: TargetScaler | None
    tensors: TensorData

    @classmethod
    def fit(
        cls, data: TabularData, train: Split, valid: Split, *, recipe: Recipe, device: torch.device
    ) -> Self:
        """Fit on ``train`` and encode both.

        Args:
            data: says the task, the classes, their weights, and which columns are categories.
            train: rows to fit on.
            valid: rows to choose by.
            recipe: says how numeric columns are encoded and whether predictions are clamped.
            device: where the tensors go.
        """
        encoder = TabularEncoder.fit(train.X, categorical=data.categorical, numeric=recipe.numeric)
        regression = data.task == "regression"
        scaler = TargetScaler.fit(train.y, clamp=recipe.clamp) if regression else None
        weight = training_weight(train, data.class_weight)
        tensors = {
            "x": torch.from_numpy(encoder.transform(train.X)),
            "targets": _targets(train.y, data, scaler),
            "weight": weight,
            "valid_x": torch.from_numpy(encoder.transform(valid.X)),
            "valid_targets": _targets(valid.y, data, scaler),
            "valid_y": torch.as_tensor(valid.y),
            "valid_weight": None if valid.weight is None else torch.as_tensor(valid.weight),
        }
        moved = {name: _move(tensor, device) for name, tensor in tensors.items()}
        return cls(encoder=encoder, scaler=scaler, tensors=TensorData(scaler=scaler, **moved))  # type: ignore[arg-type]


def common_scaler(
    network: StackedMLP, scalers: Sequence[TargetScaler | None]
) -> TargetScaler | None:
    """Bring the outputs of networks that were trained in different units to one, and return it.

    Args:
        network: K members, the same number for each scaler; their last layers are changed in place.
        scalers: what each run of members was trained with.

    Returns:
        The first scaler, with bounds that hold all; None for classes.
    """
    known = [scaler for scaler in scalers if scaler is not None]
    if not known:
        return None
    first, (weight, bias) = known[0], network.layers(network.flat)[-1]
    size = len(weight) // len(known)
    for number, scaler in enumerate(known):
        rows = slice(number * size, (number + 1) * size)
        weight[rows] *= scaler.scale / first.scale
        bias[rows] *= scaler.scale / first.scale
        bias[rows] += (scaler.mean - first.mean) / first.scale
    lows, highs = [s.low for s in known], [s.high for s in known]
    return replace(
        first,
        low=min((low for low in lows if low is not None), default=None),
        high=max((high for high in highs if high is not None), default=None),
    )


def pick_device(device: str | torch.device | None) -> torch.device:
    """Return the device called ``device``, by default the best there is.

    Raises:
        ValueError: if torch knows no such device, or this machine has none.
    """
    if device is None:
        return best_device()
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device must be one that this machine has, such as 'cpu' or 'cuda', got {device=} "
            f"({str(error).splitlines()[0]})"
        ) from error


def best_device() -> torch.device:
    """Return CUDA or MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _move(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    if tensor is None:
        return None
    # Metrics compare in double precision, which Apple's devices lack.
    single = tensor.float() if device.type == "mps" and tensor.dtype == torch.float64 else tensor
    return single.to(device)


def _targets(y: NDArray[np.generic], data: TabularData, scaler: TargetScaler | None) -> Tensor:
    """Return what the loss compares outputs with (n, C): values, 0 / 1, or one-hot rows."""
    if scaler is not None:
        return torch.as_tensor(scaler.transform(y), dtype=torch.float32).unsqueeze(1)
    if data.task == "binary":
        return torch.as_tensor(y, dtype=torch.float32).unsqueeze(1)
    assert data.classes is not None, "classification has classes"
    return torch.nn.functional.one_hot(torch.as_tensor(y), len(data.classes)).float()


def training_weight(split: Any, class_weight: Mapping[int, float] | None) -> Tensor | None:
    """Return the rows' weights (n, 1) with mean 1: sample weight times class weight."""
    if split.weight is None and class_weight is None:
        return None
    weight = np.ones(len(split.y)) if split.weight is None else split.weight.astype(float)
    if class_weight is not None:
        weight = weight * np.array([class_weight[code] for code in split.y.tolist()])
    return torch.as_tensor(weight / weight.mean(), dtype=torch.float32).unsqueeze(1)
