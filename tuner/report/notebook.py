"""What a result shows by itself in a notebook: best value and configuration, and its history."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import pandas as pd

from objectives._messages import short
from tuner.storage.trial_attrs import trial_params
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


_SIDE_BY_SIDE = "display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start"
_FIGURE_INCHES = (5.6, 3.4)
_PIXELS_PER_INCH = 80  # As wide as half a notebook; drawn twice as fine, for dense screens.


def result_html(study: optuna.Study | StudyView) -> str:
    """Return a small HTML summary: counts, best value, best beside default, values by trial.

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
    if view.best_trial is not None:
        head += f"<br>{_values(view, view.best_trial)}"
        table, fixed = _configuration(view, view.best_trial)
        parts.append(table)
    if view.finished:
        parts.append(_history(view))
    shown = "".join(f"<div>{part}</div>" for part in parts)
    return f'<div><p>{head}</p><div style="{_SIDE_BY_SIDE}">{shown}</div>{fixed}</div>'


def _values(view: StudyView, best: FrozenTrial) -> str:
    default = view.default_trial
    name = escape(f"valid_{view.metric}")
    line = f"best {name} <b>{short(best.value)}</b> (trial {best.number})"
    return line if default is None else f"{line}, default {short(default.value)}"


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


def _history(view: StudyView) -> str:
    # Not pyplot's figure, which a notebook would show a second time.
    from matplotlib.figure import Figure

    from tuner.plots import plot_history

    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    plot_history(view, figure.subplots())
    file = BytesIO()
    figure.savefig(file, format="png", dpi=2 * _PIXELS_PER_INCH)
    width = round(_FIGURE_INCHES[0] * _PIXELS_PER_INCH)
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return f'<img alt="value of each trial and the best so far" width="{width}" src="{source}">'
