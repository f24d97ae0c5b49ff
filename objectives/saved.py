"""Reading a saved model of either kind."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.metrics import Metric
    from objectives.model import FittedModel


def load_model(
    path: str | os.PathLike[str],
    *,
    build: Callable[..., Any] | None = None,
    metric: Metric | None = None,
) -> FittedModel:
    """Read a model that ``save`` wrote, whichever kind it is. Nothing in the file is run.

    Args:
        path: a file of `FittedModel.save` (a zip) or of `FittedModule.save` (safetensors); its
            name says nothing of the kind.
        build: as in `FittedModule.load`, for a module of your own.
        metric: as in `FittedModel.load`.

    Raises:
        ValueError: if there is no such file, it is neither kind, or damaged.

    Example:
        >>> load_model("pyproject.toml")
        Traceback (most recent call last):
        ValueError: path must be a file that save of a fitted model wrote, got ...
    """
    from objectives.model import FittedModel
    from objectives.module_model import FittedModule

    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    if zipfile.is_zipfile(path):
        return FittedModel.load(path, metric=metric)
    with Path(path).open("rb") as file:
        # safetensors: the length of a JSON header in 8 bytes, then the header itself
        if file.read(9)[8:] == b"{":
            return FittedModule.load(path, build=build, metric=metric)
    raise ValueError(
        f"path must be a file that save of a fitted model wrote, got path={str(path)!r}, which is "
        "another kind of file; save the model with result.model.save or --save-model"
    )
