"""Names that options take, for help and shell completion, without the import of what they name."""

from __future__ import annotations

from collections.abc import Callable

SAMPLERS = ("tpe", "random", "grid", "manual")
PRUNERS = ("median", "asha", "hyperband", "none")
TASKS = ("binary", "multiclass", "regression")
RECIPES = ("modern", "plain")
PRECISIONS = ("float32", "auto")
METRICS = (
    "accuracy", "balanced_accuracy", "roc_auc", "log_loss", "f1_macro", "rmse", "mae", "r2",
)  # fmt: skip
TABLES = ("digits", "breast_cancer", "wine", "iris", "diabetes")
IMAGES = ("digits",)
FIGURES = (
    "overview", "history", "curves", "losses", "importances", "hyperparameters", "rank",
    "parallel", "timeline",
)  # fmt: skip
# Backbones of common use; torchvision has many more.
BACKBONES = (
    "resnet18", "resnet50", "efficientnet_b0", "mobilenet_v3_small", "mobilenet_v3_large",
    "convnext_tiny", "vit_b_16",
)  # fmt: skip


def completer(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what typer asks for the names that begin as typed.

    Example:
        >>> completer(SAMPLERS)("r")
        ['random']
    """

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def listing(names: tuple[str, ...]) -> str:
    """Write names as a sentence has them.

    Example:
        >>> listing(RECIPES)
        'modern or plain'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
