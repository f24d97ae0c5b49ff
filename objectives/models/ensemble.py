"""`EnsembleModel`: fitted models that predict together; `Library`: the trials it is chosen from."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Never, Self

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from objectives._messages import check_choice
from objectives.data.files import check_target, replace_file
from objectives.metrics import Metric
from objectives.models import load_model
from objectives.models.export import Predictor
from objectives.models.files import (
    ENSEMBLE,
    RefusedError,
    read_temperature,
    read_threshold,
    refusing,
)
from objectives.models.held_out import (
    MAX_SIZE,
    called,
    fit_temperature,
    fit_threshold,
    scale_temperature,
    select_ensemble,
)
from objectives.models.intervals import difference_interval
from objectives.models.mlp import FittedModel
from objectives.objective import Ensemble, Floats, HeldOut

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
        for name in ("feature_names", "input_columns", "table", "images"):
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
            "threshold": self.threshold,
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
                member.share_inputs(members[first])
            _check(members, np.asarray(index["weights"], dtype=np.float64))
            temperature, threshold = read_temperature(index), read_threshold(index)
        model = cls(members, index["weights"]).at_temperature(temperature)
        return model if threshold == 0.5 else model.at_threshold(threshold)

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

    def __getattr__(self, name: str) -> Never:
        what = f"{type(self).__name__} has no attribute {name!r}"
        if name in ("module", "network"):
            what += f", as several networks predict; see result.best_model.{name}, or members"
        raise AttributeError(what)

    def rows(self, X: object) -> dict[int, Any]:
        """Return the inputs for ``X`` by the first member that takes them so."""
        firsts = sorted({self._group(k) for k in range(len(self.members))})
        return {first: self.members[first].rows(X) for first in firsts}

    def average_of(self, rows: Mapping[int, Any]) -> NDArray[np.float64]:
        """Return what the members predict on average, by their weights, for what `rows` gives."""
        mean: Any = 0.0
        for k, (member, weight) in enumerate(zip(self.members, self.weights, strict=True)):
            average = member.average_of(rows[self._group(k)])
            if member.classes is None and member.target_scaler is not None:
                average = member.target_scaler.inverse(average)
            mean = mean + weight * average
        found: NDArray[np.float64] = mean
        return found

    def _group(self, k: int) -> int:
        """Return the first member that encodes a table as member ``k`` does."""
        own = self.members[k]
        return next(j for j in range(k + 1) if own.takes_inputs_of(self.members[j]))

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


MAX_BYTES = 256 * 2**20
"""Of weights and predictions that are kept; beyond it the worst trials are let go."""


def check_ensemble(ensemble: Ensemble) -> Ensemble:
    """Return what ``ensemble=`` may be: ``"auto"``, False, or a number of members up to 25.

    Raises:
        ValueError: for anything else.
    """
    is_size = isinstance(ensemble, int) and 1 <= ensemble <= MAX_MEMBERS and ensemble is not True
    if ensemble is None or ensemble is False or ensemble == "auto" or is_size:
        return ensemble
    raise ValueError(
        f"ensemble must be 'auto', False or a whole number of 1 to {MAX_MEMBERS}, got "
        f"ensemble={ensemble!r}"
    )


def check_threshold(threshold: str | None, task: str) -> Literal["tune"] | None:
    """Return what ``threshold=`` may be: ``"tune"`` where there are two classes, or None.

    Raises:
        ValueError: for anything else.
    """
    if threshold is not None:
        check_choice("threshold", threshold, ("tune",))
        if task != "binary":
            raise ValueError(
                f"threshold must be left out unless there are two classes, got {threshold!r} for "
                f"task={task!r}"
            )
        return "tune"
    return None


class _Kept(NamedTuple):
    """A complete trial; its cost is its value, negated where higher values are better."""

    number: int
    cost: float
    model: FittedModel
    predictions: Floats
    stays: bool

    @property
    def n_bytes(self) -> int:
        """What weights and predictions take."""
        return self.predictions.nbytes + self.model.n_bytes


class Comparison(NamedTuple):
    """What the default configuration and the result's model score on held-out rows, and the 95%
    interval of the model's score less the default's, on the same rows.
    """

    default: float
    model: float
    low: float
    high: float


class Library:
    """The best trials so far, at most 25 and 256 MB of them, and what the default one predicts.

    Args:
        direction: ``"minimize"`` or ``"maximize"``.
        max_bytes: of weights and predictions; the best trial stays in any case.
    """

    def __init__(self, direction: str, *, max_bytes: int = MAX_BYTES) -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._max_bytes = max_bytes
        self._kept: list[_Kept] = []
        self._default: tuple[int, Floats] | None = None  # number and predictions

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def numbers(self) -> set[int]:
        """Of the trials that are here."""
        return {kept.number for kept in self._kept}

    def __contains__(self, number: int) -> bool:
        return any(kept.number == number for kept in self._kept)

    def model_of(self, number: int) -> FittedModel | None:
        """Return the model of a trial; None if it is not here."""
        return next((kept.model for kept in self._kept if kept.number == number), None)

    def would_keep(self, value: float) -> bool:
        """Say whether a trial of that value is among the best."""
        is_full = len(self._kept) >= MAX_MEMBERS or self._n_bytes >= self._max_bytes
        return not (self._kept and is_full) or self._sign * value < self._kept[-1].cost

    def add(
        self,
        number: int,
        value: float,
        model: FittedModel,
        predictions: Floats,
        *,
        is_default: bool = False,
        stays: bool = False,
    ) -> None:
        """Take in a trial, and let the worst go where there are too many.

        The encoders of the first one serve all: those of one search are fitted on the same rows.

        Args:
            number: of the trial, which is not here yet.
            value: of the trial.
            model: at its best epoch.
            predictions: of the held-out rows.
            is_default: whether it ran the default configuration, to compare with.
            stays: whether it is kept though others may have better values.
        """
        if is_default and self._default is None:
            self._default = number, predictions
        self._keep(_Kept(number, self._sign * value, model, predictions, stays))

    def merge(self, other: Library) -> None:
        """Take in what another process has kept of the same study."""
        for kept in other._kept:
            if kept.number not in self:
                self._keep(kept)
        defaults = [found for found in (self._default, other._default) if found is not None]
        self._default = min(defaults, key=lambda found: found[0], default=None)

    def _keep(self, trial: _Kept) -> None:
        if self._kept:
            trial.model.share_inputs(self._kept[0].model)
        every = [*self._kept, trial]
        self._kept = sorted(every, key=lambda kept: (not kept.stays, kept.cost, kept.number))
        n_bytes = np.cumsum([kept.n_bytes for kept in self._kept])
        n_fitting = int((n_bytes <= self._max_bytes).sum())
        del self._kept[max(1, min(n_fitting, MAX_MEMBERS)) :]

    @property
    def _n_bytes(self) -> int:
        return sum(kept.n_bytes for kept in self._kept)

    def choose(
        self,
        metric: Metric,
        rows: HeldOut,
        *,
        best: int,
        ensemble: Ensemble,
        seed: int,
        threshold: str | None = None,
    ) -> Choice:
        """Return the model to predict with: the best trial's, an ensemble, or the default one's.

        Args:
            metric: the tuned one.
            rows: that the predictions are of.
            best: number of the best trial, which is here.
            ensemble: ``"auto"`` for an ensemble where it is better on rows that did not choose it;
                a number for one of so many members at most in any case; False for the best trial.
            seed: of what is drawn.
            threshold: ``"tune"`` for one that is chosen for the metric; else it is 0.5.
        """
        weights = self._weights(metric, rows, best, ensemble, seed)
        members = [(k, float(w)) for k, w in zip(self._kept, weights, strict=True) if w]
        mean = np.sum([w * kept.predictions.astype(np.float64) for kept, w in members], axis=0)
        model = members[0][0].model
        if len(members) > 1:
            model = EnsembleModel([kept.model for kept, _ in members], [w for _, w in members])
        if mean.ndim == 2:
            mean /= mean.sum(axis=1, keepdims=True)  # kept in single precision
            temperature = fit_temperature(
                mean, rows.y, sample_weight=rows.weight, groups=rows.group, seed=seed
            )
            if temperature != 1.0:
                model = model.at_temperature(temperature)
                mean = scale_temperature(mean, temperature)
        if threshold == "tune":
            level = fit_threshold(
                mean[:, 1], rows.y, metric, sample_weight=rows.weight, groups=rows.group, seed=seed
            )
            model = model if level == 0.5 else model.at_threshold(level)
            mean = called(metric, rows.y, mean, level)
        by_number = {kept.number: weight for kept, weight in members}
        return Choice(model, by_number, self._compared(metric, rows, mean))

    def _weights(
        self, metric: Metric, rows: HeldOut, best: int, ensemble: Ensemble, seed: int
    ) -> npt.NDArray[np.float64]:
        numbers = [kept.number for kept in self._kept]
        predictions = [kept.predictions for kept in self._kept]
        alone = np.equal(numbers, best).astype(np.float64)
        if ensemble in (None, False) or not any(np.isfinite(p).all() for p in predictions):
            return alone
        is_here = self._default is not None and self._default[0] in numbers
        default = numbers.index(self._default[0]) if self._default and is_here else None
        chosen = select_ensemble(
            predictions,
            rows.y,
            metric,
            sample_weight=rows.weight,
            groups=rows.group,
            default=default,
            max_size=MAX_SIZE if ensemble == "auto" else int(ensemble or 1),
            seed=seed,
        )
        is_default = chosen.weights.argmax() == default
        return alone if chosen.is_single and not is_default else chosen.weights

    def _compared(
        self, metric: Metric, rows: HeldOut, mean: npt.NDArray[np.float64]
    ) -> Comparison | None:
        if self._default is None:
            return None
        default = self._default[1].astype(np.float64)
        if default.ndim == 2:
            default /= default.sum(axis=1, keepdims=True)
        interval = difference_interval(
            metric, rows.y, mean, default, weight=rows.weight, groups=rows.group
        )
        before, after = (metric.score(rows.y, p, rows.weight) for p in (default, mean))
        return Comparison(before, after, interval.low, interval.high)


class Choice(NamedTuple):
    """The model to predict with, the weight of each trial in it, and how it compares with the
    default configuration, where that was trained.
    """

    model: FittedModel
    weights: Mapping[int, float]
    comparison: Comparison | None
