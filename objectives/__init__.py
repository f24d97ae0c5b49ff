"""What is tuned: data, models and training in PyTorch.

Of Optuna it knows only distributions and the trial it is handed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.cnn import CNNObjective
    from objectives.data import DataWarning, load_tabular
    from objectives.hyperparameters import MLP_TABLE, Hyperparameter
    from objectives.images import ImageData, load_images
    from objectives.metrics import METRICS, Metric
    from objectives.mlp import MLPObjective
    from objectives.model import FittedModel
    from objectives.module import ModuleObjective
    from objectives.module_model import FittedModule
    from objectives.saved import load_model

__all__ = [
    "METRICS", "MLP_TABLE", "CNNObjective", "DataWarning", "FittedModel", "FittedModule",
    "Hyperparameter", "ImageData", "MLPObjective", "Metric", "ModuleObjective", "load_images",
    "load_model", "load_tabular",
]  # fmt: skip

_HOMES = {
    "CNNObjective": "cnn", "FittedModule": "module_model", "ModuleObjective": "module",
    "DataWarning": "data", "FittedModel": "model", "Hyperparameter": "hyperparameters",
    "ImageData": "images", "METRICS": "metrics", "MLPObjective": "mlp",
    "MLP_TABLE": "hyperparameters",
    "Metric": "metrics", "load_images": "images", "load_model": "saved",
    "load_tabular": "data",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Fetched at first use, so that who needs only the hyperparameter table does not load torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"objectives.{_HOMES[name]}"), name)
