"""Encoders that turn a table's columns into the numbers a network takes.

They are fitted on the training split alone. The pieces have plain attributes, so that a fitted
encoder is saved as JSON.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.data import transformers
from objectives.data.columns import LARGEST, column_is_text, column_kind, parse_numbers
from objectives.data.transformers import (
    N_BINS,
    Booleans,
    Categories,
    DateParts,
    Gaps,
    Levels,
    MedianFill,
    Numbers,
    PiecewiseLinear,
    SmoothClip,
    Standard,
    Transformer,
)

NumericMode = Literal["standard", "smooth_clip", "piecewise"]
Numeric = TypeVar("Numeric", bound=Any)

MAX_LEVELS = 256
"""Outputs of one categorical column at most; its rarest levels share one output beyond that."""

MIN_LEVEL_ROWS = 2
"""Levels that fewer training rows have share the output of rare levels. With benchmarks/levels.py,
2 was within noise of 1; 5 and 10 were worse by 7 and 25% for 200 levels, and by 5 and 9% for 5,000;
so were at most 64 outputs. Learned embeddings were within 5% of one-hot, to either side."""

MAX_PARTS = 4096
"""Piecewise-linear parts of all columns together at most: from 129 numeric columns on, each has
fewer than 32 bins, and above 2048 columns none has any."""

BATCH_ROWS, BATCH_BYTES = 4096, 1 << 21
"""Rows that are expanded at once at most, so that memory does not grow with the table, and bytes
that they take then, so that they stay in the processor's cache."""

# Model files of earlier versions name the transformers so, and skops imports them by their names.
_FORMER_NAME = "objectives.transformers"
sys.modules[_FORMER_NAME] = transformers

TRUSTED_TYPES = tuple(
    f"{module}.{part.__qualname__}"
    for module in (transformers.__name__, _FORMER_NAME)
    for part in (
        *(Booleans, Categories, DateParts, Gaps, Levels, MedianFill, Numbers),
        *(PiecewiseLinear, SmoothClip, Standard),
    )
)
"""The types that `skops.io.load` must be told to trust for encoders of earlier versions."""


SAVED: Mapping[str, type[Transformer]] = MappingProxyType(
    {
        part.__name__: part
        for part in (Booleans, Categories, DateParts, Gaps, PiecewiseLinear, SmoothClip, Standard)
    }
)
"""The transformers that model files hold, by name."""


@dataclass(frozen=True)
class Part:
    """Columns of a table, and what transforms them: one step after another.

    Attributes:
        name: what the columns are, such as "numbers".
        steps: transformers; each is handed what the one before it gives.
        columns: names of the columns.
    """

    name: str
    steps: Sequence[Any]
    columns: Sequence[str]

    def fit_transform(self, X: pd.DataFrame) -> NDArray[Any]:
        """Fit the steps, and return what they make of the columns."""
        values: Any = X[list(self.columns)]
        for step in self.steps:
            values = step.fit_transform(values)
        return values  # type: ignore[no-any-return]

    def transform(self, X: pd.DataFrame) -> NDArray[Any]:
        """Return what the fitted steps make of the columns."""
        values: Any = X[list(self.columns)]
        for step in self.steps:
            values = step.transform(values)
        return values  # type: ignore[no-any-return]


class Parts:
    """What all columns of a table become, side by side, as scikit-learn's `ColumnTransformer`.

    Args:
        parts: in the order of their outputs.
        widths: numbers that each part gives a row, once it is fitted.
        source: the transformer of scikit-learn that a file of an earlier version holds, of which
            these are the parts; another file is made of it.
    """

    def __init__(
        self, parts: Sequence[Part], widths: Sequence[int] = (), source: object = None
    ) -> None:
        self.parts, self.widths, self.source = tuple(parts), tuple(widths), source

    def __getitem__(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def fit_transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Fit all parts, and return what they make of a table with rows."""
        values = [part.fit_transform(X) for part in self.parts]
        self.widths = tuple(part.shape[1] for part in values)
        return self._beside(len(X), values)

    def transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Return what the fitted parts make of a table with rows."""
        return self._beside(len(X), (part.transform(X) for part in self.parts))

    def _beside(self, n_rows: int, values: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
        # Row by row in memory, as batches are taken, and one part at a time: tables may be large.
        cells = np.empty((n_rows, sum(self.widths)), dtype=np.float32)
        places = np.split(cells, np.cumsum(self.widths)[:-1], axis=1)
        for place, part in zip(places, values, strict=True):
            place[:] = part if part.dtype == np.float32 else np.clip(part, -LARGEST, LARGEST)
        return cells

    def state(self) -> list[dict[str, Any]]:
        """Return all that was learned, in plain JSON types."""
        return [
            {
                "name": part.name,
                "columns": list(part.columns),
                "width": width,
                "steps": [{"type": type(step).__name__, **step.state()} for step in part.steps],
            }
            for part, width in zip(self.parts, self.widths, strict=True)
        ]

    @classmethod
    def from_state(cls, state: Sequence[Mapping[str, Any]]) -> Self:
        """Return the parts whose `state` this is; of all types, only those of `SAVED` are made.

        Raises:
            LookupError, TypeError, ValueError, OverflowError: if it is none.
        """
        parts = [
            Part(
                entry["name"],
                [SAVED[step["type"]].from_state(step) for step in entry["steps"]],
                list(map(str, entry["columns"])),
            )
            for entry in state
        ]
        return cls(parts, [int(entry["width"]) for entry in state])


class Layout:
    """How the cells of a table, as they are kept, become the inputs of a network.

    Scaled numbers, flags and the like are inputs as they are. A place in the bins of a
    `PiecewiseLinear` becomes one input a bin, and the number of a `Categories` level one input a
    level.

    Args:
        transformer: fitted, on the columns whose cells these are.

    Attributes:
        n_cells: how many numbers are kept a row.
        n_outputs: how many inputs they become.
    """

    def __init__(self, transformer: Parts) -> None:
        self.n_cells = self.n_outputs = 0
        self._plain: list[tuple[slice, slice]] = []
        self._bins = self._levels = (slice(0, 0), slice(0, 0))
        self._tensors: dict[str, Tensor] = {}
        for part, width in zip(transformer.parts, transformer.widths, strict=True):
            last = part.steps[-1]
            if isinstance(last, PiecewiseLinear):
                counts = [len(edges) - 1 for edges in last.edges_ if len(edges) > 2]
                self._bins = self._take(len(counts), sum(counts))
                self._set_bins(np.array(counts, dtype=np.int64), last.mean_)
            elif isinstance(last, Categories):
                sizes = last.n_outputs_
                self._levels = self._take(len(sizes), sum(sizes))
                first = np.cumsum([0, *sizes[:-1]])
                self._tensors["first"] = torch.from_numpy(first)
            else:
                self._plain.append(self._take(width, width))

    def _take(self, n_cells: int, n_outputs: int) -> tuple[slice, slice]:
        """Return where the next cells stand, and the outputs that they become."""
        cells = slice(self.n_cells, self.n_cells + n_cells)
        outputs = slice(self.n_outputs, self.n_outputs + n_outputs)
        self.n_cells, self.n_outputs = cells.stop, outputs.stop
        return cells, outputs

    def _set_bins(self, counts: NDArray[np.int64], mean: NDArray[np.float64]) -> None:
        lower = np.concatenate([[], *map(np.arange, counts)])
        # clip(place - lower, 0, 1) - mean, in two steps instead of three
        for name, values in (("shift", lower + mean), ("low", -mean), ("high", 1 - mean)):
            self._tensors[name] = torch.as_tensor(values, dtype=torch.float32)
        self._all_alike = len(set(counts)) == 1
        self._tensors["source"] = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))

    def to(self, device: torch.device) -> Self:
        """Return the same layout for cells on a device."""
        moved = object.__new__(type(self))
        vars(moved).update(vars(self))
        moved._tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        return moved

    def expand(self, cells: Tensor, out: Tensor) -> None:
        """Write the inputs for ``cells`` (n, n_cells) to ``out`` (n, n_outputs)."""
        for source, place in self._plain:
            out[:, place] = cells[:, source]
        source, place = self._bins
        if place.stop > place.start:
            places, parts, tensors = cells[:, source], out[:, place], self._tensors
            if self._all_alike:
                wide = places.unsqueeze(2).expand(-1, -1, parts.shape[1] // places.shape[1])
                shift = tensors["shift"].view(wide.shape[1:])
                torch.sub(wide, shift, out=parts.view(wide.shape))
            else:
                torch.sub(places[:, tensors["source"]], tensors["shift"], out=parts)
            torch.clamp(parts, tensors["low"], tensors["high"], out=parts)
        source, place = self._levels
        if place.stop > place.start:
            codes = cells[:, source]
            chosen = codes.clamp_min(0).long() + self._tensors["first"]
            out[:, place] = 0
            out[:, place].scatter_(1, chosen, (codes >= 0).to(out.dtype))


@dataclass(frozen=True, eq=False)
class TableRows:
    """Rows of an encoded table, kept as few numbers and expanded some at a time.

    Args:
        cells: what is kept (n, n_cells), float32.
        layout: what the cells become; None for inputs that are kept as they are.
    """

    cells: Tensor
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def n_inputs(self) -> int:
        """Inputs a row."""
        return self.cells.shape[1] if self.layout is None else self.layout.n_outputs

    def to(self, device: torch.device) -> Self:
        """Return the rows on a device."""
        layout = None if self.layout is None else self.layout.to(device)
        return type(self)(self.cells.to(device), layout)

    def expand(self, index: Tensor | slice = slice(None), width: int | None = None) -> Tensor:
        """Return the inputs (r, n_inputs) of some rows, with columns of zeros up to ``width``."""
        cells, n_inputs = self.cells[index], self.n_inputs
        width = n_inputs if width is None else width
        if self.layout is None and width == n_inputs:
            return cells
        out = cells.new_empty(len(cells), width)
        out[:, n_inputs:] = 0
        if self.layout is None:
            out[:, :n_inputs] = cells
        else:
            self.layout.expand(cells, out[:, :n_inputs])
        return out

    def batches(self, width: int | None = None) -> Iterator[Tensor]:
        """Yield the inputs of all rows in order, some at a time; no rows give one batch.

        How many at a time follows from ``width``, so encoders of folds give batches of one size.
        """
        n_floats = max(1, width or self.n_inputs)
        n_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * n_floats)))
        for start in range(0, max(1, len(self)), n_rows):
            yield self.expand(slice(start, start + n_rows), width)

    def stream(self, order: Tensor, batch_size: int) -> Iterator[Tensor]:
        """Yield the inputs of these rows in batches."""
        for index in torch.split(order.to(self.cells.device), batch_size):
            yield self.expand(index)


@dataclass(frozen=True, kw_only=True)
class TabularEncoder:
    """Turns tables with the columns it was fitted on into float32 matrices.

    The outputs come in this order: numbers, date parts, piecewise-linear parts (mode "piecewise"
    only), missing-value indicators, booleans as 0/1, and one output for each level of each
    categorical column. A level not seen in training goes where rare levels went, and gets zeros
    where there were none. Missing numbers become the training median.

    Attributes:
        columns: features used, in the order of the training table.
        numeric: how numbers are scaled, see `fit`.
        n_outputs: width of the matrix.
        n_numeric: how many leading outputs are scaled numbers and date parts.
        transformer: what is inside, fitted.
        decimal_comma: columns of numbers where a text such as "1,234" is little more than one.
    """

    columns: tuple[str, ...]
    numeric: str
    n_outputs: int
    n_numeric: int
    transformer: Parts
    decimal_comma: Sequence[str] = ()

    @classmethod
    def fit(
        cls,
        X: pd.DataFrame,
        *,
        categorical: Sequence[str] = (),
        numeric: str = "smooth_clip",
        decimal_comma: Sequence[str] = (),
    ) -> Self:
        """Fit an encoder on the features of the training split.

        Args:
            X: features, one row an example.
            categorical: columns encoded as categories besides text and pandas categories.
            numeric: "standard" (median imputation, zero mean, unit variance), "smooth_clip"
                (median-centred, quantile-scaled, softly clipped to (-3, 3); see `SmoothClip`) or
                "piecewise" (as "standard", and the encoding of `PiecewiseLinear` beside it).
            decimal_comma: columns whose texts, in tables to come, have a comma before decimals.

        Raises:
            ValueError: if ``numeric`` is none of the three, or there is no row or no column.

        Example:
            >>> X = pd.DataFrame({"age": [20.0, 20.0, 60.0, 60.0], "sex": list("mfmf")})
            >>> encoder = TabularEncoder.fit(X, numeric="standard")
            >>> encoder.transform(X[:2]).tolist()
            [[-1.0, 0.0, 1.0], [-1.0, 1.0, 0.0]]
        """
        return cls.fit_rows(
            X, categorical=categorical, numeric=numeric, decimal_comma=decimal_comma
        )[0]

    @classmethod
    def fit_rows(
        cls,
        X: pd.DataFrame,
        *,
        categorical: Sequence[str] = (),
        numeric: str = "smooth_clip",
        decimal_comma: Sequence[str] = (),
    ) -> tuple[Self, TableRows]:
        """Fit an encoder as `fit` does, and return it with the rows that `rows` gives for ``X``."""
        if numeric not in get_args(NumericMode):
            choices = ", ".join(get_args(NumericMode))
            raise ValueError(f"numeric must be one of {choices}, got numeric={numeric!r}")
        if X.empty:
            raise ValueError(f"X must have rows and columns, got shape {X.shape}; fit on more data")
        transformer = _transformer(X, _by_kind(X, categorical), numeric)
        cells = transformer.fit_transform(X)
        widths = zip(transformer.parts, transformer.widths, strict=True)
        encoder = cls(
            columns=tuple(map(str, X.columns)),
            numeric=numeric,
            n_outputs=Layout(transformer).n_outputs,
            n_numeric=sum(width for part, width in widths if part.name in ("numbers", "dates")),
            transformer=transformer,
            decimal_comma=[name for name in X.columns if name in decimal_comma],
        )
        return encoder, encoder._rows(cells)

    @property
    def layout(self) -> Layout:
        """What the cells of `rows` become."""
        return Layout(self.transformer)

    def _rows(self, cells: NDArray[np.float32]) -> TableRows:
        return TableRows(torch.from_numpy(cells), self.layout)

    def transform(self, X: pd.DataFrame) -> NDArray[np.float32]:
        """Encode a table with the columns of training, in any order, as finite (n, n_outputs).

        Raises:
            ValueError: as `rows`.
        """
        encoded: NDArray[np.float32] = self.rows(X).expand().numpy()
        return encoded

    def rows(self, X: pd.DataFrame) -> TableRows:
        """Encode a table with the columns of training, in any order, to be expanded in batches.

        Raises:
            ValueError: if a column is missing, or holds infinite values, text where training had
                numbers, or no dates where training had dates; names the column.
        """
        missing = [name for name in self.columns if name not in X.columns]
        if missing:
            raise ValueError(
                f"X must have every column of the training table, got none named {missing[0]!r}; "
                "add it, with empty cells if it is not known"
            )
        if not len(X):
            return self._rows(np.empty((0, self.layout.n_cells), dtype=np.float32))
        if list(X.columns) != list(self.columns):
            X = X[list(self.columns)]
        for name in self.decimal_comma:
            numbers = parse_numbers(X[name], decimal=",") if column_is_text(X[name]) else None
            if numbers is not None:
                X = X.assign(**{name: numbers})
        return self._rows(self.transformer.transform(X))


def _by_kind(X: pd.DataFrame, categorical: Sequence[str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {"number": [], "boolean": [], "date": [], "category": []}
    for name, column in X.items():
        kind = "category" if name in categorical else column_kind(column)
        if kind == "boolean" and column.isna().any():
            # Yes, no and unknown are three levels.
            kind = "category"
        kinds[kind].append(str(name))
    return kinds


def _transformer(X: pd.DataFrame, kinds: dict[str, list[str]], numeric: str) -> Parts:
    numbers = kinds["number"]
    gaps = [name for name in numbers if X[name].isna().any()]
    n_bins = min(N_BINS, MAX_PARTS // max(1, len(numbers))) if numeric == "piecewise" else 0
    scaled = SmoothClip if numeric == "smooth_clip" else Standard
    parts = [
        Part("numbers", [scaled()], numbers),
        Part("dates", [DateParts(), scaled()], kinds["date"]),
        Part("piecewise", [PiecewiseLinear(n_bins)], numbers if n_bins > 1 else []),
        Part("missing", [Gaps()], gaps),
        Part("booleans", [Booleans()], kinds["boolean"]),
        Part("categories", [Categories(MAX_LEVELS, MIN_LEVEL_ROWS)], kinds["category"]),
    ]
    return Parts([part for part in parts if part.columns])


@dataclass(frozen=True)
class TargetScaler:
    """Centres and scales a regression target, and takes predictions back to its units.

    Predictions are kept between ``low`` and ``high``; None is no bound.

    Example:
        >>> scaler = TargetScaler.fit(np.array([10.0, 20.0, 30.0]))
        >>> scaler.mean, float(scaler.inverse(scaler.transform(np.array([25.0])))[0])
        (20.0, 25.0)
    """

    mean: float
    scale: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def fit(cls, y: NDArray[np.float64], *, clamp: bool = False) -> Self:
        """Take mean and standard deviation of ``y``; a constant ``y`` is left unscaled.

        With ``clamp``, predictions stay within the range of ``y``, as in RealMLP (Holzmüller et
        al. 2024): a network extrapolates wildly where a row is unlike all others.
        """
        low, high = (float(np.min(y)), float(np.max(y))) if clamp else (None, None)
        if np.ptp(y) == 0:  # whose mean and deviation would be off by rounding
            return cls(mean=float(y[0]), scale=1.0, low=low, high=high)
        return cls(mean=float(np.mean(y)), scale=float(np.std(y)) or 1.0, low=low, high=high)

    def transform(self, y: Numeric) -> Numeric:
        """Return ``y`` (array or tensor) without units."""
        scaled: Numeric = (y - self.mean) / self.scale
        return scaled

    def inverse(self, y: Numeric) -> Numeric:
        """Return standardised values (array or tensor) in the units of the target."""
        values: Numeric = y * self.scale + self.mean
        if self.low is not None:
            values = values.clip(self.low, self.high)
        return values
