"""What findings share: their form, the searched ranges (where in them a value lies, how they are
widened or narrowed), and how much a study's values jitter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution

from tuner.storage.view import StudyView

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Described, Hyperparameter

Floats = npt.NDArray[np.float64]
Side = Literal["low", "high"]

_WIDEN = 1 / 3  # A decade, for a learning rate searched over three.
_MARGIN = 0.1  # Room left around the good region, as a share of the range.
_DECADE = 10  # Levels that span as much are on a log scale, as are those of equal ratios.
_JITTER_EPOCHS = 10  # Up to and around the best epoch: the values that best was chosen from.
_MIN_JITTER_EPOCHS = 5
_JITTER_TRIALS = 5


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range of numbers, in the units that a configuration has them.

    Args:
        low: lower end, included.
        high: upper end, included.
        log: whether it is searched on a log scale.
        whole: whether it holds whole numbers only.
        powers_of_two: whether it holds powers of two only.
        minimum: smallest legal number.
        maximum: largest legal number.
        plain: whether a ``(low, high)`` pair in ``space=`` means this scale.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    powers_of_two: bool = False
    minimum: float = -math.inf
    maximum: float = math.inf
    plain: bool = True

    def position(self, values: pd.Series) -> Floats:
        """Where values lie: 0 at the low end, 1 at the high end, on the range's own scale.

        Example:
            >>> Range(low=1e-4, high=1e-2, log=True).position(pd.Series([1e-3])).round(6)
            array([0.5])
        """
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        low, high = self._scaled(self.low), self._scaled(self.high)
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = np.log(numbers) if self._is_log else numbers
            position: Floats = (scaled - low) / (high - low)  # nowhere in a range of one number
        return position

    def ends_at_limit(self, side: Side) -> bool:
        """Whether no legal number lies beyond that end."""
        return self.low <= self.minimum if side == "low" else self.high >= self.maximum

    def widened(self, side: Side) -> Range:
        """The range with a third of its width, on its scale, added at one end."""
        if side == "low":
            return replace(self, low=max(self._at(-_WIDEN, math.floor), self.minimum))
        return replace(self, high=min(self._at(1 + _WIDEN, math.ceil), self.maximum))

    def narrowed(self, values: pd.Series) -> Range:
        """The part of the range around ``values``, with a tenth of its width as a margin."""
        where = self.position(values)
        where = where[np.isfinite(where)]
        if not where.size:
            return self
        low = self._at(max(where.min() - _MARGIN, 0.0), math.floor)
        high = self._at(min(where.max() + _MARGIN, 1.0), math.ceil)
        inside = replace(self, low=max(low, self.low), high=min(high, self.high))
        return inside if inside.low < inside.high else self

    def capped(self, limit: float) -> Range:
        """The part of the range up to ``limit``."""
        return replace(self, high=limit) if self.low < limit < self.high else self

    def entry(self) -> object:
        """This range as ``space=`` takes it: a pair, a distribution on an unusual scale, or the
        number alone where it holds but one.
        """
        low, high = (int(v) if self.whole else float(v) for v in (self.low, self.high))
        if low == high:
            return low
        if self.plain:
            return (low, high)
        if self.whole:
            return IntDistribution(int(low), int(high), log=self.log)
        return FloatDistribution(low, high, log=self.log)

    @property
    def _is_log(self) -> bool:
        return self.log or self.powers_of_two

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._is_log else float(value)

    def _at(self, position: float, to_whole: Callable[[float], int]) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + position * (high - low)
        if self.powers_of_two:
            # Sums of logarithms miss a whole number by rounding.
            return 2.0 ** to_whole(round(scaled / math.log(2), 6))
        value = math.exp(scaled) if self._is_log else scaled
        if self.whole:
            return float(to_whole(round(value, 6)))
        if self._is_log:
            return float(f"{value:.3g}")
        return round(value, 2 - math.floor(math.log10(high - low)))  # Thousandths of the width.


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Numbers to choose from, as in a grid.

    Args:
        levels: in rising order, three or more.
        minimum: smallest legal number.
        maximum: largest legal number.
    """

    levels: tuple[float, ...]
    minimum: float = -math.inf
    maximum: float = math.inf

    @property
    def low(self) -> float:
        """The lowest level."""
        return self.levels[0]

    @property
    def high(self) -> float:
        """The highest level."""
        return self.levels[-1]

    def position(self, values: pd.Series) -> Floats:
        """Where values lie: 0 at the lowest level, 1 at the highest, levels equally far apart."""
        ranks = {level: rank / (len(self.levels) - 1) for rank, level in enumerate(self.levels)}
        numbers = pd.to_numeric(values, errors="coerce").map(ranks)
        return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)

    def ends_at_limit(self, side: Side) -> bool:
        """Whether no further level is legal beyond that end."""
        beyond = self._beyond(side)
        return not self.minimum <= beyond <= self.maximum

    def widened(self, side: Side) -> Levels:
        """The levels with one more at one end, as far away as its neighbour."""
        beyond = self._beyond(side)
        more = (beyond, *self.levels) if side == "low" else (*self.levels, beyond)
        return replace(self, levels=more)

    def capped(self, limit: float) -> Levels:
        """The levels below ``limit``."""
        below = tuple(level for level in self.levels if level < limit)
        return replace(self, levels=below) if below else self

    def entry(self) -> object:
        """The levels as ``space=`` takes them."""
        return list(self.levels)

    @property
    def _is_log(self) -> bool:
        if self.low <= 0:
            return False
        ratios = np.divide(self.levels[1:], self.levels[:-1])
        return bool(self.high >= _DECADE * self.low or np.allclose(ratios, ratios[0], rtol=0.01))

    def _beyond(self, side: Side) -> float:
        end, neighbour = self.levels[:2] if side == "low" else self.levels[:-3:-1]
        whole = all(isinstance(level, int) for level in self.levels)
        if self._is_log:
            beyond = end * end / neighbour
            return round(beyond) if whole else float(f"{beyond:.3g}")
        beyond = end + (end - neighbour)
        return beyond if whole else float(f"{beyond:.6g}")


def search_range(described: Described, row: Hyperparameter | None = None) -> Range | Levels | None:
    """The range that a study's record describes; None for texts to choose from or a fixed value.

    Args:
        described: an entry of `objectives.space.describe`.
        row: the `objectives.Hyperparameter` with the legal limits. Without
            it, a range that starts at 0 or above stays there, as does one within [0, 1].

    Example:
        >>> search_range({"low": 0.0, "high": 0.5}).maximum
        1.0
        >>> search_range({"choices": ["relu", "tanh"]}) is None
        True
    """
    values = described.get("choices", [described.get("low"), described.get("high")])
    ends = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    if len(ends) < max(len(values), 3 if "choices" in described else 2):
        return None
    minimum, maximum = (-math.inf, math.inf) if row is None else (row.minimum, row.maximum)
    if math.isinf(minimum) and ends[0] >= 0:
        is_share = isinstance(ends[-1], float) and ends[-1] <= 1 and not described.get("log")
        minimum, maximum = 0.0, min(maximum, 1.0 if is_share else math.inf)
    if "choices" in described:
        return Levels(levels=tuple(ends), minimum=minimum, maximum=maximum)
    log, powers = bool(described.get("log")), bool(described.get("powers_of_two"))
    pair_is_log, pair_is_powers = (row.log, row.powers_of_two) if row else (False, False)
    return Range(
        low=ends[0],
        high=ends[-1],
        log=log,
        whole=all(isinstance(end, int) for end in ends),
        powers_of_two=powers,
        minimum=minimum,
        maximum=maximum,
        plain=(log, powers) == (pair_is_log and not powers, pair_is_powers),
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a study shows.

    Args:
        finding: the result, in a sentence.
        evidence: the numbers it rests on.
        advice: what to do next.
        hyperparameter: the one it is about; None for the study as a whole.
        change: what the next space does with it: ``("widen", "low")`` or ``("widen", "high")``,
            ``("cap", number)`` or ``("fix", value)``.
    """

    finding: str
    evidence: str
    advice: str
    hyperparameter: str | None = None
    change: tuple[str, Any] | None = None


class Noise(NamedTuple):
    """How far two equally good trials may lie apart, in the metric's units: one standard error, and
    the source of it in words.
    """

    value: float
    source: str


def ranges(view: StudyView) -> dict[str, Range | Levels]:
    """The searched ranges of numbers, by name."""
    own = getattr(view.objective, "space", None)
    # The rows as documented come first: those of the objective may hold another distribution.
    rows = {**(own if isinstance(own, Mapping) else {}), **view.documented}
    searched = {name: search_range(entry, rows.get(name)) for name, entry in view.space.items()}
    return {name: entry for name, entry in searched.items() if entry is not None}


def noise(view: StudyView) -> Noise | None:
    """The standard error of a value, or None if it is not known.

    For accuracy it is that of a share of the rows that judge a trial, those of all folds if there
    are any, with two successes and two failures added so that a perfect score has one too (Agresti
    & Coull 1998). For other metrics it is the jitter of the curve around the best epoch, in the
    best five trials (median).
    """
    split = view.record.get("split", {})
    n_valid = split.get("n_valid")
    if n_valid and view.record.get("folds"):
        n_valid += split.get("n_train", 0)
    if view.metric == "accuracy" and n_valid and not view.ranked.empty:
        share = (float(view.ranked["value"].iloc[0]) * n_valid + 2) / (n_valid + 4)
        error = math.sqrt(max(share * (1 - share), 0.0) / (n_valid + 4))
        return Noise(error, f"the standard error of accuracy on {n_valid} validation rows")
    numbers = view.ranked["number"].head(_JITTER_TRIALS)
    jitters = [jitter(view.curves[n]["cost"]) for n in numbers if n in view.curves]
    known = [value for value in jitters if value is not None and value > 0]
    if not known:
        return None
    return Noise(float(np.median(known)), "what neighbouring epochs of the best trials differ by")


def jitter(costs: npt.ArrayLike) -> float | None:
    """Standard deviation of the metric from one epoch to the next, around the best epoch.

    Differences of neighbours have twice the variance of one value, and leave a trend out.

    Args:
        costs: of each epoch, lower being better; NaN where there is none.

    Example:
        >>> round(jitter([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]), 3)
        0.775
    """
    known = np.asarray(costs, dtype=np.float64)
    known = known[~np.isnan(known)]
    if len(known) < _MIN_JITTER_EPOCHS:
        return None
    best = int(known.argmin())
    near = known[max(best - _JITTER_EPOCHS, 0) : best + _JITTER_EPOCHS + 1]
    if len(near) < _MIN_JITTER_EPOCHS:
        return None
    return float(np.std(np.diff(near), ddof=1) / math.sqrt(2))
