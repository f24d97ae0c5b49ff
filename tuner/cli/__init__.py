"""The ``tuner`` command: search, go on, look, predict.

Only what trains or predicts needs torch, and the rest Optuna and pandas alone, so each command
imports what it uses when it runs.
"""

from __future__ import annotations

import typer

from tuner.cli.console import EXIT_CODES
from tuner.cli.options import SearchCommand
from tuner.cli.predict import predict
from tuner.cli.search import cnn, finetune, mlp, resume, try_params, worker
from tuner.cli.studies import dashboard, diagnose, export, plot, report, show

app = typer.Typer(
    name="tuner",
    help="Tune deep-learning models; every trial ends up in a table.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

for _search in (mlp, cnn, finetune):
    app.command(cls=SearchCommand)(_search)
app.command("try")(try_params)
for _command in (resume, worker, show, export, plot, diagnose, report, predict, dashboard):
    app.command()(_command)


def main() -> None:
    """Run the command line."""
    app(prog_name="tuner")
