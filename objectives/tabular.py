"""A table in three splits, the last of them out of reach of a search."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from objectives.folds import fold_rows
from objectives.sealed import Sealed
from objectives.targets import Task


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
            both.y, kind=self.split["kind"], labels=self.classes, groups=both.group,
            n_folds=n_folds, seed=seed,
        )  # fmt: skip
        return [(both.take(train), both.take(valid)) for train, valid in rows]

    def __repr__(self) -> str:
        rows = f"{len(self.train)} train / {len(self.valid)} valid / {self.n_test} test rows"
        return f"TabularData({self.name!r}: {self.task}, {self.train.X.shape[1]} features, {rows})"


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
