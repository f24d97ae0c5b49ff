"""Rows as tensors on the device: `TensorData`, one split or fold, and `Parts`, several of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.data.encoders import TableRows, TabularEncoder, TargetScaler
from objectives.data.table import Split, TabularData
from objectives.training.recipe import Recipe
from objectives.training.stacked_mlp import StackedMLP

# Folds differ by a row or so. Up to this share a larger one passes over a few rows, others in each
# epoch, so that all take the same steps and train as one stack.
_ALIKE = 0.02

# Tables whose inputs take no more than this are expanded once: what the processor's cache may hold
# is fetched faster than it is made anew for each member and epoch.
_KEPT_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class TensorData:
    """Training and validation rows on the device.

    Args:
        x: training rows, n of I inputs.
        targets: what the loss compares the outputs with (n, C), float32.
        weight: of training rows in the loss (n, 1), with mean 1, or None.
        valid_x: validation rows, m of I inputs.
        valid_targets: as ``targets``, (m, C).
        valid_y: what the metric compares with: class codes (m,), or values in the target's units.
        valid_weight: of validation rows in the metric (m,), or None.
        valid_loss_weight: as ``weight``, (m, 1), or None.
        scaler: takes outputs to the units of a regression target; None for classes.
    """

    x: TableRows
    targets: Tensor
    weight: Tensor | None
    valid_x: TableRows
    valid_targets: Tensor
    valid_y: Tensor
    valid_weight: Tensor | None
    valid_loss_weight: Tensor | None = None
    scaler: TargetScaler | None = None


class Parts:
    """What the members of a cohort train on: one split, or the folds of a cross-validation.

    The rows of all parts are numbered through, so that members of several parts fetch theirs by one
    index. Encoded tables may differ in width, as a fold may lack a rare category; the narrower ones
    get columns of zeros.

    Args:
        parts: one or more, on one device.

    Attributes:
        n_inputs: I, those of the widest part.
        device: where all of them lie.
        targets: training targets of all parts (N, C).
        weight: training weights of all parts (N, 1), or None.
        first: number of each part's first training row.
        n_epoch_rows: training rows that a member of each part sees in an epoch: all of them, or as
            many as the smallest part of nearly the same size has.
    """

    def __init__(self, parts: Sequence[TensorData]) -> None:
        self._parts = tuple(parts)
        self.n_inputs = max(part.x.n_inputs for part in parts)
        self.device = parts[0].x.cells.device
        self.targets = _join([part.targets for part in parts])
        weights = [part.weight for part in parts if part.weight is not None]
        self.weight = _join(weights) if weights else None
        sizes = [len(part.x) for part in parts]
        self.first = [sum(sizes[:k]) for k in range(len(sizes))]
        self.n_epoch_rows = [
            min(other for other in sizes if other >= size * (1 - _ALIKE) - 1 and other <= size)
            for size in sizes
        ]
        n_rows = sum(sizes) + sum(len(part.valid_x) for part in parts)
        self._is_kept = 4 * self.n_inputs * n_rows <= _KEPT_BYTES
        self._kept: dict[int, Tensor] = {}
        self._kept_valid: dict[int, list[Tensor]] = {}

    def __len__(self) -> int:
        """Return how many parts there are."""
        return len(self._parts)

    def __getitem__(self, part: int) -> TensorData:
        """Return one part, as it was given."""
        return self._parts[part]

    def inputs(self, parts: Sequence[int], index: Tensor) -> Tensor:
        """Return the training inputs (K, r, I) of rows ``index`` (K, r), each row of which lies in
        the part of its number.
        """
        first = parts[0]
        if set(parts) == {first}:
            rows = self._expanded(first, index.flatten())
            return rows.view(*index.shape, self.n_inputs)
        return torch.stack([self._expanded(*pair) for pair in zip(parts, index, strict=True)])

    def _expanded(self, part: int, index: Tensor) -> Tensor:
        rows, own = self._parts[part].x, index - self.first[part]
        if not self._is_kept:
            return rows.expand(own, self.n_inputs)
        if part not in self._kept:
            self._kept[part] = rows.expand(width=self.n_inputs)
        return self._kept[part].index_select(0, own)

    def valid_batches(self, part: int) -> Iterable[Tensor]:
        """Give the validation inputs (r, I) of a part in order, some rows at a time."""
        batches = self._parts[part].valid_x.batches(self.n_inputs)
        if not self._is_kept:
            return batches
        if part not in self._kept_valid:
            self._kept_valid[part] = list(batches)
        return self._kept_valid[part]

    def draw(self, part: int, generator: torch.Generator) -> Tensor:
        """Draw an epoch's order of a part's training rows, by their numbers."""
        order = torch.randperm(len(self._parts[part].x), generator=generator)
        return order[: self.n_epoch_rows[part]] + self.first[part]


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


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
        """Fit on ``train`` as the recipe says, and encode both."""
        encoder, rows = TabularEncoder.fit_rows(
            train.X,
            categorical=data.categorical,
            numeric=recipe.numeric,
            decimal_comma=data.decimal_comma,
        )
        regression = data.task == "regression"
        scaler = TargetScaler.fit(train.y, clamp=recipe.clamp) if regression else None

        def moved(values: Tensor | NDArray[Any] | None) -> Tensor | None:
            return None if values is None else to_device(torch.as_tensor(values), device)

        tensors = TensorData(
            x=rows.to(device),
            targets=to_device(_targets(train.y, data, scaler), device),
            weight=moved(loss_weight(train, data.class_weight)),
            valid_x=encoder.rows(valid.X).to(device),
            valid_targets=to_device(_targets(valid.y, data, scaler), device),
            valid_y=to_device(torch.as_tensor(valid.y), device),
            valid_weight=moved(valid.weight),
            valid_loss_weight=moved(loss_weight(valid, data.class_weight)),
            scaler=scaler,
        )
        return cls(encoder=encoder, scaler=scaler, tensors=tensors)


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


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor, in single precision where the device has no double."""
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


class Weighted(Protocol):
    """A split whose rows may have weights."""

    @property
    def y(self) -> NDArray[Any]:
        """Class codes, or values."""

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """Weight of each row; None if all count the same."""


def loss_weight(split: Weighted, class_weight: Mapping[int, float] | None) -> Tensor | None:
    """Return the weights (n, 1) of a split's rows in the loss: sample weight times class weight.

    Their mean is 1, so that losses of several splits can be compared, whatever unit the weights
    are in.

    Raises:
        ValueError: if all of them are 0.
    """
    if split.weight is None and class_weight is None:
        return None
    weight = np.ones(len(split.y)) if split.weight is None else split.weight.astype(float)
    if class_weight is not None:
        weight = weight * np.array([class_weight[code] for code in split.y.tolist()])
    if not weight.any():
        raise ValueError(
            "sample_weight must be above 0 in some row of each split or fold, got a split or fold "
            "with zeros only; leave rows of weight 0 out, or split another way"
        )
    return torch.as_tensor(weight / weight.mean(), dtype=torch.float32).unsqueeze(1)
