"""`FittedModule`: a trained module with what its inputs need, saved without pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from objectives.data.encoders import TableRows, TabularEncoder, TargetScaler
from objectives.data.frames import frame_from
from objectives.data.targets import Task
from objectives.images.data import ImageSplit
from objectives.images.load import image_batch
from objectives.images.pixels import Size
from objectives.metrics import Metric, probabilities
from objectives.models.files import (
    Labels,
    Path_,
    Record,
    is_ensemble,
    read_ensemble,
    read_module,
    read_temperature,
    read_threshold,
    refusing,
    unpack_labels,
    unpack_scaler,
    write_module,
)
from objectives.models.mlp import FittedModel
from objectives.scorers import get_metric, stored_metric
from objectives.space.registry import READY_MADE
from objectives.training.feeds import ImageRows, Rows, TensorRows, as_inputs
from objectives.training.module_cohort import predictions
from objectives.training.recipe import columns

# Networks of ours that a file can name; a user's own module needs its ``build``.
_REBUILT = frozenset(kind for kind, entry in READY_MADE.items() if entry.rebuilds)


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What images a network takes: of 1 or 3 channels, and of this height and width."""

    n_channels: int
    size: Size

    def example(self) -> Tensor:
        """Return the form of one image, without memory, whatever size an altered file asks for."""
        shape = (1, self.n_channels, *self.size)
        return torch.empty(shape, dtype=torch.uint8, device="meta")

    def rows(self, X: object) -> Rows:
        """Read arrays, PIL images or paths, one or many, as the network takes them."""
        if isinstance(X, ImageSplit):
            return ImageRows(X, torch.device("cpu"))
        return TensorRows(image_batch(X, n_channels=self.n_channels, image_size=self.size))


@dataclass(frozen=True, kw_only=True)
class TableInputs:
    """Turns tables as they were handed in into a module's inputs (n, I).

    A table must have the ``columns`` that the module was trained on, an array all
    ``input_columns``, as first handed in.
    """

    columns: tuple[str, ...]
    input_columns: tuple[str, ...]
    encoder: TabularEncoder

    @property
    def shape(self) -> tuple[object, ...]:
        """What encoders that are fitted alike have in common."""
        return self.columns, self.input_columns, self.encoder.columns, self.encoder.n_outputs

    def __call__(self, X: object) -> TableRows:
        """Return the inputs for ``X``, to be expanded in batches."""
        frame = frame_from(X, self.columns, input_columns=self.input_columns)
        return self.encoder.rows(frame)


def accepted(
    build: Callable[..., object], params: Mapping[str, Any], hints: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those of ``params`` and ``hints`` that ``build`` has arguments for."""
    known = signature(build).parameters.values()
    if any(p.kind is Parameter.VAR_KEYWORD for p in known):
        return {**hints, **params}
    names = {p.name for p in known}
    return {name: value for name, value in {**hints, **params}.items() if name in names}


class FittedModule(FittedModel):
    """A trained module that predicts for arrays, images or tables as they were handed in.

    Args:
        module: the trained module; it is copied to the CPU by whoever made it.
        task: ``"binary"``, ``"multiclass"`` or ``"regression"``.
        metric: what `score` computes.
        classes: labels in code order; None in regression.
        target_scaler: takes outputs back to the units of the target; None for classes.
        params: hyperparameters it was trained with.
        hints: what ``build`` was told of the data.
        images: what images it takes; None for arrays and tables.
        table: turns a table into inputs (n, I); None for arrays and images.
        kind: ``"module"``, or the name of a network of ours.
        example: one row of inputs (1, ...), of which only shape and type are kept; None for several
            inputs.
        temperature: as of `FittedModel`.
        threshold: likewise.
    """

    suffix = ".safetensors"

    def __init__(  # its base's arguments are of a stacked network
        self,
        *,
        module: nn.Module,
        task: Task,
        metric: Metric,
        classes: Labels | None = None,
        target_scaler: TargetScaler | None = None,
        params: Mapping[str, Any] | None = None,
        hints: Mapping[str, Any] | None = None,
        images: ImageSpec | None = None,
        table: TableInputs | None = None,
        kind: str = "module",
        example: Tensor | None = None,
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> None:
        self.module = module.eval()
        self.task: Task = task
        self.metric, self.classes, self.target_scaler = metric, classes, target_scaler
        self.params, self.hints = dict(params or {}), dict(hints or {})
        self.images, self.table, self.kind = images, table, kind
        self.temperature, self.threshold = temperature, threshold
        example = example if images is None else images.example()
        self.example = None if example is None else example.to("meta")

    @property
    def n_bytes(self) -> int:
        """What the weights take in memory."""
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    def takes_inputs_of(self, other: FittedModel) -> bool:
        """Say whether what ``other.rows(X)`` gives are the inputs of this model, too."""
        if not isinstance(other, FittedModule):
            return False
        return self.table is other.table and self.images == other.images

    def share_inputs(self, other: FittedModel) -> None:
        """Take the encoder of another model of the same search, which is fitted alike."""
        mine, its = self.table, getattr(other, "table", None)
        if mine is not None and its is not None and mine.shape == its.shape:
            self.table = its

    def average_of(self, rows: Rows) -> NDArray[np.float64]:
        """Return what the module predicts for the rows that `rows` gives."""
        n_classes = 1 if self.classes is None else len(self.classes)
        batches = [
            columns(outputs, self.task, n_classes) for _, outputs in predictions(self.module, rows)
        ]
        outputs = torch.cat(batches).cpu().double()
        average = outputs[:, 0] if self.classes is None else probabilities(outputs)
        return average.numpy()

    def rows(self, X: object) -> Rows:
        """Return the module's inputs for ``X``, for `average_of`."""
        if self.images is not None:
            return self.images.rows(X)
        return TensorRows(as_inputs(X)) if self.table is None else self.table(X)

    def save(self, path: Path_) -> None:
        """Write weights, description and preprocessing to one safetensors file, without pickle.

        Raises:
            ValueError: if the folder is missing or ``path`` is a folder.
        """
        example = self.example
        record = {
            **self._record(),
            "kind": self.kind,
            "hints": self.hints,
            "images": None if self.images is None else vars(self.images),
            "example": None
            if example is None
            else {"shape": list(example.shape), "whole": not example.is_floating_point()},
            "table": None if self.table is None else vars(self.table),
        }
        write_module(path, record, self.module.state_dict())

    @classmethod
    def load(
        cls,
        path: Path_,
        *,
        build: Callable[..., nn.Module] | None = None,
        metric: Metric | None = None,
    ) -> Self:
        """Read a model that `save` wrote. Nothing in the file is run. An ensemble's file gives an
        `objectives.models.ensemble.EnsembleModel`.

        Args:
            path: the file.
            build: the function that made the module; not needed for networks of ours.
            metric: what `score` computes; None for the metric that the file names.

        Raises:
            ValueError: if there is no such file, it is no such model or damaged, or its weights
                are of another module than ``build`` makes.
        """
        if is_ensemble(path):
            return read_ensemble(path, metric=metric, build=build)  # type: ignore[no-any-return]
        with refusing(path, "FittedModule.save"):
            content = Path(path).read_bytes()
            record, state, encoder = read_module(content)
            known = _arguments(record, encoder, len(content))
            is_ours = record["kind"] in _REBUILT
            module = _network_of_ours(record, state) if is_ours else None
        if module is None:
            module = _network_of_yours(record, state, build, path)
        name, task = record["metric"], record["task"]
        chosen = get_metric(metric, task) if metric else stored_metric(name, task)
        return cls(module=module, metric=chosen, **known)

    def encode(self, X: object) -> Tensor:
        """Return the module's inputs for ``X``: pixels, an array, or an encoded table."""
        order = torch.arange(len(rows := self.rows(X)))
        (inputs,) = rows.stream(order, max(1, len(order)))
        if not isinstance(inputs, Tensor):
            raise ValueError("export must be of a module of one input, got one of several")
        return inputs

    def exportable(self, n_rows: int) -> tuple[nn.Module, Tensor]:
        """Return the module and an example of its inputs, see `objectives.models.export`."""
        if self.example is None:
            raise ValueError(
                "export must be of a module of one input, got one of several; use torch.export on "
                "model.module"
            )
        return self.module, torch.zeros(n_rows, *self.example.shape[1:], dtype=self.example.dtype)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f"n_classes={len(self.classes)}, "
        return (
            f"FittedModule(kind={self.kind!r}, task={self.task!r}, metric={self.metric.name!r}, "
            f"{classes}params={self.params})"
        )


def _arguments(record: Record, encoder: TabularEncoder | None, n_bytes: int) -> Record:
    """Return what a file of ``n_bytes`` says of a model besides its network."""
    table = None
    if encoder is not None:
        names = {key: tuple(record["table"][key]) for key in ("columns", "input_columns")}
        table = TableInputs(**names, encoder=encoder)
    images, example = record["images"], record["example"]
    if record["task"] not in get_args(Task) or not isinstance(record["metric"], str):
        raise ValueError("task and metric must be names")
    if images is not None:
        size = tuple(images["size"])
        images, example = ImageSpec(n_channels=int(images["n_channels"]), size=size), None
        images.example()  # raises for what is no size
    if example is not None:
        dtype = torch.int64 if example["whole"] else torch.float32
        example = torch.empty(example["shape"], dtype=dtype, device="meta")
    return {
        "task": record["task"],
        "kind": record["kind"],
        "params": dict(record["params"]),
        "hints": dict(record["hints"]),
        "classes": unpack_labels(record["classes"], n_bytes),
        "target_scaler": unpack_scaler(record["target_scaler"]),
        "images": images,
        "table": table,
        "example": example,
        "temperature": read_temperature(record),
        "threshold": read_threshold(record),
    }


def _network_of_ours(record: Record, state: dict[str, Tensor]) -> nn.Module:
    """Build the network that a file names, once its weights are known to be as large."""
    make = READY_MADE[record["kind"]].build
    arguments = record["params"] | record["hints"]
    if arguments.get("n_layers", 0) > len(state):
        raise ValueError("a network has weights in each of its layers")
    with torch.device("meta"):  # costs no memory, whatever size an altered file asks for
        expected = make(**arguments).state_dict()
    if {k: t.shape for k, t in expected.items()} != {k: t.shape for k, t in state.items()}:
        raise ValueError("weights and network must have the same shapes")
    module: nn.Module = make(**arguments)
    module.load_state_dict(state)
    return module


def _network_of_yours(
    record: Record,
    state: dict[str, Tensor],
    build: Callable[..., nn.Module] | None,
    path: Path_,
) -> nn.Module:
    if build is None:
        raise ValueError(
            f"build must be given to load a module of your own, got none for {str(path)!r}; "
            "pass the function that tune_module had: FittedModule.load(path, build=build)"
        )
    module = build(**accepted(build, record["params"], record["hints"]))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"path must hold weights of the module that build makes, got {str(path)!r} with "
            f"others ({str(error).splitlines()[-1].strip()})"
        ) from error
    return module
