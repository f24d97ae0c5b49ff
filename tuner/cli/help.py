"""Help of the commands that search, with the hyperparameters from their table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from objectives.hyperparameters import Hyperparameter


class SearchCommand(TyperCommand):
    """A command of the same name as a table of hyperparameters, which its help lists."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help that typer makes, then the hyperparameters."""
        super().format_help(ctx, formatter)
        # Only now, so that `tuner --help` need not import Optuna.
        from objectives import hyperparameters, training_table

        tables = {
            "mlp": hyperparameters.MLP_TABLE, "cnn": training_table.CNN_TABLE,
            "finetune": training_table.FINETUNE_TABLE,
        }  # fmt: skip
        print_hyperparameters(tables[str(self.name)])


def print_hyperparameters(table: Mapping[str, Hyperparameter]) -> None:
    """Print name, range, default and meaning of each hyperparameter."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from objectives.documented import search_range

    shown = Table(
        box=SIMPLE_HEAD, title="Hyperparameters, for --space and --fix", title_justify="left"
    )
    shown.add_column("name", no_wrap=True)
    shown.add_column("range")
    shown.add_column("default")
    shown.add_column("meaning")
    for row in table.values():
        shown.add_row(row.name, search_range(row), str(row.default), row.help)
    Console().print(shown)
