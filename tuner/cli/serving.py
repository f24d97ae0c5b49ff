"""The command that shows a storage in a browser: dashboard, which is optuna-dashboard's."""

from __future__ import annotations

from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import typer

from tuner.cli.console import one_line_errors


def dashboard(
    storage: Annotated[
        str, typer.Argument(metavar="STORAGE", help="A .journal or .db file, or a storage URL.")
    ],
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8080,
) -> None:
    """Show all studies of a storage in a browser with optuna-dashboard, until Ctrl-C."""
    with one_line_errors():
        from tuner.storage import redacted
        from tuner.study import open_existing

        wsgi = _optuna_dashboard()
        app = wsgi(open_existing(storage))
        with make_server(host, port, app, _Server, _Quiet) as server:
            address = f"http://{host}:{server.server_port}/dashboard"
            typer.echo(f"{redacted(storage)}: {address} (Ctrl-C ends it)")
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
