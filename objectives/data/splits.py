"""Which rows train, which choose (valid) and which are kept for the end (test)."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from objectives._messages import listed
from objectives.data.targets import Task

Rows = NDArray[np.int64]

MIN_SPLIT_ROWS = 2
"""Fewer rows than this in a split leave most metrics without meaning."""


class SplitRows(NamedTuple):
    """The row numbers of each split, and how they were chosen."""

    kind: str
    train: Rows
    valid: Rows
    test: Rows

    def record(self, **sizes: float) -> dict[str, Any]:
        """Return how the rows were split, as plain JSON, with the sizes and seed asked for."""
        counts = {f"n_{name}": len(getattr(self, name)) for name in ("train", "valid", "test")}
        return {"kind": self.kind, **sizes, **counts}


def split_rows(
    y: np.ndarray,
    *,
    labels: np.ndarray | None,
    valid_size: float,
    test_size: float,
    groups: pd.Series | None = None,
    time: pd.Series | None = None,
    seed: int = 0,
) -> SplitRows:
    """Choose the rows of the train, validation and test splits, as `load_tabular` describes them.

    They are stratified by class where there are ``labels`` of class codes ``y``, and neither groups
    nor time. With groups, sizes are shares of groups. A ``test_size`` of 0 leaves no test rows;
    where classes are then too rare to stratify, one row of each trains, and the others are divided
    at random.

    Raises:
        ValueError: if a share is out of range, or the rows, classes or groups are too few.
    """
    check_sizes(len(y), valid_size, test_size)
    if groups is not None and time is not None:
        raise ValueError("groups and time must not both be given, got both; drop one of them")
    if groups is not None:
        return _by_group(groups, valid_size, test_size, seed)
    n_valid, n_test = round(len(y) * valid_size), round(len(y) * test_size)
    if time is not None:
        ends = [len(y) - n_valid - n_test, len(y) - n_test]
        return SplitRows("time", *np.split(np.argsort(time.to_numpy(), kind="stable"), ends))
    rows = np.arange(len(y))
    if labels is not None and not n_test and _are_too_rare(y, n_valid):
        firsts = np.unique(y, return_index=True)[1]
        if len(y) - len(firsts) >= n_valid:
            rest, valid = _shuffled(np.delete(rows, firsts), y, False, n_valid, seed)
            return SplitRows("random", np.concatenate([firsts, rest]), valid, rows[:0])
    if labels is not None:
        _check_classes(y, labels, n_valid, n_test)
    rest, test = _shuffled(rows, y, labels is not None, n_test, seed)
    train, valid = _shuffled(rest, y, labels is not None, n_valid, seed)
    return SplitRows("random" if labels is None else "stratified", train, valid, test)


def split_given(
    part: NDArray[np.str_],
    y: np.ndarray,
    *,
    labels: np.ndarray | None,
    valid_size: float,
    test_size: float,
    seed: int = 0,
) -> SplitRows:
    """Keep a split that came with the data, and split off what it lacks.

    Without a test split, the given validation rows are divided between validation and test as
    ``valid_size`` is to ``test_size``, and the training rows stay as they are. Without a validation
    split, ``valid_size`` of the training rows become it. ``part`` holds "train", "valid" or "test"
    for each row.

    Raises:
        ValueError: if a split is left with fewer than two rows, or the classes are too few.
    """
    check_sizes(len(part), valid_size, test_size)
    train, valid, test = (np.flatnonzero(part == name) for name in ("train", "valid", "test"))
    stratified = labels is not None
    kind = " and ".join(name for name in ("train", "valid", "test") if (part == name).any())
    if not len(test) and test_size:
        n_test = round(len(valid) * test_size / (valid_size + test_size))
        _check_left(len(valid) - n_test, n_test)
        valid, test = _shuffled(valid, y, stratified, n_test, seed)
    elif not len(valid):
        n_valid = round(len(train) * valid_size)
        _check_left(len(train) - n_valid, n_valid)
        train, valid = _shuffled(train, y, stratified, n_valid, seed)
    _check_left(len(train), len(valid), *([len(test)] if len(test) or test_size else []))
    return SplitRows(f"given {kind}", train, valid, test)


def _check_left(*n_rows: int) -> None:
    if min(n_rows) < MIN_SPLIT_ROWS:
        raise ValueError(
            f"dataset must have {MIN_SPLIT_ROWS} rows or more in each of its splits, got "
            f"{min(n_rows)} in one; give more rows, or other valid_size and test_size"
        )


def check_train(
    y: np.ndarray,
    labels: np.ndarray | None,
    rows: SplitRows,
    weight: NDArray[np.float64] | None = None,
) -> list[str]:
    """Check that the training split has classes to learn; say which are missing from it.

    Rows of ``weight`` 0 teach nothing.

    Raises:
        ValueError: if it has fewer than two.
    """
    if labels is None:
        return []
    teaching = rows.train if weight is None else rows.train[weight[rows.train] > 0]
    seen = np.unique(y[teaching])
    unseen = np.delete(labels, seen).tolist()
    notes = []
    if rows.kind == "random":
        notes.append(
            "classes of the target are too rare for a stratified split, and some may have no row "
            "to validate on; add rows, merge classes, or drop them by rare_classes='drop'"
        )
    if len(seen) < 2:
        raise ValueError(
            f"{rows.kind} split must leave two classes to train on, got none of {listed(unseen)}; "
            "choose other sizes, or split another way"
        )
    if unseen:
        notes.append(
            f"classes {listed(unseen)} of the target are not in the training split and cannot be "
            f"learned with this {rows.kind} split; choose other sizes, or split another way"
        )
    return notes


def check_sizes(n_rows: int, valid_size: float, test_size: float) -> None:
    """Check that the shares leave rows for each of the splits; the test split may have none."""
    if not 0 < valid_size < 1:
        raise ValueError(
            f"valid_size must be between 0 and 1, got valid_size={valid_size}; 0.2 is usual"
        )
    if not 0 <= test_size < 1:
        raise ValueError(
            f"test_size must be between 0 and 1, got test_size={test_size}; 0.2 is usual, and 0 "
            "keeps no rows for a test"
        )
    if valid_size + test_size >= 1:
        raise ValueError(
            f"valid_size and test_size must leave rows to train on, got valid_size={valid_size} "
            f"and test_size={test_size}; let them sum to less than 1"
        )
    n_valid, n_test = round(n_rows * valid_size), round(n_rows * test_size)
    counts = [n_valid, n_rows - n_valid - n_test, *([n_test] if test_size else [])]
    if min(counts) < MIN_SPLIT_ROWS:
        raise ValueError(
            f"dataset must have {MIN_SPLIT_ROWS} rows or more in each of its splits, got "
            f"{n_rows} rows in all; give more rows, or larger valid_size and test_size"
        )


def _are_too_rare(codes: np.ndarray, n_valid: int) -> bool:
    counts = np.bincount(codes)
    return bool(counts.min() < 2 or min(n_valid, len(codes) - n_valid) < len(counts))


def _check_classes(codes: np.ndarray, labels: np.ndarray, n_valid: int, n_test: int) -> None:
    counts = np.bincount(codes, minlength=len(labels))
    rarest = int(counts.argmin())
    sizes = [n_valid, len(codes) - n_valid - n_test, *([n_test] if n_test else [])]
    if counts[rarest] < len(sizes):
        raise ValueError(
            f"target must have {len(sizes)} rows or more of every class, one for each split, "
            f"got {counts[rarest]} of class {labels.tolist()[rarest]!r} ({len(labels)} classes in "
            f"{len(codes)} rows); add rows, merge it with another class or drop it "
            "(in a table: rare_classes='drop')"
        )
    smallest = min(sizes)
    if smallest < len(labels):
        raise ValueError(
            f"dataset must have a row of every class in each split, got {len(labels)} classes for "
            f"a split of {smallest} rows; give more rows, or larger valid_size and test_size"
        )


def _shuffled(
    rows: Rows, y: np.ndarray, stratified: bool, n_second: int, seed: int
) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split  # a second, which predictions need not

    if not n_second:
        return rows, rows[:0]
    stratify = y[rows] if stratified else None
    try:
        first, second = train_test_split(
            rows, test_size=n_second, random_state=seed, stratify=stratify
        )
    except ValueError as error:
        raise ValueError(
            "target must have enough rows of every class for all splits, got a class that "
            f"one split used up ({error}); choose smaller valid_size and test_size"
        ) from error
    return first, second


def _by_group(groups: pd.Series, valid_size: float, test_size: float, seed: int) -> SplitRows:
    from sklearn.model_selection import GroupShuffleSplit

    def divide(rows: Rows, n_groups: int) -> tuple[Rows, Rows]:
        splitter = GroupShuffleSplit(n_splits=1, test_size=n_groups, random_state=seed)
        first, second = next(splitter.split(rows, groups=codes[rows]))
        return rows[first], rows[second]

    codes, names = pd.factorize(groups)
    n_splits = 3 if test_size else 2
    if len(names) < n_splits:
        raise ValueError(
            f"groups must have {n_splits} distinct values or more, one for each split, got "
            f"{len(names)} in {groups.name!r}; leave groups out, or name a finer column"
        )
    n_test = max(1, min(round(test_size * len(names)), len(names) - 2)) if test_size else 0
    n_valid = max(1, min(round(valid_size * len(names)), len(names) - n_test - 1))
    every = np.arange(len(codes))
    rest, test = divide(every, n_test) if n_test else (every, every[:0])
    train, valid = divide(rest, n_valid)
    return SplitRows("group", train, valid, test)


def fold_rows(
    y: np.ndarray,
    *,
    kind: str,
    labels: np.ndarray | None,
    groups: NDArray[np.int64] | None,
    n_folds: int,
    seed: int,
) -> list[tuple[Rows, Rows]]:
    """Choose the training and validation rows of each fold, by the kind of the split before.

    By time a fold trains on all rows before those that it validates on, and rows must come in that
    order.

    Raises:
        ValueError: if rows, classes or groups are too few for so many folds.

    Example:
        >>> y = np.arange(6.0)
        >>> folds = fold_rows(y, kind="time", labels=None, groups=None, n_folds=2, seed=0)
        >>> [(train.tolist(), valid.tolist()) for train, valid in folds]
        [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    _check(y, labels if kind == "stratified" else None, groups, n_folds)
    if kind in ("group", "time"):
        splitter = GroupKFold(n_folds) if kind == "group" else TimeSeriesSplit(n_folds)
    else:
        by = StratifiedKFold if kind == "stratified" else KFold
        splitter = by(n_folds, shuffle=True, random_state=seed)
    rows = list(splitter.split(np.empty((len(y), 0)), y, groups if kind == "group" else None))
    for number, (train, _) in enumerate(rows):
        if labels is not None and len(np.unique(y[train])) < 2:
            raise ValueError(
                f"folds must leave two classes to train on, got one class in fold {number} of "
                f"{n_folds} ({kind} split); lower folds, or split another way"
            )
    return rows


def _check(
    y: np.ndarray, labels: np.ndarray | None, groups: NDArray[np.int64] | None, n_folds: int
) -> None:
    cure = "lower folds, or give more data"
    if len(y) < MIN_SPLIT_ROWS * (n_folds + 1):
        raise ValueError(
            f"folds must leave {MIN_SPLIT_ROWS} rows or more to validate on, got folds={n_folds} "
            f"for {len(y)} training and validation rows; {cure}"
        )
    if groups is not None and (n_groups := len(np.unique(groups))) < n_folds:
        raise ValueError(
            f"folds must be at most the number of groups, got folds={n_folds} for {n_groups} "
            f"groups outside the test split; {cure}"
        )
    if labels is None:
        return
    counts = np.bincount(y, minlength=len(labels))
    rarest = int(counts.argmin())
    if counts[rarest] < n_folds:
        label = labels.tolist()[rarest]
        raise ValueError(
            f"folds must be at most the rows of the rarest class, got folds={n_folds} for "
            f"{counts[rarest]} training and validation rows of class {label!r}; {cure}"
        )


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sealed(Generic[S]):
    """Data in three splits.

    The test split is not an attribute, so that a search does not meet it by accident: `open_test`
    gives it.

    Attributes:
        name: file name, built-in name or kind of what was given.
        task: "binary", "multiclass" or "regression".
        train: rows to fit on.
        valid: rows to choose by.
        classes: the labels as given, in the order of the class codes; None for regression.
        fingerprint: SHA-256 of the content, the same in every process.
        split: how the rows were split, as plain JSON.
        class_weight: weight of each class code; None if all count the same.
    """

    name: str
    task: Task
    train: S
    valid: S
    _test: S
    classes: np.ndarray | None
    fingerprint: str
    split: dict[str, Any]
    class_weight: dict[int, float] | None = None

    @property
    def n_test(self) -> int:
        """Rows in the test split."""
        return len(self._test)

    def open_test(self) -> S:
        """Give the test split; once its score has steered a choice, it is no test any more.

        Raises:
            ValueError: if no rows were kept for it.
        """
        if not self.n_test:
            raise ValueError(
                "test_size must be above 0 for a test score, got no test rows; score the model on "
                "rows that the search has not seen, as in result.model.score(X, y)"
            )
        return self._test
