"""The commands that read a stored study: export, show, diagnose, plot, report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from tuner.cli import options as o
from tuner.cli.console import check_folder, echo, one_line_errors, print_study, tell


def export(
    study: o.StudyPath,
    out: Annotated[
        Path, typer.Option(help="File to write: .csv, .csv.gz, .parquet, .json or .xlsx.")
    ],
    curves: Annotated[
        bool, typer.Option("--curves", help="One row a trial and epoch, not one a trial.")
    ] = False,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's trials, or its learning curves, to a file."""
    with one_line_errors():
        from tuner import tables
        from tuner.storage.study import load_study

        loaded = load_study(study, study_name)
        frame = tables.curves_dataframe(loaded) if curves else tables.trials_dataframe(loaded)
        tables.export(frame, out)
        tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)


def show(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print a study's counts and its best trials."""
    with one_line_errors():
        from tuner.storage.study import load_study

        print_study(load_study(study, study_name), as_json)


def diagnose(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print what a study shows, what to do about it, and the space to search next."""
    with one_line_errors():
        from tuner.diagnosis.diagnosis import diagnose as find
        from tuner.storage.study import load_study

        diagnosis = find(load_study(study, study_name))
        typer.echo(diagnosis.to_json()) if as_json else echo(diagnosis)


def plot(
    study: o.StudyPath,
    kind: o.Kind = "overview",
    out: Annotated[Path | None, typer.Option(help="Image file; default KIND.png.")] = None,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Draw a figure of a study."""
    with one_line_errors():
        import matplotlib

        matplotlib.use("agg")  # a figure for a file needs no window
        from tuner.plots.figures import draw
        from tuner.storage.study import load_study

        path = check_folder("--out", out or Path(f"{kind}.png"))
        draw(load_study(study, study_name), kind).savefig(path, bbox_inches="tight")
        tell(f"{kind}: {path}", {"kind": kind, "file": str(path)}, as_json)


def report(
    study: o.StudyPath,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's report: one HTML file that opens offline."""
    with one_line_errors():
        from tuner.report.html import write_report
        from tuner.storage.study import load_study

        path = write_report(load_study(study, study_name), out)
        tell(f"report: {path}", {"file": str(path)}, as_json)


def dashboard(
    storage: Annotated[
        str, typer.Argument(metavar="STORAGE", help="A .journal or .db file, or a storage URL.")
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8080,
) -> None:
    """Show all studies of a storage in a browser with optuna-dashboard, until Ctrl-C."""
    with one_line_errors():
        from tuner.storage.backends import redacted
        from tuner.storage.study import open_existing

        wsgi = _optuna_dashboard()
        app = wsgi(open_existing(storage))
        with make_server(host, port, app, _Server, _Quiet) as server:
            address = f"http://{host}:{server.server_port}/dashboard"
            echo(f"{redacted(storage)}: {address} (Ctrl-C ends it)")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                typer.echo("ended", err=True)


def _optuna_dashboard() -> Callable[[Any], Any]:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise ImportError(
            "optuna-dashboard must be installed for tuner dashboard, got none; "
            "pip install 'fusetune[dashboard]' or pip install optuna-dashboard"
        ) from error
    found: Callable[[Any], Any] = wsgi
    return found


class _Server(ThreadingMixIn, WSGIServer):
    """Threads, as a browser keeps connections open that it asks nothing on."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """A page asks again every few seconds, which is nothing to report."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Report nothing."""
