"""Encoders that turn a table's columns into the numbers a network takes.

They are fitted on the training split alone. The pieces are scikit-learn transformers with plain
attributes, so that `skops` saves and loads a fitted encoder without pickle.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from objectives.data import transformers
from objectives.data.columns import LARGEST, column_is_text, column_kind, parse_numbers
from objectives.data.transformers import (
    Booleans,
    DateParts,
    Levels,
    MedianFill,
    Numbers,
    PiecewiseLinear,
    SmoothClip,
)

NumericMode = Literal["standard", "smooth_clip", "piecewise"]
Numeric = TypeVar("Numeric", bound=Any)

MAX_LEVELS = 256
"""Outputs of one categorical column at most; its rarest levels share one output beyond that."""

MIN_LEVEL_ROWS = 2
"""Levels that fewer training rows have share the output of rare levels."""

# Model files of the first versions name the transformers so, and skops imports them by their names.
_FORMER_NAME = "objectives.transformers"
sys.modules[_FORMER_NAME] = transformers

TRUSTED_TYPES = tuple(
    f"{module}.{part.__qualname__}"
    for module in (transformers.__name__, _FORMER_NAME)
    for part in (Booleans, DateParts, Levels, MedianFill, Numbers, PiecewiseLinear, SmoothClip)
)
"""The types that `skops.io.load` must be told to trust, `TabularEncoder` aside."""


@dataclass(frozen=True, kw_only=True)
class TabularEncoder:
    """Turns tables with the columns it was fitted on into float32 matrices.

    The outputs come in this order: numbers, date parts, piecewise-linear parts (mode "piecewise"
    only), missing-value indicators, booleans as 0/1, and one output for each level of each
    categorical column. A level not seen in training goes where rare levels went, and gets zeros
    where there were none. Missing numbers become the training median.

    Attributes:
        columns: features used, in the order of the training table.
        numeric: how numbers are scaled, see `fit`.
        n_outputs: width of the matrix.
        n_numeric: how many leading outputs are scaled numbers and date parts.
        transformer: the fitted scikit-learn transformer inside.
        decimal_comma: columns of numbers where a text such as "1,234" is little more than one.
    """

    columns: tuple[str, ...]
    numeric: str
    n_outputs: int
    n_numeric: int
    transformer: ColumnTransformer
    decimal_comma: Sequence[str] = ()

    @classmethod
    def fit(
        cls,
        X: pd.DataFrame,
        *,
        categorical: Sequence[str] = (),
        numeric: str = "smooth_clip",
        decimal_comma: Sequence[str] = (),
    ) -> Self:
        """Fit an encoder on the features of the training split.

        Args:
            X: features, one row an example.
            categorical: columns encoded as categories besides text and pandas categories.
            numeric: "standard" (median imputation, zero mean, unit variance), "smooth_clip"
                (median-centred, quantile-scaled, softly clipped to (-3, 3); see `SmoothClip`) or
                "piecewise" (as "standard", and the encoding of `PiecewiseLinear` beside it).
            decimal_comma: columns whose texts, in tables to come, have a comma before decimals.

        Raises:
            ValueError: if ``numeric`` is none of the three, or there is no row or no column.

        Example:
            >>> X = pd.DataFrame({"age": [20.0, 20.0, 60.0, 60.0], "sex": list("mfmf")})
            >>> encoder = TabularEncoder.fit(X, numeric="standard")
            >>> encoder.transform(X[:2]).tolist()
            [[-1.0, 0.0, 1.0], [-1.0, 1.0, 0.0]]
        """
        if numeric not in get_args(NumericMode):
            choices = ", ".join(get_args(NumericMode))
            raise ValueError(f"numeric must be one of {choices}, got numeric={numeric!r}")
        if X.empty:
            raise ValueError(f"X must have rows and columns, got shape {X.shape}; fit on more data")
        transformer = _transformer(X, _by_kind(X, categorical), numeric)
        encoded = transformer.fit_transform(X)
        slices = transformer.output_indices_
        return cls(
            columns=tuple(map(str, X.columns)),
            numeric=numeric,
            n_outputs=encoded.shape[1],
            n_numeric=sum(s.stop - s.start for k, s in slices.items() if k in ("numbers", "dates")),
            transformer=transformer,
            decimal_comma=[name for name in X.columns if name in decimal_comma],
        )

    def transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Encode a table with the columns of training, in any order, as finite (n, n_outputs).

        Raises:
            ValueError: if a column is missing, or holds infinite values, text where training had
                numbers, or no dates where training had dates; names the column.
        """
        missing = [name for name in self.columns if name not in X.columns]
        if missing:
            raise ValueError(
                f"X must have every column of the training table, got none named {missing[0]!r}; "
                "add it, with empty cells if it is not known"
            )
        if not len(X):
            return np.empty((0, self.n_outputs), dtype=np.float32)
        X = X[list(self.columns)]
        for name in self.decimal_comma:
            numbers = parse_numbers(X[name], decimal=",") if column_is_text(X[name]) else None
            if numbers is not None:
                X = X.assign(**{name: numbers})
        encoded = self.transformer.transform(X)
        # A number far outside the training range may not fit into float32.
        return np.ascontiguousarray(np.clip(encoded, -LARGEST, LARGEST), dtype=np.float32)


def _by_kind(X: pd.DataFrame, categorical: Sequence[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {"number": [], "boolean": [], "date": [], "category": []}
    for name in X.columns:
        kind = "category" if name in categorical else column_kind(X[name])
        if kind == "boolean" and X[name].isna().any():
            # Yes, no and unknown are three levels.
            kind = "category"
        kinds[kind].append(name)
    return kinds


def _transformer(X: pd.DataFrame, kinds: dict[str, list[str]], numeric: str) -> ColumnTransformer:
    gaps = [name for name in kinds["number"] if X[name].isna().any()]
    binned = kinds["number"] if numeric == "piecewise" else []
    flag = MissingIndicator(features="all")
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MAX_LEVELS,
        min_frequency=MIN_LEVEL_ROWS,
        sparse_output=False,
        dtype=np.float32,
    )
    parts = [
        ("numbers", Pipeline([("read", Numbers()), *_scaling(numeric)]), kinds["number"]),
        ("dates", Pipeline([("read", DateParts()), *_scaling(numeric)]), kinds["date"]),
        ("piecewise", Pipeline([("read", Numbers()), ("bins", PiecewiseLinear())]), binned),
        ("missing", Pipeline([("read", Numbers()), ("flag", flag)]), gaps),
        ("booleans", Booleans(), kinds["boolean"]),
        ("categories", Pipeline([("read", Levels()), ("one_hot", one_hot)]), kinds["category"]),
    ]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0)


def _scaling(numeric: str) -> list[tuple[str, object]]:
    if numeric == "smooth_clip":
        return [("scale", SmoothClip())]
    return [("impute", MedianFill()), ("scale", StandardScaler())]


@dataclass(frozen=True)
class TargetScaler:
    """Centres and scales a regression target, and takes predictions back to its units.

    Predictions are kept between ``low`` and ``high``; None is no bound.

    Example:
        >>> scaler = TargetScaler.fit(np.array([10.0, 20.0, 30.0]))
        >>> scaler.mean, float(scaler.inverse(scaler.transform(np.array([25.0])))[0])
        (20.0, 25.0)
    """

    mean: float
    scale: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def fit(cls, y: NDArray[np.float64], *, clamp: bool = False) -> Self:
        """Take mean and standard deviation of ``y``; a constant ``y`` is left unscaled.

        With ``clamp``, predictions stay within the range of ``y``, as in RealMLP (Holzmüller et
        al. 2024): a network extrapolates wildly where a row is unlike all others.
        """
        low, high = (float(np.min(y)), float(np.max(y))) if clamp else (None, None)
        return cls(mean=float(np.mean(y)), scale=float(np.std(y)) or 1.0, low=low, high=high)

    def transform(self, y: Numeric) -> Numeric:
        """Return ``y`` (array or tensor) without units."""
        scaled: Numeric = (y - self.mean) / self.scale
        return scaled

    def inverse(self, y: Numeric) -> Numeric:
        """Return standardised values (array or tensor) in the units of the target."""
        values: Numeric = y * self.scale + self.mean
        if self.low is not None:
            values = values.clip(self.low, self.high)
        return values
