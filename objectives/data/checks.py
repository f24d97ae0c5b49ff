"""What is wrong, or looks wrong, with a table: errors for the first, warnings for the second."""

import re
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
from pandas.api import types

from objectives._messages import listed
from objectives.data.columns import column_kind

MIN_ROWS_FOR_IDENTIFIER = 20
IDENTIFIER_SHARE = 0.95
TEXT_LENGTH = 50
TEXT_SHARE = 0.2
_IDENTIFIER_NAME = re.compile(
    r"(?i:(^|[_\s.-])(id|uuid|guid|index|row)$)|[a-z](Id|ID)$|(?i:^unnamed: \d+$)"
)


class DataWarning(UserWarning):
    """Something in the data looks wrong; the message names the column and the cure."""


def check_features(
    X: pd.DataFrame, y: np.ndarray, *, target: str | None, categorical: Collection[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Check the features, and leave out those that cannot help: empty, constant, identifiers.

    Args:
        X: the features.
        y: class codes or values of the target.
        target: its name, if it has one.
        categorical: columns that the user asked for as categories; never taken for text or
            identifiers.

    Returns:
        The other columns, and a warning for each fault found, leaks of the target included.

    Raises:
        ValueError: if a number is infinite, or no column is left.
    """
    _check_finite(X)
    useless = {
        "hold no value": empty_columns(X),
        "hold one value only": constant_columns(X),
        "hold text or identifiers": identifier_columns(X, categorical),
    }
    useful = X.drop(columns=[name for names in useless.values() for name in names])
    if useful.shape[1] == 0:
        raise ValueError(
            f"dataset must have a column that varies, got {listed(X.columns) or 'no feature'}; "
            "give at least one feature that differs between rows"
        )
    messages = [
        f"columns {listed(names)} {fault} and are left out of the features; "
        "drop them, or make features from what they hold"
        for fault, names in useless.items()
        if names
    ]
    if leaks := list(leaking_columns(useful, y, target)):
        messages.append(
            f"columns {listed(leaks)} give the target away, by name or as a copy of it; "
            "drop them unless they are known before the target is"
        )
    return useful, messages


def _check_finite(X: pd.DataFrame) -> None:
    wrong = [
        name
        for name, column in X.items()
        if types.is_float_dtype(column.dtype)
        and np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan)).any()
    ]
    if wrong:
        raise ValueError(
            f"dataset must hold finite values, got infinite ones in column {listed(wrong)}; "
            "replace them, as in df.replace([np.inf, -np.inf], np.nan)"
        )


def empty_columns(X: pd.DataFrame) -> list[str]:
    """Name the columns without a single value."""
    return [str(name) for name, column in X.items() if column.isna().all()]


def constant_columns(X: pd.DataFrame) -> list[str]:
    """Name the columns that hold the same value in every row.

    A column with one value and gaps is not constant: whether the value is there may tell something.
    """
    return [
        str(name) for name, column in X.items() if not column.isna().any() and _is_constant(column)
    ]


def _is_constant(column: pd.Series) -> bool:
    first = column.iloc[0]
    return bool((column == first).all())


def identifier_columns(X: pd.DataFrame, keep: Collection[str]) -> list[str]:
    """Name the columns that tell rows apart instead of describing them, and long texts.

    That is: categories of which at least 95% are distinct, texts of more than 50 characters on
    average that seldom repeat, and distinct whole numbers under a name such as "id" or "user_id".
    Tables of fewer than 20 rows are not judged. Columns in ``keep`` are passed over.
    """
    if len(X) < MIN_ROWS_FOR_IDENTIFIER:
        return []
    return [str(name) for name, column in X.items() if name not in keep and _is_identifier(column)]


def _is_identifier(column: pd.Series) -> bool:
    present = column.dropna()
    kind = column_kind(column)
    if kind == "number":
        named = _IDENTIFIER_NAME.search(str(column.name)) is not None
        return named and present.is_unique and bool((present % 1 == 0).all())
    if kind != "category" or len(present) < MIN_ROWS_FOR_IDENTIFIER:
        return False
    share = present.nunique() / len(present)
    long = share >= TEXT_SHARE and present.astype(str).str.len().mean() > TEXT_LENGTH
    return share >= IDENTIFIER_SHARE or bool(long)


def leaking_columns(X: pd.DataFrame, y: np.ndarray, target: str | None) -> Iterator[str]:
    """Name the columns that give the target away: by their name, or as a copy of it.

    A copy of classes is any column that has one value for each class and no other; a copy of a
    regression target is one that equals it in every row.
    """
    folded = None if target is None else target.casefold().strip()
    for name, column in X.items():
        if str(name).casefold().strip() == folded or _is_copy(column, y):
            yield str(name)


def _is_copy(column: pd.Series, y: np.ndarray) -> bool:
    if column.isna().any():
        return False
    if y.dtype.kind == "f":
        return column_kind(column) == "number" and bool((column.to_numpy(np.float64) == y).all())
    return _same_partition(column.head(100), y[:100]) and _same_partition(column, y)


def _same_partition(column: pd.Series, codes: np.ndarray) -> bool:
    # Codes are numbered in order of appearance, so that one-to-one columns get the same ones.
    return bool((pd.factorize(column)[0] == pd.factorize(codes)[0]).all())
