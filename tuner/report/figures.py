"""The figures of a report, each as a PNG inside the page and in words for who does not see it."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tuner.diagnosis.evidence import Evidence, importances_data
from tuner.plots import study as plots
from tuner.plots.hyperparameters import varied_names
from tuner.storage.trial_attrs import count_states, has_complete, study_metric

if TYPE_CHECKING:
    import optuna


_SIZE = (6.4, 4.2)  # Inches: what the plots are laid out for.
_DPI = 144
_N_COLORS = 256
MAX_PANELS = 12


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of a report.

    Args:
        caption: one line below it.
        alt: what it shows, in words.
        uri: the PNG itself, as a ``data:`` address.
        width: pixels.
        height: pixels.
        is_wide: whether it needs the whole width of the page.
    """

    caption: str
    alt: str
    uri: str
    width: int
    height: int
    is_wide: bool = False


def draw_pictures(study: optuna.Study, *, model: Any = None, data: Any = None) -> list[Picture]:
    """Draw a study for a report; figures with nothing to show are left out.

    Args:
        study: any study with one direction.
        model: the best trial's, for its predictions on the validation split.
        data: what it was tuned on.

    Returns:
        The figures in the order of the page.
    """
    return [
        _picture(draw, caption, alt, is_wide)
        for draw, caption, alt, is_wide in [
            *_of_trials(study),
            *_of_hyperparameters(study),
            *_of_model(model, data),
        ]
    ]


_Drawing = tuple[Callable[..., Any], str, str, bool]


def _of_trials(study: optuna.Study) -> Iterator[_Drawing]:
    if not count_states(study):
        return
    metric, _ = study_metric(study)
    counts = count_states(study)
    best = f" The best is trial {study.best_trial.number}." if has_complete(study) else ""
    yield (
        partial(plots.plot_history, study),
        "Was it worth it? Values by trial, with the best so far.",
        f"Scatter plot of valid {metric} by trial number; {counts}.{best}",
        False,
    )
    data = plots.curves_data(study)
    if data.curve:
        yield (
            partial(plots.plot_curves, study),
            "How did each trial learn, and how did it end?",
            f"Learning curves of {len(data.curve)} trials in valid {metric} by epoch.{best}",
            False,
        )
    if _has_losses(study):
        yield (
            partial(plots.plot_losses, study),
            "Does the best trial over- or underfit?",
            f"Train and validation loss by epoch.{best}",
            False,
        )
    yield (
        partial(plots.plot_timeline, study),
        "Which worker trained what, and when?",
        f"Bars of when each trial began and ended, by worker; {counts}.",
        False,
    )


def _has_losses(study: optuna.Study) -> bool:
    curve = Evidence(study).best_curve
    return curve is not None and bool(curve[["train_loss", "valid_loss"]].notna().any(axis=None))


def _of_hyperparameters(study: optuna.Study) -> Iterator[_Drawing]:
    names = varied_names(study)
    shares = importances_data(study)
    if shares:
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        yield (
            partial(plots.plot_importances, study),
            "Which hyperparameters mattered?",
            f"Bars of each hyperparameter's share of the importance: {listed}.",
            False,
        )
    if len(names) > 1 and has_complete(study):
        first, second = names[:2]
        yield (
            partial(plots.plot_rank, study, (first, second)),
            "Where are the good trials, by the two that mattered most?",
            f"Complete trials by {first} and {second}, coloured from worst to best.",
            False,
        )
    for name in names[:MAX_PANELS]:
        yield (
            partial(plots.plot_hyperparameter, study, name),
            f"{name}: is the best inside its range?",
            f"Values of the trials by {name}, with the ends of the searched range.",
            False,
        )
    if len(names) > 1 and has_complete(study):
        yield (
            partial(plots.plot_parallel, study),
            "All hyperparameters at once, a line a trial.",
            f"Parallel coordinates of the complete trials over {', '.join(names)}.",
            True,
        )


def _of_model(model: Any, data: Any) -> Iterator[_Drawing]:
    if model is None:
        return
    from tuner.plots.model import plot_predictions

    what = "predicted against true values" if model.task == "regression" else "confusion matrix"
    yield (
        partial(plot_predictions, model, data),
        "What does the best model get wrong on the validation split?",
        f"The best model's {what} on the validation split.",
        False,
    )


def _picture(draw: Callable[..., Any], caption: str, alt: str, is_wide: bool) -> Picture:
    # Not through pyplot, which would keep the figure, and in a notebook show it.
    width, height = (2 * _SIZE[0], _SIZE[1]) if is_wide else _SIZE
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A label in a script that the font lacks: the table beside has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        draw(figure.subplots())
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    return Picture(
        caption=caption,
        alt=alt,
        uri=_uri(image),
        width=image.width,
        height=image.height,
        is_wide=is_wide,
    )


def _uri(image: Image.Image) -> str:
    content = io.BytesIO()
    # A third of the bytes, and no difference that an eye sees.
    image.quantize(_N_COLORS, dither=Image.Dither.NONE).save(content, format="png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
