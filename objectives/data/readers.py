"""Reads whatever the user hands in into one table of features and one target column."""

import csv
import gzip
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from objectives._messages import choices, nearest
from objectives.data.columns import numbers_where_text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A dataset as read: features, target, and where they came from."""

    name: str
    X: pd.DataFrame
    y: Any
    target: str | None
    builtin: bool = False


def read_table(dataset: Any, target: str | None) -> Table:
    """Read ``dataset`` in any of the forms that `objectives.load_tabular` accepts.

    Raises:
        TypeError: if the form is not one of those.
        ValueError: if a file cannot be read, or ``target`` is missing or not a column.
    """
    if isinstance(dataset, pd.DataFrame):
        return _split_off(dataset, target, "table")
    if isinstance(dataset, str) and dataset in BUILTINS and not Path(dataset).exists():
        _no_target(target, f"the built-in dataset {dataset!r} has its own")
        return _builtin(dataset)
    if isinstance(dataset, (str, Path)):
        path = Path(dataset).expanduser()
        return _split_off(read_file(path), target, path.name)
    _no_target(target, "y is given beside X")
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        return _pair(*dataset, name="arrays")
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return _torch_dataset(dataset)
    raise TypeError(
        "dataset must be (X, y), a DataFrame, a path, a built-in name or a map-style Dataset, "
        f"got {type(dataset).__name__}; collect its rows into X and y first"
    )


def features_frame(X: Any) -> pd.DataFrame:
    """Turn features into a table with text column names and a fresh index.

    The columns of an array are called x0, x1, ...; whatever has more than two axes, such as
    images, is flattened to one row an example.

    Raises:
        ValueError: if ``X`` has one axis only, or rows of unequal length.
    """
    if isinstance(X, pd.DataFrame):
        return X.set_axis([str(name) for name in X.columns], axis=1).reset_index(drop=True)
    values = as_array(X, "X")
    if values.ndim < 2:
        raise ValueError(
            f"X must have one row for each example, got shape {values.shape}; "
            "reshape one feature with X.reshape(-1, 1), one example with X.reshape(1, -1)"
        )
    if values.ndim > 2:
        values = values.reshape(len(values), -1) if len(values) else values[:, :, 0]
    frame = pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])
    return numbers_where_text(frame) if values.dtype.kind in "OSU" else frame


def as_array(values: Any, argument: str) -> np.ndarray:
    """Turn tensors, Series and lists into an array on the CPU.

    Raises:
        ValueError: if rows differ in length.
    """
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        # NumPy has no bfloat16, and half precision would be kept for the sums of preprocessing.
        values = tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor
        return np.asarray(values.numpy())
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{argument} must have rows of one length, got rows that differ; pad or cut them"
        ) from error


def _no_target(target: str | None, why: str) -> None:
    if target is not None:
        raise ValueError(f"target must be left out, as {why}, got target={target!r}; remove it")


def _split_off(frame: pd.DataFrame, target: str | None, name: str) -> Table:
    names = [str(column) for column in frame.columns]
    doubled = sorted({column for column in names if names.count(column) > 1})
    if doubled:
        raise ValueError(
            f"dataset must have distinct column names, got {doubled[0]!r} more than once; "
            "rename or drop one"
        )
    if target is None:
        raise ValueError(
            f"target must name the column to predict, got target=None; {choices(names)}"
        )
    if str(target) not in names:
        raise ValueError(
            f"target must name a column of the dataset, got target={target!r}; "
            f"{nearest(str(target), names)}"
        )
    X = features_frame(frame)
    return Table(name=name, X=X.drop(columns=str(target)), y=X[str(target)], target=str(target))


def _pair(X: Any, y: Any, *, name: str) -> Table:
    frame = features_frame(X)
    if isinstance(y, pd.DataFrame):
        y = y.iloc[:, 0] if y.shape[1] == 1 else y.to_numpy()
    labels = y.reset_index(drop=True) if isinstance(y, pd.Series) else as_array(y, "y")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"y must hold one value for each row, got shape {labels.shape}; "
            "for one-hot classes give y.argmax(axis=1)"
        )
    if len(frame) != len(labels):
        raise ValueError(
            f"X and y must have the same length, got {len(frame)} rows and {len(labels)} labels; "
            "give one label for each row"
        )
    target = str(y.name) if isinstance(y, pd.Series) and y.name is not None else None
    return Table(name=name, X=frame, y=labels, target=target)


def _builtin(name: str) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    X = features_frame(bunch.data)
    return Table(name=name, X=X, y=bunch.target, target="target", builtin=True)


def _torch_dataset(dataset: Any) -> Table:
    tensors = getattr(dataset, "tensors", None)
    name = type(dataset).__name__
    if tensors is not None and len(tensors) == 2:
        return _pair(*tensors, name=name)
    items = [dataset[i] for i in range(len(dataset))]
    if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
        raise TypeError(
            f"dataset must give (x, y) for each index, got something else from {name}; "
            "wrap it so that dataset[i] is a pair"
        )
    rows = [as_array(x, "X") for x, _ in items]
    return _pair(np.stack(rows) if rows else [[]], [_plain(y) for _, y in items], name=name)


def _plain(label: Any) -> Any:
    return label.item() if hasattr(label, "item") else label


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
