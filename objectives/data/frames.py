"""Frames, arrays, tensors and lists as one kind of table: a pandas DataFrame."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from objectives._messages import listed, nearest
from objectives.data.columns import numbers_where_text


def features_frame(X: object) -> pd.DataFrame:
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


def frame_from(
    X: object, columns: Sequence[str], *, input_columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Turn features for prediction into a table with the columns of the training table.

    Args:
        X: a DataFrame, whose columns are found by name (others are ignored), or an array, tensor
            or list with one row for each example, whose columns are found by position.
        columns: the features a model was trained on, in order.
        input_columns: all feature columns as first given, where some were left out of training.

    Returns:
        A table with exactly ``columns``, with a fresh index.

    Raises:
        ValueError: if a column is missing, or an array has another number of columns.

    Example:
        >>> frame_from([[1, 2, 3]], ["b", "c"], input_columns=["a", "b", "c"]).to_dict("list")
        {'b': [2], 'c': [3]}
    """
    frame = features_frame(X)
    if not isinstance(X, pd.DataFrame):
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
    return frame[list(columns)].copy()


def as_array(values: object, argument: str) -> np.ndarray:
    """Turn tensors, Series and lists into an array on the CPU.

    Raises:
        ValueError: if rows differ in length.
    """
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
