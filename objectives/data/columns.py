"""Columns of a table: what kind each one is, and how its cells become numbers, levels or dates.

Loading and prediction share these rules, so that a cell means the same thing in both.
"""

import warnings
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives.data.numbers import number_readings

ColumnKind = Literal["number", "boolean", "date", "category"]
Floats: TypeAlias = NDArray[np.float64]

MISSING_LEVEL = "<missing>"
"""The level that missing cells of a categorical column get."""

LARGEST = 1e30
"""Numbers beyond this, of either sign, count as this; their squares would overflow."""

_ISO_DATE = r"\s*\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?\s*"
_NUMBER_KINDS = frozenset({"integer", "floating", "decimal", "mixed-integer-float"})
_DATE_KINDS = frozenset({"datetime", "datetime64", "date"})


def column_kind(column: pd.Series) -> ColumnKind:
    """Say how a column is encoded, from its dtype alone.

    Example:
        >>> column_kind(pd.Series([1.5, None])), column_kind(pd.Series(["a", "b"]))
        ('number', 'category')
    """
    if types.is_bool_dtype(column.dtype):
        return "boolean"
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return "number"
    return "date" if types.is_datetime64_any_dtype(column.dtype) else "category"


def tidy_column(column: pd.Series) -> pd.Series:
    """Give a column the dtype that its cells have: numbers, booleans, dates, categories or text.

    Object columns are looked into, text that is ISO dates throughout ("2024-05-31", with or
    without a time) becomes dates, time spans become seconds. Text that looks like numbers stays
    text: whoever hands over "02139" as text means a code.

    Raises:
        TypeError: if cells are complex numbers, or lists, dicts or arrays.
    """
    if types.is_complex_dtype(column.dtype):
        raise TypeError(
            f"dataset must hold real numbers, got complex ones in column {column.name!r}; "
            "split it into real and imaginary part"
        )
    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype):
        return _tidy_objects(column)
    return column


def _tidy_objects(column: pd.Series) -> pd.Series:
    inferred = types.infer_dtype(column, skipna=True)
    if inferred == "boolean":
        return column.astype("boolean")
    if inferred in _NUMBER_KINDS:
        return pd.to_numeric(column.astype(float))
    if inferred in _DATE_KINDS:
        return pd.to_datetime(column)
    if inferred == "string":
        return _dates_or_text(column)
    nested = next((cell for cell in column if not isinstance(cell, Hashable)), None)
    if nested is not None:
        raise TypeError(
            f"dataset must hold one number, text or date in each cell, got a "
            f"{type(nested).__name__} in column {column.name!r}; spread it over columns of its own"
        )
    return column


def _dates_or_text(column: pd.Series) -> pd.Series:
    present = column.dropna()
    if present.empty or not present.iloc[:100].astype(str).str.fullmatch(_ISO_DATE).all():
        return column
    dates = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
    if (dates.isna() & column.notna()).any():
        return column
    return dates.dt.tz_localize(None)


def parse_numbers(column: pd.Series, *, decimal: str = ".") -> pd.Series | None:
    """Read a text column as numbers, markers such as "?" as missing; None if other text is there.

    Args:
        column: texts, or texts and numbers.
        decimal: the decimal mark where cells such as "1,234" could be read in two ways.

    Example:
        >>> parse_numbers(pd.Series(["1", "?", "2.5"])).tolist()
        [1.0, nan, 2.5]
        >>> parse_numbers(pd.Series(["1", "None", "red"])) is None
        True
    """
    readings = number_readings(column)
    return readings.get(decimal, next(iter(readings.values()), None))


def as_numbers(column: pd.Series) -> Floats:
    """Turn a column into float64 values up to `LARGEST`, missing cells into NaN.

    Raises:
        ValueError: if a cell is no number, or is infinite; names the column.
    """
    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    if not (types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)):
        numbers = None if column_kind(column) == "date" else parse_numbers(column)
        if numbers is None:
            raise ValueError(
                f"column {column.name!r} must hold numbers, as it did in training, got "
                f"{_first_text(column)!r}; convert its cells, or leave them empty"
            )
        column = numbers
    values: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        raise ValueError(
            f"column {column.name!r} must hold finite values, got infinite ones; "
            "replace them by NaN, which counts as missing"
        )
    return np.clip(values, -LARGEST, LARGEST)


def _first_text(column: pd.Series) -> str:
    wrong = [cell for cell in column.dropna().unique() if not number_readings(pd.Series([cell]))]
    return str(wrong[0] if wrong else column.iloc[0])


def as_levels(column: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Turn a column into level names, and the number of its name for each row.

    A level is the same whatever dtype carries it: 1, 1.0 and "1" are one level, as a gap in an
    integer column makes pandas hold it as floats.

    Returns:
        For each row the position of its level, and the levels; the last is `MISSING_LEVEL`, to
        which missing cells point by -1.

    Example:
        >>> codes, levels = as_levels(pd.Series([1.0, None, 2.0]))
        >>> [levels[code] for code in codes]
        ['1', '<missing>', '2']
    """
    codes, levels = pd.factorize(column)
    return codes, [*map(_level_name, levels), MISSING_LEVEL]


def _level_name(level: Any) -> str:
    if isinstance(level, (float, np.floating)) and float(level).is_integer():
        return str(int(level))
    return str(level)


def as_dates(column: pd.Series) -> pd.Series:
    """Turn a column into timestamps without a time zone (in UTC), missing cells into NaT.

    Raises:
        ValueError: if a cell is no date; names the column.
    """
    if types.is_numeric_dtype(column.dtype) and column.notna().any():
        raise ValueError(
            f"column {column.name!r} must hold dates, as it did in training, got "
            f"{column.dropna().iloc[0]}; convert it with pandas.to_datetime"
        )
    try:
        return to_dates(column)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"column {column.name!r} must hold dates, as it did in training, got "
            f"{column.dropna().iloc[0]!r}; convert it with pandas.to_datetime"
        ) from error


def to_dates(column: pd.Series) -> pd.Series:
    """Read a column as timestamps in UTC, without a time zone; pandas' own errors for other cells.

    The warning that pandas guesses the format of each cell is left out: it cannot be acted upon.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dates = pd.to_datetime(column.astype(object), utc=True)
    return dates.dt.tz_localize(None)
