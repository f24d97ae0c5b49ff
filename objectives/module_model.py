"""`FittedModule`: a trained module with what its inputs need, saved without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from objectives.batched_metrics import probabilities
from objectives.feeds import ImageRows, Inputs, Rows, TensorRows, as_inputs
from objectives.file_writing import replace_file
from objectives.image_data import ImageSplit
from objectives.image_readers import image_batch
from objectives.metrics import Metric, get_metric
from objectives.model import FittedModel
from objectives.model_file import pack_labels, unpack_labels
from objectives.module_cohort import predictions
from objectives.module_training import columns
from objectives.pixels import Size
from objectives.preprocessing import TargetScaler
from objectives.targets import Task

_KEY, _FORMAT, _VERSION = "fusetune", "fusetune module", 1

# Networks of ours that a file can name; a user's own module needs its ``build``.
_BUILDERS = {"cnn": "objectives.cnn", "finetune": "objectives.finetune"}


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What images a network takes.

    Args:
        n_channels: 1 or 3.
        size: height and width in pixels.
    """

    n_channels: int
    size: Size

    def rows(self, X: Any) -> Rows:
        """Read arrays, PIL images or paths, one or many, as the network takes them."""
        if isinstance(X, ImageSplit):
            return ImageRows(X, torch.device("cpu"))
        return TensorRows(image_batch(X, n_channels=self.n_channels, image_size=self.size))


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
        example: one row of inputs (1, ...); None for several inputs.
    """

    def __init__(  # its base's arguments are of a stacked network
        self, *, module: nn.Module, task: Task, metric: Metric,
        classes: NDArray[Any] | None = None, target_scaler: TargetScaler | None = None,
        params: Mapping[str, Any] | None = None, hints: Mapping[str, Any] | None = None,
        images: ImageSpec | None = None, table: Callable[[Any], Tensor] | None = None,
        kind: str = "module", example: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.module = module.eval()
        self.task: Task = task
        self.metric, self.classes, self.target_scaler = metric, classes, target_scaler
        self.params, self.hints = dict(params or {}), dict(hints or {})
        self.images, self.table, self.kind = images, table, kind
        if images is not None:
            example = torch.zeros(1, images.n_channels, *images.size, dtype=torch.uint8)
        self.example = None if example is None else example.detach().cpu()

    def _average(self, X: Any) -> NDArray[np.float64]:
        n_classes = 1 if self.classes is None else len(self.classes)
        found = [
            columns(outputs, self.task, n_classes)
            for _, outputs in predictions(self.module, self._rows(X))
        ]
        outputs = torch.cat(found).double()
        average = outputs[:, 0] if self.classes is None else probabilities(outputs)
        return average.numpy()

    def _rows(self, X: Any) -> Rows:
        if self.images is not None:
            return self.images.rows(X)
        inputs: Inputs = as_inputs(X) if self.table is None else self.table(X)
        return TensorRows(inputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to one safetensors file, without pickle.

        Args:
            path: file to write, such as ``"model.safetensors"``; its folder must be there.

        Raises:
            ValueError: if the folder is missing or ``path`` is a folder; or the module was fed a
                table, whose encoder the file cannot hold.
        """
        if self.table is not None:
            raise ValueError(
                "save must be asked of a module that takes arrays or images, got one that takes a "
                "table; save model.module.state_dict() with safetensors.torch.save_file"
            )
        record = {
            "format": _FORMAT, "version": _VERSION, "kind": self.kind, "task": self.task,
            "metric": self.metric.name, "params": self.params, "hints": self.hints,
            "classes": None if self.classes is None else pack_labels(self.classes),
            "target_scaler": None if self.target_scaler is None else vars(self.target_scaler),
            "images": None if self.images is None else vars(self.images),
        }  # fmt: skip
        state = {k: v.detach().cpu().clone() for k, v in self.module.state_dict().items()}
        header = {_KEY: json.dumps(record, allow_nan=False)}
        replace_file(path, safetensors.torch.save(state, metadata=header))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, build: Callable[..., nn.Module] | None = None,
        metric: Metric | None = None,
    ) -> Self:  # fmt: skip
        """Read a model that `save` wrote. Nothing in the file is run.

        Args:
            path: the file.
            build: the function that made the module; not needed for networks of ours.
            metric: what `score` computes; None for the metric that the file names.

        Raises:
            ValueError: if there is no such file, it is no such model or damaged, or its weights
                are of another module than ``build`` makes.
        """
        record, state = _read(path)
        params, hints = record["params"], record["hints"]
        if record["kind"] in _BUILDERS:
            module = import_module(_BUILDERS[record["kind"]]).build(**params, **hints)
        elif build is None:
            raise ValueError(
                f"build must be given to load a module of your own, got none for {str(path)!r}; "
                "pass the function that tune_module had: FittedModule.load(path, build=build)"
            )
        else:
            module = build(**accepted(build, params, hints))
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"path must hold weights of the module that build makes, got {str(path)!r} with "
                f"others ({str(error).splitlines()[-1].strip()})"
            ) from error
        scaler, images, labels = record["target_scaler"], record["images"], record["classes"]
        return cls(
            module=module, task=record["task"], kind=record["kind"], params=params, hints=hints,
            metric=get_metric(record["metric"] if metric is None else metric, record["task"]),
            classes=None if labels is None else unpack_labels(**labels),
            target_scaler=None if scaler is None else TargetScaler(**scaler),
            images=None if images is None
            else ImageSpec(n_channels=images["n_channels"], size=tuple(images["size"])),
        )  # fmt: skip

    def encode(self, X: Any) -> Tensor:
        """Return the module's inputs for ``X``: pixels, an array, or an encoded table."""
        order = torch.arange(len(rows := self._rows(X)))
        (inputs,) = rows.stream(order, max(1, len(order)))
        if not isinstance(inputs, Tensor):
            raise ValueError("export must be of a module of one input, got one of several")
        return inputs

    def exportable(self, n_rows: int) -> tuple[nn.Module, Tensor]:
        """Return the module and an example of its inputs, see `objectives.export`."""
        if self.example is None:
            raise ValueError(
                "export must be of a module of one input, got one of several; use torch.export on "
                "model.module"
            )
        rows = self.example.expand(n_rows, *self.example.shape[1:])
        return self.module, rows.clone()

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f"n_classes={len(self.classes)}, "
        return (
            f"FittedModule(kind={self.kind!r}, task={self.task!r}, metric={self.metric.name!r}, "
            f"{classes}params={self.params})"
        )


def accepted(
    build: Callable[..., Any], params: Mapping[str, Any], hints: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those of ``params`` and ``hints`` that ``build`` has arguments for."""
    from inspect import Parameter, signature

    known = signature(build).parameters.values()
    if any(p.kind is Parameter.VAR_KEYWORD for p in known):
        return {**hints, **params}
    names = {p.name for p in known}
    return {name: value for name, value in {**hints, **params}.items() if name in names}


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    content = Path(path).read_bytes()
    try:
        state = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        record = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
        known = record["format"] == _FORMAT and record["version"] == _VERSION
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"path must be a file that FittedModule.save wrote, got path={str(path)!r}, which is "
            "another kind of file or damaged; save the model again"
        ) from error
    if not known:
        raise ValueError(f"path must be a file of version {_VERSION}, got path={str(path)!r}")
    return record, state
