"""Reads a dataset in any of its forms into one table: features, target and roles.

Roles are columns that say something about rows: their groups, their order in time, their weights.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from objectives._messages import choices, nearest
from objectives.data.columns import read_numbers, tidy_column, to_dates, told
from objectives.data.files import BUILTINS, file_name, read_file
from objectives.data.frames import as_array, as_frame, as_labels, features_frame, is_frame


@runtime_checkable
class MapStyle(Protocol):
    """A Dataset of torch, or whatever else gives an example for each number below its length."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


class Roles(NamedTuple):
    """One value for each row and role; None for a role that was not asked for."""

    groups: pd.Series | None = None
    time: pd.Series | None = None
    sample_weight: pd.Series | None = None

    def group_codes(self) -> NDArray[np.int64] | None:
        """Number the groups in order of appearance."""
        return None if self.groups is None else pd.factorize(self.groups)[0]

    def weights(self) -> NDArray[np.float64] | None:
        """Return the row weights; raise ValueError if one is no weight, or all are zero."""
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
            raise ValueError(
                "sample_weight must not be zero in every row, got zeros only; leave it out"
            )
        return values


@dataclass(frozen=True, kw_only=True)
class Table:
    """A dataset as read.

    Attributes:
        builtin: whether it is one of `BUILTINS`, whose faults are known.
        plain_numbers: whether texts such as "1" are numbers, as in files.
        separator: what separates the cells of a file of text.
        decimal_comma: columns of numbers with a comma before their decimals.
        notes: how the data were read where that may surprise.
    """

    name: str
    X: pd.DataFrame
    y: pd.Series | np.ndarray
    target: str | None
    builtin: bool = False
    plain_numbers: bool = False
    separator: str | None = None
    roles: Roles = field(default_factory=Roles)
    categorical: frozenset[str] = frozenset()
    decimal_comma: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the rows of these numbers as a table of their own."""
        if len(rows) == len(self.y):
            return self
        roles = (None if r is None else r.iloc[rows].reset_index(drop=True) for r in self.roles)
        y = self.y
        return replace(
            self,
            X=self.X.iloc[rows].reset_index(drop=True),
            y=y.iloc[rows].reset_index(drop=True) if isinstance(y, pd.Series) else y[rows],
            roles=Roles(*roles),
        )


def read_table(
    dataset: object,
    target: str | None,
    *,
    groups: object = None,
    time: object = None,
    sample_weight: object = None,
    categorical: Sequence[str] | None = None,
    encoding: str | None = None,
) -> Table:
    """Read ``dataset`` in any of the forms that `objectives.load_tabular` accepts.

    The other arguments are those of `objectives.load_tabular`.

    Raises:
        TypeError: if the form is not one of those, or cells cannot stand in a table.
        ValueError: if a file cannot be read, or an argument does not name a column.
    """
    table = _read(dataset, target, encoding)
    if not len(table.X):
        raise ValueError("dataset must have rows, got 0 rows; check the file or the filter")
    table = _with_numbers(table, set(categorical or ()))
    roles = Roles(
        role_values(table.X, "groups", groups),
        _in_order(role_values(table.X, "time", time)),
        role_values(table.X, "sample_weight", sample_weight),
    )
    used = {column for column in (groups, time, sample_weight) if isinstance(column, str)}
    X = table.X.drop(columns=list(used))
    named = _categories(X, categorical)
    tidy = [(column, tidy_column(column)) for name, column in X.items() if name not in named]
    changed = {str(new.name): new for old, new in tidy if new is not old}
    return replace(table, X=X.assign(**changed), roles=roles, categorical=named)


def role_values(X: pd.DataFrame, role: str, value: object) -> pd.Series | None:
    """Return the values of a role, given as the name of a column or as a value for each row.

    Raises:
        ValueError: if there is no such column, the length differs, or a cell is missing.
    """
    if value is None:
        return None
    if isinstance(value, str) and value not in X.columns:
        raise ValueError(
            f"{role} must name a column of the dataset, got {role}={value!r}; "
            f"{nearest(value, X.columns)}"
        )
    given = X[value] if isinstance(value, str) else value
    cells = given if isinstance(given, pd.Series) else as_array(given, role)
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


def _in_order(time: pd.Series | None) -> pd.Series | None:
    if time is None or types.is_numeric_dtype(time) or types.is_datetime64_any_dtype(time):
        return time
    try:
        return to_dates(time)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"time must hold dates or numbers, got {time.iloc[0]!r} in {time.name!r}; "
            "convert it with pandas.to_datetime"
        ) from error


def _with_numbers(table: Table, as_text: Collection[str]) -> Table:
    """Make numbers of the texts that are some, in features and target."""
    # The target's key is None, as a feature may have its name.
    columns = {None: pd.Series(table.y), **{c: table.X[c] for c in table.X if c not in as_text}}
    read = read_numbers(columns, plain=table.plain_numbers, separator=table.separator)
    goal = read.pop(None, None)
    features = {str(name): column for name, column in read.items()}
    numbers = {name: column.numbers for name, column in features.items()}
    told_of = features if goal is None else features | {table.target or "y": goal}
    return replace(
        table,
        X=table.X.assign(**numbers) if numbers else table.X,
        y=table.y if goal is None else goal.numbers,
        decimal_comma=tuple(name for name, column in features.items() if column.decimal == ","),
        notes=(
            *table.notes,
            *told(told_of),
        ),
    )


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


def _read(dataset: object, target: str | None, encoding: str | None) -> Table:
    if isinstance(dataset, str) and dataset in BUILTINS and not Path(dataset).exists():
        _no_target(target, f"the built-in dataset {dataset!r} has its own")
        return _builtin(dataset)
    if isinstance(dataset, (str, Path)):
        file = read_file(dataset, encoding=encoding)
        return replace(
            _split_off(file.frame, target, file_name(dataset)),
            plain_numbers=True,
            separator=file.separator,
            notes=file.notes,
        )
    frame = as_frame(dataset)
    if frame is not None:
        return _split_off(frame, target, "table")
    _no_target(target, "y is given beside X")
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        return _pair(*dataset, name="arrays")
    if isinstance(dataset, MapStyle):
        return _torch_dataset(dataset)
    raise TypeError(
        "dataset must be (X, y), a DataFrame, a path, a built-in name or a map-style Dataset, "
        f"got {type(dataset).__name__}; collect its rows into X and y first"
    )


def _no_target(target: str | None, why: str) -> None:
    if target is not None:
        _check_name(target)
        raise ValueError(f"target must be left out, as {why}, got target={target!r}; remove it")


def _check_name(target: object) -> None:
    if not isinstance(target, str | int):
        raise TypeError(
            f"target must be the name of a column, got a {type(target).__name__}; where the "
            "target's values are at hand, give (X, y) as dataset and leave target out"
        )


def _split_off(frame: pd.DataFrame, target: str | None, name: str) -> Table:
    names = [str(column) for column in frame.columns]
    _check_distinct(frame)
    if target is None:
        raise ValueError(
            f"target must name the column to predict, got target=None; {choices(names)}"
        )
    _check_name(target)
    if str(target) not in names:
        raise ValueError(
            f"target must name a column of the dataset, got target={target!r}; "
            f"{nearest(str(target), names)}"
        )
    X = features_frame(frame)
    return Table(name=name, X=X.drop(columns=str(target)), y=X[str(target)], target=str(target))


def _check_distinct(frame: pd.DataFrame) -> None:
    names = pd.Index([str(column) for column in frame.columns])
    if names.has_duplicates:
        raise ValueError(
            f"dataset must have distinct column names, got {min(names[names.duplicated()])!r} more "
            "than once; rename or drop one"
        )


def _pair(X: object, y: object, *, name: str) -> Table:
    frame = features_frame(X)
    _check_distinct(frame)
    labels = as_labels(y, len(frame))
    column = labels.name if isinstance(labels, pd.Series) else None
    return Table(
        name=name,
        X=frame,
        y=labels,
        target=None if column is None else str(column),
        plain_numbers=not is_frame(X),
    )


def _builtin(name: str) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    X = features_frame(bunch.data)
    return Table(name=name, X=X, y=bunch.target, target="target", builtin=True)


def _torch_dataset(dataset: MapStyle) -> Table:
    tensors = getattr(dataset, "tensors", None)
    name = type(dataset).__name__
    if tensors is not None and len(tensors) == 2:
        return _pair(*tensors, name=name)
    pairs = [_pair_at(dataset, row) for row in range(len(dataset))]
    rows = [as_array(x, "X") for x, _ in pairs]
    return _pair(np.stack(rows) if rows else [[]], [_plain(y) for _, y in pairs], name=name)


def _pair_at(dataset: MapStyle, row: int) -> tuple[object, object]:
    name = type(dataset).__name__
    try:
        pair = dataset[row]
    except Exception as error:
        raise ValueError(
            f"dataset must give (x, y) for each index below its length, got "
            f"{type(error).__name__}: {error} from {name}[{row}]; mend that row or leave it out"
        ) from error
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(
            f"dataset must give (x, y) for each index, got something else from {name}; "
            "wrap it so that dataset[i] is a pair"
        )
    return pair[0], pair[1]


def _plain(label: object) -> object:
    return label.item() if hasattr(label, "item") else label
