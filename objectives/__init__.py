"""What is tuned: data, models and training in PyTorch.

Of Optuna it knows only distributions and the trial it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.cnn import CNNObjective
    from objectives.data.table import DataWarning, load_tabular
    from objectives.images.data import ImageData
    from objectives.images.load import load_images
    from objectives.metrics import METRICS, Metric
    from objectives.mlp import MLPObjective
    from objectives.models import load_model
    from objectives.models.mlp import FittedModel
    from objectives.models.module import FittedModule
    from objectives.module import ModuleObjective
    from objectives.space.hyperparameter import Hyperparameter
    from objectives.space.tables import MLP_TABLE

__all__ = [
    "METRICS",
    "MLP_TABLE",
    "CNNObjective",
    "DataWarning",
    "FittedModel",
    "FittedModule",
    "Hyperparameter",
    "ImageData",
    "MLPObjective",
    "Metric",
    "ModuleObjective",
    "load_images",
    "load_model",
    "load_tabular",
]


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that imports each name from its home at first use.

    Args:
        package: the module's ``__name__``.
        homes: full name of the module that defines each public name.

    Example:
        >>> fetch = lazy_names("here", {"sqrt": "math"})
        >>> fetch("sqrt")(9.0)
        3.0
    """

    def fetch(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return fetch


__getattr__ = lazy_names(
    __name__,
    {
        "METRICS": "objectives.metrics",
        "Metric": "objectives.metrics",
        "MLP_TABLE": "objectives.space.tables",
        "Hyperparameter": "objectives.space.hyperparameter",
        "MLPObjective": "objectives.mlp",
        "CNNObjective": "objectives.cnn",
        "ModuleObjective": "objectives.module",
        "FittedModel": "objectives.models.mlp",
        "FittedModule": "objectives.models.module",
        "load_model": "objectives.models",
        "load_tabular": "objectives.data.table",
        "DataWarning": "objectives.data.table",
        "load_images": "objectives.images.load",
        "ImageData": "objectives.images.data",
    },
)
