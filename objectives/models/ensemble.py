"""`EnsembleModel`: fitted models that predict together, by a weighted mean."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from objectives._files import check_target, replace_file
from objectives.metrics import Metric
from objectives.models.export import Predictor
from objectives.models.files import ENSEMBLE, RefusedError, read_temperature, refusing
from objectives.models.load import load_model
from objectives.models.mlp import BATCH_ROWS, FittedModel

FORMAT, VERSION = "fusetune ensemble", 1
MAX_MEMBERS = 25  # votes of an ensemble, and so its members, at most
_INDEX = ENSEMBLE


class EnsembleModel(FittedModel):
    """Models of one task that predict together: the weighted mean of their probabilities, or of
    their values.

    Models that share their encoder, as those of one search do, encode a table once.

    Args:
        members: fitted on the same columns and classes.
        weights: one a member, above 0; they are scaled to sum to 1.

    Raises:
        ValueError: if there is no member or more than 25, a weight is not above 0, or members
            differ in task or classes.

    Example:
        >>> import tempfile
        >>> from tuner import tune_mlp
        >>> result = tune_mlp("iris", n_trials=2, epochs=2, show_progress_bar=False)
        >>> model = EnsembleModel([result.model_of(0), result.model_of(1)], [3, 1])
        >>> model.predict_proba([[5.1, 3.5, 1.4, 0.2]]).shape
        (1, 3)
    """

    suffix = ".ensemble.zip"

    def __init__(self, members: Sequence[FittedModel], weights: Sequence[float]) -> None:
        shares = np.asarray(weights, dtype=np.float64)
        _check(members, shares)
        self.members = tuple(members)
        self.weights: NDArray[np.float64] = shares / shares.sum()
        first = members[0]
        self.task, self.metric, self.classes = first.task, first.metric, first.classes
        self.target_scaler = None  # members' values are in the target's units already
        self.params = dict(first.params)
        for name in ("feature_names", "input_columns"):
            if hasattr(first, name):
                setattr(self, name, getattr(first, name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all members and their weights to one file, without pickle.

        Raises:
            ValueError: if the folder is missing or ``path`` is a folder.
        """
        check_target(path)
        names = [f"member_{k}{member.suffix}" for k, member in enumerate(self.members)]
        index = {
            "format": FORMAT,
            "version": VERSION,
            "members": names,
            "weights": self.weights.tolist(),
            "encoded_as": [self._group(k) for k in range(len(names))],
            "temperature": self.temperature,
        }
        buffer = BytesIO()
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(_INDEX, json.dumps(index, indent=1, allow_nan=False))
            for name, member in zip(names, self.members, strict=True):
                member.save(Path(folder, name))
                archive.write(Path(folder, name), name)
        replace_file(path, buffer.getvalue())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        metric: Metric | None = None,
        build: Callable[..., nn.Module] | None = None,
    ) -> Self:
        """Read an ensemble that `save` wrote, see `FittedModule.load`. Nothing in the file is run.

        Raises:
            ValueError: if there is no such file, or it is no ensemble, damaged or altered.
        """
        with refusing(path, "EnsembleModel.save"):
            index, contents = _read(Path(path))
            with tempfile.TemporaryDirectory() as folder:
                members = list(_members(folder, contents, metric, build))
            for member, first in zip(members, index["encoded_as"], strict=True):
                if hasattr(member, "encoders") and _same_columns(member, members[first]):
                    member.encoders = members[first].encoders
            _check(members, np.asarray(index["weights"], dtype=np.float64))
            temperature = read_temperature(index)
        return cls(members, index["weights"]).at_temperature(temperature)

    def encode(self, X: Any) -> Tensor:
        """Return the inputs of all members, which must share them."""
        self._need_one_encoder()
        return self.members[0].encode(X)

    def exportable(self, n_rows: int) -> tuple[nn.Module, Tensor]:
        """Return one module that gives the weighted mean, and an example of its inputs.

        Raises:
            ValueError: if members take different inputs.
        """
        self._need_one_encoder()
        _, example = self.members[0].exportable(n_rows)
        parts = [Predictor(m.exportable(n_rows)[0], m) for m in self.members]
        return _WeightedMean(parts, self.weights, is_regression=self.classes is None), example

    def __repr__(self) -> str:
        return (
            f"EnsembleModel({len(self.members)} members, task={self.task!r}, "
            f"metric={self.metric.name!r}, weights={np.round(self.weights, 3).tolist()})"
        )

    def _average(self, X: Any) -> NDArray[np.float64]:
        inputs: dict[int, Tensor] = {}
        mean: Any = 0.0
        for k, (member, weight) in enumerate(zip(self.members, self.weights, strict=True)):
            if not hasattr(member, "encoders"):  # a `FittedModule`, which reads its inputs itself
                average = member._average(X)
            else:
                group = self._group(k)
                if group not in inputs:
                    inputs[group] = member.encode(X)
                average = _forward(member, inputs[group])
            if member.classes is None and member.target_scaler is not None:
                average = member.target_scaler.inverse(average)
            mean = mean + weight * average
        found: NDArray[np.float64] = mean
        return found

    def _group(self, k: int) -> int:
        """Return the first member that encodes a table as member ``k`` does."""
        return next(j for j in range(k + 1) if _encodes_alike(self.members[j], self.members[k]))

    def _need_one_encoder(self) -> None:
        if any(self._group(k) for k in range(len(self.members))):
            raise ValueError(
                "export must be asked of an ensemble whose members share their inputs, got several "
                "encoders; export result.best_model instead"
            )


class _WeightedMean(nn.Module):
    """The weighted mean of what members predict, as raw outputs that a `Predictor` takes."""

    def __init__(
        self, parts: Sequence[nn.Module], weights: NDArray[np.float64], *, is_regression: bool
    ) -> None:
        super().__init__()
        self.parts, self.is_regression = nn.ModuleList(parts), is_regression
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))
        self.weights: Tensor

    def forward(self, x: Tensor) -> Tensor:
        predictions = torch.stack([part(x) for part in self.parts])
        mean: Tensor = (self.weights @ predictions.flatten(1)).view(predictions.shape[1:])
        # The softmax of log shares is the shares.
        return mean[:, None] if self.is_regression else mean.clamp_min(1e-38).log()


def _forward(member: FittedModel, inputs: Tensor) -> NDArray[np.float64]:
    with torch.inference_mode():
        batches = [member._forward(rows) for rows in torch.split(inputs, BATCH_ROWS, dim=-2)]
    return torch.cat(batches).numpy()


def _encodes_alike(first: FittedModel, second: FittedModel) -> bool:
    if first is second:
        return True
    if not (hasattr(first, "encoders") and hasattr(second, "encoders")):
        return False
    same = len(first.encoders) == len(second.encoders) and all(
        a is b for a, b in zip(first.encoders, second.encoders, strict=True)
    )
    # With one encoder a fold, the inputs are repeated for each network.
    n_networks = (len(m.network.flat) for m in (first, second))
    return same and (len(first.encoders) == 1 or len(set(n_networks)) == 1)


def _same_columns(member: FittedModel, first: FittedModel) -> bool:
    return [(e.columns, e.n_outputs) for e in member.encoders] == [
        (e.columns, e.n_outputs) for e in first.encoders
    ]


def _check(members: Sequence[FittedModel], weights: NDArray[np.float64]) -> None:
    if not 1 <= len(members) <= MAX_MEMBERS or len(members) != len(weights):
        raise ValueError(
            f"members must be 1 to {MAX_MEMBERS} with a weight each, got {len(members)} members "
            f"and {len(weights)} weights"
        )
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ValueError(f"weights must be finite and above 0, got {weights.tolist()}")
    for name in ("task", "classes"):
        values = {str(_plain(getattr(member, name))) for member in members}
        if len(values) > 1:
            raise ValueError(f"members must have the same {name}, got {', '.join(sorted(values))}")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return index and members' files of an ensemble file, once their sizes are checked."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise RefusedError("holds members larger than itself; do not use it")
        index = json.loads(archive.read(_INDEX))
        names, firsts = index["members"], index["encoded_as"]
        if (index["format"], index["version"]) != (FORMAT, VERSION):
            raise RefusedError(f"is no ensemble of version {VERSION}; save the model again")
        if len(names) > MAX_MEMBERS or sorted(archive.namelist()) != sorted([_INDEX, *names]):
            raise RefusedError("does not hold the members that it lists; save the model again")
        if len(firsts) != len(names) or any(not 0 <= j <= k for k, j in enumerate(firsts)):
            raise RefusedError("contradicts itself; save the model again")
        return index, {name: archive.read(name) for name in names}


def _members(
    folder: str,
    contents: dict[str, bytes],
    metric: Metric | None,
    build: Callable[..., nn.Module] | None,
) -> Iterator[FittedModel]:
    for k, content in enumerate(contents.values()):
        path = Path(folder, f"{k}")  # names in the file are not to be trusted as paths
        path.write_bytes(content)
        yield load_model(path, build=build, metric=metric)
