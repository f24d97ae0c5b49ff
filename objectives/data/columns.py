"""Columns of a table: what kind each one is, and how its cells become numbers, levels or dates.

Loading and prediction share these rules, so that a cell means the same thing in both. Numbers are
read as people write them: "1,5", "1 234.50", "$1,000.00", "12%", "(3)", and "n/a".
"""

import contextlib
import math
import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives._messages import SHOWN

ColumnKind = Literal["number", "boolean", "date", "category"]
Floats: TypeAlias = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

MISSING_LEVEL = "<missing>"
"""The level that missing cells of a categorical column get."""

LARGEST = 1e30
"""Numbers beyond this, of either sign, count as this; their squares would overflow."""

_ISO_DATE = r"\s*\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?\s*"
_NUMBER_KINDS = frozenset({"integer", "floating", "decimal", "mixed-integer-float"})
_DATE_KINDS = frozenset({"datetime", "datetime64", "date"})

PLAIN_MARKERS = frozenset({"", "?", "-", "na", "n/a", "nan", "null", "none"})
"""Texts, in lower case, that mean "missing" among numbers and are passed over without a word."""

MISSING_MARKERS = PLAIN_MARKERS | {
    *("--", "---", ".", "..", "#n/a", "#na", "<na>", "n.a.", "nil", "missing", "unknown"),
    *("not available", "not applicable", "undefined", "#value!", "#div/0!", "#ref!", "#null!"),
}
"""Texts, in lower case, that mean "missing" in a column whose other cells are all numbers."""

_CURRENCY = r"(?:US|R|A|C|HK)?\$|[€£¥₹₩₽₺₫₱฿]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN)\b"
_GAP = "[ \u00a0\u2009\u202f'\u2019]"  # what may stand between groups of digits
_WRITTEN = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+]?)\s*(?P<before>{_CURRENCY})?\s*(?P<inner>[-+]?)"
    rf"(?P<digits>[.,]?\d(?:[\d.,]|{_GAP}(?=\d))*)(?P<exponent>[eE][-+]?\d+)?"
    rf"\s*(?P<after>%|{_CURRENCY})?(?P<close>\))?"
)
_GROUPED = rf"\d{{1,3}}(?:{_GAP}\d{{3}})+"
# By decimal mark: digits, or groups of them as in 1,234,567 and 12,34,567; then a fraction.
_GRAMMAR = {
    ".": re.compile(rf"(?:\d+|[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}|{_GROUPED})?(?:\.\d*)?"),
    ",": re.compile(rf"(?:\d+|[1-9]\d{{0,2}}(?:\.\d{{3}})+|{_GROUPED})?(?:,\d*)?"),
}


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
        return pd.Series(_floats(column), index=column.index, name=column.name)
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


def _floats(column: pd.Series) -> Floats:
    """Return the numbers of an object column, infinity for whole ones beyond float64."""
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:
        return np.array([math.nan if pd.isna(cell) else _float(cell) for cell in column])


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


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

    Example:
        >>> parse_numbers(pd.Series(["1", "?", "2.5"])).tolist()
        [1.0, nan, 2.5]
        >>> parse_numbers(pd.Series(["1", "None", "red"])) is None
        True
    """
    readings = number_readings(column)
    return readings.get(decimal, next(iter(readings.values()), None))


class ReadColumn(NamedTuple):
    """A text column that was read as numbers.

    Attributes:
        numbers: the cells, NaN for missing ones.
        decimal: the decimal mark, "." or ",".
        example: the first cell that is more than a plain number; None if there is none.
        marker: the first text beyond `PLAIN_MARKERS` that was read as missing; None likewise.
    """

    numbers: pd.Series
    decimal: str
    example: str | None
    marker: str | None


def number_readings(column: pd.Series) -> dict[str, pd.Series]:
    """Read a text column as numbers, by each decimal mark with which all cells are numbers.

    The one by "." comes first. There is none if a cell is neither number nor marker, or if
    currencies differ.

    Example:
        >>> readings = number_readings(pd.Series(["1,234"]))
        >>> {mark: numbers.tolist() for mark, numbers in readings.items()}
        {'.': [1234.0], ',': [1.234]}
    """
    try:
        codes, distinct = pd.factorize(column.astype(object))
    except TypeError:  # lists and the like
        return {}
    cells = [cell.strip() if isinstance(cell, str) else cell for cell in distinct]
    present = [k for k, cell in enumerate(cells) if not _is_marker(cell)]
    if any(
        isinstance(cells[k], bool) or not isinstance(cells[k], str | Real | Decimal)
        for k in present
    ):
        return {}
    plain = np.append(_plain_numbers(cells), np.nan)  # missing cells point to the last one
    odd = [k for k in present if np.isnan(plain[k])]
    readings = {}
    for mark, rows in ((".", odd), (",", present)):
        values = plain.copy()
        for row in rows:
            number = _number(cells[row], mark)
            if number is None:
                break
            values[row] = number
        else:
            readings[mark] = pd.Series(values[codes], index=column.index, name=column.name)
    units = {unit for k in odd for unit in re.findall(f"{_CURRENCY}|%", cells[k])}
    n_percent = sum("%" in cells[k] for k in odd)
    return readings if len(units) <= 1 and n_percent in (0, len(present)) else {}


def _plain_numbers(cells: Sequence[str | float]) -> Floats:
    # pandas takes no whole number beyond float64.
    within = [_float(cell) if isinstance(cell, int) else cell for cell in cells]
    numbers = pd.to_numeric(pd.Series(within, dtype=object), errors="coerce")
    return np.asarray(numbers, dtype=np.float64)


def _is_marker(cell: object) -> bool:
    return isinstance(cell, str) and cell.casefold() in MISSING_MARKERS


def _number(cell: str | float, mark: str) -> float | None:
    if not isinstance(cell, str):
        return _float(cell)
    parts = _WRITTEN.fullmatch(cell.replace("\u2212", "-"))
    if parts is None or not _GRAMMAR[mark].fullmatch(parts["digits"]):
        return None
    if bool(parts["open"]) != bool(parts["close"]) or (parts["sign"] and parts["inner"]):
        return None
    digits = re.sub(rf"[^\d{mark}]", "", parts["digits"]).replace(",", ".")
    value = float(digits + (parts["exponent"] or ""))
    return -value if parts["open"] or "-" in parts["sign"] + parts["inner"] else value


def read_numbers(
    columns: Mapping[Key, pd.Series], *, plain: bool, separator: str | None = None
) -> dict[Key, ReadColumn]:
    """Read the text columns of a table that hold numbers, and return those.

    A cell such as "1,234" is read by the decimal mark that the other cells of its column leave no
    choice about; failing that, by the one of the other columns; failing that, by ",", if the file
    has the ``separator`` ";" between its cells, else by ".". Texts such as "1" are numbers if
    ``plain``, as in a file. In a frame such a text was meant as one, and only cells such as "$1",
    or "1.5" beside "missing", tell otherwise.
    """
    texts = {key: column for key, column in columns.items() if column_is_text(column)}
    readings = {key: reading for key, c in texts.items() if (reading := number_readings(c))}
    decided = {
        next(iter(reading))
        for reading in readings.values()
        if len(reading) == 1 and _has_fractions(*reading.values())
    }
    if separator is not None and any(
        types.is_float_dtype(column.dtype) and _has_fractions(column) for column in columns.values()
    ):
        decided.add(".")
    read_columns = {}
    for key, reading in readings.items():
        usual = "." if len(decided) != 1 else next(iter(decided))
        if not decided and separator == ";" and texts[key].astype(str).str.contains(",").any():
            usual = ","
        decimal = usual if usual in reading else next(iter(reading))
        read = _described(texts[key], reading[decimal], decimal)
        if plain or read.example or (read.numbers.isna().any() and _has_fractions(read.numbers)):
            read_columns[key] = read
    return read_columns


def column_is_text(column: pd.Series) -> bool:
    """Whether a column has an object or text dtype."""
    return bool(types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype))


def _has_fractions(numbers: pd.Series) -> bool:
    return bool((numbers.dropna() % 1 != 0).any())


def _described(column: pd.Series, numbers: pd.Series, decimal: str) -> ReadColumn:
    cells = [cell.strip() for cell in column.dropna().unique() if isinstance(cell, str)]
    written = (
        cell
        for cell, value in zip(cells, _plain_numbers(cells), strict=True)
        if not _is_marker(cell) and (np.isnan(value) or (decimal == "," and "." in cell))
    )
    markers = (c for c in cells if _is_marker(c) and c.casefold() not in PLAIN_MARKERS)
    return ReadColumn(numbers, decimal, example=next(written, None), marker=next(markers, None))


def told(columns: Mapping[Key, ReadColumn]) -> list[str]:
    """Say which columns were read as numbers in a way that may surprise; once for the table."""
    notes = []
    for name, read in columns.items():
        example = "" if read.example is None else f' ("{read.example[:40]}")'
        marker = "" if read.marker is None else f', "{read.marker}" as missing'
        if example or marker:
            notes.append(f"{name}: read as numbers{example}{marker}")
    if not notes:
        return []
    rest = f" and {len(notes) - SHOWN} more" if len(notes) > SHOWN else ""
    return [", ".join(notes[:SHOWN]) + rest + "; name a column in categorical to keep its text"]


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

    The last name is `MISSING_LEVEL`, to which missing cells point by -1.

    Example:
        >>> codes, levels = as_levels(pd.Series([1.0, None, 2.0]))
        >>> [levels[code] for code in codes]
        ['1', '<missing>', '2']
    """
    codes, levels = pd.factorize(column)
    names = [
        str(int(level))
        if isinstance(level, float | np.floating) and float(level).is_integer()
        else str(level)
        for level in levels
    ]
    return codes, [*names, MISSING_LEVEL]


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
    cells = column.astype(object)
    if types.infer_dtype(cells, skipna=True) == "string":
        # By a guess from the first cell, ISO dates with and without a time would not do together.
        with contextlib.suppress(ValueError):  # other text is left to the guess
            return pd.to_datetime(cells, utc=True, format="ISO8601").dt.tz_localize(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dates = pd.to_datetime(cells, utc=True)
    return dates.dt.tz_localize(None)
