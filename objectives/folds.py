"""Which rows train and which validate in each fold of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from objectives.splits import MIN_SPLIT_ROWS, Rows


def fold_rows(
    y: NDArray[Any],
    *,
    kind: str,
    labels: NDArray[Any] | None,
    groups: NDArray[np.int64] | None,
    n_folds: int,
    seed: int,
) -> list[tuple[Rows, Rows]]:
    """Choose the training and validation rows of each fold.

    Args:
        y: class codes, or values of a regression target.
        kind: how the test rows were split off: "stratified", "random", "group" or "time".
        labels: the label of each code; None for regression.
        groups: a group number for each row, for kind "group".
        n_folds: how many folds.
        seed: decides the shuffle; without effect for kinds "group" and "time".

    Returns:
        Row numbers. By time a fold trains on all rows before those that it validates on, and rows
        must come in that order.

    Raises:
        ValueError: if rows, classes or groups are too few for so many folds.

    Example:
        >>> y = np.arange(6.0)
        >>> folds = fold_rows(y, kind="time", labels=None, groups=None, n_folds=2, seed=0)
        >>> [(train.tolist(), valid.tolist()) for train, valid in folds]
        [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    _check(y, labels if kind == "stratified" else None, groups, n_folds)
    rows = list(_split(y, kind, groups, n_folds, seed))
    for number, (train, _) in enumerate(rows):
        if labels is not None and len(np.unique(y[train])) < 2:
            raise ValueError(
                f"folds must leave two classes to train on, got one class in fold {number} of "
                f"{n_folds} ({kind} split); lower folds, or split another way"
            )
    return rows


def _split(
    y: NDArray[Any], kind: str, groups: NDArray[np.int64] | None, n_folds: int, seed: int
) -> Iterator[tuple[Rows, Rows]]:
    empty = np.zeros((len(y), 1))
    if kind == "group":
        return GroupKFold(n_folds).split(empty, groups=groups)  # type: ignore[no-any-return]
    if kind == "time":
        return TimeSeriesSplit(n_folds).split(empty)  # type: ignore[no-any-return]
    splitter = StratifiedKFold if kind == "stratified" else KFold
    return splitter(n_folds, shuffle=True, random_state=seed).split(empty, y)  # type: ignore[no-any-return]


def _check(
    y: NDArray[Any], labels: NDArray[Any] | None, groups: NDArray[np.int64] | None, n_folds: int
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
