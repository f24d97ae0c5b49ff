"""`write_report`: a study as one HTML file that needs nothing else and runs nothing from elsewhere.

The page's own style and script stand in it, with their hashes in its Content-Security-Policy: no
other script would run, wherever a name or an error text might have put one. Whatever a study holds
is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from objectives._files import check_target, replace_file
from tuner.report.content import page_values
from tuner.report.figures import draw_pictures
from tuner.storage.backends import redacted
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import pandas as pd

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
    target = _check_path(path)
    view = view_of(study, objective)
    data = getattr(view.objective, "data", None)
    model = None if data is None else model
    values = page_values(view, has_model=model is not None, confirmed=confirmed) | {
        "pictures": draw_pictures(view, model=model, data=data),
        "made": f"Written by fusetune with Optuna {optuna.__version__} on "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }
    replace_file(target, _page(values).encode("utf-8", "replace"))
    return target


def _check_path(path: str | os.PathLike[str]) -> Path:
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(
            f"path must end in {' or '.join(_SUFFIXES)}, got path={str(path)!r}; change its suffix"
        )
    return check_target(path)


def _page(values: Mapping[str, Any]) -> str:
    style, script = _file("style.css"), _file("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_of(style)}; "
        f"script-src {_hash_of(script)}; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_password,
    )
    return environment.from_string(_file("page.html")).render(
        values, style=Markup(style), script=Markup(script), policy=policy
    )


def _file(name: str) -> str:
    return files("tuner.report").joinpath(name).read_text(encoding="utf-8")


def _hash_of(text: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Markup(f"'sha256-{digest}'")


def _without_password(value: Any) -> Any:
    return redacted(value) if type(value) is str else value
