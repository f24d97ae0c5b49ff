"""Arguments and options of the commands, made from the definitions of the entry points."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from objectives.space.registry import IMAGES, READY_MADE, TABLES, Argument, ReadyMade
from tuner.search.arguments import arguments_for

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Space

FIGURES = (
    "overview",
    "history",
    "curves",
    "losses",
    "importances",
    "hyperparameters",
    "rank",
    "parallel",
    "timeline",
)

_TYPES: dict[str, type] = {
    "a text": str,
    "a whole number": int,
    "auto, none or a whole number": str,
    "a number": float,
    "true or false": bool,
}


def completer(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what typer asks for the names that begin as typed.

    Example:
        >>> completer(FIGURES)("r")
        ['rank']
    """

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def listing(names: tuple[str, ...]) -> str:
    """Write names as a sentence has them.

    Example:
        >>> listing(("history", "curves", "rank"))
        'history, curves or rank'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def option(argument: Argument) -> Any:
    """Return typer's option for an argument; its help is the first sentence of the argument's."""
    sentence = argument.help.partition(". ")[0].rstrip(".").replace("``", "")
    complete = completer(argument.choices) if argument.choices else None
    return typer.Option(help=f"{sentence}.", autocompletion=complete)


_SHARED = arguments_for(READY_MADE["mlp"])

StudyPath = Annotated[
    str, typer.Argument(metavar="STUDY", help="A .journal or .db file, or a storage URL.")
]
StudyName = Annotated[
    str | None, typer.Option(help="Needed where the storage holds several studies.")
]
Kind = Annotated[str, typer.Option(help=f"{listing(FIGURES)}.", autocompletion=completer(FIGURES))]
DataElsewhere = Annotated[
    str | None, typer.Option(help="Path of the data here; default: the path at first.")
]
NTrials = Annotated[int | None, option(_SHARED["n_trials"])]
Timeout = Annotated[float | None, option(_SHARED["timeout"])]
NJobs = Annotated[int, option(_SHARED["n_jobs"])]
ArtifactStore = Annotated[str | None, option(_SHARED["artifact_store"])]
Device = Annotated[str | None, option(_SHARED["device"])]
Out = Annotated[
    Path | None,
    typer.Option(help="Trial table: .csv, .parquet, .json, .xlsx; default STUDY-trials.csv."),
]
SaveModel = Annotated[Path | None, typer.Option(help="Save the best model here.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_DATA = {
    "table": Annotated[
        str | None,
        typer.Argument(
            help=f"A .csv or .parquet file, or one of {listing(TABLES)}.",
            autocompletion=completer(TABLES),
        ),
    ],
    "images": Annotated[
        str | None,
        typer.Argument(
            help=f"A folder with a folder of images a class, or {listing(IMAGES)}.",
            autocompletion=completer(IMAGES),
        ),
    ],
}
_CONFIG = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file of the arguments by their names in Python, [space] and data among them; "
        "paths in it start from its folder, and options given here win over it."
    ),
]

# What only the command line has, or reads in its own way.
_OWN: dict[str, tuple[object, object]] = {
    "space": (
        None,
        Annotated[
            str | None,
            typer.Option(
                help="JSON, or a file of it: a value fixes a hyperparameter, a list gives its "
                'choices, an object its range: {"dropout": 0, "learning_rate": {"low": 0.001, '
                '"high": 0.1}}.'
            ),
        ],
    ),
    "fix": (
        None,
        Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME=VALUE",
                help="Fix one hyperparameter, such as dropout=0; may be repeated.",
            ),
        ],
    ),
    "trials": (
        None,
        Annotated[
            str | None,
            typer.Option(
                help="JSON list of configurations, or a file of it, for the manual sampler."
            ),
        ],
    ),
    "out": (None, Out),
    "save_model": (None, SaveModel),
    "quiet": (False, Quiet),
    "as_json": (False, AsJson),
}

NOT_PASSED_ON = ("data", "config", *_OWN)
"""Parameters of a search command that no entry point takes as they are."""


def search_command(
    entry: ReadyMade, search: Callable[[ReadyMade, typer.Context], None]
) -> Callable[..., None]:
    """Return the command that begins a search, with the signature that typer reads.

    Args:
        entry: what to tune.
        search: does the work; typer's context has what was typed.
    """

    def command(ctx: typer.Context, **_: object) -> None:
        search(entry, ctx)

    parameters = list(_parameters(entry))
    command.__name__, command.__doc__ = entry.kind, entry.command
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameters(entry: ReadyMade) -> Iterator[inspect.Parameter]:
    def parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=default, annotation=annotation)

    yield parameter("ctx", typer.Context, inspect.Parameter.empty)
    yield parameter("data", _DATA[entry.data])
    yield parameter("config", _CONFIG)
    arguments = arguments_for(entry)
    for name in sorted(arguments, key=lambda name: name not in entry.own_arguments):
        argument = arguments[name]
        typed = argument.typed or _TYPES.get(argument.kind)
        if typed is None or not argument.on_command_line:
            continue
        annotation: object = typed if argument.default is not None else typed | None
        yield parameter(name, Annotated[annotation, option(argument)], argument.default)
    for name, (default, annotation) in _OWN.items():
        yield parameter(name, annotation, default)


class SearchCommand(TyperCommand):
    """A command of the same name as an objective, whose hyperparameters its help lists."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help that typer makes, then the hyperparameters."""
        super().format_help(ctx, formatter)
        # Only now, so that `tuner --help` need not import Optuna.
        print_hyperparameters(READY_MADE[str(self.name)].table)


def print_hyperparameters(table: Space) -> None:
    """Print name, range, default and meaning of each hyperparameter."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from objectives.space.tables import search_range

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
