"""Frames, arrays, tensors and lists as one kind of table: a pandas DataFrame."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import narwhals as nw
import numpy as np
import pandas as pd

from objectives._messages import listed, nearest

MAX_DENSE_CELLS = 10**8
"""Sparse matrices of more cells than this (0.8 GB of float64) are not made dense."""

_NO_FRAMES = frozenset({"builtins", "numpy", "torch", "PIL", "torchvision"})


@runtime_checkable
class _Sparse(Protocol):
    """What the matrices and arrays of `scipy.sparse` have in common."""

    nnz: int
    shape: tuple[int, ...]

    def toarray(self) -> np.ndarray: ...


def is_frame(X: object) -> bool:
    """Whether `as_frame` knows ``X`` as a table with named columns."""
    if isinstance(X, pd.DataFrame | Mapping) or _is_hugging_face(X):
        return True
    if type(X).__module__.partition(".")[0] in _NO_FRAMES:
        return False
    return isinstance(nw.from_native(X, pass_through=True), nw.DataFrame | nw.LazyFrame)


def as_frame(X: object) -> pd.DataFrame | None:
    """Turn any table with named columns into a pandas DataFrame of NumPy's own dtypes.

    Frames of pandas, Polars, PyArrow and whatever else narwhals reads, Hugging Face datasets and
    dicts of columns are tables; None stands for anything else.

    Raises:
        ValueError: if ``X`` holds several tables, or columns of unequal length.
    """
    if not is_frame(X):
        return None
    if isinstance(X, Mapping):
        frame = _of_columns(X)
    elif isinstance(X, pd.DataFrame):
        frame = X
    else:
        with_format = getattr(X, "with_format", None)
        table = X if with_format is None else with_format("arrow")[:]
        frame = _collected(nw.from_native(table))
    if not any(isinstance(dtype, pd.SparseDtype | pd.ArrowDtype) for dtype in frame.dtypes):
        return frame
    return pd.concat([column_of_numpy(column) for _, column in frame.items()], axis=1)


def _is_hugging_face(X: object) -> bool:
    return hasattr(X, "with_format") and hasattr(X, "column_names")


def _of_columns(X: Mapping[object, object]) -> pd.DataFrame:
    parts = [name for name, value in X.items() if is_frame(value)]
    if parts:
        raise ValueError(
            f"dataset must be one table, got a dict of tables {listed(parts)}; "
            f"give one of them, as in dataset[{parts[0]!r}]"
        )
    try:
        return pd.DataFrame({name: as_column(cells) for name, cells in X.items()})
    except ValueError as error:
        raise ValueError(
            f"dataset must have columns of one length and one axis, got a dict of "
            f"{listed(X)}: {error}; give as many cells in each"
        ) from error


def _collected(frame: nw.DataFrame[Any] | nw.LazyFrame[Any]) -> pd.DataFrame:
    eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    try:
        return eager.to_pandas()
    except ImportError:  # Polars goes by way of PyArrow, which may be absent
        return pd.DataFrame(eager.to_dict(as_series=False))


def column_of_numpy(column: pd.Series) -> pd.Series:
    """Return a column of PyArrow's or sparse cells as one of NumPy's; others as they are."""
    if isinstance(column.dtype, pd.SparseDtype):
        dense: pd.Series = column.astype(column.dtype.subtype)
        return dense
    if isinstance(column.dtype, pd.ArrowDtype):
        cells = column.array.__arrow_array__().to_pandas(date_as_object=False)
        return pd.Series(cells.array, index=column.index, name=column.name)
    return column


def as_column(values: object) -> pd.Series | np.ndarray:
    """Turn one column or axis of values into a Series of pandas, if it is a Series, or an array."""
    frame = as_frame(values) if is_frame(values) else None
    if frame is not None:
        return frame.iloc[:, 0].reset_index(drop=True) if frame.shape[1] == 1 else frame.to_numpy()
    series = values.to_pandas() if hasattr(values, "to_pandas") else values
    if isinstance(series, pd.Series):
        return column_of_numpy(series).reset_index(drop=True)
    return as_array(series, "y")


def as_labels(y: object, n_rows: int, *, row: str = "row") -> pd.Series | np.ndarray:
    """Turn a target into one axis; raise ValueError unless it has one value for each row."""
    labels = as_column(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"y must hold one value for each {row}, got shape {labels.shape}; "
            "for one-hot classes give y.argmax(axis=1)"
        )
    if len(labels) != n_rows:
        raise ValueError(
            f"X and y must have the same length, got {n_rows} {row}s and {len(labels)} labels; "
            f"give one label for each {row}"
        )
    return labels


def features_frame(X: object) -> pd.DataFrame:
    """Turn features into a table with text column names and a fresh index.

    The columns of an array are called x0, x1, ...; whatever has more than two axes, such as
    images, is flattened to one row an example.

    Raises:
        ValueError: if ``X`` has one axis only, or rows of unequal length.
    """
    frame = as_frame(X)
    if frame is not None:
        return frame.set_axis([str(name) for name in frame.columns], axis=1).reset_index(drop=True)
    values = as_array(X, "X")
    if values.ndim < 2:
        raise ValueError(
            f"X must have one row for each example, got shape {values.shape}; "
            "reshape one feature with X.reshape(-1, 1), one example with X.reshape(1, -1)"
        )
    if values.ndim > 2:
        values = values.reshape(len(values), -1) if len(values) else values[:, :, 0]
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])


def frame_from(
    X: object, columns: Sequence[str], *, input_columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Turn features for prediction into a table with the columns of the training table.

    Columns of a frame are found by name, others being ignored; those of an array, tensor, list or
    sparse matrix by position in ``input_columns``, all feature columns as first given.

    Raises:
        ValueError: if a column is missing or there twice, or an array has more or fewer columns.

    Example:
        >>> frame_from([[1, 2, 3]], ["b", "c"], input_columns=["a", "b", "c"]).to_dict("list")
        {'b': [2], 'c': [3]}
    """
    frame = features_frame(X)
    if not is_frame(X):
        given = list(input_columns or columns)
        if frame.shape[1] != len(given):
            raise ValueError(
                f"X must have {len(given)} columns as in training, got {frame.shape[1]}; "
                f"the order is {listed(given)}"
            )
        frame = frame.set_axis(given, axis=1)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(
            f"X must have every column of the training table, got none named {listed(missing)}; "
            f"{nearest(missing[0], frame.columns)}"
        )
    chosen = frame[list(columns)]
    if chosen.shape[1] > len(columns):
        doubled = chosen.columns[chosen.columns.duplicated()][0]
        raise ValueError(
            f"X must have distinct column names, got {doubled!r} more than once; rename or drop one"
        )
    return chosen.copy()


def check_memory(X: pd.DataFrame) -> None:
    """Raise ValueError if memory is too small to train on this table, and say how much would do.

    Splits are a copy of the table, and encoding takes up to 16 bytes a cell on the way.
    """
    n_rows, n_columns = X.shape
    needed = int(X.memory_usage(index=False).sum()) + 16 * n_rows * n_columns
    free = free_memory()
    if needed > free:
        fitting = int(n_rows * free / needed)
        raise ValueError(
            f"dataset must fit into memory, got {n_rows:,} rows x {n_columns:,} columns, which "
            f"need {needed / 1e9:.1f} GB beside themselves where {free / 1e9:.1f} GB are free; "
            f"take some rows, as in df.sample({fitting}), or fewer columns"
        )


def free_memory() -> float:
    """Return how many bytes of memory are free, infinity where the system does not say.

    A container has no more than its limit; what it uses of that counts its file cache too, and so
    tells nothing.
    """
    free = math.inf
    try:
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
        free = int(found[1]) * 1024 if found else free
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # another system, or "max": no limit
        return free


def as_array(values: object, argument: str) -> np.ndarray:
    """Turn tensors, Series, sparse matrices and lists into an array on the CPU.

    Raises:
        ValueError: if rows differ in length, or a sparse matrix has more than `MAX_DENSE_CELLS`.
    """
    if isinstance(values, _Sparse):
        if math.prod(values.shape) > MAX_DENSE_CELLS:
            raise ValueError(
                f"{argument} must have at most {MAX_DENSE_CELLS} cells where it is sparse, got "
                f"shape {values.shape}; choose fewer columns, or reduce them with TruncatedSVD"
            )
        return np.asarray(values.toarray())
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        # NumPy has no bfloat16, and half precision would be kept for the sums of preprocessing.
        values = tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{argument} must have rows of one length, got rows that differ; pad or cut them"
        ) from error
