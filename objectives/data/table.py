"""Whatever the user hands in, as checked train, validation and test splits."""

import hashlib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives._messages import by_number, listed, warn_caller
from objectives.data.columns import column_kind
from objectives.data.frames import check_memory, frame_from
from objectives.data.readers import read_table
from objectives.data.splits import Sealed, check_train, fold_rows, split_rows
from objectives.data.targets import Task, class_weights, doubts, read_target, rows_with_target

__all__ = ["DataWarning", "Split", "TabularData", "Task", "frame_from", "load_tabular"]

MIN_ROWS_FOR_IDENTIFIER = 20
IDENTIFIER_SHARE = 0.95
COPIED_SHARE = 0.005
COPY_ERRORS = 0.02
TEXT_LENGTH = 50
TEXT_SHARE = 0.2
# 31/12/2024, 31.12.2024, 2024/12/31 and the like; ISO dates have been read by now.
_DATE_LIKE = (
    r"\s*(?:\d{1,2}([./-])\d{1,2}\1\d{4}|\d{4}([./])\d{1,2}\2\d{1,2}|\d{1,2}/\d{1,2}/\d{2})"
    r"(?:[T ]\s*\d{1,2}:\d{2}.*)?\s*"
)
_IDENTIFIER_NAME = re.compile(
    r"(?i:(^|[_\s.-])(id|uuid|guid|index|row)$)|[a-z](Id|ID)$|(?i:^unnamed: \d+$)"
)


class DataWarning(UserWarning):
    """Something in the data looks wrong; the message names the column and the cure."""


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
    y: np.ndarray
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
    """A table in three splits, as `load_tabular` makes it; see `Sealed` for the other attributes.

    Attributes:
        target: name of the target column, if it has one.
        categorical: columns treated as categories.
        input_columns: feature columns as first given, those left out since included; an array
            given for prediction has one column for each of them.
        decimal_comma: columns that were read as numbers with a comma before their decimals.
    """

    target: str | None
    categorical: tuple[str, ...]
    input_columns: tuple[str, ...]
    decimal_comma: tuple[str, ...] = ()

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

        Each row validates in one fold, save that by time the earliest rows only train. With groups
        or time, ``seed`` has no effect.

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
    dataset: object,
    *,
    target: str | None = None,
    task: str | None = None,
    valid_size: float = 0.2,
    test_size: float = 0.2,
    groups: object = None,
    time: object = None,
    categorical: Sequence[str] | None = None,
    sample_weight: object = None,
    class_weight: str | Mapping[Any, float] | None = None,
    encoding: str | None = None,
    drop_missing_target: bool = False,
    rare_classes: str | None = None,
    seed: int = 0,
) -> TabularData:
    """Load a table, check it, and split it into train, validation and test rows.

    Columns that are empty or constant, texts and identifiers are left out of the features; a
    `DataWarning` names them. In a file only empty cells are missing, save that texts such as "NA",
    "?" and "unknown" are missing in a column whose other cells are numbers. Numbers may be written
    as "1,5", "1 234", "$1,000.00" or "12%" (which is 12); a `DataWarning` says how they were read.

    Args:
        dataset: ``(X, y)`` of arrays, tensors, lists, frames or sparse matrices; with ``target``, a
            frame (of pandas, Polars, PyArrow, Hugging Face, or a dict of columns), or the path or
            http(s) address of a file: CSV and the like, Excel, Parquet, Feather, JSON or ARFF, also
            compressed; a map-style torch Dataset of ``(x, y)``; or one of digits, breast_cancer,
            wine, iris, diabetes. The columns of an array are called x0, x1, ... A `TabularData`
            is returned as it is.
        target: name of the column to predict, in a table or file.
        task: "binary", "multiclass" or "regression"; by default inferred, see `infer_task`.
        valid_size: share of the rows for validation.
        test_size: share of the rows for the test; 0 keeps none for it.
        groups: a column, or a value for each row; rows of one group stay in one split. The column
            is no feature.
        time: a column, or a value for each row; the earliest rows train, the latest test. The
            column is no feature.
        categorical: columns to treat as categories besides text, such as few-valued integers.
        sample_weight: a column, or a weight for each row. The column is no feature.
        class_weight: "balanced" (inverse to the frequency in the training split), or a weight for
            each label; labels not named weigh 1.
        encoding: of a file of text, such as "cp1252"; by default UTF-8, or what its first bytes
            say.
        drop_missing_target: whether to leave out rows without a target.
        rare_classes: "drop" to leave out classes of fewer than 3 rows; None refuses them.
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
    table = read_table(
        dataset,
        target,
        groups=groups,
        time=time,
        sample_weight=sample_weight,
        categorical=categorical,
        encoding=encoding,
    )
    rows_left, notes = rows_with_target(
        table.y, task=task, drop_missing_target=drop_missing_target, rare_classes=rare_classes
    )
    table = table.take(rows_left)
    goal = read_target(table.y, name=table.target, task=task)
    notes = [*table.notes, *notes, *doubts(table.y, goal, name=table.target, task=task)]
    X, messages = check_features(
        table.X, goal.y, target=table.target, categorical=table.categorical
    )
    check_memory(X)
    rows = split_rows(
        goal.y,
        labels=goal.classes,
        valid_size=valid_size,
        test_size=test_size,
        groups=table.roles.groups,
        time=table.roles.time,
        seed=seed,
    )
    weight = table.roles.weights()
    if rows.kind in ("random", "stratified"):
        messages += _copied_rows(table.X, goal.y)
    messages += check_train(goal.y, goal.classes, rows, weight)
    for message in () if table.builtin else [*notes, *messages]:
        warn_caller(message, DataWarning)
    every = Split(X=X, y=goal.y, weight=weight, group=table.roles.group_codes())
    train, valid, test = (every.take(part) for part in rows[1:])
    return TabularData(
        name=table.name,
        task=goal.task,
        train=train,
        valid=valid,
        _test=test,
        classes=goal.classes,
        target=table.target,
        categorical=tuple(
            str(name)
            for name in X
            if name in table.categorical or column_kind(X[name]) == "category"
        ),
        input_columns=tuple(table.X.columns),
        fingerprint=content_fingerprint(
            {f"feature {name}": column for name, column in table.X.items()}
            | {"target": goal.y, "classes": goal.classes, **table.roles._asdict()}
        ),
        split=rows.record(valid_size=valid_size, test_size=test_size, seed=seed),
        class_weight=class_weights(class_weight, train.y, goal.classes),
        decimal_comma=table.decimal_comma,
    )


def content_fingerprint(parts: Mapping[str, Any]) -> str:
    """Return a SHA-256 of names, dtypes and values of columns, the same in every process.

    None stands for a part that is not there.
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


def check_features(
    X: pd.DataFrame, y: np.ndarray, *, target: str | None, categorical: Collection[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the features that cannot help, and say so, as of those that give the target away.

    Columns that the user asked for as categories are never taken for text or identifiers.

    Raises:
        ValueError: if a number is infinite, or no column is left.
    """
    infinite = [
        name
        for name, column in X.items()
        if types.is_float_dtype(column.dtype) and np.isinf(_floats(column)).any()
    ]
    if infinite:
        raise ValueError(
            f"dataset must hold finite values, got infinite ones in column {listed(infinite)}; "
            "replace them, as in df.replace([np.inf, -np.inf], np.nan)"
        )
    missing = X.isna()
    empty, gaps = set(X.columns[missing.all()]), set(X.columns[missing.any()])
    useless = {
        ("holds no value", "hold no value"): [str(name) for name in X if name in empty],
        # One value and gaps is not constant: whether the value is there may tell something.
        ("holds one value only", "hold one value only"): [
            str(name) for name, column in X.items() if name not in gaps and _is_constant(column)
        ],
        ("holds text or identifiers", "hold text or identifiers"): [
            str(name)
            for name, column in X.items()
            if len(X) >= MIN_ROWS_FOR_IDENTIFIER
            if name not in categorical and _is_identifier(column)
        ],
    }
    useful = X.drop(columns=[name for names in useless.values() for name in names])
    if useful.shape[1] == 0:
        raise ValueError(
            f"dataset must have a column that varies, got {listed(X.columns) or 'no feature'}; "
            "give at least one feature that differs between rows"
        )
    messages = [
        by_number(
            names,
            f"column {{}} {one} and is left out of the features; drop it, or make features from "
            "what it holds",
            f"columns {{}} {many} and are left out of the features; drop them, or make features "
            "from what they hold",
        )
        for (one, many), names in useless.items()
        if names
    ]
    messages += _date_messages(X)
    folded = None if target is None else target.casefold().strip()
    leaks = [
        str(name)
        for name, column in useful.items()
        if str(name).casefold().strip() == folded or (name not in gaps and _is_copy(column, y))
    ]
    if leaks:
        messages.append(
            by_number(
                leaks,
                "column {} gives the target away, by its name or by its values; drop it unless it "
                "is known before the target is",
                "columns {} give the target away, by their names or by their values; drop them "
                "unless they are known before the target is",
            )
        )
    return useful, messages


def _floats(column: pd.Series) -> NDArray[np.floating[Any]]:
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _is_constant(column: pd.Series) -> bool:
    # Ends that differ tell most columns at once.
    return bool(column.iloc[0] == column.iloc[-1]) and bool((column == column.iloc[0]).all())


def _date_messages(X: pd.DataFrame) -> list[str]:
    """Say which columns of text hold dates that are not read as dates."""
    dates = {str(name): first for name, c in X.items() if (first := _unread_date(c)) is not None}
    if not dates:
        return []
    name, first = next(iter(dates.items()))
    told = by_number(
        dates,
        f"column {{}} holds dates written as {first!r}, which count as text",
        f"columns {{}} hold dates, written as {first!r}, which count as text",
    )
    cure = f"read them first, as in df[{name!r}] = pd.to_datetime(df[{name!r}], dayfirst=True)"
    return [f"{told}; {cure}"]


def _unread_date(column: pd.Series) -> str | None:
    """Return the first cell of a column of text that looks like dates throughout."""
    if column_kind(column) != "category":
        return None
    cells = column.dropna().head(100).astype(str)
    return str(cells.iloc[0]) if len(cells) and cells.str.fullmatch(_DATE_LIKE).all() else None


def _is_identifier(column: pd.Series) -> bool:
    """Whether a column tells rows apart instead of describing them, or holds long texts.

    That is: categories of which at least 95% are distinct, texts of more than 50 characters on
    average that seldom repeat, and as distinct whole numbers under a name such as "id".
    """
    kind = column_kind(column)
    if kind == "number":
        if _IDENTIFIER_NAME.search(str(column.name)) is None:
            return False
        present = column.dropna()
        is_count = bool((present % 1 == 0).all())
        return is_count and present.nunique() >= IDENTIFIER_SHARE * len(present)
    present = column.dropna()
    if kind != "category" or len(present) < MIN_ROWS_FOR_IDENTIFIER:
        return False
    share = present.nunique() / len(present)
    long = share >= TEXT_SHARE and present.astype(str).str.len().mean() > TEXT_LENGTH
    return share >= IDENTIFIER_SHARE or bool(long)


def _is_copy(column: pd.Series, y: np.ndarray) -> bool:
    """Whether a column without gaps equals a regression target, or its values tell the classes.

    They do where there are no more of them than classes, and to say for each the class that it has
    most often is hardly ever wrong.
    """
    if y.dtype.kind == "f":
        return column_kind(column) == "number" and bool((column.to_numpy(np.float64) == y).all())
    counts = np.bincount(y)
    if _n_wrong(column.iloc[:100], y[:100], len(counts)) > 10:  # which tells most columns at once
        return False
    return _n_wrong(column, y, len(counts)) <= COPY_ERRORS * int(len(y) - counts.max())


def _n_wrong(column: pd.Series, y: np.ndarray, n_classes: int) -> float:
    """Count the rows of another class than most rows of their value in a column have; infinite if
    it has more values than there are classes.
    """
    values, levels = pd.factorize(column)
    if len(levels) > n_classes:
        return math.inf
    counts = np.bincount(values * n_classes + y, minlength=len(levels) * n_classes)
    return len(y) - int(counts.reshape(len(levels), n_classes).max(axis=1).sum())


def _copied_rows(X: pd.DataFrame, y: np.ndarray) -> list[str]:
    """Say how many rows repeat others, target included, where that can hardly be by chance: some
    column has another value in most rows.
    """
    n = len(X)
    telling = next((c for _, c in X.items() if c.head(10_000).nunique() > min(n, 10_000) / 2), None)
    if telling is None:
        return []
    suspects = np.flatnonzero(telling.duplicated(keep=False))
    rows = pd.concat([X.iloc[suspects].reset_index(drop=True), pd.Series(y[suspects])], axis=1)
    n_copies = int(rows.duplicated().sum())
    if n_copies <= COPIED_SHARE * n:
        return []
    are = "is a copy of another" if n_copies == 1 else "are copies of others"
    return [
        f"{n_copies} of {n} rows {are}, target included, and scores are too good where one "
        "trains and the other judges; drop them, as in df.drop_duplicates(), unless each was "
        "observed by itself"
    ]
