"""What a result shows by itself in a notebook: best value and configuration, and its history."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pandas as pd

from tuner.storage.trial_attrs import (
    count_states,
    finished,
    has_complete,
    study_metric,
    trial_params,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tuner.result import TuningResult


_SIDE_BY_SIDE = "display: flex; flex-wrap: wrap; gap: 1.5em; align-items: flex-start"
_FIGURE_INCHES = (5.6, 3.4)
_PIXELS_PER_INCH = 80  # As wide as half a notebook; drawn twice as fine, for dense screens.


def result_html(result: TuningResult) -> str:
    """Return a small HTML summary: counts, best value, best beside default, values by trial.

    Nothing is trained for it and the test split stays closed. Without a complete trial it has the
    counts and what there is of the history.

    Args:
        result: of any search.

    Returns:
        A fragment without scripts and without links, whatever the names in the study contain.

    Example:
        >>> from tuner import tune
        >>> result = tune(lambda trial: 1.0, n_trials=1, study_name="a<b", show_progress_bar=False)
        >>> result_html(result)[:46]
        '<div><p><b>study a&lt;b</b>, 1 trial: 1 comple'
    """
    study = result.study
    head = f"<b>study {escape(study.study_name)}</b>, {count_states(study) or 'no trials yet'}"
    parts, fixed = [], ""
    if has_complete(study):
        default = result.default_trial
        head += f"<br>{_values(result, default)}"
        table, fixed = _configuration(result, default)
        parts.append(table)
    if finished(study):
        parts.append(_history(study))
    shown = "".join(f"<div>{part}</div>" for part in parts)
    return f'<div><p>{head}</p><div style="{_SIDE_BY_SIDE}">{shown}</div>{fixed}</div>'


def _values(result: TuningResult, default: FrozenTrial | None) -> str:
    name = escape(f"valid_{study_metric(result.study)[0]}")
    line = f"best {name} <b>{result.best_value:.4g}</b> (trial {result.best_trial.number})"
    return line if default is None else f"{line}, default {default.value:.4g}"


def _configuration(result: TuningResult, default: FrozenTrial | None) -> tuple[str, str]:
    """What was searched, or differs from the default, as a table; the rest as a line."""
    best = result.best_params
    known = best if default is None else trial_params(default)
    searched = {name.removeprefix("log2_") for name in result.best_trial.params}
    rows = [name for name in best if name in searched or best[name] != known.get(name)]
    columns = {f"best (trial {result.best_trial.number})": [_cell(best[name]) for name in rows]}
    if default is not None:
        columns[f"default (trial {default.number})"] = [_cell(known.get(name)) for name in rows]
    with pd.option_context("display.max_colwidth", None):  # Else long choices end in dots.
        table = pd.DataFrame(columns, index=rows).to_html(border=0) if rows else ""
    fixed = ", ".join(f"{name}={_cell(best[name])}" for name in best if name not in rows)
    return table, f"<p>fixed: {escape(fixed)}</p>" if fixed else ""


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _history(study: optuna.Study) -> str:
    # Not pyplot's figure, which a notebook would show a second time.
    from matplotlib.figure import Figure

    from tuner.plots.study import plot_history

    figure = Figure(figsize=_FIGURE_INCHES, layout="constrained")
    plot_history(study, figure.subplots())
    file = BytesIO()
    figure.savefig(file, format="png", dpi=2 * _PIXELS_PER_INCH)
    width = round(_FIGURE_INCHES[0] * _PIXELS_PER_INCH)
    source = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    return f'<img alt="value of each trial and the best so far" width="{width}" src="{source}">'
