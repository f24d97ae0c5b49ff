"""The commands that read a stored study (show, export, diagnose, plot, report, dashboard) or use a
saved model (predict).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from tuner.cli import options as o
from tuner.cli.console import check_folder, echo, print_study, stored, tell

if TYPE_CHECKING:
    import pandas as pd


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
    from tuner import tables

    loaded = stored(study, study_name)
    frame = tables.curves_dataframe(loaded) if curves else tables.trials_dataframe(loaded)
    tables.export(frame, out)
    tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)


def show(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print a study's counts and its best trials."""
    print_study(stored(study, study_name), as_json)


def diagnose(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print what a study shows, what to do about it, and the space to search next."""
    from tuner.diagnosis.diagnosis import diagnose as find

    diagnosis = find(stored(study, study_name))
    typer.echo(diagnosis.to_json()) if as_json else echo(diagnosis)


def plot(
    study: o.StudyPath,
    kind: o.Kind = "overview",
    out: Annotated[Path | None, typer.Option(help="Image file; default KIND.png.")] = None,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Draw a figure of a study."""
    import matplotlib

    matplotlib.use("agg")  # a figure for a file needs no window
    from tuner.plots.figures import draw

    path = check_folder("--out", out or Path(f"{kind}.png"))
    draw(stored(study, study_name), kind).savefig(path, bbox_inches="tight")
    tell(f"{kind}: {path}", {"kind": kind, "file": str(path)}, as_json)


def report(
    study: o.StudyPath,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's report: one HTML file that opens offline."""
    from tuner.report.html import write_report

    path = write_report(stored(study, study_name), out)
    tell(f"report: {path}", {"file": str(path)}, as_json)


def dashboard(
    storage: Annotated[
        str, typer.Argument(metavar="STORAGE", help="A .journal or .db file, or a storage URL.")
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8080,
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
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="A .csv or .parquet file with the columns of training; or image files and "
            "folders of them.",
        ),
    ],
    proba: Annotated[
        bool, typer.Option("--proba", help="Add a column with the probability of each class.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File: .csv, .parquet, .json, .xlsx; default: CSV here.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Predict with a saved model: a row for each row of a table, or for each image."""
    from objectives.models import load_model

    if out is not None:
        from tuner.tables import check_path, export  # which loads Optuna

        check_path(out)
    frame = _predictions(load_model(model), data, proba)
    if out is not None:
        export(frame, out)
        tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)
    elif as_json:
        typer.echo(frame.to_json(orient="records", double_precision=15))
    else:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")


def _predictions(model: Any, data: Sequence[Path], proba: bool) -> pd.DataFrame:
    """Return the columns ``prediction`` and, if asked, ``proba_<class>``; ``file`` for images."""
    import pandas as pd

    from objectives.data.files import read_file

    if getattr(model, "images", None) is not None:
        paths = _images(data)
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
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"DATA must be files that exist, got {str(missing[0])!r}")
    return list(map(str, found))
