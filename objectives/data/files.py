"""Table files: CSV and Parquet, told apart by their suffix."""

import csv
import gzip
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd

from objectives._messages import nearest
from objectives.data.columns import numbers_where_text

BUILTINS = ("digits", "breast_cancer", "wine", "iris", "diabetes")
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")


def read_file(path: Path) -> pd.DataFrame:
    """Read a table from a file, by its suffix.

    Raises:
        ValueError: if the file is not there, of another kind, or unreadable; names the path.
    """
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), None)
    if suffix is None and not path.exists():
        raise ValueError(
            f"dataset must be a file or one of {', '.join(BUILTINS)}, got dataset='{path}'; "
            f"{nearest(str(path), BUILTINS)}"
        )
    if not path.is_file():
        raise ValueError(
            f"dataset must be a file that exists, got dataset='{path}'; check the path"
        )
    if suffix is None:
        raise ValueError(
            f"dataset must end in {', '.join(SUFFIXES)}, got dataset='{path}'; "
            "read it with pandas and give the DataFrame"
        )
    read: Callable[[Path], pd.DataFrame] = _parquet if suffix in (".parquet", ".pq") else _csv
    try:
        return read(path)
    except ImportError as error:
        raise ValueError(
            f"dataset must be readable here, got dataset='{path}' without pyarrow; "
            "pip install 'fusetune[parquet]'"
        ) from error
    except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too soon"
        raise ValueError(
            f"dataset must be a readable UTF-8 table, got dataset='{path}': {reason}; "
            "open it in an editor, or read it with pandas and give the DataFrame"
        ) from error


def _parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _csv(path: Path) -> pd.DataFrame:
    """Read a CSV file; only empty cells are missing.

    Texts such as "NA" or "None" are levels in their own right in a column of text ("no garage"),
    and missing values in a column whose other cells are numbers.
    """
    compressed: Literal["gzip"] | None = "gzip" if path.name.lower().endswith(".gz") else None
    opener = gzip.open if compressed else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        first = file.readline()
    separator = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    if len(set(header)) < len(header):
        # pandas would rename the second one without a word.
        doubled = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"column {doubled!r} occurs more than once in its first line")
    with warnings.catch_warnings():
        # A row longer than the header would otherwise lose its last cells.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                path,
                sep=separator,
                compression=compressed,
                encoding="utf-8-sig",
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
                index_col=False,
            )
        except pd.errors.ParserWarning as error:
            raise ValueError("its rows have more cells than its first line") from error
    return numbers_where_text(frame)
