"""Read a saved model of any kind."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from objectives.metrics import Metric

if TYPE_CHECKING:
    from objectives.model import FittedModel


def load_model(
    path: str | os.PathLike[str],
    *,
    build: Callable[..., Any] | None = None,
    metric: Metric | None = None,
) -> FittedModel:
    """Read a model that ``model.save`` wrote, whichever entry point made it. Nothing in the file
    is run.

    Args:
        path: the file.
        build: the function that made the module, for one of `tuner.tune_module`.
        metric: what ``score`` computes; None for the metric that the file names.

    Raises:
        ValueError: if there is no such file, or it is none of these, damaged or altered; or
            ``build`` is needed.
    """
    from objectives.model import FittedModel
    from objectives.module_model import FittedModule

    if zipfile.is_zipfile(path):
        return FittedModel.load(path, metric=metric)
    return FittedModule.load(path, build=build, metric=metric)
