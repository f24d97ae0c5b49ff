"""The commands that search: one for each ready-made objective, and resume, try and worker.

Each command checks what was typed before it imports what trains, which takes seconds.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objectives.space.registry import Options, ReadyMade
from tuner.cli import options as o
from tuner.cli.console import (
    NO_RESULT,
    Interruption,
    check_folder,
    echo,
    print_result,
    print_trial,
    stored,
    tell,
)
from tuner.cli.options import parse_assignments, parse_scalar, parse_space, read_config, read_json
from tuner.search.arguments import arguments_for, check_arguments, check_data

if TYPE_CHECKING:
    import optuna

    from tuner.result import TuningResult


def begin(entry: ReadyMade, ctx: typer.Context) -> None:
    """Search with a ready-made objective, and print and write the result.

    Args:
        entry: what to tune.
        ctx: of the command, with what was typed. What was not is taken from ``--config``.

    Raises:
        typer.Exit: for mistakes, an interruption, or a search without a complete trial.
    """
    typed = ctx.params
    options = {
        name: value
        for name, value in typed.items()
        if name not in o.NOT_PASSED_ON and value is not None
    }
    if typed["config"] is not None:
        configured = read_config(Path(typed["config"]), entry)
        options |= {n: v for n, v in configured.items() if not _was_typed(ctx, n)}
    options |= _read(typed, options)
    data, out, model = (options.pop(name, None) for name in ("data", "out", "save_model"))
    if data is None:
        raise ValueError("DATA must be given, got none; name it, or give data in --config")
    if options.get("weights") == "none":
        options["weights"] = None
    for name, argument in arguments_for(entry).items():
        value = options.get(name)
        if argument.kind == "auto, none or a whole number" and isinstance(value, str):
            options[name] = None if value == "none" else parse_scalar(value)
    check_arguments(entry, options)
    check_data(entry, data)
    _search_and_print(entry.function, data, options, out, model, as_json=typed["as_json"])


def _was_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _read(typed: Options, options: Options) -> Options:
    """Return what the command line reads in its own way, as the entry point takes it."""
    read = {name: typed[name] for name in ("data", "out", "save_model")}
    if typed["trials"] is not None:
        read["trials"] = read_json(typed["trials"], "--trials", list)
    if "space" in options:
        from tuner.storage.call import read_space

        read["space"] = read_space(options["space"])
    if typed["space"] is not None:
        read["space"] = parse_space(typed["space"])
    if typed["fix"]:
        read["space"] = read.get("space", {}) | parse_assignments(typed["fix"], "--fix")
    if typed["quiet"] or typed["as_json"]:
        read["show_progress_bar"] = False
    return {name: value for name, value in read.items() if value is not None}


def resume(
    study: o.StudyPath,
    study_name: o.StudyName = None,
    data: o.DataElsewhere = None,
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    n_jobs: o.NJobs = None,
    artifact_store: o.ArtifactStore = None,
    device: o.Device = None,
    track: o.Track = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Continue a study that was interrupted, or to a larger total, as it was begun."""
    function, dataset, options = _recorded(study, study_name, data)
    changes = {
        "n_trials": n_trials,
        "timeout": timeout,
        "n_jobs": n_jobs,
        "artifact_store": artifact_store,
        "device": device,
        "track": track,
        "show_progress_bar": not (quiet or as_json),
    }
    options |= {name: value for name, value in changes.items() if value is not None}
    _search_and_print(function, dataset, options, out, save_model, as_json=as_json)


# Seconds that the search itself gets where only one trial by hand is wanted.
_NONE = 1e-9


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
    device: o.Device = None,
    as_json: o.AsJson = False,
) -> None:
    """Run one more trial by hand in a stored study, and print it beside the best one."""
    wanted = parse_assignments(params, "each hyperparameter")
    from tuner.storage.trial_attrs import has_complete

    function, dataset, options = _recorded(study, study_name, data)
    options |= {"timeout": _NONE, "show_progress_bar": False, "device": device}
    rivals: list[int | None] = []

    def one_more(result: TuningResult) -> None:
        rivals.append(result.best_trial.number if has_complete(result.study) else None)
        result.try_params(**wanted)

    with Interruption() as interruption:
        result = _search(interruption, function, dataset, options, then=one_more)
        if result is None or interruption.signum is not None:
            interruption.stop(result, None, options)
        print_trial(result.study, result.study.trials[-1].number, *rivals, as_json=as_json)


def worker(
    storage: Annotated[str, typer.Option(help="A .journal or .db file or a URL.")],
    study: Annotated[
        str | None, typer.Option(help="Name of the study, if there are several.")
    ] = None,
    data: o.DataElsewhere = None,
    timeout: o.Timeout = None,
    artifact_store: o.ArtifactStore = None,
    device: o.Device = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the study to exist.")] = 60.0,
    as_json: o.AsJson = False,
) -> None:
    """Join a study from any machine that reaches its storage, until the study is done."""
    with Interruption() as interruption:
        from tuner.storage.call import recorded_call
        from tuner.storage.trial_attrs import count_states

        loaded = _awaited(storage, study, wait)
        function, dataset, options = recorded_call(loaded, data=data)
        ended: list[int] = []
        options |= {
            "storage": storage,
            "study_name": loaded.study_name,
            "timeout": timeout,
            "artifact_store": artifact_store,
            "device": device,
            "show_progress_bar": False,
            "callbacks": [lambda _, trial: ended.append(trial.number)],
        }
        result = _search(interruption, function, dataset, options)
        if result is None:
            interruption.stop(None, None, options)
        counts = count_states(result.study)
        tell(
            f"{len(ended)} trials ended here; study {loaded.study_name}: "
            f"{counts or 'no trials yet'}",
            {"study_name": loaded.study_name, "ended_here": sorted(ended), "counts": counts},
            as_json,
        )
        if interruption.signum is not None:
            interruption.stop(result, None, options)


def _recorded(
    storage: str, study_name: str | None, data: str | None
) -> tuple[str, object, Options]:
    """Return entry point, dataset and options that continue a stored study."""
    from tuner.storage.call import recorded_call

    study = stored(storage, study_name)
    function, dataset, options = recorded_call(study, data=data)
    return function, dataset, options | {"storage": storage, "study_name": study.study_name}


def _awaited(storage: str, study_name: str | None, wait: float) -> optuna.Study:
    """Load a study that another process may be about to create."""
    from tuner.storage.call import recorded_call
    from tuner.storage.study import load_study
    from tuner.storage.trial_attrs import CALL, study_attr

    end = time.monotonic() + wait
    while True:
        try:
            study = load_study(storage, study_name)
            if study_attr(study.user_attrs, CALL) is not None:
                return study
            if time.monotonic() >= end:
                recorded_call(study)  # says what is wrong
        except (FileNotFoundError, ValueError):
            if time.monotonic() >= end:
                raise
        time.sleep(0.5)


def _search_and_print(
    function: str,
    data: object,
    options: Options,
    out: Path | str | None,
    save_model: Path | str | None,
    *,
    as_json: bool,
) -> None:
    from tuner.storage.trial_attrs import count_states, has_complete
    from tuner.tables import check_path, file_name

    if options.get("dry_run"):
        with Interruption() as interruption:
            if _search(interruption, function, data, options) is None:
                interruption.stop(None, None, options)
        return
    table = check_path(Path(out or f"{file_name(options['study_name'])}-trials.csv"))
    model = None if save_model is None else Path(save_model)
    for option, path in (("--save-model", model), ("--out", table)):
        if path is not None:  # a long search must not end with a file that cannot be written
            check_folder(option, path)
    with Interruption() as interruption:
        result = _search(interruption, function, data, options)
        if result is not None:
            result.export(table)
        if result is None or interruption.signum is not None:
            interruption.stop(result, table, options)
        if not has_complete(result.study):
            echo(
                f"no trial is complete ({count_states(result.study) or 'none had ended'}), so "
                f"there is no best one; raise n_trials or timeout, or see why in {table}",
                err=True,
            )
            raise typer.Exit(NO_RESULT)
        if model is not None:
            result.model.save(model)
        print_result(result, table, model, as_json=as_json)


def _search(
    interruption: Interruption,
    function: str,
    data: object,
    options: Options,
    then: Callable[[TuningResult], object] | None = None,
) -> TuningResult | None:
    """Search with the entry point of that name.

    Args:
        interruption: of the command.
        function: such as ``"tune_mlp"``.
        data: its dataset.
        options: its other arguments.
        then: called with the result, unless the search was interrupted.

    Returns:
        What there is; None if it was interrupted before there was anything.
    """
    result = None
    try:
        import tuner

        entry_point: Callable[..., TuningResult] = getattr(tuner, function)
        result = entry_point(data, **options)
        if then is not None and interruption.signum is None:
            then(result)
    except KeyboardInterrupt:
        interruption.signum = interruption.signum or signal.SIGINT
    except Exception:  # an import that is interrupted may raise anything
        if interruption.signum is None:
            raise
    return result
