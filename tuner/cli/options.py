"""Arguments of the commands, made from the definitions of the entry points: as options, in
configuration files, and in JSON.
"""

from __future__ import annotations

import inspect
import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from objectives._messages import nearest
from objectives.space.registry import (
    IMAGES,
    READY_MADE,
    TABLES,
    Argument,
    Options,
    ReadyMade,
    listing,
)
from tuner.search.arguments import arguments_for

if TYPE_CHECKING:
    from objectives.space.hyperparameter import UserSpace

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
NJobs = Annotated[int | None, option(_SHARED["n_jobs"])]
ArtifactStore = Annotated[str | None, option(_SHARED["artifact_store"])]
Device = Annotated[str | None, option(_SHARED["device"])]
Track = Annotated[str | None, option(_SHARED["track"])]
Out = Annotated[
    Path | None,
    typer.Option(help="Trial table: .csv, .parquet, .json, .xlsx; default STUDY-trials.csv."),
]
SaveModel = Annotated[Path | None, typer.Option(help="Save the best model here.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_DATA = {
    kind: Annotated[
        str | None,
        typer.Argument(help=f"{what} {listing(names)}.", autocompletion=completer(names)),
    ]
    for kind, what, names in (
        ("table", "A .csv or .parquet file, or one of", TABLES),
        ("images", "A folder with a folder of images a class, or", IMAGES),
    )
}
_CONFIG = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file of the arguments by their names in Python, [space] and data among them; "
        "paths in it start from its folder, and options given here win over it."
    ),
]


def _text(explained: str) -> object:
    return Annotated[str | None, typer.Option(help=explained)]


# What only the command line has, or reads in its own way.
_OWN = {
    "space": _text(
        "JSON, or a file of it: a value fixes a hyperparameter, a list gives its choices, an "
        'object its range: {"dropout": 0, "learning_rate": {"low": 0.001, "high": 0.1}}.'
    ),
    "fix": Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Fix one hyperparameter, such as dropout=0; may be repeated.",
        ),
    ],
    "trials": _text("JSON list of configurations, or a file of it, for the manual sampler."),
    "out": Out,
    "save_model": SaveModel,
    "quiet": Quiet,
    "as_json": AsJson,
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
    vars(command)["__signature__"] = inspect.Signature(parameters)
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
    for name, annotation in _OWN.items():
        yield parameter(name, annotation, False if annotation in (Quiet, AsJson) else None)


class SearchCommand(TyperCommand):
    """A command of the same name as an objective, whose hyperparameters its help lists."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help that typer makes, then the hyperparameters."""
        super().format_help(ctx, formatter)
        # Only now, so that `tuner --help` need not import Optuna.
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        from objectives.space.tables import search_range

        shown = Table(
            box=SIMPLE_HEAD, title="Hyperparameters, for --space and --fix", title_justify="left"
        )
        shown.add_column("name", no_wrap=True)
        for head in ("range", "default", "meaning"):
            shown.add_column(head)
        for row in READY_MADE[str(self.name)].table.values():
            shown.add_row(row.name, search_range(row), str(row.default), row.help)
        Console().print(shown)


# Of the command and not of the function.
_FILES = ("data", "out", "save_model")


def read_config(path: Path, entry: ReadyMade) -> Options:
    """Read the arguments of a search from a TOML file.

    Args:
        path: the file. Relative paths in it start from its folder.
        entry: the objective that is tuned.

    Returns:
        The arguments; the dataset is called ``data``, as on the command line.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no TOML, or holds an unknown name or a value of the wrong kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--config must be a file that exists, got {str(path)!r}")
    try:
        arguments = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of TOML, and of text that is not UTF-8
        raise ValueError(f"--config must be a file of TOML, got {str(path)!r}: {error}") from error
    kinds: dict[str, str] = dict.fromkeys((*_FILES, "dataset"), "a text")
    kinds |= {name: argument.kind for name, argument in arguments_for(entry).items()}
    known = sorted(name for name, kind in kinds.items() if kind != "an object")
    for name, value in arguments.items():
        if name not in known:
            cure = "put it into [space]" if name in entry.table else nearest(name, known)
            raise ValueError(
                f"{path} must hold arguments of {entry.function}, got {name!r}; {cure}"
            )
        if not _is_of_kind(kinds[name], value):
            raise ValueError(f"{name} must be {kinds[name]}, got {name} = {value!r} in {path}")
    if "dataset" in arguments:
        arguments.setdefault("data", arguments.pop("dataset"))
    return arguments | _located(arguments, path.parent)


def _is_of_kind(kind: str, value: object) -> bool:
    match kind:
        case "a list of tables":
            return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
        case "a table":
            return isinstance(value, dict)
        case "a list":
            return isinstance(value, list)
        case "auto, none or a whole number":
            return isinstance(value, int | str)
        case "a number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return kind not in _TYPES or type(value) is _TYPES[kind]


def _located(arguments: Options, folder: Path) -> dict[str, str]:
    """Return the paths among the arguments, as they are from where the command runs."""

    def is_path(name: str, value: str) -> bool:
        match name:
            case "out" | "save_model" | "artifact_store":
                return True
            case "storage":
                return "://" not in value
            case "weights":
                return value.endswith((".pth", ".safetensors"))
            case "data":  # a name without suffix or folder is built in, unless it exists
                named = Path(value)
                is_name = not named.suffix and named.name == value
                return "://" not in value and (not is_name or (folder / value).exists())
        return False

    return {
        name: str(folder / value)
        for name, value in arguments.items()
        if isinstance(value, str) and is_path(name, value)
    }


def read_json(text: str, option: str, kind: type) -> Any:
    """Read an option's value: JSON itself, or the path of a file of JSON.

    Args:
        text: what was typed.
        option: the option's name, for messages.
        kind: what the JSON must be.

    Raises:
        ValueError: if it is not JSON of that kind.
        FileNotFoundError: if it is neither JSON nor a file that exists.
    """
    inline = text.lstrip().startswith(("{", "["))
    if not inline and not Path(text).is_file():
        raise FileNotFoundError(f"{option} must be JSON or a file that exists, got {text!r}")
    source = text if inline else Path(text).read_text(encoding="utf-8")
    try:
        value = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be JSON, got {text!r}: {error}") from error
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{option} must be {wanted} in JSON, got {text!r}")
    return value


def parse_space(text: str) -> UserSpace:
    """Read ``--space``: a value fixes a hyperparameter, a list is its choices, an object its range.

    Raises:
        ValueError: if it is not a JSON object, or a range lacks ``low`` or ``high``.
        FileNotFoundError: if it is neither JSON nor a file that exists.

    Example:
        >>> parse_space('{"n_layers": 2, "activation": ["relu"], "dropout": {"low": 0, "high": 1}}')
        {'n_layers': 2, 'activation': ['relu'], 'dropout': (0, 1)}
    """
    from tuner.storage.call import read_space

    return read_space(read_json(text, "--space", dict), source="--space")


def parse_assignments(texts: Sequence[str], what: str) -> dict[str, object]:
    """Read ``name=value``, where a value is a JSON number, true, false, null or else a text.

    Args:
        texts: what was typed.
        what: the option's or argument's name, for messages.

    Raises:
        ValueError: if one has no name or no ``=``.

    Example:
        >>> parse_assignments(["dropout=0", "optimizer=sgd", "batch_size=full"], "--fix")
        {'dropout': 0, 'optimizer': 'sgd', 'batch_size': 'full'}
    """
    assignments = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not name or not sign:
            raise ValueError(f"{what} must be name=value, such as dropout=0, got {text!r}")
        assignments[name.strip()] = parse_scalar(value.strip())
    return assignments


def parse_scalar(text: str) -> object:
    """Read a JSON number, true, false, null, or else a text.

    >>> parse_scalar("5"), parse_scalar("null"), parse_scalar("auto")
    (5, None, 'auto')
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, dict | list) else value
