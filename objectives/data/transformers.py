"""The column transformers that scikit-learn lacks: small, and with plain attributes only."""

from typing import Literal, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from objectives.data.columns import as_dates, as_levels, as_numbers

Floats: TypeAlias = NDArray[np.float64]

Method = Literal["linear", "inverted_cdf"]
DATE_PARTS = ("elapsed_days", "year", "month", "day", "weekday", "hour")
CLIP_AT = 3.0  # RealMLP's smooth clipping saturates at +-3 (arXiv 2407.04491, section 3)
N_BINS = 32
SMALLEST = 1e-200  # columns of closer quantiles count as constant: 1 / it would overflow


class _Transformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The scikit-learn base, which carries no annotations."""


class _Stateless(_Transformer):
    """A transformer that learns nothing from the training split."""

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Mark the transformer as fitted."""
        self.n_features_in_ = X.shape[1]
        return self


class Numbers(_Stateless):
    """Reads columns as float64 values, missing cells as NaN."""

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return an array of shape (n, columns)."""
        return np.column_stack([as_numbers(X[name]) for name in X.columns])


class Booleans(_Stateless):
    """Reads columns of booleans as 0 and 1; missing cells, absent from training, as 0."""

    def transform(self, X: pd.DataFrame) -> Floats:
        """Return an array of shape (n, columns)."""
        levels_of = [as_levels(X[name]) for name in X.columns]
        true = [np.isin(levels, ["True", "true", "1"])[codes] for codes, levels in levels_of]
        return np.column_stack(true).astype(np.float64)


class Levels(_Transformer):
    """Numbers the levels of categorical columns; a missing cell is a level of its own.

    `sklearn.preprocessing.OneHotEncoder` takes text too, but counts it cell by cell, which on
    50,000 rows takes longer than all the rest.
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the levels of each column."""
        levels = (as_levels(X[name]) for name in X.columns)
        used = [{names[code] for code in np.unique(codes)} for codes, names in levels]
        # As arrays, which skops saves in one piece: a list is saved text by text.
        self.levels_ = [np.array(sorted(names), dtype=np.str_) for names in used]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.int64]:
        """Return the number of each level, -1 for one not learned, of shape (n, columns)."""
        columns = []
        for name, levels in zip(X.columns, self.levels_, strict=True):
            codes, names = as_levels(X[name])
            columns.append(pd.Index(levels).get_indexer(pd.Index(names, dtype=object))[codes])
        return np.column_stack(columns)


class DateParts(_Transformer):
    """Expands dates into `DATE_PARTS`, as far as a part varies in the training split.

    Elapsed days count from ``start_``, the earliest date of each column in days since 1970.
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn where each column starts and which parts of it vary."""
        dates = [as_dates(X[name]) for name in X.columns]
        self.start_ = [float(np.nanmin(_days(d), initial=np.inf)) for d in dates]
        self.start_ = [start if np.isfinite(start) else 0.0 for start in self.start_]
        expanded = [_parts(d, start) for d, start in zip(dates, self.start_, strict=True)]
        # Parts that take two values or more; the first one always.
        ends = [_column_quantiles(values[:, 1:], (0.0, 1.0)) for values in expanded]
        self.parts_ = [[0, *(np.flatnonzero(high > low) + 1).tolist()] for low, high in ends]
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


def _column_quantiles(
    values: Floats, levels: tuple[float, ...], method: Method = "linear"
) -> Floats:
    """Quantiles over the present values of each column, 0 for a column without any."""
    empty = np.isnan(values).all(axis=0)
    filled = np.where(empty, 0.0, values)
    quantile = np.nanquantile if np.isnan(filled).any() else np.quantile
    return np.asarray(quantile(filled, levels, axis=0, method=method))


class MedianFill(_Transformer):
    """Fills missing values by the training median, 0 for a column without any value.

    What `sklearn.impute.SimpleImputer` does, less its stored dtype, which `skops` does not trust.
    """

    def fit(self, X: Floats, y: object = None) -> Self:
        """Learn the median of each column."""
        self.median_ = _column_quantiles(X, (0.5,))[0]
        return self

    def transform(self, X: Floats) -> Floats:
        """Return the columns without gaps."""
        return np.where(np.isnan(X), self.median_, X)


class SmoothClip(_Transformer):
    """Centres by the median, scales by the quartiles, then clips smoothly to (-3, 3).

    The scale is ``1 / (q75 - q25)``; where the quartiles coincide ``2 / (max - min)``; 0 for a
    constant column. The clipped value is ``x / sqrt(1 + (x / 3)^2)``. Outliers keep their order
    but lose their leverage. Missing values become 0, the median. All statistics are those of the
    present values of the training split.

    Source: RealMLP, Holzmüller et al. 2024, arXiv 2407.04491.
    """

    def fit(self, X: Floats, y: object = None) -> Self:
        """Learn median and scale of each column."""
        low, lower, self.median_, upper, high = _column_quantiles(X, (0.0, 0.25, 0.5, 0.75, 1.0))
        width = np.where(upper > lower, upper - lower, (high - low) / 2)
        self.scale_ = np.divide(1.0, width, out=np.zeros_like(width), where=width > SMALLEST)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return the scaled and clipped columns."""
        scaled = (X - self.median_) * self.scale_
        # hypot, as the square of a large value would overflow.
        clipped = scaled / np.hypot(1.0, scaled / CLIP_AT)
        return np.where(np.isnan(X), 0.0, clipped)


class PiecewiseLinear(_Transformer):
    """Encodes each column by how far it has come through each of its training quantile bins.

    A bin that lies below the value gives 1, one above it 0, and the value's own bin the fraction
    passed, each less its mean over the training rows. Values outside the training range are taken
    to its ends; missing ones to the median. Columns with few distinct values get fewer bins, those
    with two or fewer none, as their scaled column says it all.

    Source: Gorishniy et al. 2022, arXiv 2203.05556, quantile bins.
    """

    def __init__(self, n_bins: int = N_BINS) -> None:
        self.n_bins = n_bins

    def fit(self, X: Floats, y: object = None) -> Self:
        """Learn the bins of each column."""
        # Ends that are values of the column: one of two values has no bins, whatever their shares.
        levels = tuple(np.linspace(0.0, 1.0, self.n_bins + 1))
        quantiles = _column_quantiles(X, levels, method="inverted_cdf")
        edges = [np.unique(column) for column in quantiles.T]
        self.edges_ = [column if len(column) > 2 else column[:1] for column in edges]
        self.median_ = _column_quantiles(X, (0.5,))[0]
        self.mean_ = self._progress(X).mean(axis=0)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return an array of shape (n, bins of all columns)."""
        centred: Floats = self._progress(X) - self.mean_
        return centred

    def _progress(self, X: Floats) -> Floats:
        filled = np.where(np.isnan(X), self.median_, X)
        passed = [
            (values[:, None] - edges[:-1]) / np.diff(edges)
            for values, edges in zip(filled.T, self.edges_, strict=True)
        ]
        progress: Floats = np.clip(np.column_stack(passed), 0.0, 1.0)
        return progress
