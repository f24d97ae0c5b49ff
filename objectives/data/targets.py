"""The target column: what task it sets, and its labels as class codes."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives._messages import listed, nearest
from objectives.data.columns import LARGEST

Task = Literal["binary", "multiclass", "regression"]

MAX_INFERRED_CLASSES = 20
"""Whole numbers with more distinct values than this are a quantity, unless they number classes."""

MAX_NUMBERED_CLASSES = 100
"""Whole numbers with more distinct values than this are always taken for a quantity."""

MIN_CLASS_ROWS = 3
"""A class needs one row for each split."""

_JUDGED_ROWS = 10  # rows a value, on average, from which its frequency tells something
_EVEN_ROWS, _EVEN_SHARE = 20, 0.1  # classes by number: rows of the rarest, and against the largest

# A saved model can hold no others.
_LABEL_TYPES = (str, bytes, bool, int, float, np.number, np.bool_)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target of every row: class codes with their labels, or values in their own units."""

    task: Task
    y: np.ndarray
    classes: np.ndarray | None


def infer_task(y: pd.Series) -> Task:
    """Decide from its values what task a target sets.

    Text, booleans and pandas categories are classes, and so are two whole numbers. More whole
    numbers are classes if

    - at most 20 differ and each occurs twice on average; but not if each occurs 10 times on average
      and yet one fewer than 3 times, as in counts, which have a tail;
    - or 21 to 100 differ, they run without a gap from 0 or 1, as class numbers do, and the rarest
      has 20 rows or more and a tenth of the most frequent one's.

    All other numbers are a quantity. ``task=`` overrides the rule where it guesses wrong: a rating
    from 1 to 7 counts as seven classes.

    Example:
        >>> infer_task(pd.Series(["no", "yes"])), infer_task(pd.Series([0.5, 1.5]))
        ('binary', 'regression')
    """
    n_distinct = y.nunique()
    if _is_numeric(y) and not ((y % 1 == 0).all() and _are_classes(y, n_distinct)):
        return "regression"
    return "binary" if n_distinct <= 2 else "multiclass"


def _is_numeric(y: pd.Series) -> bool:
    return bool(types.is_numeric_dtype(y.dtype) and not types.is_bool_dtype(y.dtype))


def _are_classes(y: pd.Series, n_distinct: int) -> bool:
    if n_distinct <= 2:
        return True
    if n_distinct > MAX_NUMBERED_CLASSES:
        return False
    counts = y.value_counts()
    if n_distinct <= MAX_INFERRED_CLASSES:
        has_tail = len(y) >= _JUDGED_ROWS * n_distinct and counts.min() < MIN_CLASS_ROWS
        return n_distinct <= len(y) // 2 and not has_tail
    numbered = y.min() in (0, 1) and y.max() - y.min() + 1 == n_distinct
    even = counts.min() >= max(_EVEN_ROWS, _EVEN_SHARE * counts.max())
    return bool(numbered and even)


def rows_with_target(
    y: pd.Series | np.ndarray,
    *,
    task: str | None,
    drop_missing_target: bool,
    rare_classes: str | None,
) -> tuple[NDArray[np.int64], list[str]]:
    """Choose the rows that the target leaves, and say how many go, see `load_tabular`.

    Raises:
        ValueError: if ``rare_classes`` is neither "drop" nor None.
    """
    if rare_classes not in (None, "drop"):
        raise ValueError(
            f"rare_classes must be 'drop' or None, got rare_classes={rare_classes!r}; None refuses "
            "classes of too few rows"
        )
    column = pd.Series(y).reset_index(drop=True).infer_objects()
    remains, notes = pd.Series(True, index=column.index), []
    if drop_missing_target and (n_missing := int(column.isna().sum())):
        remains = column.notna()
        notes.append(f"{n_missing} of {len(column)} rows have no target and are left out")
    if rare_classes == "drop" and task != "regression" and _may_be_classes(column[remains], task):
        counts = column[remains].value_counts()
        rare = counts[counts < MIN_CLASS_ROWS].index
        if len(rare):
            notes.append(
                f"classes {listed(rare.tolist())} have fewer than {MIN_CLASS_ROWS} rows and are "
                "left out; the model cannot predict them"
            )
        remains &= ~column.isin(rare)
    return np.flatnonzero(remains), notes


def _may_be_classes(y: pd.Series, task: str | None) -> bool:
    if task is not None or not _is_numeric(y):
        return True
    return y.nunique() <= MAX_NUMBERED_CLASSES and bool((y.dropna() % 1 == 0).all())


def doubts(
    y: pd.Series | np.ndarray, goal: Target, *, name: str | None, task: str | None
) -> list[str]:
    """Say where ``goal``, made of ``y``, was a guess between two, and which labels look alike."""
    column, notes = pd.Series(y), []
    if task is None and _is_numeric(column) and (column % 1 == 0).all():
        counts = column.value_counts()
        many = MAX_INFERRED_CLASSES < len(counts) <= MAX_NUMBERED_CLASSES
        tail = 2 < len(counts) <= MAX_INFERRED_CLASSES and counts.min() < MIN_CLASS_ROWS
        if (many or tail) and len(column) >= _JUDGED_ROWS * len(counts):
            kind, other = "a quantity", "multiclass"
            if goal.classes is not None:
                kind, other = "class numbers", "regression"
            notes.append(
                f"target {name or 'y'!r} holds {len(counts)} whole numbers, taken for {kind}; "
                f"if they are not, give task={other!r}"
            )
    texts = [] if goal.classes is None else [c for c in goal.classes.tolist() if isinstance(c, str)]
    folded: dict[str, list[str]] = {}
    for text in texts:
        folded.setdefault(text.strip().casefold(), []).append(text)
    alike = [text for same in folded.values() if len(same) > 1 for text in same]
    if alike:
        notes.append(
            f"labels {listed(alike)} of target {name or 'y'!r} differ by case or blanks alone; if "
            "they are the same, make them so, as in y.str.strip().str.lower()"
        )
    return notes


def read_target(raw: pd.Series | np.ndarray, *, name: str | None, task: str | None) -> Target:
    """Check the target of every row and encode it for its task.

    Raises:
        ValueError: if a cell is missing or infinite, all are the same, or ``task`` does not fit.
        TypeError: if cells are dates or nested.
    """
    if task is not None and task not in get_args(Task):
        raise ValueError(
            f"task must be one of {', '.join(get_args(Task))}, got task={task!r}; "
            f"{nearest(task, get_args(Task))}"
        )
    column = _column(raw, name or "y")
    if (task or infer_task(column)) == "regression":
        return Target(task="regression", y=_quantities(column), classes=None)
    return _labels(column, raw, task)


def _column(raw: pd.Series | np.ndarray, name: str) -> pd.Series:
    column = pd.Series(raw, name=name)
    if column.dtype == object:
        column = column.infer_objects()
        nested = next((cell for cell in column if not isinstance(cell, Hashable)), None)
        if nested is not None:
            raise TypeError(
                f"target must hold one label or number in each cell, got {type(nested).__name__} "
                f"in column {name!r}; give a column for each, and tune on one of them"
            )
    n_missing = int(column.isna().sum())
    if n_missing:
        raise ValueError(
            f"target must have no missing cells, got {n_missing} in column {name!r}; "
            f"drop those rows first, as in df.dropna(subset=[{name!r}]), "
            "or give drop_missing_target=True"
        )
    if types.infer_dtype(column, skipna=True) in ("decimal", "mixed-integer-float"):
        column = column.astype(float)
    if types.is_datetime64_any_dtype(column.dtype) or types.is_complex_dtype(column.dtype):
        raise TypeError(
            f"target must hold numbers or labels, got {column.dtype} in column {name!r}; "
            "convert it to a number, such as days since a start"
        )
    if types.is_numeric_dtype(column.dtype) and np.isinf(column.to_numpy(np.float64)).any():
        raise ValueError(
            f"target must be finite, got infinite values in column {name!r}; drop those rows first"
        )
    if column.nunique() < 2:
        raise ValueError(
            f"target must have at least two distinct values, got only {column.iloc[0]!r} in column "
            f"{name!r}; give rows of another class or value too"
        )
    return column


def _quantities(column: pd.Series) -> NDArray[np.float64]:
    try:
        values = np.asarray(column.astype(float), dtype=np.float64)
    except OverflowError:
        values = np.array([np.inf])
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"target must hold numbers for task='regression', got {column.iloc[0]!r} in column "
            f"{column.name!r}; leave task out, or convert the column"
        ) from error
    if not (np.abs(values) <= LARGEST).all():
        raise ValueError(
            f"target must hold finite numbers up to {LARGEST:g}, got larger ones in column "
            f"{column.name!r}; give it in a larger unit, or its logarithm"
        )
    return values


def _labels(column: pd.Series, raw: pd.Series | np.ndarray, task: str | None) -> Target:
    codes, labels = pd.factorize(column, sort=True)
    strange = [label for label in labels if not isinstance(label, _LABEL_TYPES)]
    if strange:
        raise TypeError(
            f"target must hold text, numbers or booleans, got {strange[0]!r} in column "
            f"{column.name!r}; convert it, as in y.astype(str)"
        )
    classes = np.asarray(labels)
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "SU":
        classes = classes.astype(raw.dtype)
    kind: Task = "binary" if len(classes) == 2 else "multiclass"
    if task is not None and task != kind:
        raise ValueError(
            f"task must fit the target, got task={task!r} with {len(classes)} classes in column "
            f"{column.name!r}; use task={kind!r} or leave task out"
        )
    return Target(task=kind, y=codes.astype(np.int64), classes=classes)


def class_weights(
    class_weight: str | Mapping[Any, float] | None,
    y_train: np.ndarray,
    classes: np.ndarray | None,
) -> dict[int, float] | None:
    """Resolve class weights to one weight for each class code.

    Classes that are not named, or not in the training split, weigh 1.

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
    labels = classes.tolist()
    if isinstance(class_weight, Mapping):
        for label, weight in class_weight.items():
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
        return {code: float(class_weight.get(label, 1.0)) for code, label in enumerate(labels)}
    if class_weight != "balanced":
        raise ValueError(
            "class_weight must be 'balanced' or a weight for each label, "
            f"got class_weight={class_weight!r}; {nearest(str(class_weight), ['balanced'])}"
        )
    from sklearn.utils.class_weight import compute_class_weight

    seen = np.unique(y_train)
    weights = dict.fromkeys(range(len(classes)), 1.0)
    balanced = compute_class_weight("balanced", classes=seen, y=y_train)
    return weights | {int(code): float(w) for code, w in zip(seen, balanced, strict=True)}
