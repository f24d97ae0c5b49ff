"""The column transformers of tables: small, of plain attributes only, and without scikit-learn.

They follow its way of `fit` and `transform`. That they import none of it spares whoever predicts a
second.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from objectives.data.columns import LARGEST, as_dates, as_levels, as_numbers

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]

CLIP_AT = 3.0  # RealMLP's smooth clipping saturates at +-3 (arXiv 2407.04491, section 3)
N_BINS = 32
SAMPLE_ROWS = 100_000  # of a larger table: its quantiles are off by about 0.1% of the rows
SMALLEST = 1e-200  # columns of closer quantiles count as constant: 1 / it would overflow


class Transformer(ABC):
    """What learns from the training split, and transforms by what it learned.

    Attributes:
        learned: what each attribute that a file keeps holds, and in how many levels of lists.
    """

    learned: ClassVar[Mapping[str, tuple[type, int]]] = {}

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn nothing, unless a class says otherwise."""
        return self

    @abstractmethod
    def transform(self, X: Any) -> NDArray[Any]:
        """Return an array of shape (n, outputs)."""

    def fit_transform(self, X: Any, y: object = None) -> NDArray[Any]:
        """Learn, and return what `transform` would."""
        return self.fit(X).transform(X)

    def state(self) -> dict[str, Any]:
        """Return what was learned, in plain JSON types."""
        return {name: _plain(getattr(self, name)) for name in self.learned}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the transformer whose `state` this is.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: if it is none.
        """
        part = cls()
        for name, (kind, depth) in cls.learned.items():
            setattr(part, name, _array(state[name], kind, depth))
        return part


def _plain(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values.tolist()
    return [_plain(value) for value in values] if isinstance(values, list) else values


def _array(values: Any, kind: type, depth: int) -> Any:
    if not isinstance(values, list):
        raise TypeError("a list is missing")
    if depth > 1:
        return [_array(value, kind, depth - 1) for value in values]
    if not all(isinstance(value, kind) for value in values):
        raise TypeError(f"no {kind.__name__}")
    # Texts as objects: one long level would widen all others.
    array: NDArray[Any] = np.array(values, dtype=object if kind is str else kind)
    if kind is float and not np.isfinite(array).all():
        raise ValueError("not finite")
    return array


class _Stateless(Transformer):
    """A transformer that learns nothing from the training split."""


class Numbers(_Stateless):
    """Reads columns as float64 values, missing cells as NaN, in files of earlier versions."""

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return an array of shape (n, columns)."""
        return np.column_stack([as_numbers(X[name]) for name in X.columns])


class Booleans(_Stateless):
    """Reads columns of booleans as 0 and 1; missing cells, absent from training, as 0."""

    def transform(self, X: pd.DataFrame) -> Singles:
        """Return an array of shape (n, columns)."""
        levels_of = [as_levels(X[name]) for name in X.columns]
        true = [np.isin(levels, ["True", "true", "1"])[codes] for codes, levels in levels_of]
        return np.column_stack(true).astype(np.float32)


class Levels(Transformer):
    """Numbers the levels of categorical columns; a missing cell is a level of its own.

    `sklearn.preprocessing.OneHotEncoder` takes text too, but counts it cell by cell, which on
    50,000 rows takes longer than all the rest. Files of earlier versions have it behind this.
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the levels of each column."""
        levels = (as_levels(X[name]) for name in X.columns)
        used = [{names[code] for code in np.unique(codes)} for codes, names in levels]
        self.levels_ = [np.array(sorted(names), dtype=object) for names in used]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.int64]:
        """Return the number of each level, -1 for one not learned, of shape (n, columns)."""
        return _level_numbers(X, self.levels_)


def _level_numbers(X: pd.DataFrame, levels_of: list[NDArray[Any]]) -> NDArray[np.int64]:
    columns = []
    for name, levels in zip(X.columns, levels_of, strict=True):
        codes, names = as_levels(X[name])
        columns.append(pd.Index(levels).get_indexer(pd.Index(names, dtype=object))[codes])
    return np.column_stack(columns)


class DateParts(Transformer):
    """Expands dates into elapsed days, year, month, day, weekday and hour, as far as a part varies
    in the training split.

    Elapsed days count from ``start_``, the earliest date of each column in days since 1970.
    """

    learned = MappingProxyType({"start_": (float, 1), "parts_": (int, 2)})

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn where each column starts and which parts of it vary."""
        dates = [as_dates(X[name]) for name in X.columns]
        self.start_ = [float(np.nanmin(_days(d), initial=np.inf)) for d in dates]
        self.start_ = [start if np.isfinite(start) else 0.0 for start in self.start_]
        expanded = [_parts(d, start) for d, start in zip(dates, self.start_, strict=True)]
        # Parts that take two values or more; the first one always.
        spans = [np.fmax.reduce(v[:, 1:]) - np.fmin.reduce(v[:, 1:]) for v in expanded]
        self.parts_ = [[0, *(np.flatnonzero(span > 0) + 1).tolist()] for span in spans]
        return self

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return an array of shape (n, kept parts of all columns), NaN for missing dates."""
        columns = zip(X.columns, self.start_, self.parts_, strict=True)
        parts = [_parts(as_dates(X[name]), start)[:, kept] for name, start, kept in columns]
        return np.column_stack(parts)


def _days(dates: pd.Series) -> Floats:
    days = (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)
    return np.asarray(days, dtype=np.float64)


def _parts(dates: pd.Series, start: float) -> Floats:
    when = dates.dt
    parts = (when.year, when.month, when.day, when.day_of_week, when.hour + when.minute / 60)
    rest = [part.to_numpy(dtype=np.float64) for part in parts]
    return np.column_stack([_days(dates) - start, *rest])


class MedianFill(Transformer):
    """Fills missing values by the training median, in model files of earlier versions."""

    median_: Floats

    def transform(self, X: Floats) -> Floats:
        """Return the columns without gaps."""
        return np.where(np.isnan(X), self.median_, X)


class Gaps(_Stateless):
    """Tells with 1 and 0 which cells of columns of numbers are missing."""

    def transform(self, X: pd.DataFrame) -> Singles:
        """Return an array of shape (n, columns)."""
        return np.column_stack([np.isnan(values) for values in _columns(X)]).astype(np.float32)


class SmoothClip(Transformer):
    """Centres by the median, scales by the quartiles, then clips smoothly to (-3, 3).

    The scale is ``1 / (q75 - q25)``; where the quartiles coincide ``2 / (max - min)``; 0 for a
    constant column. The clipped value is ``x / sqrt(1 + (x / 3)^2)``. Outliers keep their order
    but lose their leverage. Missing values become 0, the median. All statistics are those of the
    present values of the training split.

    Source: RealMLP, Holzmüller et al. 2024, arXiv 2407.04491.
    """

    learned = MappingProxyType({"median_": (float, 1), "scale_": (float, 1)})

    def fit(self, X: pd.DataFrame | Floats, y: object = None) -> Self:
        """Learn median and scale of each column."""
        rows, self.median_, self.scale_ = sample_rows(len(X)), *np.zeros((2, X.shape[1]))
        for k, values in enumerate(_columns(X)):
            ordered = _sorted(values, rows)
            lower, self.median_[k], upper = np.quantile(ordered, (0.25, 0.5, 0.75))
            width = upper - lower if upper > lower else (ordered[-1] - ordered[0]) / 2
            self.scale_[k] = 1.0 / width if width > SMALLEST else 0.0
        return self

    def transform(self, X: pd.DataFrame | Floats) -> Singles:
        """Return the scaled and clipped columns."""
        clipped = np.empty(X.shape, dtype=np.float32, order="F")
        for k, values in enumerate(_columns(X)):
            scaled = (_filled(values, self.median_[k]) - self.median_[k]) * self.scale_[k]
            # hypot, as the square of a large value would overflow.
            clipped[:, k] = scaled / np.hypot(1.0, scaled / CLIP_AT)
        return clipped


class Standard(Transformer):
    """Reads columns as numbers of zero mean and unit variance; missing cells as the median.

    As scikit-learn's `SimpleImputer` and `StandardScaler`, but column by column and into float32:
    a large table is never held in double precision.
    """

    learned = MappingProxyType({"median_": (float, 1), "mean_": (float, 1), "scale_": (float, 1)})

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn median, mean and standard deviation of each column."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: pd.DataFrame, y: object = None) -> Singles:
        """Learn, and return what `transform` would."""
        self.median_, self.mean_, self.scale_ = np.zeros((3, X.shape[1]))
        rows, scaled = sample_rows(len(X)), np.empty(X.shape, dtype=np.float32, order="F")
        for k, values in enumerate(_columns(X)):
            self.median_[k] = _median(_sorted(values, rows))
            filled = _filled(values, self.median_[k])
            self.mean_[k], deviation = np.mean(filled), np.std(filled)
            # As scikit-learn: what is left by rounding is no spread.
            least = len(X) * abs(self.mean_[k]) * np.finfo(np.float64).eps
            self.scale_[k] = deviation if deviation > max(least, SMALLEST) else 1.0
            scaled[:, k] = _single((filled - self.mean_[k]) / self.scale_[k])
        return scaled

    def transform(self, X: pd.DataFrame) -> Singles:
        """Return an array of shape (n, columns)."""
        scaled = np.empty(X.shape, dtype=np.float32, order="F")
        for k, values in enumerate(_columns(X)):
            filled = _filled(values, self.median_[k])
            scaled[:, k] = _single((filled - self.mean_[k]) / self.scale_[k])
        return scaled


class PiecewiseLinear(Transformer):
    """Encodes each column by how far it has come through each of its training quantile bins.

    A bin that lies below the value gives 1, one above it 0, and the value's own bin the fraction
    passed, each less its mean over the training rows. Values outside the training range are taken
    to its ends; missing ones to the median. Columns with few distinct values get fewer bins, those
    with two or fewer none, as their scaled column says it all.

    A cell is kept as its place: the number of its bin, plus the fraction passed. `encoders.Layout`
    makes the parts of it.

    Source: Gorishniy et al. 2022, arXiv 2203.05556, quantile bins.
    """

    learned = MappingProxyType({"edges_": (float, 2), "median_": (float, 1), "mean_": (float, 1)})

    def __init__(self, n_bins: int = N_BINS) -> None:
        self.n_bins = n_bins

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the bins of each column."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: pd.DataFrame, y: object = None) -> Singles:
        """Learn, and return what `transform` would."""
        # Ends that are values of the column: one of two values has no bins, whatever their shares.
        levels = tuple(np.linspace(0.0, 1.0, self.n_bins + 1))
        rows, places, means = sample_rows(len(X)), [], []
        self.edges_, self.median_ = [], np.zeros(X.shape[1])
        for k, values in enumerate(_columns(X)):
            ordered = _sorted(values, rows)
            edges = _apart(np.unique(ordered[_positions(len(ordered), levels)]))
            self.edges_.append(edges if len(edges) > 2 else edges[:1])
            self.median_[k] = _median(ordered)
            if len(edges) > 2:
                place = _places(_filled(values, self.median_[k]), edges)
                means.append(_mean_parts(place, len(edges) - 1))
                places.append(place.astype(np.float32))
        self.mean_ = np.concatenate([[], *means])
        return np.column_stack(places) if places else np.empty((len(X), 0), dtype=np.float32)

    def transform(self, X: pd.DataFrame | Floats) -> Singles:
        """Return the places of an array of shape (n, columns that have bins)."""
        kept = [k for k, edges in enumerate(self.edges_) if len(edges) > 2]
        places = np.empty((len(X), len(kept)), dtype=np.float32, order="F")
        for column, (k, values) in enumerate(zip(kept, _columns(X, kept), strict=True)):
            places[:, column] = _places(_filled(values, self.median_[k]), self.edges_[k])
        return places


class Categories(Transformer):
    """Numbers the outputs of categorical columns: one for each level, and one for all rare levels.

    Levels that fewer than ``min_rows`` training rows have are rare, and so are the rarest ones
    beyond ``max_outputs``, as in `sklearn.preprocessing.OneHotEncoder`.
    """

    learned = MappingProxyType({"levels_": (str, 2), "outputs_": (int, 2), "n_outputs_": (int, 1)})

    def __init__(self, max_outputs: int = 256, min_rows: int = 2) -> None:
        self.max_outputs, self.min_rows = max_outputs, min_rows

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the levels of each column, and the output of each level."""
        levels = Levels().fit(X)
        self.levels_, numbers = levels.levels_, levels.transform(X)
        outputs = [
            self._outputs(np.bincount(numbers[:, k], minlength=len(levels)))
            for k, levels in enumerate(self.levels_)
        ]
        # The last output is that of rare levels and of unknown ones; -1 where no level is rare.
        self.outputs_ = [np.append(codes, rare) for codes, rare, _ in outputs]
        self.n_outputs_ = [n_outputs for *_, n_outputs in outputs]
        return self

    def _outputs(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, int]:
        rare = counts < self.min_rows
        if len(counts) - rare.sum() + 1 > self.max_outputs:
            rare[np.argsort(counts, kind="stable")[: 1 - self.max_outputs]] = True
        n_frequent = int((~rare).sum())
        codes = np.where(rare, n_frequent, np.cumsum(~rare) - 1)
        return codes, n_frequent if rare.any() else -1, n_frequent + int(rare.any())

    def transform(self, X: pd.DataFrame) -> Singles:
        """Return the output of each cell within its column, -1 for none, of shape (n, columns)."""
        numbers = _level_numbers(X, self.levels_)
        codes = [outputs[column] for outputs, column in zip(self.outputs_, numbers.T, strict=True)]
        return np.column_stack(codes).astype(np.float32)


def sample_rows(n_rows: int) -> NDArray[np.int64] | None:
    """Return the rows whose quantiles are taken: all (None), or `SAMPLE_ROWS` drawn of more."""
    if n_rows <= SAMPLE_ROWS:
        return None
    return np.sort(np.random.default_rng(0).choice(n_rows, SAMPLE_ROWS, replace=False))


def _columns(X: pd.DataFrame | Floats, kept: Sequence[int] | None = None) -> Iterator[Floats]:
    """Yield columns as float64, missing cells as NaN: some by number, or all."""
    chosen = range(X.shape[1]) if kept is None else kept
    if isinstance(X, pd.DataFrame) and not _is_plain(X):
        yield from (as_numbers(X.iloc[:, k]) for k in chosen)
        return
    table = np.asarray(X)
    for k in chosen:
        values = table[:, k].astype(np.float64)
        if np.fmax.reduce(np.abs(values), initial=0.0) > LARGEST:
            values = as_numbers(pd.Series(values, name=getattr(X, "columns", range(k + 1))[k]))
        yield values


def _is_plain(X: pd.DataFrame) -> bool:
    """Whether all columns are of one of NumPy's types of floats: wide tables are read faster."""
    dtypes = list(X.dtypes.unique())
    return len(dtypes) == 1 and isinstance(dtypes[0], np.dtype) and dtypes[0].kind == "f"


def _filled(values: Floats, value: float) -> Floats:
    missing = np.isnan(values)
    return np.where(missing, value, values) if missing.any() else values


def _single(values: Floats) -> Floats:
    """Take numbers far outside the training range to what fits into float32."""
    return np.clip(values, -LARGEST, LARGEST)


def _sorted(values: Floats, rows: NDArray[np.int64] | None) -> Floats:
    """Return the present values of a column in order; 0 for a column without any."""
    ordered = np.sort(values if rows is None else values[rows])  # NaN come last
    present = ordered[: np.searchsorted(ordered, np.nan)]
    return present if len(present) else np.zeros(1)


@cache
def _positions(n_values: int, levels: tuple[float, ...]) -> NDArray[np.int64]:
    """Return where the quantiles of so many ordered values stand, by the inverted CDF."""
    found = np.quantile(np.arange(n_values), levels, method="inverted_cdf")
    return np.asarray(found, dtype=np.int64)


def _median(ordered: Floats) -> float:
    middle = len(ordered) // 2
    return float(np.mean(ordered[middle - 1 + len(ordered) % 2 : middle + 1]))


def _apart(edges: Floats) -> Floats:
    """Leave out edges so near to the one before that a step by their distance overflows."""
    return edges[np.diff(edges, prepend=-np.inf) > 1 / np.finfo(np.float64).max]


def _places(values: Floats, edges: Floats) -> Floats:
    return np.interp(values, edges, np.arange(len(edges), dtype=np.float64))


def _mean_parts(places: Floats, n_bins: int) -> Floats:
    """Return the mean of each bin's part over the rows."""
    bins = np.minimum(places.astype(np.int64), n_bins - 1)
    n_rows = np.bincount(bins, minlength=n_bins)
    passed = np.bincount(bins, weights=places - bins, minlength=n_bins)
    mean: Floats = (passed + len(places) - n_rows.cumsum()) / len(places)
    return mean
