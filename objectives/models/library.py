"""The best trials of a search with what they predict for held-out rows, and the model they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from objectives.data.table import Split
from objectives.metrics import Metric
from objectives.models.calibration import fit_temperature, scale_temperature
from objectives.models.ensemble import MAX_MEMBERS, EnsembleModel
from objectives.models.intervals import difference_interval
from objectives.models.mlp import FittedModel
from objectives.models.selection import MAX_SIZE, select_ensemble

MAX_BYTES = 256 * 2**20
"""Of weights and predictions that are kept; beyond it the worst trials are let go."""

Ensemble: TypeAlias = Literal["auto"] | bool | int | None
Floats: TypeAlias = npt.NDArray[np.float32]


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


class HeldOut(NamedTuple):
    """The rows that judge trials: of validation, or of all folds one after another.

    ``y`` are class codes or values; ``weight`` and ``group`` are None where rows count the same and
    come alone.
    """

    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None
    group: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, splits: Sequence[Split]) -> HeldOut:
        """Join the validation rows of one split or of several folds."""
        weights = [split.weight for split in splits if split.weight is not None]
        groups = [split.group for split in splits if split.group is not None]
        return cls(
            np.concatenate([split.y for split in splits]),
            np.concatenate(weights) if weights else None,
            np.concatenate(groups) if groups else None,
        )


class _Kept(NamedTuple):
    """A complete trial; its cost is its value, negated where higher values are better."""

    number: int
    cost: float
    model: FittedModel
    predictions: Floats

    @property
    def n_bytes(self) -> int:
        """What weights and predictions take."""
        return self.predictions.nbytes + self.model.network.flat.nbytes


class Comparison(NamedTuple):
    """What the default configuration and the result's model score on held-out rows, and the 95%
    interval of the model's score less the default's, on the same rows.
    """

    default: float
    model: float
    low: float
    high: float


class Library:
    """The best trials so far, at most 25 and 256 MB of them, and the default one.

    Args:
        direction: ``"minimize"`` or ``"maximize"``.
        max_bytes: of weights and predictions; the best trial and the default one stay in any case.
    """

    def __init__(self, direction: str, *, max_bytes: int = MAX_BYTES) -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._max_bytes = max_bytes
        self._kept: list[_Kept] = []
        self._default: _Kept | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def numbers(self) -> set[int]:
        """Of the trials that are here."""
        return {kept.number for kept in self._kept}

    def __contains__(self, number: int) -> bool:
        return any(kept.number == number for kept in self._kept)

    def would_keep(self, value: float) -> bool:
        """Say whether a trial of that value is among the best."""
        return len(self._kept) < MAX_MEMBERS or self._sign * value < self._kept[-1].cost

    def add(
        self,
        number: int,
        value: float,
        model: FittedModel,
        predictions: Floats,
        *,
        is_default: bool = False,
    ) -> None:
        """Take in a trial, and let the worst go where there are too many.

        The encoders of the first one serve all: those of one search are fitted on the same rows.

        Args:
            number: of the trial, which is not here yet.
            value: of the trial.
            model: at its best epoch.
            predictions: of the held-out rows.
            is_default: whether it ran the default configuration, which stays to compare with.
        """
        if self._kept:
            model.encoders = self._kept[0].model.encoders
        trial = _Kept(number, self._sign * value, model, predictions)
        if is_default and self._default is None:
            self._default = trial
        self._kept = sorted([*self._kept, trial], key=lambda kept: (kept.cost, kept.number))
        n_bytes = np.cumsum([kept.n_bytes for kept in self._kept])
        n_fitting = int((n_bytes <= self._max_bytes).sum())
        del self._kept[max(1, min(n_fitting, MAX_MEMBERS)) :]

    def choose(
        self, metric: Metric, rows: HeldOut, *, best: int, ensemble: Ensemble, seed: int
    ) -> Choice:
        """Return the model to predict with: the best trial's, or an ensemble.

        Args:
            metric: the tuned one.
            rows: that the predictions are of.
            best: number of the best trial, which is here.
            ensemble: ``"auto"`` for an ensemble where it is better on rows that did not choose it;
                a number for one of so many members at most in any case; False for the best trial.
            seed: of what is drawn.
        """
        weights = self._weights(metric, rows, best, ensemble, seed)
        members = [(k, float(w)) for k, w in zip(self._kept, weights, strict=True) if w > 0]
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
        by_number = {kept.number: weight for kept, weight in members}
        return Choice(model, by_number, self._compared(metric, rows, mean))

    def _weights(
        self, metric: Metric, rows: HeldOut, best: int, ensemble: Ensemble, seed: int
    ) -> npt.NDArray[np.float64]:
        alone = np.array([float(kept.number == best) for kept in self._kept])
        if ensemble in (None, False) or len(self._kept) == 1:
            return alone
        predictions = [kept.predictions for kept in self._kept]
        if not any(np.isfinite(p).all() for p in predictions):
            return alone
        chosen = select_ensemble(
            predictions,
            rows.y,
            metric,
            sample_weight=rows.weight,
            groups=rows.group,
            max_size=MAX_SIZE if ensemble == "auto" else int(ensemble or 1),
            seed=seed,
        )
        return alone if chosen.is_single else chosen.weights

    def _compared(
        self, metric: Metric, rows: HeldOut, mean: npt.NDArray[np.float64]
    ) -> Comparison | None:
        if self._default is None:
            return None
        default = self._default.predictions.astype(np.float64)
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
