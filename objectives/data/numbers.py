"""Numbers as people write them: "1,5", "1 234.50", "$1,000.00", "12%", "(3)", and "n/a"."""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import TypeVar

import numpy as np
import pandas as pd
from pandas.api import types

from objectives._messages import SHOWN

Key = TypeVar("Key", bound=Hashable)

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


@dataclass(frozen=True, kw_only=True)
class ReadColumn:
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

    Returns:
        The numbers by decimal mark, "." first; none if a cell is neither number nor marker, or
        cells are of several currencies.

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
    if not all(isinstance(cells[k], str | Real | Decimal) for k in present):
        return {}
    if any(isinstance(cells[k], bool) for k in present):
        return {}
    written = pd.Series([cells[k] for k in present], dtype=object)
    plain = np.asarray(pd.to_numeric(written, errors="coerce"), dtype=np.float64)
    odd = np.flatnonzero(np.isnan(plain)).tolist()
    readings = {}
    for mark, start, rows in ((".", plain, odd), (",", None, range(len(present)))):
        values = np.full(len(cells) + 1, np.nan)  # the last one is what missing cells point to
        if start is not None:
            values[present] = start
        for row in rows:
            number = _number(written[row], mark)
            if number is None:
                break
            values[present[row]] = number
        else:
            readings[mark] = pd.Series(values[codes], index=column.index, name=column.name)
    return readings if _of_one_unit([written[row] for row in odd], len(present)) else {}


def _is_marker(cell: object) -> bool:
    return isinstance(cell, str) and cell.casefold() in MISSING_MARKERS


def _number(cell: object, mark: str) -> float | None:
    if not isinstance(cell, str):
        return float(cell)  # type: ignore[arg-type]
    parts = _WRITTEN.fullmatch(cell.replace("\u2212", "-"))
    if parts is None or not _GRAMMAR[mark].fullmatch(parts["digits"]):
        return None
    if bool(parts["open"]) != bool(parts["close"]) or (parts["sign"] and parts["inner"]):
        return None
    digits = re.sub(rf"[^\d{mark}]", "", parts["digits"]).replace(",", ".")
    value = float(digits + (parts["exponent"] or ""))
    return -value if parts["open"] or "-" in parts["sign"] + parts["inner"] else value


def _of_one_unit(formatted: list[str], n_numbers: int) -> bool:
    """Whether cells share their currency, and all are percentages or none is."""
    units = {unit for text in formatted for unit in re.findall(f"{_CURRENCY}|%", text)}
    n_percent = sum("%" in text for text in formatted)
    return len(units) <= 1 and n_percent in (0, n_numbers)


def read_numbers(
    columns: Mapping[Key, pd.Series], *, plain: bool, separator: str | None = None
) -> dict[Key, ReadColumn]:
    """Read the text columns of a table that hold numbers.

    A cell such as "1,234" is read by the decimal mark that the other cells of its column leave no
    choice about; failing that, by the one of the other columns; failing that, by ",", if the file
    has semicolons between its cells, else by ".".

    Args:
        columns: all columns of the table by any key.
        plain: whether texts such as "1" are numbers too, as in a file. In a frame such a text was
            meant as one, and only cells such as "$1", or "1.5" beside "missing", tell otherwise.
        separator: what separates the cells of the file that they come from; None for none.

    Returns:
        The columns read as numbers.
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
    found = {}
    for key, reading in readings.items():
        usual = "." if len(decided) != 1 else next(iter(decided))
        if not decided and separator == ";" and texts[key].astype(str).str.contains(",").any():
            usual = ","
        decimal = usual if usual in reading else next(iter(reading))
        read = _described(texts[key], reading[decimal], decimal)
        if plain or read.example or (read.numbers.isna().any() and _has_fractions(read.numbers)):
            found[key] = read
    return found


def column_is_text(column: pd.Series) -> bool:
    """Whether a column has an object or text dtype."""
    return bool(types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype))


def _has_fractions(numbers: pd.Series) -> bool:
    return bool((numbers.dropna() % 1 != 0).any())


def _described(column: pd.Series, numbers: pd.Series, decimal: str) -> ReadColumn:
    cells = [cell for cell in column.dropna().unique() if isinstance(cell, str)]
    plain = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    markers = (cell for cell in cells if _is_marker(cell.strip()))
    unusual = (cell for cell in markers if cell.strip().casefold() not in PLAIN_MARKERS)
    unusual = (cell for cell in markers if cell.strip().casefold() not in PLAIN_MARKERS)
    return ReadColumn(
        numbers=numbers,
        decimal=decimal,
        example=next(
            (
                cell
                for cell, value in zip(cells, plain, strict=True)
                if not _is_marker(cell.strip())
                and (np.isnan(value) or (decimal == "," and "." in cell))
            ),
            None,
        ),
        marker=next(unusual, None),
    )


def told(columns: Mapping[Key, ReadColumn]) -> list[str]:
    """Say which columns were read as numbers in a way that may surprise; once for the table."""
    notes = []
    for name, read in columns.items():
        example = "" if read.example is None else f' ("{read.example.strip()[:40]}")'
        marker = "" if read.marker is None else f', "{read.marker.strip()}" as missing'
        if example or marker:
            notes.append(f"{name}: read as numbers{example}{marker}")
    if not notes:
        return []
    rest = f" and {len(notes) - SHOWN} more" if len(notes) > SHOWN else ""
    return [", ".join(notes[:SHOWN]) + rest + "; name a column in categorical to keep its text"]
