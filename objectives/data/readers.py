"""Reads a dataset in any of its forms into one table: features, target and roles."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from objectives._messages import choices, nearest
from objectives.data.columns import tidy_column
from objectives.data.files import BUILTINS, file_name, read_file
from objectives.data.frames import as_array, as_column, as_frame, features_frame, is_frame
from objectives.data.numbers import read_numbers, told
from objectives.data.roles import Roles, take_roles


@runtime_checkable
class _Rows(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Table:
    """A dataset as read.

    Attributes:
        name: file name, built-in name or kind of what was given.
        X: features, each column with the dtype that its cells have.
        y: target, one label or value for each row.
        target: name of the target column, if it has one.
        builtin: whether it is one of `BUILTINS`, whose faults are known.
        plain_numbers: whether texts such as "1" are numbers, as in files.
        separator: what separates the cells of a file of text.
        roles: what some columns say about the rows.
        categorical: columns that the user asked for as categories.
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
        roles = {
            role: None if values is None else values.iloc[rows].reset_index(drop=True)
            for role, values in vars(self.roles).items()
        }
        y = self.y
        return replace(
            self,
            X=self.X.iloc[rows].reset_index(drop=True),
            y=y.iloc[rows].reset_index(drop=True) if isinstance(y, pd.Series) else y[rows],
            roles=Roles(**roles),
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
    X, roles = take_roles(table.X, groups=groups, time=time, sample_weight=sample_weight)
    named = _categories(X, categorical)
    tidy = {str(name): X[name] if name in named else tidy_column(X[name]) for name in X}
    return replace(table, X=pd.DataFrame(tidy), roles=roles, categorical=named)


def _with_numbers(table: Table, as_text: Collection[str]) -> Table:
    """Make numbers of the texts that are some, in features and target."""
    columns: dict[object, pd.Series] = {
        name: table.X[name] for name in table.X if name not in as_text
    }
    target = table.target or "y"
    place = object()  # a feature may have the target's name
    columns[place] = pd.Series(table.y)
    read = read_numbers(columns, plain=table.plain_numbers, separator=table.separator)
    goal = read.pop(place, None)
    features = {str(name): column for name, column in read.items()}
    numbers = {name: column.numbers for name, column in features.items()}
    return replace(
        table,
        X=table.X.assign(**numbers) if numbers else table.X,
        y=table.y if goal is None else goal.numbers,
        decimal_comma=tuple(name for name, column in features.items() if column.decimal == ","),
        notes=(*table.notes, *told(features | ({} if goal is None else {target: goal}))),
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
    if isinstance(dataset, _Rows):
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
    doubled = sorted({column for column in names if names.count(column) > 1})
    if doubled:
        raise ValueError(
            f"dataset must have distinct column names, got {doubled[0]!r} more than once; "
            "rename or drop one"
        )
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


def _pair(X: object, y: object, *, name: str) -> Table:
    frame = features_frame(X)
    labels = as_column(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"y must hold one value for each row, got shape {labels.shape}; "
            "for one-hot classes give y.argmax(axis=1)"
        )
    if len(frame) != len(labels):
        raise ValueError(
            f"X and y must have the same length, got {len(frame)} rows and {len(labels)} labels; "
            "give one label for each row"
        )
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


def _torch_dataset(dataset: _Rows) -> Table:
    tensors = getattr(dataset, "tensors", None)
    name = type(dataset).__name__
    if tensors is not None and len(tensors) == 2:
        return _pair(*tensors, name=name)
    pairs = [_pair_at(dataset, row) for row in range(len(dataset))]
    rows = [as_array(x, "X") for x, _ in pairs]
    return _pair(np.stack(rows) if rows else [[]], [_plain(y) for _, y in pairs], name=name)


def _pair_at(dataset: _Rows, row: int) -> tuple[object, object]:
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
