"""Fitted models for other programs: `torch.export` and ONNX."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from objectives.data.files import check_target
from objectives.metrics import probabilities

if TYPE_CHECKING:
    from objectives.data.encoders import TargetScaler


_EXAMPLE_ROWS = 2
_SMALLEST = 1e-12  # of a probability, as in `objectives.models.held_out`


class Exportable(Protocol):
    """A fitted model, as far as an export knows it."""

    classes: np.ndarray | None
    target_scaler: TargetScaler | None
    temperature: float

    def exportable(self, n_rows: int) -> tuple[nn.Module, Tensor]:
        """Return the network and an example of its inputs with so many rows.

        Raises:
            ValueError: if it has no single network of one input.
        """


class Predictor(nn.Module):
    """A network of raw outputs, (B, C) or (K, B, C) of K members, up to what a model predicts."""

    def __init__(self, network: nn.Module, model: Exportable) -> None:
        super().__init__()
        self.network = network
        self.is_regression = model.classes is None
        self.scaler = model.target_scaler
        self.temperature = model.temperature

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities (B, n_classes), or values (B,) in the target's units."""
        raw = self.network(x)
        outputs = raw if raw.dim() == 3 else (raw.unsqueeze(1) if raw.dim() == 1 else raw)[None]
        if not self.is_regression:
            mean = probabilities(outputs).mean(dim=0)
            if self.temperature == 1.0:
                return mean
            return (mean.clamp_min(_SMALLEST).log() / self.temperature).softmax(dim=-1)
        values: Tensor = outputs[..., 0].mean(dim=0)
        return values if self.scaler is None else self.scaler.inverse(values)


def export_program(model: Exportable) -> torch.export.ExportedProgram:
    """Return a fitted model as a `torch.export` program of any number of rows.

    Its input is what the network takes: pixels from 0 to 255, uint8 (B, C, H, W), for a network of
    images; the array (B, ...) for a module of one array; and for a table the encoded rows (B, I)
    that ``model.encode(X)`` gives. It returns probabilities (B, n_classes), or values (B,).

    Raises:
        ValueError: for a module of several inputs, or a model of several folds.
    """
    network, example = model.exportable(_EXAMPLE_ROWS)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(
        Predictor(network, model).eval(), (example,), dynamic_shapes=({0: batch},)
    )


def export_onnx(model: Exportable, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to an ONNX file; input and output are those of `export_program`.

    Raises:
        ImportError: if onnx and onnxscript are not installed.
        ValueError: if the folder is missing; and as `export_program`.
    """
    target = check_target(path)
    try:
        import onnxscript  # noqa: F401  what torch.onnx needs
    except ImportError as error:
        raise ImportError(
            "export_onnx needs onnx and onnxscript; install them with pip install 'fusetune[onnx]'"
        ) from error
    program = export_program(model)
    with warnings.catch_warnings():
        # torch's own converter still uses names that torch has deprecated.
        warnings.simplefilter("ignore")
        converted: Any = torch.onnx.export(
            program, dynamo=True, input_names=["x"], output_names=["prediction"], verbose=False
        )
    converted.save(str(target))
