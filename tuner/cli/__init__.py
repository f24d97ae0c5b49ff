"""The ``tuner`` command: search, continue, look, predict.

Only what trains or predicts needs torch, and the rest Optuna and pandas alone, so each command
imports what it uses when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from objectives.space.registry import READY_MADE
from tuner.cli.console import EXIT_CODES, one_line_errors
from tuner.cli.options import SearchCommand, search_command
from tuner.cli.search import begin, resume, try_params, worker
from tuner.cli.studies import (
    compare,
    confirm,
    dashboard,
    diagnose,
    export,
    init,
    plot,
    predict,
    proxy,
    report,
    show,
)

app = typer.Typer(
    name="tuner",
    help="Tune deep-learning models; every trial ends up in a table.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _entry in READY_MADE.values():
    if _entry.command:
        app.command(cls=SearchCommand)(one_line_errors()(search_command(_entry, begin)))
app.command("try")(one_line_errors()(try_params))
for _command in (
    *(init, resume, worker, show, export, plot, diagnose, confirm),
    *(compare, report, predict, dashboard, proxy),
):
    app.command()(one_line_errors()(_command))


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"fusetune {version('fusetune')}")
        except PackageNotFoundError:
            typer.echo("fusetune, a checkout that is not installed")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
