"""The commands that go on with a stored study: resume, try, worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import options as o
from tuner.cli.console import one_line_errors
from tuner.cli.printing import print_trial
from tuner.cli.run import join_in, recorded, repeat_by_command, search
from tuner.cli.values import parse_assignments

if TYPE_CHECKING:
    from tuner.result import TuningResult

# Seconds that the search itself gets where only one trial by hand is wanted.
_NONE = 1e-9


def resume(
    study: o.StudyPath,
    study_name: o.StudyName = None,
    data: o.DataElsewhere = None,
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    n_jobs: o.NJobs = 1,
    artifact_store: o.ArtifactStore = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Go on with a study that was interrupted, or to a larger total, as it was begun."""
    changes: dict[str, Any] = {
        "timeout": timeout,
        "n_jobs": n_jobs,
        "show_progress_bar": not (quiet or as_json),
    }
    given: dict[str, Any] = {"n_trials": n_trials, "artifact_store": artifact_store}
    changes |= {name: value for name, value in given.items() if value is not None}
    repeat_by_command(study, study_name, data, changes, out, save_model, as_json)


def try_params(
    study: o.StudyPath,
    params: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...",
            help="Hyperparameters, such as learning_rate=0.003 dropout=0; the others are as in the "
            "best trial.",
        ),
    ],
    study_name: o.StudyName = None,
    data: o.DataElsewhere = None,
    as_json: o.AsJson = False,
) -> None:
    """Run one more trial by hand in a stored study, and print it beside the best one."""
    with one_line_errors():
        from tuner.tables import has_complete

        wanted = parse_assignments(params, "each hyperparameter")
        entry, dataset, options = recorded(study, study_name, data)
        options |= {"timeout": _NONE, "show_progress_bar": False}
        found: list[int | None] = []

        def one_more(result: TuningResult) -> None:
            found.append(result.best_trial.number if has_complete(result.study) else None)
            result.try_params(**wanted)

        study_now = search(entry, dataset, options, table=None, then=one_more).study
        print_trial(study_now, study_now.trials[-1].number, *found, as_json=as_json)


def worker(
    storage: Annotated[str, typer.Option(help="A .journal or .db file or a URL.")],
    study: Annotated[
        str | None, typer.Option(help="Name of the study, if there are several.")
    ] = None,
    data: o.DataElsewhere = None,
    timeout: o.Timeout = None,
    artifact_store: o.ArtifactStore = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the study to be there.")] = 60.0,
    as_json: o.AsJson = False,
) -> None:
    """Join in a study from any machine that reaches its storage, until the study is done."""
    join_in(storage, study, data, timeout, artifact_store, wait, as_json)
