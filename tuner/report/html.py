"""A study as HTML: `write_report` makes a page of it, `result_html` what a notebook shows.

The page needs nothing else and runs nothing from elsewhere.

The page's own style and script stand in it, with their hashes in its Content-Security-Policy: no
other script would run, wherever a name or an error text might have put one. Whatever a study holds
is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import optuna
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from objectives._messages import short
from objectives.data.files import check_target, replace_file
from tuner import plots
from tuner.plots.figures import plot_predictions
from tuner.report.content import MAX_PANELS, Row, TrialTable, page_values
from tuner.storage.backends import redacted
from tuner.storage.trial_attrs import trial_params
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from objectives.models.mlp import FittedModel
    from objectives.objective import Objective


_SUFFIXES = (".html", ".htm")


def write_report(
    study: optuna.Study | StudyView,
    path: str | os.PathLike[str],
    *,
    objective: Objective | None = None,
    model: FittedModel | None = None,
    confirmed: pd.DataFrame | None = None,
) -> Path:
    """Write a study's report to one HTML file, which opens offline.

    The question, the data and its splits, the space searched, the best configuration beside the
    default one, the findings of `tuner.diagnose` and the next space, the figures, every
    trial in a table that sorts and filters, the versions, and the call that reproduces it. The test
    split is not opened: a score that `tuner.TuningResult.test_score` recorded is shown.

    Args:
        study: any study with one direction, made by this package or by Optuna alone, or a view of
            one; what it does not record is left out, and the page says so.
        path: a file ending in ``.html``, in an existing folder; an existing file is replaced.
        objective: what was tuned, if it is at hand: it knows its columns and classes.
        model: the best trial's fitted model, if it is at hand: with ``objective`` it adds what it
            predicts on the validation split.
        confirmed: what `tuner.diagnosis.confirm.confirm` returned, to be shown with its intervals.

    Returns:
        The path written.

    Raises:
        ValueError: if the study has several directions, or ``path`` does not end in ``.html``, is a
            folder or lies in none; before any work.

    Example:
        >>> import tempfile
        >>> study = optuna.create_study(study_name="demo")
        >>> study.add_trial(optuna.trial.create_trial(value=1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(study, folder + "/demo.html").name
        'demo.html'
    """
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(
            f"path must end in {' or '.join(_SUFFIXES)}, got path={str(path)!r}; change its suffix"
        )
    target = check_target(path)
    view = view_of(study, objective)
    model = model if hasattr(view.objective, "data") else None
    values = page_values(view, has_model=model is not None, confirmed=confirmed) | {
        "pictures": draw_pictures(view, model=model),
        "made": f"Written by fusetune with Optuna {optuna.__version__} on "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }
    replace_file(target, _page(values).encode("utf-8", "replace"))
    return target


def _page(values: Mapping[str, object]) -> str:
    folder = files("tuner.report")
    style, script, page = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("style.css", "page.js", "page.html")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_of(style)}; "
        f"script-src {_hash_of(script)}; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_passwords,
    )
    return environment.from_string(page).render(
        values,
        style=Markup(style),
        script=Markup(script),
        policy=policy,
        cells=partial(_cells, cast(TrialTable, values["table"])),
    )


def _without_passwords(value: object) -> object:
    return redacted(value) if type(value) is str and "://" in value else value


def _cells(table: TrialTable, row: Row) -> Markup:
    """Return the cells of a trial, of which a large study has more than a template is fit for."""
    cells = []
    for column, cell in zip(table.columns, row.cells, strict=True):
        kind = ' class="number"' if column.is_number else ""
        exact = f' data-exact="{escape(cell.exact)}"' if cell.exact else ""
        cells.append(f"<td{kind}{exact}>{escape(str(_without_passwords(cell.text)))}</td>")
    return Markup("".join(cells))


def _hash_of(text: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Markup(f"'sha256-{digest}'")


_SIDE_BY_SIDE = "display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start"
_FIGURE_INCHES = (5.6, 3.4)  # At 80 pixels an inch, as wide as half a notebook.


def result_html(study: optuna.Study | StudyView) -> str:
    """Return a small HTML summary: counts, best value, best beside default, values by trial, and
    whether it was worth it.

    Nothing is trained and the test split stays closed. Without a complete trial it has the counts
    and the history so far.

    Args:
        study: of any search, or a view of one.

    Returns:
        A fragment without scripts and without links, whatever the names in the study contain.

    Example:
        >>> import optuna
        >>> result_html(optuna.create_study(study_name="a<b"))[:46]
        '<div><p><b>study a&lt;b</b>, no trials yet</p>'
    """
    view = view_of(study)
    head = f"<b>study {escape(view.study_name)}</b>, {view.counts or 'no trials yet'}"
    parts, fixed = [], ""
    best, default = view.best_trial, view.default_trial
    if best is not None:
        head += f"<br>best {escape(f'valid_{view.metric}')} <b>{short(best.value)}</b>"
        head += f" (trial {best.number})"
        head += "" if default is None else f", default {short(default.value)}"
        table, fixed = _configuration(view, best)
        parts.append(table)
    if view.finished:
        drawn = picture(partial(plots.plot_history, view), "", "", size=_FIGURE_INCHES)
        alt, width = "value of each trial and the best so far", round(_FIGURE_INCHES[0] * 80)
        parts.append(f'<img alt="{alt}" width="{width}" src="{drawn.uri}">')
    shown = "".join(f"<div>{part}</div>" for part in parts)
    compared = f"<p>{escape(view.comparison)}</p>" if view.comparison else ""
    return f'<div><p>{head}</p><div style="{_SIDE_BY_SIDE}">{shown}</div>{fixed}{compared}</div>'


def _configuration(view: StudyView, best_trial: FrozenTrial) -> tuple[str, str]:
    """What was searched, or differs from the default, as a table; the rest as a line."""
    best, default = trial_params(best_trial), view.default_trial
    known = best if default is None else trial_params(default)
    searched = {name.removeprefix("log2_") for name in best_trial.params}
    rows = [name for name in best if name in searched or best[name] != known.get(name)]
    columns = {f"best (trial {best_trial.number})": [short(best[name]) for name in rows]}
    if default is not None:
        columns[f"default (trial {default.number})"] = [short(known.get(name)) for name in rows]
    with pd.option_context("display.max_colwidth", None):  # Else long choices end in dots.
        table = pd.DataFrame(columns, index=rows).to_html(border=0) if rows else ""
    fixed = ", ".join(f"{name}={short(best[name])}" for name in best if name not in rows)
    return table, f"<p>fixed: {escape(fixed)}</p>" if fixed else ""


_SIZE = (6.4, 4.2)  # Inches: what the plots are laid out for.
_DPI = 144
_N_COLORS = 64
# Red, green and blue of what is white and of what is black in a figure on a dark page.
_DARK_PAPER, _DARK_INK = np.array([23, 28, 34]), np.array([230, 234, 239])
_WIDE = "All hyperparameters at once, a line a trial."  # Needs the whole width of the page.


class Picture(NamedTuple):
    """A figure of a report: the PNG as a ``data:`` address, its size in pixels, and its words.

    ``dark`` is the same for a dark page. ``caption`` is one line below it, ``alt`` says what it
    shows; a wide one needs the whole width of the page.
    """

    caption: str
    alt: str
    uri: str
    dark: str
    width: int
    height: int
    is_wide: bool


_Drawing = tuple[Callable[..., object], str, str]


def draw_pictures(view: StudyView, *, model: FittedModel | None = None) -> list[Picture]:
    """Draw a study for a report; figures with nothing to show are left out.

    Args:
        view: of any study; with its objective where there is a model.
        model: the best trial's, for its predictions on the validation split.

    Returns:
        The figures in the order of the page.
    """
    drawings = [*_of_trials(view), *_of_hyperparameters(view)]
    if model is not None:
        regression = model.task == "regression"
        what = "predicted against true values" if regression else "confusion matrix"
        drawings.append(
            (
                partial(plot_predictions, model, view.objective),
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
    shape = (2 * width if is_wide else width, height)
    figure = Figure(figsize=shape, layout="constrained", dpi=_DPI)
    with warnings.catch_warnings():
        # A label in a script that the font lacks: the table beside has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from (current )?font")
        draw(figure.subplots())
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    # A third of the bytes, and no difference that an eye sees: colours of few points stay.
    image = (
        Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
        .convert("RGB")
        .quantize(_N_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    file = io.BytesIO()
    image.save(file, format="png", optimize=True)
    light, palette = file.getvalue(), image.getpalette() or []
    dark = _address(_with_palette(light, _for_dark_page(palette)))
    return Picture(caption, alt, _address(light), dark, image.width, image.height, is_wide)


def _with_palette(png: bytes, palette: list[int]) -> bytes:
    """Return a PNG with other colours, whose points need not be compressed again.

    A chunk is its length, its name, its content and a sum of the last two.
    """
    start = png.index(b"PLTE")
    end = start + 4 + int.from_bytes(png[start - 4 : start], "big")
    chunk = b"PLTE" + bytes(palette[: end - start - 4])
    return png[:start] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[end + 4 :]


def _for_dark_page(palette: list[int]) -> list[int]:
    """Change the share of white in each colour for that of black; hues stay as they are."""
    colors = np.array(palette, dtype=np.float64).reshape(-1, 3) / 255
    white, black = colors.min(axis=1, keepdims=True), 1 - colors.max(axis=1, keepdims=True)
    dark = _DARK_PAPER + (_DARK_INK - _DARK_PAPER) * (colors - white + black)
    shades: list[int] = dark.round().astype(int).ravel().tolist()
    return shades


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
