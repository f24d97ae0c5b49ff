"""The commands that begin a search; `tuner.cli.search` does it.

Their arguments stand here for typer, which reads them off the signature; their values are taken
from the context, since a configuration file may have a say in them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import options as o
from tuner.cli.config import parse_assignments, parse_space, read_json
from tuner.cli.console import (
    NO_RESULT,
    Interruption,
    check_folder,
    one_line_errors,
    print_json,
    print_result,
    print_trial,
    stop_interrupted,
    tell,
)

if TYPE_CHECKING:
    import optuna

    from tuner.result import TuningResult


def mlp(
    ctx: typer.Context,
    data: o.Table = None,
    config: o.Config = None,
    target: o.Target = None,
    task: o.Task = None,
    metric: o.Metric = None,
    sampler: o.Sampler = "tpe",
    pruner: o.Pruner = "median",
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    epochs: o.Epochs = None,
    patience: o.Patience = 20,
    n_jobs: o.NJobs = 1,
    n_repeats: o.NRepeats = 1,
    folds: o.Folds = None,
    recipe: o.Recipe = "modern",
    precision: o.Precision = "float32",
    seed: o.Seed = 0,
    storage: o.Storage = None,
    study_name: o.NewStudyName = "mlp",
    start_from: o.StartFrom = None,
    checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None,
    fix: o.Fix = None,
    trials: o.Trials = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Tune a multilayer perceptron on a table and print the best configuration."""
    search_by_command("tune_mlp", ctx)


def cnn(
    ctx: typer.Context,
    data: o.Images = None,
    config: o.Config = None,
    metric: o.Metric = None,
    sampler: o.Sampler = "tpe",
    pruner: o.Pruner = "median",
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    epochs: o.Epochs = None,
    patience: o.Patience = 10,
    image_size: o.ImageSize = None,
    n_jobs: o.NJobs = 1,
    seed: o.Seed = 0,
    storage: o.Storage = None,
    study_name: o.NewStudyName = "cnn",
    start_from: o.StartFrom = None,
    checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None,
    fix: o.Fix = None,
    trials: o.Trials = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Tune a small residual network on images and print the best configuration."""
    search_by_command("tune_cnn", ctx)


def finetune(
    ctx: typer.Context,
    data: o.Images = None,
    config: o.Config = None,
    backbone: o.Backbone = "resnet18",
    weights: o.Weights = "DEFAULT",
    metric: o.Metric = None,
    sampler: o.Sampler = "tpe",
    pruner: o.Pruner = "median",
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    epochs: o.Epochs = None,
    patience: o.Patience = 5,
    image_size: o.ImageSize = None,
    n_jobs: o.NJobs = 1,
    seed: o.Seed = 0,
    storage: o.Storage = None,
    study_name: o.NewStudyName = "finetune",
    start_from: o.StartFrom = None,
    checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None,
    fix: o.Fix = None,
    trials: o.Trials = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Fine-tune a pretrained network of torchvision on images and print the best configuration."""
    search_by_command("tune_finetune", ctx)


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
        from tuner.storage.trial_attrs import has_complete

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


# What is the command's own, and no argument of the function by the same name.
_OWN = ("data", "config", "space", "fix", "trials", "out", "save_model", "quiet", "as_json")


def search_by_command(entry: str, ctx: typer.Context) -> None:
    """Search with the entry point of that name, and print and write what came of it.

    Args:
        entry: such as ``"tune_mlp"``.
        ctx: of the command, with what was typed. What was not is taken from ``--config``, if that
            says it.

    Raises:
        typer.Exit: for mistakes, an interruption, or a search without a complete trial.
    """
    with one_line_errors():
        typed = ctx.params
        options = {
            name: value for name, value in typed.items() if name not in _OWN and value is not None
        }
        if typed["config"] is not None:
            options |= _configured(entry, ctx)
        options |= _asked(typed, options.get("space"))
        data = options.pop("data", None)
        if data is None:
            raise ValueError("DATA must be given, got none; name it, or give data in --config")
        files = {name: options.pop(name, None) for name in ("out", "save_model")}
        if options.get("weights") == "none":
            options["weights"] = None
        _search_and_tell(entry, data, options, as_json=typed["as_json"], **files)


def _configured(entry: str, ctx: typer.Context) -> dict[str, Any]:
    """Return what the configuration file says, less what was typed, which wins."""
    from tuner.cli.config import read_config
    from tuner.storage.call import read_space

    found = read_config(Path(ctx.params["config"]), entry)
    if "space" in found:
        found["space"] = read_space(found["space"])
    return {name: value for name, value in found.items() if not _was_typed(ctx, name)}


def _was_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _asked(typed: Mapping[str, Any], configured: dict[str, Any] | None) -> dict[str, Any]:
    """Return the command's own arguments that were typed, as the function takes them."""
    found = {name: typed[name] for name in ("data", "out", "save_model")}
    if typed["trials"] is not None:
        found["trials"] = read_json(typed["trials"], "--trials", list)
    if typed["space"] is not None or typed["fix"]:
        space = configured or {} if typed["space"] is None else parse_space(typed["space"])
        found["space"] = space | parse_assignments(typed["fix"] or [], "--fix")
    if typed["quiet"] or typed["as_json"]:
        found["show_progress_bar"] = False
    return {name: value for name, value in found.items() if value is not None}


def repeat_by_command(
    storage: str,
    study_name: str | None,
    data: str | None,
    changes: dict[str, Any],
    out: Path | None,
    save_model: Path | None,
    as_json: bool,
) -> None:
    """Make the call that a study records again, with ``changes``, as `search_by_command` does."""
    with one_line_errors():
        entry, dataset, options = recorded(storage, study_name, data)
        _search_and_tell(entry, dataset, options | changes, out, save_model, as_json)


def recorded(
    storage: str, study_name: str | None, data: str | None
) -> tuple[str, Any, dict[str, Any]]:
    """Return entry point, dataset and options that go on with a stored study."""
    from tuner.storage.call import recorded_call
    from tuner.storage.study import load_study

    study = load_study(storage, study_name)
    entry, dataset, options = recorded_call(study, data=data)
    return entry, dataset, options | {"storage": storage, "study_name": study.study_name}


def join_in(
    storage: str,
    study_name: str | None,
    data: str | None,
    timeout: float | None,
    artifact_store: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Train trials of a study beside other processes, and say how many came to an end here."""
    with one_line_errors():
        from tuner.storage.call import recorded_call
        from tuner.storage.trial_attrs import count_states

        # As Ctrl-C: trials under way go back into the queue. It is what a scheduler sends.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        study = _awaited(storage, study_name, wait)
        entry, dataset, options = recorded_call(study, data=data)
        ended: list[int] = []
        options |= {
            "storage": storage,
            "study_name": study.study_name,
            "timeout": timeout,
            "artifact_store": artifact_store,
            "show_progress_bar": False,
            "callbacks": [lambda _, trial: ended.append(trial.number)],
        }
        result = search(entry, dataset, options, table=None)
        counts = count_states(result.study)
        tell(
            f"{len(ended)} trials ended here; study {study.study_name}: "
            f"{counts or 'no trials yet'}",
            {"study_name": study.study_name, "ended_here": sorted(ended), "counts": counts},
            as_json,
        )


def _awaited(storage: str, study_name: str | None, wait: float) -> optuna.Study:
    """Load a study that another process may be about to make."""
    from tuner.storage.call import recorded_call
    from tuner.storage.study import CALL, load_study

    end = time.monotonic() + wait
    while True:
        try:
            study = load_study(storage, study_name)
            if CALL in study.user_attrs:
                return study
            if time.monotonic() >= end:
                recorded_call(study)  # says what is wrong
        except (FileNotFoundError, ValueError):
            if time.monotonic() >= end:
                raise
        time.sleep(0.5)


def _search_and_tell(
    entry: str,
    data: Any,
    options: dict[str, Any],
    out: Path | None,
    save_model: Path | None,
    as_json: bool,
) -> None:
    from tuner.storage.trial_attrs import count_states, has_complete
    from tuner.tables import file_name

    name = file_name(options["study_name"])
    model = None if save_model is None else Path(save_model)
    table = _writable(Path(out or f"{name}-trials.csv"), model)
    result = search(entry, data, options, table)
    if not has_complete(result.study):
        typer.echo(
            f"no trial is complete ({count_states(result.study) or 'none had ended'}), so there is "
            f"no best one; raise n_trials or timeout, or see why in {table}",
            err=True,
        )
        raise typer.Exit(NO_RESULT)
    if model is not None:
        result.model.save(model)
    (print_json if as_json else print_result)(result, table, model)


def search(
    entry: str,
    data: Any,
    options: dict[str, Any],
    table: Path | None,
    then: Callable[[TuningResult], object] | None = None,
) -> TuningResult:
    """Search with the entry point of that name, and write the trial table.

    Args:
        entry: such as ``"tune_mlp"``.
        data: its dataset.
        options: its other arguments.
        table: where to write the trials; None for nowhere.
        then: called with the result while Ctrl-C is still noticed.

    Raises:
        typer.Exit: after Ctrl-C, when what there is has been told.
    """
    result = None
    with Interruption() as interruption:
        try:
            import tuner

            begin: Callable[..., TuningResult] = getattr(tuner, entry)
            result = begin(data, **options)
            if then is not None and not interruption.noticed:
                then(result)
        except KeyboardInterrupt:
            interruption.noticed = True
    if result is not None and table is not None:
        result.export(table)
    if result is None or interruption.noticed:
        stop_interrupted(result, table, options)
    return result


def _writable(table: Path, model: Path | None) -> Path:
    """Find out before a long search, not after it, that a file could not be written."""
    from tuner.tables import check_path

    for option, path in (("--save-model", model), ("--out", check_path(table))):
        if path is not None:
            check_folder(option, path)
    return table
