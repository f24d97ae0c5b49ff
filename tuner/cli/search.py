"""The commands that search: one for each ready-made objective, and resume, try and worker.

Each command checks what was typed before it imports what trains, which takes seconds.
"""

from __future__ import annotations

import itertools
import shlex
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from objectives.space.registry import IMAGES, TABLES, Options, ReadyMade, listing
from tuner.cli import options as o
from tuner.cli.console import (
    NO_RESULT,
    Interruption,
    check_folder,
    check_new,
    command_for,
    echo,
    located,
    print_result,
    print_trial,
    suggest,
    tell,
)
from tuner.cli.options import parse_assignments, parse_scalar, parse_space, read_config, read_json
from tuner.search.arguments import TRACKERS, arguments_for, check_arguments, check_data

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
        if name not in o.NOT_PASSED_ON and value not in (None, [], ())
    }
    if typed["config"] is not None:
        configured = read_config(Path(typed["config"]), entry)
        options |= {n: v for n, v in configured.items() if not _was_typed(ctx, n)}
    options |= _read(typed, options)
    data = options.pop("data", None)
    outputs = _Outputs(
        out=options.pop("out", None),
        save_model=options.pop("save_model", None),
        force=typed["force"],
        test=typed["test"],
        as_json=typed["as_json"],
    )
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
    if not options.get("space", True):
        del options["space"]  # an empty table of a file
    storage = options.setdefault("storage", o.STORAGE)
    if storage == "none":
        options["storage"] = None
    base = f"{entry.kind}-{_name_of(data)}"
    names: Iterator[str] = iter([options["study_name"]] if "study_name" in options else ())
    if options["storage"] is None:
        names = iter([options.get("study_name", base)])
    elif "study_name" not in options:
        names = _study_names(entry, base, data, options)
    _search_and_print(entry.function, data, options, outputs, names)


def _name_of(data: str) -> str:
    """Return what a dataset is called: the name of its file or folder, without endings.

    >>> _name_of("https://example.org/a/wine.csv.gz?raw=1"), _name_of("photos/"), _name_of("iris")
    ('wine', 'photos', 'iris')
    """
    from tuner.tables import file_name

    path = data.partition("?")[0] if "://" in data else str(Path(data).absolute())
    name = path.rstrip("/").rpartition("/")[2]
    return file_name(name.partition(".")[0] or "data")


def _study_names(entry: ReadyMade, base: str, data: object, options: Options) -> Iterator[str]:
    """Yield names for a search that was given none: first that of the study which the same call
    has made before, then free ones.
    """
    from tuner.storage.call import describe_call, same_call
    from tuner.storage.trial_attrs import CALL, study_attr

    known = _studies(options["storage"])
    defaults = {name: argument.default for name, argument in arguments_for(entry).items()}
    call = describe_call(entry.function, {"dataset": data} | options, defaults)
    tried = (base if n == 1 else f"{base}-{n}" for n in itertools.count(1))
    for name in itertools.chain([entry.kind] if entry.kind in known else [], tried):
        stored = study_attr(known[name], CALL) if name in known else None
        if same_call(call, stored):
            yield name


def _studies(storage: str) -> dict[str, Mapping[str, object]]:
    """Return the user attributes of the studies in a storage, by name."""
    import optuna

    from tuner.storage.backends import open_storage, storage_errors

    path = Path(storage)
    is_new = path.suffix in (".journal", ".db") and path.parent.is_dir() and not path.exists()
    if "://" not in storage and is_new:
        return {}
    with storage_errors(storage):
        found = optuna.get_all_study_summaries(open_storage(storage), include_best_trial=False)
        return {summary.study_name: summary.user_attrs for summary in found}


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
    if typed["space"]:
        read["space"] = read.get("space", {}) | parse_space(typed["space"])
    if typed["fix"]:
        read["space"] = read.get("space", {}) | parse_assignments(typed["fix"], "--fix")
    if typed["quiet"] or typed["as_json"]:
        read["show_progress_bar"] = False
    return {name: value for name, value in read.items() if value is not None}


_Track = Annotated[
    str | None,
    o.valued("TEXT", f"Where to log: {listing(TRACKERS)} or none; by default as in the study."),
]


def resume(
    study: o.StudyPath = o.STORAGE,
    study_name: o.StudyName = None,
    data: o.DataElsewhere = None,
    n_trials: o.NTrials = None,
    timeout: o.Timeout = None,
    n_jobs: o.NJobs = None,
    artifact_store: o.ArtifactStore = None,
    device: o.Device = None,
    track: _Track = None,
    out: o.Out = None,
    save_model: o.SaveModel = None,
    force: o.Force = False,
    test: o.Test = False,
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
        "show_progress_bar": not (quiet or as_json),
    }
    options |= {name: value for name, value in changes.items() if value is not None}
    _choose_tracker(options, track)
    outputs = _Outputs(out=out, save_model=save_model, force=force, test=test, as_json=as_json)
    _search_and_print(function, dataset, options, outputs, iter([options["study_name"]]))


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
    options |= {"timeout": _NONE, "show_progress_bar": False, "device": device, "track": None}
    rivals: list[int | None] = []

    def one_more(result: TuningResult) -> None:
        rivals.append(result.best_trial.number if has_complete(result.study) else None)
        result.try_params(**wanted)

    with Interruption() as interruption:
        result = _search(interruption, function, dataset, options, then=one_more)
        if result is None or interruption.signum is not None:
            interruption.stop(result, None, options)
        print_trial(result.study, result.study.trials[-1].number, *rivals, as_json=as_json)
        suggest(command_for("show", options["storage"], result.study.study_name), as_json)


def worker(
    storage: Annotated[str, o.valued("TEXT", "A .journal or .db file, or a URL.")] = o.STORAGE,
    study: Annotated[
        str | None,
        typer.Option(
            "--study-name",
            "--study",
            metavar="TEXT",
            help="Needed where there are several studies.",
        ),
    ] = None,
    data: o.DataElsewhere = None,
    timeout: o.Timeout = None,
    artifact_store: o.ArtifactStore = None,
    device: o.Device = None,
    track: _Track = None,
    wait: Annotated[float, o.valued("NUMBER", "Seconds to wait for the study to exist.")] = 60.0,
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
        _choose_tracker(options, track)
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
        suggest(command_for("show", storage, loaded.study_name), as_json)


def _recorded(
    storage: str, study_name: str | None, data: str | None
) -> tuple[str, object, Options]:
    """Return entry point, dataset and options that continue a stored study."""
    from tuner.storage.call import recorded_call
    from tuner.storage.study import load_study

    storage, study_name = located(storage, study_name)
    study = load_study(storage, study_name)
    function, dataset, options = recorded_call(study, data=data)
    return function, dataset, options | {"storage": storage, "study_name": study.study_name}


def _choose_tracker(options: Options, typed: str | None) -> None:
    """Track as was typed or, where that can be done here, as the study was tracked before."""
    if typed is not None:
        options["track"] = None if typed == "none" else typed
    elif (recorded := options.get("track")) in TRACKERS:
        from tuner.tracking import tracker_of

        try:
            tracker_of(recorded)
        except (ImportError, ValueError) as error:
            options["track"] = None
            echo(f"not tracked here: {error}", err=True)


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


@dataclass(frozen=True, kw_only=True)
class _Outputs:
    """What a search is to leave behind: files, the test score, and how it prints."""

    out: Path | str | None
    save_model: Path | str | None
    force: bool
    test: bool
    as_json: bool

    def table(self, study_name: str, own: Collection[str]) -> Path:
        """Return where the trial table goes, which a name of the command's own keeps free.

        Args:
            study_name: of the search.
            own: the files that this study wrote before, which it may renew.

        Raises:
            FileExistsError: if ``--out`` is a file that this study did not write.
        """
        from tuner.tables import check_path, file_name

        stem = f"{file_name(study_name)}-trials"
        path = check_path(Path(self.out or f"{stem}.csv"))
        for n in itertools.count(2) if self.out is None else ():
            if self.force or not path.exists() or str(path.absolute()) in own:
                break
            path = Path(f"{stem}-{n}.csv")
        self._check("--out", path, own)
        return path

    def model(self, own: Collection[str]) -> Path | None:
        """Return where the model goes, as `table` does."""
        path = None if self.save_model is None else Path(self.save_model)
        if path is not None:
            self._check("--save-model", path, own)
        return path

    def _check(self, option: str, path: Path, own: Collection[str]) -> None:
        check_folder(option, path)  # a long search must not end with a file that cannot be written
        check_new(option, path, force=self.force or str(path.absolute()) in own)


def _search_and_print(
    function: str, data: object, options: Options, outputs: _Outputs, names: Iterator[str]
) -> None:
    """Search in the study of the first name that is not another search's, and print the result."""
    if options.get("dry_run"):
        options["study_name"] = next(names)
        with Interruption() as interruption:
            if _search(interruption, function, data, options) is None:
                interruption.stop(None, None, options)
        return
    with Interruption() as interruption:
        from tuner.storage.backends import redacted
        from tuner.storage.study import StudyMismatchError
        from tuner.storage.trial_attrs import FILES, count_states, has_complete, study_attr

        storage: str | None = options["storage"]
        mismatch: StudyMismatchError | None = None
        for name in names:
            options["study_name"] = name
            begun = None if storage is None else _studies(storage).get(name)
            own = study_attr(begun or {}, FILES) or []
            table, model = outputs.table(name, own), outputs.model(own)
            if mismatch is not None:
                echo(str(mismatch).partition(";")[0], err=True)
            start = datetime.now()
            try:
                result = _search(interruption, function, data, options)
            except StudyMismatchError as error:
                mismatch = error
            else:
                break
        else:
            assert mismatch is not None, "there is one name at least"
            raise mismatch
        if result is not None:
            result.export(table)
            _own(result.study, table)
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
            _own(result.study, model)
        place = "memory alone" if storage is None else redacted(storage)
        print_result(result, place, table, model, test=outputs.test, as_json=outputs.as_json)
        n_new = sum((t.datetime_complete or start) > start for t in result.study.trials)
        if begun is not None:
            went_on = f"went on by {n_new} trial{'s' if n_new > 1 else ''}"
            echo(f"study {name} {went_on if n_new else _FINISHED}", err=True)
        suggest(_next_command(options, data, model if outputs.test else None), outputs.as_json)


_FINISHED = "was finished before; a larger --n-trials adds trials"


def _own(study: optuna.Study, path: Path) -> None:
    """Note that a study wrote a file, which it may then renew."""
    from tuner.storage.trial_attrs import FILES, study_attr

    own = study_attr(study.user_attrs, FILES) or []
    study.set_user_attr(FILES, sorted({*own, str(path.absolute())}))


def _next_command(options: Options, data: object, model: Path | None) -> str:
    if model is not None and data not in (*TABLES, *IMAGES):
        return shlex.join(["tuner", "predict", str(model), str(data)])
    if options["storage"] is None:
        return "the same without --storage none, which keeps the study for tuner report"
    return command_for("report", options["storage"], options["study_name"])


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
