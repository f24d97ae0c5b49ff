"""The figures of a report: each a PNG inside the page, with a description in words."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from tuner import plots
from tuner.plots.figures import plot_predictions
from tuner.report.content import MAX_PANELS
from tuner.storage.view import StudyView

if TYPE_CHECKING:
    from objectives.models.mlp import FittedModel


_SIZE = (6.4, 4.2)  # Inches: what the plots are laid out for.
_DPI = 144
_N_COLORS = 256
_WIDE = "All hyperparameters at once, a line a trial."  # Needs the whole width of the page.


class Picture(NamedTuple):
    """A figure of a report: the PNG as a ``data:`` address, its size in pixels, and its words.

    ``caption`` is one line below it, ``alt`` says what it shows; a wide one needs the whole width
    of the page.
    """

    caption: str
    alt: str
    uri: str
    width: int
    height: int
    is_wide: bool


_Drawing = tuple[Callable[..., object], str, str]


def draw_pictures(
    view: StudyView, *, model: FittedModel | None = None, data: Any = None
) -> list[Picture]:
    """Draw a study for a report; figures with nothing to show are left out.

    Args:
        view: of any study.
        model: the best trial's, for its predictions on the validation split.
        data: what it was tuned on.

    Returns:
        The figures in the order of the page.
    """
    drawings = [*_of_trials(view), *_of_hyperparameters(view)]
    if model is not None:
        regression = model.task == "regression"
        what = "predicted against true values" if regression else "confusion matrix"
        drawings.append(
            (
                partial(plot_predictions, model, data),
                "What does the best model get wrong on the validation split?",
                f"The best model's {what} on the validation split.",
            )
        )
    return [picture(draw, caption, alt) for draw, caption, alt in drawings]


def _of_trials(view: StudyView) -> Iterator[_Drawing]:
    if not view.trials:
        return
    best = "" if view.best_trial is None else f" The best is trial {view.best_trial.number}."
    yield (
        partial(plots.plot_history, view),
        "Was it worth it? Values by trial, with the best so far.",
        f"Scatter plot of valid {view.metric} by trial number; {view.counts}.{best}",
    )
    if view.curves:
        yield (
            partial(plots.plot_curves, view),
            "How did each trial learn, and how did it end?",
            f"Learning curves of {len(view.curves)} trials in valid {view.metric} by epoch.{best}",
        )
    curve = view.best_curve
    if curve is not None and curve[["train_loss", "valid_loss"]].notna().any(axis=None):
        yield (
            partial(plots.plot_losses, view),
            "Does the best trial over- or underfit?",
            f"Train and validation loss by epoch.{best}",
        )
    yield (
        partial(plots.plot_timeline, view),
        "Which worker trained what, and when?",
        f"Bars of when each trial began and ended, by worker; {view.counts}.",
    )


def _of_hyperparameters(view: StudyView) -> Iterator[_Drawing]:
    names, has_pairs = view.varied, len(view.varied) > 1 and view.best_trial is not None
    if view.importances:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in view.importances.items())
        yield (
            partial(plots.plot_importances, view),
            "Which hyperparameters mattered?",
            f"Bars of each hyperparameter's share of the importance: {shares}.",
        )
    if has_pairs:
        first, second = names[:2]
        yield (
            partial(plots.plot_rank, view, (first, second)),
            "Where are the good trials, by the two that mattered most?",
            f"Complete trials by {first} and {second}, coloured from worst to best.",
        )
    for name in names[:MAX_PANELS]:
        yield (
            partial(plots.plot_hyperparameter, view, name),
            f"{name}: is the best inside its range?",
            f"Values of the trials by {name}, with the ends of the searched range.",
        )
    if has_pairs:
        yield (
            partial(plots.plot_parallel, view),
            _WIDE,
            f"Parallel coordinates of the complete trials over {', '.join(names)}.",
        )


def picture(
    draw: Callable[..., object], caption: str, alt: str, *, size: tuple[float, float] = _SIZE
) -> Picture:
    """Return what ``draw`` draws on the axes it is given."""
    is_wide = caption == _WIDE
    width, height = size
    # Not through pyplot, which would keep the figure, and in a notebook show it.
    figure = Figure(figsize=(2 * width if is_wide else width, height), layout="constrained")
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks: the table beside has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        draw(figure.subplots())
        figure.savefig(file, format="png", dpi=_DPI)
    image = Image.open(file).convert("RGB")
    content = io.BytesIO()
    # A third of the bytes, and no difference that an eye sees.
    image.quantize(_N_COLORS, dither=Image.Dither.NONE).save(content, format="png")
    uri = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
    return Picture(caption, alt, uri, image.width, image.height, is_wide)
