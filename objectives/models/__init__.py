"""Fitted models: prediction, files without pickle, ONNX, backbones of torchvision.

`load_model` reads any of them, importing no more than its kind needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from objectives.metrics import Metric
    from objectives.models.mlp import FittedModel


def load_model(
    path: str | os.PathLike[str],
    *,
    build: Callable[..., nn.Module] | None = None,
    metric: Metric | None = None,
) -> FittedModel:
    """Read a model that ``save`` wrote, whichever kind it is. Nothing in the file is run.

    Args:
        path: a file of `FittedModel.save` or `EnsembleModel.save` (zips), or of
            `FittedModule.save` (safetensors); its name says nothing of the kind.
        build: as in `FittedModule.load`, for a module of your own.
        metric: as in `FittedModel.load`.

    Raises:
        ValueError: if there is no such file, it is neither kind, or damaged.

    Example:
        >>> load_model("pyproject.toml")
        Traceback (most recent call last):
        ValueError: path must be a file that save of a fitted model wrote, got ...
    """
    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    with Path(path).open("rb") as file:
        start = file.read(9)
    if start.startswith(b"PK"):  # not is_zipfile: a module's file may end in a zip, its encoder
        from objectives.models.files import is_ensemble, read_ensemble

        if is_ensemble(path):
            return read_ensemble(path, metric=metric, build=build)  # type: ignore[no-any-return]
        from objectives.models.mlp import FittedModel

        return FittedModel.load(path, metric=metric)
    # safetensors: the length of a JSON header in 8 bytes, then the header itself
    if start[8:] == b"{":
        from objectives.models.module import FittedModule

        return FittedModule.load(path, build=build, metric=metric)
    raise ValueError(
        f"path must be a file that save of a fitted model wrote, got path={str(path)!r}, which is "
        "another kind of file; save the model with result.model.save or --save-model"
    )
