"""The commands that read stored studies (show, export, diagnose, plot, report, compare, dashboard),
train again what one has found (confirm), use a saved model (predict), or search nothing yet (init).
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from objectives._messages import check_choice
from objectives.space.registry import READY_MADE, Argument, Options, ReadyMade
from tuner.cli import options as o
from tuner.cli.console import (
    check_folder,
    check_new,
    command_for,
    echo,
    located,
    print_frame,
    print_study,
    stored,
    suggest,
    tell,
)
from tuner.search.arguments import arguments_for

if TYPE_CHECKING:
    import optuna
    import pandas as pd


_KINDS = tuple(kind for kind, entry in READY_MADE.items() if entry.command)


def init(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="What to tune on; may be named later.")
    ] = None,
    target: Annotated[str | None, o.valued("TEXT", "Column to predict, of a table.")] = None,
    kind: Annotated[
        str, typer.Option(metavar="|".join(_KINDS), help="The command that will search.")
    ] = "mlp",
    out: Annotated[Path, o.valued("FILE", "TOML file to write.")] = Path("search.toml"),
    force: o.Force = False,
    as_json: o.AsJson = False,
) -> None:
    """Write a configuration file that explains every argument, to be edited."""
    check_choice("--kind", kind, _KINDS)
    check_new("--out", check_folder("--out", out), force=force)
    out.write_text(_configuration(READY_MADE[kind], data, target), encoding="utf-8")
    tell(f"configuration: {out}", {"file": str(out)}, as_json)
    suggest(shlex.join(["tuner", kind, "--config", str(out)]), as_json)


_EXAMPLES = {"n_trials": 30, "timeout": 600, "epochs": 100, "true or false": True}


def _configuration(entry: ReadyMade, data: str | None, target: str | None) -> str:
    """Return a TOML file of the arguments of a search; those at their defaults are comments."""
    from objectives.space.space import describe

    given: Options = {"data": data or ("digits" if entry.data == "images" else "people.csv")}
    arguments = arguments_for(entry)
    if "target" in arguments and (target is not None or data is None):
        given["target"] = target or "income"
    lines = [f"# What `tuner {entry.kind} --config` searches. A line that begins with # names an"]
    lines += ["# argument and its default, or an example: take the # away to set it.", ""]
    lines += [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    for name in sorted(arguments, key=lambda name: name not in entry.own_arguments):
        argument = arguments[name]
        example = argument.default if argument.default is not None else _example(name, argument)
        if name in given or argument.kind in ("an object", "a table", "a list of tables"):
            continue
        lines += ["", *_commented(o.sentence_of(argument)), f"# {name} = {json.dumps(example)}"]
    lines += ["", "# Hyperparameters: a value, a list of choices, or a range.", "[space]"]
    for name, described in describe(entry.table).items():
        value = described.get("fixed", described.get("choices"))
        ends = {end: described[end] for end in ("low", "high") if end in described}
        written = ", ".join(f"{end} = {json.dumps(number)}" for end, number in ends.items())
        lines += ["", *_commented(entry.table[name].help)]
        lines += [f"# {name} = {json.dumps(value) if value is not None else f'{{ {written} }}'}"]
    return "\n".join([*lines, ""])


def _example(name: str, argument: Argument) -> object:
    if argument.choices:
        return argument.choices[0]
    text: object = ["..."] if argument.kind == "a list" else "..."
    number = 1 if argument.kind in ("a whole number", "a number") else text
    return _EXAMPLES.get(name, _EXAMPLES.get(argument.kind, number))


def _commented(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 78)]


def export(
    study: o.StudyPath = o.STORAGE,
    *,
    out: Annotated[Path, o.valued("FILE", f"File to write: {o.listing(o.SUFFIXES)}.")],
    force: o.Force = False,
    curves: Annotated[
        bool,
        o.flag("--curves", "One row a trial and epoch, not one a trial."),
    ] = False,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's trials, or its learning curves, to a file."""
    from tuner import tables
    from tuner.storage.view import view_of

    check_new("--out", tables.check_path(out), force=force)
    view = view_of(loaded := stored(study, study_name))
    frame = view.curves_table if curves else view.trials_table
    tables.export(frame if curves else view, out)
    tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)
    suggest(_on("plot", study, loaded), as_json)


def show(
    study: o.StudyPath = o.STORAGE, study_name: o.StudyName = None, as_json: o.AsJson = False
) -> None:
    """Print a study's counts and its best trials; of several studies, the counts of each."""
    import optuna

    from tuner.storage.study import load_study, open_existing
    from tuner.storage.trial_attrs import count_states

    storage, name = located(study, study_name)
    names: list[str | None] = [name]
    if name is None:
        names = [*optuna.get_all_study_names(open_existing(storage))] or names
    studies = [load_study(storage, name) for name in names]
    if len(studies) == 1:
        print_study(studies[0], as_json)
        suggest(_on("diagnose", study, studies[0]), as_json)
        return
    counts = {each.study_name: count_states(each) for each in studies}
    text = "\n".join(f"study {name}: {counts[name] or 'no trials yet'}" for name in counts)
    tell(text, {"studies": counts}, as_json)
    suggest(_on("show", study, studies[-1]), as_json)


def diagnose(
    study: o.StudyPath = o.STORAGE, study_name: o.StudyName = None, as_json: o.AsJson = False
) -> None:
    """Print what a study shows, what to do about it, and the space to search next."""
    loaded = stored(study, study_name)
    from tuner.diagnosis.diagnosis import diagnose as find

    diagnosis = find(loaded)
    if as_json:
        typer.echo(diagnosis.to_json())
    else:
        typed = diagnosis.findings.replace(regex=_AS_COMMANDS)
        width = min(shutil.get_terminal_size().columns, 100)
        echo(replace(diagnosis, findings=typed).text(width))
        space = json.loads(diagnosis.to_json())["space"]
        tell(f"next space: {_as_options(space)}", {}, as_json=False)
    suggest(_on("confirm", study, loaded), as_json)


_AS_COMMANDS = {
    r"result\.confirm\(k=(\d+), seeds=(\d+)\)": r"tuner confirm --k \1 --seeds \2",
    r"result\.confirm\(\)": "tuner confirm",
    r"n_trials=(\d+)": r"--n-trials \1",
}


def _as_options(space: Mapping[str, Any]) -> str:
    """Return a space in JSON types as it is typed.

    >>> _as_options({"dropout": {"low": 0.0, "high": 0.5}, "optimizer": ["adam"], "n_layers": 2})
    '--space dropout=0.0..0.5 --space optimizer=adam, --space n_layers=2'
    """
    words: list[str] = []
    for name, entry in space.items():
        text = json.dumps({name: entry})
        if isinstance(entry, Mapping) and entry.keys() == {"low", "high"}:
            text = f"{name}={entry['low']}..{entry['high']}"
        elif isinstance(entry, list) and all(map(_is_word, entry)):
            text = f"{name}={','.join(map(str, entry))}{',' if len(entry) == 1 else ''}"
        elif _is_word(entry):
            text = f"{name}={entry}"
        words += ["--space", text]
    return shlex.join(words)


def _is_word(value: object) -> bool:
    """Whether a value reads back from how it is written without quotes."""
    return o.parse_scalar(str(value)) == value and not {",", " "} & set(str(value))


def confirm(
    study: o.StudyPath = o.STORAGE,
    study_name: o.StudyName = None,
    data: o.DataElsewhere = None,
    k: Annotated[int, o.valued("N", "Configurations, the best first.")] = 3,
    seeds: Annotated[int, o.valued("N", "Runs of each, from fresh seeds.")] = 3,
    seed: Annotated[int, o.valued("N", "Of the fresh seeds.")] = 0,
    table: o.TableFile = None,
    force: o.Force = False,
    as_json: o.AsJson = False,
) -> None:
    """Train the best configurations and the default one again, and rank them by their mean."""
    _check_table(table, force=force)
    from tuner.result import load_result

    storage, name = located(study, study_name)
    result = load_result(storage, name, data=data)
    frame = result.confirm(k=k, seeds=seeds, seed=seed, show_progress_bar=not as_json)
    print_frame(frame, f"valid {result.objective.metric.name} from fresh seeds", as_json)
    _write_table(frame, table, as_json)
    suggest(_on("resume", study, result.study, "--test"), as_json)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"A study, as in {o.STORAGE}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, in the same way.")],
    storage: Annotated[
        str | None,
        o.valued("TEXT", f"File or URL that holds both, if not {o.STORAGE}."),
    ] = None,
    test: Annotated[
        bool,
        o.flag("--test", "Judge on the test split, which opens it in both."),
    ] = False,
    table: o.TableFile = None,
    force: o.Force = False,
    as_json: o.AsJson = False,
) -> None:
    """Print the best configurations of two studies, and the interval of their difference."""
    _check_table(table, force=force)
    from tuner.diagnosis.diagnosis import compare as compared
    from tuner.result import load_result

    places = [located(text) if storage is None else (storage, text) for text in (a, b)]
    found = compared(*(load_result(*place) for place in places), test=test)
    if as_json:
        typer.echo(found.to_json())
    else:
        print_frame(found.table, "best configurations", as_json)
        tell(found.sentence, {}, as_json)
    _write_table(found.table, table, as_json)
    suggest(command_for("report", *places[int(found.second_is_better)]), as_json)


def _check_table(table: Path | None, *, force: bool) -> None:
    from tuner.tables import check_path

    if table is not None:
        check_new("--table", check_path(table), force=force)


def _write_table(frame: pd.DataFrame, table: Path | None, as_json: bool) -> None:
    from tuner.tables import export

    if table is not None:
        export(frame, table)
        if not as_json:
            echo(f"table: {table}")


def _on(command: str, study: str, loaded: optuna.Study, *rest: str) -> str:
    """Return a command on the same study, as it is typed."""
    return command_for(command, located(study)[0], loaded.study_name, *rest)


def plot(
    study: o.StudyPath = o.STORAGE,
    kind: o.Kind = "overview",
    out: Annotated[
        Path | None, o.valued("FILE", "Image: .png, .pdf, .svg; default KIND.png.")
    ] = None,
    width: Annotated[
        str | None,
        o.valued("WIDTH", "For a paper: column, text, page, or inches; by default for a screen."),
    ] = None,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Draw a figure of a study."""
    path = check_folder("--out", out or Path(f"{kind}.png"))
    size: Any = None if width is None else o.parse_scalar(width)
    loaded = stored(study, study_name)
    import matplotlib

    matplotlib.use("agg")  # a figure for a file needs no window
    matplotlib.rcParams["pdf.fonttype"] = 42  # as publishers ask: letters, not drawings of them
    from tuner.plots.figures import draw

    figure = draw(loaded, kind, width=size)
    figure.savefig(path, bbox_inches="tight" if size is None else None, dpi=300 if size else None)
    tell(f"{kind}: {path}", {"kind": kind, "file": str(path)}, as_json)
    suggest(_on("report", study, loaded), as_json)


def report(
    study: o.StudyPath = o.STORAGE,
    out: Annotated[Path, o.valued("FILE", "HTML file to write.")] = Path("report.html"),
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's report: one HTML file that opens offline."""
    loaded = stored(study, study_name)  # first, as all that draws takes a second to import
    from tuner.report.html import write_report

    path = write_report(loaded, out)
    tell(f"report: {path}", {"file": str(path)}, as_json)
    suggest(_on("diagnose", study, loaded), as_json)


def dashboard(
    storage: Annotated[
        str, typer.Argument(metavar="STORAGE", help="A .journal or .db file, or a URL.")
    ] = o.STORAGE,
    host: Annotated[str, o.valued("TEXT", "Name or address to listen on.")] = "localhost",
    port: Annotated[int, o.valued("N", "0 for any that is free.")] = 8080,
) -> None:
    """Show all studies of a storage in a browser with optuna-dashboard, until Ctrl-C."""
    from tuner.storage.backends import redacted
    from tuner.storage.study import open_existing

    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise ImportError(
            "optuna-dashboard must be installed for tuner dashboard, got none; "
            "pip install 'fusetune[dashboard]' or pip install optuna-dashboard"
        ) from error
    app = wsgi(open_existing(storage))
    with make_server(host, port, app, _Server, _Quiet) as server:
        address = f"http://{host}:{server.server_port}/dashboard"
        echo(f"{redacted(storage)}: {address} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended", err=True)


class _Server(ThreadingMixIn, WSGIServer):
    """Threads, as a browser keeps connections open that it asks nothing on."""

    daemon_threads = True


def proxy(
    storage: Annotated[
        str, typer.Argument(metavar="DATABASE", help="URL of the database, such as postgresql://.")
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen at.")] = "localhost",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 13000,
) -> None:
    """Serve a database to many workers as grpc://HOST:PORT; Ctrl-C ends it.

    It is Optuna's proxy, which here takes all reports of a trial in one message.
    """
    import warnings

    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage, run_grpc_proxy_server

    from tuner.storage.backends import open_storage, redacted

    opened = open_storage(storage)
    if isinstance(opened, JournalStorage):
        raise ValueError(
            f"DATABASE must be the URL of a database or a .db file, got {redacted(storage)!r}; "
            "workers share a journal without a proxy"
        )
    typer.echo(f"serving {redacted(storage)} as grpc://{host}:{port}", err=True)
    with warnings.catch_warnings():
        # Optuna may still change its interface, which this package then follows.
        warnings.simplefilter("ignore", ExperimentalWarning)
        run_grpc_proxy_server(opened, host=host, port=port)


class _Quiet(WSGIRequestHandler):
    """A page asks again every few seconds, which is nothing to report."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Report nothing."""


# Images read at once, so that memory does not grow with the folder.
_AT_ONCE = 512


def predict(
    model: Annotated[Path, typer.Argument(help="A file that --save-model or model.save wrote.")],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="A file or an http(s) address of a table with the columns of training; or image "
            "files and folders of them.",
        ),
    ],
    proba: Annotated[
        bool,
        o.flag("--proba", "Add a column with the probability of each class."),
    ] = False,
    out: Annotated[
        Path | None,
        o.valued("FILE", f"{o.listing(o.SUFFIXES)}; by default CSV is printed."),
    ] = None,
    force: o.Force = False,
    as_json: o.AsJson = False,
) -> None:
    """Predict with a saved model: a row for each row of a table, or for each image."""
    # Before PyTorch, which takes seconds to import.
    absent = [path for path in data if "://" not in path and not Path(path).exists()]
    if absent:
        raise FileNotFoundError(f"DATA must be files that exist, got {absent[0]!r}; check the path")
    from objectives.models import load_model

    if out is not None:
        from tuner.tables import check_path, export  # which loads Optuna

        check_new("--out", check_path(out), force=force)
    frame = _predictions(load_model(model), data, proba)
    if out is not None:
        export(frame, out)
        tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)
    elif as_json:
        typer.echo(frame.to_json(orient="records", double_precision=15))
    else:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")


def _predictions(model: Any, data: Sequence[str], proba: bool) -> pd.DataFrame:
    """Return the columns ``prediction`` and, if asked, ``proba_<class>``; ``file`` for images."""
    import pandas as pd

    from objectives.data.files import read_file

    if getattr(model, "images", None) is not None:
        paths = _images(list(map(Path, data)))
        batches = (paths[i : i + _AT_ONCE] for i in range(0, len(paths), _AT_ONCE))
        parts = [_predicted(model, batch, proba).assign(file=batch) for batch in batches]
        frame = pd.concat(parts, ignore_index=True)
        frame.insert(0, "file", frame.pop("file"))
        return frame
    if len(data) != 1:
        raise ValueError(
            f"DATA must be one table for a model of tables, got {len(data)} paths; predict each"
        )
    return _predicted(model, read_file(data[0]).frame, proba)


def _predicted(model: Any, X: object, proba: bool) -> pd.DataFrame:
    import pandas as pd

    columns = {"prediction": model.predict(X)}
    if proba:
        shares = model.predict_proba(X)
        columns |= {f"proba_{label}": shares[:, i] for i, label in enumerate(model.classes)}
    return pd.DataFrame(columns)


def _images(data: Sequence[Path]) -> list[str]:
    """Return the image files among ``data`` and in its folders, in order."""
    from objectives.images.items import images_in

    found = []
    for path in data:
        inside = images_in(path) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"DATA must be images or folders of them, got none in {str(path)!r}")
        found += inside
    return list(map(str, found))
