"""What the best model gets right on the validation split: the test split stays closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay

from tuner.plots.axes import LOOKS, new_axes, plain

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from objectives.models.mlp import FittedModel


_MAX_COUNTED = 12  # Classes of which the numbers in the cells can still be read.
_INCHES_A_CLASS = 0.42
_MAX_DOTS = 2000


def plot_predictions(model: FittedModel, data: Any, ax: Axes | None = None) -> Axes:
    """Draw the validation rows as a confusion matrix or, in regression, predicted against true.

    Args:
        model: an `objectives.models.mlp.FittedModel`.
        data: an `objectives.data.table.TabularData`, of which the validation split alone is read.
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    predicted = model.predict(data.valid.X)
    if model.task == "regression":
        return plot_predicted(data.valid.y, predicted, ax)
    return plot_confusion(np.asarray(model.classes)[data.valid.y], predicted, ax)


def plot_confusion(true: npt.ArrayLike, predicted: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw how often each class is taken for which: the share of each true class's rows.

    Args:
        true: class labels, shape (n,).
        predicted: class labels, shape (n,).
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    labels = np.unique([*np.asarray(true).tolist(), *np.asarray(predicted).tolist()])
    n_classes = len(labels)
    if ax is None:
        side = max(4.6, _INCHES_A_CLASS * n_classes + 1.2)
        _, ax = plt.subplots(figsize=(side, side), layout="constrained")
    ax = new_axes(ax, f"Confusion on {len(np.asarray(true))} validation rows", "")
    ConfusionMatrixDisplay.from_predictions(
        true,
        predicted,
        ax=ax,
        normalize="true",
        cmap="Blues",
        colorbar=False,
        labels=labels,
        display_labels=[plain(str(label)) for label in labels],
        include_values=n_classes <= _MAX_COUNTED,
        values_format=".2f",
        im_kw={"vmin": 0.0, "vmax": 1.0},
        text_kw={"fontsize": "small"},
        xticks_rotation=0 if n_classes <= _MAX_COUNTED else 90,
    )
    for text in ax.texts:
        # The colour shows zeros; as numbers they would hide where the errors are.
        text.set_visible(text.get_text() != "0.00")
    ax.set(xlabel="predicted", ylabel="true (each row sums to 1)")
    ax.grid(visible=False)
    return ax


def plot_predicted(true: npt.ArrayLike, predicted: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw predicted against true values, with the diagonal that a perfect model lies on.

    Args:
        true: values, shape (n,).
        predicted: values in the same units, shape (n,).
        ax: axes to draw on; by default those of a new figure.

    Returns:
        The axes drawn on.
    """
    ax = new_axes(ax, f"Predictions for {len(np.asarray(true))} validation rows", "")
    PredictionErrorDisplay.from_predictions(
        np.asarray(true),
        np.asarray(predicted),
        ax=ax,
        kind="actual_vs_predicted",
        subsample=min(_MAX_DOTS, len(np.asarray(true))),
        random_state=0,
        scatter_kwargs={"s": 14, "alpha": 0.6, "color": LOOKS["COMPLETE"].color},
        line_kwargs={"color": "#595959", "linestyle": ":"},
    )
    ax.set(xlabel="predicted", ylabel="true")
    return ax
