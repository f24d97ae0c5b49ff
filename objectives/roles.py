"""Columns and arrays that are no features: groups, time, and weights of rows and classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from sklearn.utils.class_weight import compute_class_weight

from objectives.columns import to_dates
from objectives.messages import nearest
from objectives.readers import as_array


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
