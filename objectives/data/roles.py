"""Columns that say something about rows: their groups, their order in time, their weights."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives._messages import nearest
from objectives.data.columns import to_dates
from objectives.data.frames import as_array


@dataclass(frozen=True, kw_only=True)
class Roles:
    """One value for each row and role; None for a role that was not asked for."""

    groups: pd.Series | None = None
    time: pd.Series | None = None
    sample_weight: pd.Series | None = None

    def group_codes(self) -> NDArray[np.int64] | None:
        """Number the groups in order of appearance."""
        return None if self.groups is None else pd.factorize(self.groups)[0]

    def weights(self) -> NDArray[np.float64] | None:
        """Return the row weights.

        Raises:
            ValueError: if a weight is no number, negative or infinite, or all are zero.
        """
        if self.sample_weight is None:
            return None
        numbers = pd.to_numeric(self.sample_weight, errors="coerce")
        values: NDArray[np.float64] = numbers.to_numpy(np.float64)
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            raise ValueError(
                "sample_weight must hold finite numbers of 0 or more, got "
                f"{self.sample_weight[wrong].tolist()[0]!r} in row {int(wrong.argmax())}; "
                "correct or drop that row"
            )
        if not values.any():
            raise ValueError("sample_weight must not be 0 in every row, got 0 only; leave it out")
        return values


def take_roles(
    X: pd.DataFrame, *, groups: object, time: object, sample_weight: object
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
    columns = {role: _role(X, role, value) for role, value in given.items()}
    if columns["time"] is not None:
        columns["time"] = _in_order(columns["time"])
    used = [value for value in given.values() if isinstance(value, str)]
    return X.drop(columns=list(dict.fromkeys(used))), Roles(**columns)


def _role(X: pd.DataFrame, role: str, value: object) -> pd.Series | None:
    if value is None:
        return None
    if isinstance(value, str) and value not in X.columns:
        raise ValueError(
            f"{role} must name a column of the dataset, got {role}={value!r}; "
            f"{nearest(value, X.columns)}"
        )
    cells: pd.Series | np.ndarray
    if isinstance(value, str):
        cells = X[value]
    else:
        cells = value if isinstance(value, pd.Series) else as_array(value, role)
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
