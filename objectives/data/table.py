"""Whatever the user hands in, as checked train, validation and test splits."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from sklearn.utils.class_weight import compute_class_weight

from objectives._messages import listed, nearest
from objectives.data.checks import DataWarning, check_finite, leak_warnings, leave_out_useless
from objectives.data.columns import column_kind, tidy_column, to_dates
from objectives.data.readers import as_array, features_frame, read_table
from objectives.data.splits import Sealed, check_train, fold_rows, split_rows
from objectives.data.targets import Task, read_target

__all__ = ["DataWarning", "Split", "TabularData", "Task", "frame_from", "load_tabular"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Split:
    """The rows of one split.

    Attributes:
        X: raw features, one row an example, with a fresh index.
        y: class codes (int64), or values in their own units (float64).
        weight: a weight for each row (float64); None if all count the same.
        group: a group number for each row (int64), where rows of one group stay together.
    """

    X: pd.DataFrame
    y: NDArray[Any]
    weight: NDArray[np.float64] | None = None
    group: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Give the rows of these numbers as a split of their own."""
        return type(self)(
            X=self.X.iloc[rows].reset_index(drop=True),
            y=self.y[rows],
            weight=None if self.weight is None else self.weight[rows],
            group=None if self.group is None else self.group[rows],
        )

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, {self.X.shape[1]} features)"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TabularData(Sealed[Split]):
    """A table in three splits, as `load_tabular` makes it.

    The test split is not an attribute, so that a search does not meet it by accident: `open_test`
    gives it.

    Attributes:
        name: file name, built-in name or kind of what was given.
        task: "binary", "multiclass" or "regression".
        train: rows to fit on.
        valid: rows to choose by.
        classes: the labels as given, in the order of the class codes; None for regression.
        target: name of the target column, if it has one.
        categorical: columns treated as categories.
        input_columns: feature columns as first given, those left out since included; an array
            given for prediction has one column for each of them.
        fingerprint: SHA-256 of the content, the same in every process.
        split: how the rows were split, as plain JSON.
        class_weight: weight of each class code; None if all count the same.
    """

    name: str
    task: Task
    train: Split
    valid: Split
    _test: Split
    classes: NDArray[Any] | None
    target: str | None
    categorical: tuple[str, ...]
    input_columns: tuple[str, ...]
    fingerprint: str
    split: dict[str, Any]
    class_weight: dict[int, float] | None = None

    def train_and_valid(self) -> Split:
        """Give the rows of both splits as one: to refit a chosen configuration on, or for folds."""
        parts = (self.train, self.valid)
        weights = [part.weight for part in parts if part.weight is not None]
        groups = [part.group for part in parts if part.group is not None]
        return Split(
            X=pd.concat([self.train.X, self.valid.X], ignore_index=True),
            y=np.concatenate([self.train.y, self.valid.y]),
            weight=np.concatenate(weights) if weights else None,
            group=np.concatenate(groups) if groups else None,
        )

    def folds(self, n_folds: int, *, seed: int) -> list[tuple[Split, Split]]:
        """Divide the training and validation rows into folds, in the way they were split.

        Args:
            n_folds: how many; each row validates in one of them, save that by time the earliest
                rows only train.
            seed: decides which row goes where; without effect with groups or time.

        Returns:
            The training and the validation rows of each fold.

        Raises:
            ValueError: if rows, classes or groups are too few for so many folds.
        """
        both = self.train_and_valid()
        rows = fold_rows(
            both.y,
            kind=self.split["kind"],
            labels=self.classes,
            groups=both.group,
            n_folds=n_folds,
            seed=seed,
        )
        return [(both.take(train), both.take(valid)) for train, valid in rows]

    def __repr__(self) -> str:
        rows = f"{len(self.train)} train / {len(self.valid)} valid / {self.n_test} test rows"
        return f"TabularData({self.name!r}: {self.task}, {self.train.X.shape[1]} features, {rows})"


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
        found.y,
        labels=found.classes,
        valid_size=valid_size,
        test_size=test_size,
        groups=roles.groups,
        time=roles.time,
        seed=seed,
    )
    messages += check_train(found.y, found.classes, rows)
    for message in () if table.builtin else messages:
        warnings.warn(message, DataWarning, stacklevel=2)
    every = Split(
        X=kept,
        y=found.y,
        weight=sample_weights(roles.sample_weight),
        group=None if roles.groups is None else pd.factorize(roles.groups)[0],
    )
    train, valid, test = (every.take(part) for part in rows[1:])
    features = {f"feature {name}": column for name, column in X.items()}
    return TabularData(
        name=table.name,
        task=found.task,
        train=train,
        valid=valid,
        _test=test,
        classes=found.classes,
        target=table.target,
        categorical=tuple(str(c) for c in kept if c in named or column_kind(kept[c]) == "category"),
        input_columns=tuple(X.columns),
        fingerprint=content_fingerprint(
            features | {"target": found.y, "classes": found.classes} | asdict(roles)
        ),
        split={
            "kind": rows.kind,
            "valid_size": valid_size,
            "test_size": test_size,
            "seed": seed,
            "n_train": len(train),
            "n_valid": len(valid),
            "n_test": len(test),
        },
        class_weight=class_weights(class_weight, train.y, found.classes),
    )


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


@dataclass(frozen=True, kw_only=True)
class Roles:
    """One value for each row and role; None for a role that was not asked for."""

    groups: pd.Series | None
    time: pd.Series | None
    sample_weight: pd.Series | None


def take_roles(
    X: pd.DataFrame, *, groups: Any, time: Any, sample_weight: Any
) -> tuple[pd.DataFrame, Roles]:
    """Take the role columns out of the features.

    Args:
        X: the features.
        groups: a column name, a value for each row, or None.
        time: likewise.
        sample_weight: likewise.

    Returns:
        The features without the columns named, and the values of each role.

    Raises:
        ValueError: if a column does not exist, a length differs, or a cell is missing.
    """
    given = {"groups": groups, "time": time, "sample_weight": sample_weight}
    found = {role: _role(X, role, value) for role, value in given.items()}
    if found["time"] is not None:
        found["time"] = _in_order(found["time"])
    used = [value for value in given.values() if isinstance(value, str)]
    return X.drop(columns=list(dict.fromkeys(used))), Roles(**found)


def _role(X: pd.DataFrame, role: str, value: Any) -> pd.Series | None:
    if value is None:
        return None
    if isinstance(value, str) and value not in X.columns:
        raise ValueError(
            f"{role} must name a column of the dataset, got {role}={value!r}; "
            f"{nearest(value, X.columns)}"
        )
    is_series = isinstance(value, pd.Series)
    cells = X[value] if isinstance(value, str) else value if is_series else as_array(value, role)
    if cells.ndim != 1 or len(cells) != len(X):
        raise ValueError(
            f"{role} must hold one value for each row, got shape {cells.shape} for {len(X)} rows; "
            "give as many values as rows"
        )
    name = value if isinstance(value, str) else role
    column = pd.Series(cells, name=name).reset_index(drop=True)
    if column.isna().any():
        raise ValueError(
            f"{role} must have no missing cells, got {int(column.isna().sum())} in {name!r}; "
            "fill them or drop those rows"
        )
    return column


def _in_order(time: pd.Series) -> pd.Series:
    if types.is_numeric_dtype(time.dtype) or types.is_datetime64_any_dtype(time.dtype):
        return time
    try:
        return to_dates(time)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"time must hold dates or numbers, got {time.iloc[0]!r} in {time.name!r}; "
            "convert it with pandas.to_datetime"
        ) from error


def sample_weights(weight: pd.Series | None) -> NDArray[np.float64] | None:
    """Check row weights.

    Raises:
        ValueError: if a weight is no number, negative or infinite, or all are zero.
    """
    if weight is None:
        return None
    values: NDArray[np.float64] = pd.to_numeric(weight, errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise ValueError(
            "sample_weight must hold finite numbers of 0 or more, got "
            f"{weight[wrong].tolist()[0]!r} in row {int(wrong.argmax())}; correct or drop that row"
        )
    if not values.any():
        raise ValueError("sample_weight must not be 0 in every row, got 0 only; leave it out")
    return values


def class_weights(
    class_weight: str | Mapping[Any, float] | None,
    y_train: NDArray[Any],
    classes: NDArray[Any] | None,
) -> dict[int, float] | None:
    """Resolve class weights to one weight for each class code.

    Args:
        class_weight: "balanced", a weight for each label, or None.
        y_train: class codes of the training split.
        classes: the label of each code; None for regression.

    Returns:
        The weights; classes that are not named, or not in the training split, weigh 1.

    Raises:
        ValueError: if the task is regression, a label is unknown or a weight is not positive.
    """
    if class_weight is None:
        return None
    if classes is None:
        raise ValueError(
            f"class_weight must be left out for regression, got class_weight={class_weight!r}; "
            "use sample_weight"
        )
    if isinstance(class_weight, Mapping):
        return _by_label(class_weight, classes.tolist())
    if class_weight != "balanced":
        raise ValueError(
            "class_weight must be 'balanced' or a weight for each label, "
            f"got class_weight={class_weight!r}; {nearest(str(class_weight), ['balanced'])}"
        )
    seen = np.unique(y_train)
    weights = dict.fromkeys(range(len(classes)), 1.0)
    balanced = compute_class_weight("balanced", classes=seen, y=y_train)
    return weights | {int(code): float(w) for code, w in zip(seen, balanced, strict=True)}


def _by_label(weights: Mapping[Any, float], labels: list[Any]) -> dict[int, float]:
    for label, weight in weights.items():
        if label not in labels:
            raise ValueError(
                f"class_weight must name labels of the target, got {label!r}; "
                f"{nearest(str(label), map(str, labels))}"
            )
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(
                f"class_weight must hold positive numbers, got {weight} for {label!r}; "
                "drop the rows of a class that must not count"
            )
    return {code: float(weights.get(label, 1.0)) for code, label in enumerate(labels)}


def content_fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash the content of named columns: names, dtypes and values.

    Args:
        parts: Series or arrays by name; None stands for a part that is not there.

    Returns:
        A SHA-256 in hexadecimal, the same in every process.
    """
    digest = hashlib.sha256()
    for name, values in parts.items():
        if values is None:
            continue
        column = pd.Series(values)
        if column.dtype == object:
            # Cells of several types cannot be hashed as they are.
            column = column.astype(str)
        digest.update(f"{name}|{column.dtype}|{len(column)}|".encode())
        digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
    return digest.hexdigest()
