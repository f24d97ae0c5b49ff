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
from pprint import pformat
from typing import TYPE_CHECKING, Any

import optuna
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from objectives._files import check_target, replace_file
from tuner.diagnosis.diagnose import diagnose
from tuner.diagnosis.evidence import default_params, default_trial
from tuner.report import content as facts
from tuner.report import content as words
from tuner.report.content import trial_table
from tuner.report.figures import draw_pictures
from tuner.storage.backends import redacted
from tuner.storage.call import call_in_python
from tuner.storage.study import quiet_optuna
from tuner.storage.trial_attrs import has_complete, study_metric

if TYPE_CHECKING:
    import pandas as pd


_SUFFIXES = (".html", ".htm")


def write_report(
    study: optuna.Study,
    path: str | os.PathLike[str],
    *,
    objective: Any = None,
    model: Any = None,
    confirmed: pd.DataFrame | None = None,
) -> Path:
    """Write all there is to say of a study to one HTML file, which opens offline.

    The question, the data and its splits, the space searched, the best configuration beside the
    default one, the findings of `tuner.diagnose` and the next space, the figures, every
    trial in a table that sorts and filters, the versions, and the call that reproduces it. The test
    split is not opened: a score that `tuner.TuningResult.test_score` recorded is shown.

    Args:
        study: any study with one direction, made by this package or by Optuna alone; what it does
            not record is left out, and the page says so.
        path: a file ending in ``.html``, in a folder that exists; a file already there is replaced.
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
    study_metric(study)
    moment = _moment_of(study)
    data = getattr(objective, "data", None)
    model = None if data is None else model
    values = _values(moment, objective) | {
        "confirmed": [] if confirmed is None else words.confirmed_rows(confirmed),
        "pictures": draw_pictures(moment, model=model, data=data),
        "figure_notes": words.figure_notes(moment, has_model=model is not None),
    }
    replace_file(target, _page(values).encode("utf-8", "replace"))
    return target


def _check_path(path: str | os.PathLike[str]) -> Path:
    if not os.fspath(path).lower().endswith(_SUFFIXES):
        raise ValueError(
            f"path must end in {' or '.join(_SUFFIXES)}, got path={str(path)!r}; change its suffix"
        )
    return check_target(path)


def _moment_of(study: optuna.Study) -> optuna.Study:
    """Copy a study into memory: one that is still running changes between two readings."""
    with quiet_optuna():
        copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    for name, value in study.user_attrs.items():
        copy.set_user_attr(name, value)
    if study.metric_names:
        copy.set_metric_names(study.metric_names)
    copy.add_trials(study.get_trials(deepcopy=False))
    return copy


def _values(study: optuna.Study, objective: Any) -> dict[str, Any]:
    """Everything on the page that is neither drawn nor handed in."""
    metric, direction = study_metric(study)
    best = study.best_trial if has_complete(study) else None
    params = default_params(study, objective)
    default = default_trial(study, params)
    diagnosis, table = diagnose(study, objective), trial_table(study)
    return {
        "study_name": study.study_name,
        "metric": metric,
        "lead": words.lead(metric, best, default),
        "tiles": words.tiles(study, best, default),
        "question": words.question(metric, direction),
        "question_facts": facts.question_facts(study),
        "data_facts": facts.data_facts(study, objective),
        "splits": facts.split_rows(study),
        "split_facts": facts.split_facts(study),
        "configuration": facts.configuration_rows(study, best, params),
        "best_title": "" if best is None else f"best (trial {best.number})",
        "default_title": words.default_title(params, default),
        "outcomes": facts.value_facts(metric, best, default),
        "configuration_notes": words.configuration_notes(study, objective, params, default),
        "test": words.sealed_or_opened(study),
        "findings": diagnosis.findings.to_dict("records"),
        "next_space": pformat(diagnosis.space, sort_dicts=False) if diagnosis.space else "",
        "table": table,
        "versions": list(facts.record_of(study).get("versions", {}).items()),
        # Redacted where it is written: over the whole text a match could run into the next line.
        "call": Markup(escape(call_in_python(study))),
        "made": f"Written by fusetune with Optuna {optuna.__version__} on "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }


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
