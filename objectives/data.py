"""Whatever the user hands in, as checked train, validation and test splits."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from objectives.checks import DataWarning, check_finite, leak_warnings, leave_out_useless
from objectives.columns import column_kind, tidy_column
from objectives.messages import listed, nearest
from objectives.readers import features_frame, read_table
from objectives.roles import class_weights, sample_weights, take_roles
from objectives.splits import check_train, split_rows
from objectives.tabular import Split, TabularData, content_fingerprint
from objectives.targets import Task, read_target

__all__ = ["DataWarning", "Split", "TabularData", "Task", "frame_from", "load_tabular"]


def load_tabular(
    dataset: Any,
    *,
    target: str | None = None,
    task: str | None = None,
    valid_size: float = 0.2,
    test_size: float = 0.2,
    groups: Any = None,
    time: Any = None,
    categorical: Sequence[str] | None = None,
    sample_weight: Any = None,
    class_weight: str | Mapping[Any, float] | None = None,
    seed: int = 0,
) -> TabularData:
    """Load a table, check it, and split it into train, validation and test rows.

    Columns that are empty or constant, texts and identifiers are left out of the features; a
    `DataWarning` names them. In a CSV file only empty cells are missing, save that texts such as
    "NA" and "?" are missing in a column whose other cells are numbers.

    Args:
        dataset: ``(X, y)`` of arrays, tensors, lists or DataFrames; a DataFrame or the path of a
            CSV (also gzipped) or Parquet file, with ``target``; a map-style torch Dataset of
            ``(x, y)``; or one of digits, breast_cancer, wine, iris, diabetes. The columns of an
            array are called x0, x1, ... A `TabularData` is returned as it is.
        target: name of the column to predict, in a table or file.
        task: "binary", "multiclass" or "regression"; by default inferred, see `infer_task`.
        valid_size: share of the rows for validation.
        test_size: share of the rows for the test.
        groups: a column, or a value for each row; rows of one group stay in one split. The column
            is no feature.
        time: a column, or a value for each row; the earliest rows train, the latest test. The
            column is no feature.
        categorical: columns to treat as categories besides text, such as few-valued integers.
        sample_weight: a column, or a weight for each row. The column is no feature.
        class_weight: "balanced" (inverse to the frequency in the training split), or a weight for
            each label; labels not named weigh 1.
        seed: decides which row goes where.

    Returns:
        The splits, stratified by class where there are classes and neither groups nor time.

    Raises:
        ValueError: if the data cannot be used as given; names the column or argument and the cure.
        TypeError: if ``dataset`` or its cells have a type that a table cannot hold.

    Example:
        >>> load_tabular("iris")
        TabularData('iris': multiclass, 4 features, 90 train / 30 valid / 30 test rows)
    """
    if isinstance(dataset, TabularData):
        return dataset
    table = read_table(dataset, target)
    if not len(table.X):
        raise ValueError("dataset must have rows, got 0 rows; check the file or the filter")
    X, roles = take_roles(table.X, groups=groups, time=time, sample_weight=sample_weight)
    named = _categories(X, categorical)
    X = pd.DataFrame({c: X[c] if c in named else tidy_column(X[c]) for c in X})
    check_finite(X)
    found = read_target(table.y, name=table.target, task=task)
    kept, messages = leave_out_useless(X, keep=named)
    messages += leak_warnings(kept, found.y, table.target)
    rows = split_rows(
        found.y, labels=found.classes, valid_size=valid_size, test_size=test_size,
        groups=roles.groups, time=roles.time, seed=seed,
    )  # fmt: skip
    messages += check_train(found.y, found.classes, rows)
    for message in () if table.builtin else messages:
        warnings.warn(message, DataWarning, stacklevel=2)
    every = Split(X=kept, y=found.y, weight=sample_weights(roles.sample_weight))
    train, valid, test = (every.take(part) for part in rows[1:])
    features = {f"feature {name}": column for name, column in X.items()}
    return TabularData(
        name=table.name, task=found.task, train=train, valid=valid, _test=test,
        classes=found.classes, target=table.target,
        categorical=tuple(
            str(c) for c in kept if c in named or column_kind(kept[c]) == "category"
        ),
        input_columns=tuple(X.columns),
        fingerprint=content_fingerprint(
            features | {"target": found.y, "classes": found.classes} | asdict(roles)
        ),
        split={
            "kind": rows.kind, "valid_size": valid_size, "test_size": test_size, "seed": seed,
            "n_train": len(train), "n_valid": len(valid), "n_test": len(test),
        },
        class_weight=class_weights(class_weight, train.y, found.classes),
    )  # fmt: skip


def frame_from(
    X: Any, columns: Sequence[str], *, input_columns: Sequence[str] | None = None
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


def _categories(X: pd.DataFrame, categorical: Sequence[str] | None) -> frozenset[str]:
    if isinstance(categorical, str):
        raise TypeError(
            f"categorical must be a list of columns, got categorical={categorical!r}; "
            f"write categorical=[{categorical!r}]"
        )
    for name in categorical or ():
        if name not in X.columns:
            raise ValueError(
                f"categorical must name feature columns, got {name!r}; "
                f"{nearest(str(name), X.columns)}"
            )
    return frozenset(categorical or ())
