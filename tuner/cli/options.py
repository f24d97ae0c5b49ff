"""Arguments of the commands, made from the definitions of the entry points: as options, in
configuration files, and in JSON.
"""

from __future__ import annotations

import inspect
import json
import re
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
    FinetuneArguments,
    ImageArguments,
    MLPArguments,
    Options,
    ReadyMade,
    TableArguments,
    arguments_of,
    listing,
)
from tuner.search.arguments import SearchArguments, StudyArguments, arguments_for

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

SUFFIXES = (".csv", ".parquet", ".json", ".xlsx", ".tex", ".md")

_TYPES: dict[str, Any] = {
    "a text": str,
    "a whole number": int,
    "auto, none or a whole number": str,
    "a number": float,
    "true or false": bool,
    "a list": list[str],
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


STORAGE = "fusetune.journal"
"""Where the commands that search keep their studies, and the others look for them."""

# Where the command line takes or does what the functions do not.
_BY_DEFAULT = {
    "storage": "Where the study is kept: a .journal or .db file, a URL, or none for memory alone.",
    "study_name": "Name of the study in the storage; by default made of command and data.",
    "folds": "Cross-validate each trial on so many folds; auto does so for small tables, or none.",
    "ensemble": "Votes of an ensemble of trials at most; auto where it beats the best, or none.",
}
_METAVARS = {
    "a text": "TEXT",
    "a whole number": "N",
    "a number": "NUMBER",
    "a list": "TEXT",
    "auto, none or a whole number": "N",
    "true or false": "",
}


def option(argument: Argument, *flags: str, explained: str | None = None, panel: str = "") -> Any:
    """Return typer's option for an argument; its help is the first sentence of the argument's."""
    return typer.Option(
        *flags,
        help=explained or sentence_of(argument),
        autocompletion=completer(argument.choices) if argument.choices else None,
        metavar=_METAVARS.get(argument.kind, "TEXT"),
        rich_help_panel=panel or None,
        show_default=argument.kind != "true or false",
    )


def flag(name: str, explained: str) -> Any:
    """Return typer's option for a switch."""
    return typer.Option(name, metavar="", help=explained)


def valued(metavar: str, explained: str) -> Any:
    """Return typer's option for what takes a value."""
    return typer.Option(metavar=metavar, help=explained)


def sentence_of(argument: Argument) -> str:
    """Return the first sentence of what an argument does, which is for readers without Python."""
    return f"{argument.help.partition('. ')[0].rstrip('.').replace('``', '')}."


_SHARED = arguments_for(READY_MADE["mlp"])

StudyPath = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help=f"Name of a study in {STORAGE}; or a .journal or .db file, or a URL.",
    ),
]
StudyName = Annotated[
    str | None,
    valued("TEXT", "Needed where a file or URL holds several studies."),
]
Kind = Annotated[
    str,
    typer.Option(metavar="NAME", help=f"{listing(FIGURES)}.", autocompletion=completer(FIGURES)),
]
DataElsewhere = Annotated[
    str | None,
    valued("TEXT", "Path of the data here; default: the path at first."),
]
NTrials = Annotated[int | None, option(_SHARED["n_trials"])]
Timeout = Annotated[float | None, option(_SHARED["timeout"])]
NJobs = Annotated[int | None, option(_SHARED["n_jobs"])]
ArtifactStore = Annotated[str | None, option(_SHARED["artifact_store"])]
Device = Annotated[str | None, option(_SHARED["device"])]
Out = Annotated[
    Path | None,
    valued("FILE", f"Trial table: {listing(SUFFIXES)}; by default STUDY-trials.csv."),
]
SaveModel = Annotated[Path | None, valued("FILE", "File to save the best model to.")]
Force = Annotated[
    bool,
    flag("--force", "Overwrite a file that another study or program wrote."),
]
Test = Annotated[
    bool,
    flag("--test", "Open the test split, once, and score the model on it."),
]
TableFile = Annotated[
    Path | None,
    valued("FILE", f"Write the table to a file as well: {listing(SUFFIXES)}."),
]
Quiet = Annotated[bool, flag("--quiet", "No progress bar.")]
AsJson = Annotated[bool, flag("--json", "Print the result as JSON.")]

_DATA = {
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help=f"{what} {listing(names)}.", autocompletion=completer(names)
        ),
    ]
    for kind, what, names in (
        ("table", "A file or an http(s) address of a table, or one of", TABLES),
        ("images", "A folder with a folder of images a class, or", IMAGES),
    )
}
_CONFIG = Annotated[
    Path | None,
    valued(
        "FILE",
        "A TOML file of these arguments, such as tuner init writes; paths in it start from "
        "its folder, and options given here win over it.",
    ),
]


# What only the command line has, or reads in its own way.
_OWN = {
    "space": Annotated[
        list[str] | None,
        valued(
            "NAME=RANGE",
            "What to search, once for each hyperparameter: a range learning_rate=1e-3..1e-1, "
            "choices activation=relu,tanh, or a value dropout=0. Or all of it in JSON, or a file "
            "of JSON.",
        ),
    ],
    "fix": Annotated[
        list[str] | None,
        valued("NAME=VALUE", "Fix one hyperparameter, such as dropout=0; may be repeated."),
    ],
    "trials": Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Configurations in JSON, or a file of it, for --sampler manual: "
            '[{"dropout": 0}, {"dropout": 0.5}].',
        ),
    ],
    "out": Out,
    "save_model": SaveModel,
    "force": Force,
    "test": Test,
    "quiet": Quiet,
    "as_json": AsJson,
}

_PANELS = (
    ("Data", TableArguments),
    ("Data", ImageArguments),
    ("Search", StudyArguments),
    ("Training", SearchArguments),
    ("Training", MLPArguments),
    ("Training", FinetuneArguments),
)

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
        typed: Any = argument.typed or _TYPES.get(argument.kind)
        if typed is None or not argument.on_command_line:
            continue
        if name == "groups" and entry.data == "images":  # a function of the path
            continue
        default = None if name == "study_name" else argument.default
        annotation: object = typed if default is not None else typed | None
        words = name.replace("_", "-")  # of a switch only the one that changes it
        switch = f" /--no-{words}" if default else f"--{words}"
        flags = (switch,) if isinstance(default, bool) else ()
        panel = next(title for title, known in _PANELS if name in arguments_of(known))
        if typed is bool and default is not False:  # the words with --no- would leave no room
            panel = "Switches"
        declared = option(argument, *flags, explained=_BY_DEFAULT.get(name), panel=panel)
        yield parameter(name, Annotated[annotation, declared], default)
    for name, annotation in _OWN.items():
        is_flag = annotation in (Quiet, AsJson, Force, Test)
        yield parameter(name, annotation, False if is_flag else None)


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
                return "://" not in value and value != "none"
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


def read_json(text: str, option: str, kind: type, *, rule: str = "JSON") -> Any:
    """Read an option's value: JSON itself, or the path of a file of JSON.

    Args:
        text: what was typed.
        option: the option's name, for messages.
        kind: what the JSON must be.
        rule: what else than a file the text may be.

    Raises:
        ValueError: if it is not JSON of that kind.
        FileNotFoundError: if it is neither JSON nor a file that exists.
    """
    inline = text.lstrip().startswith(("{", "["))
    if not inline and not Path(text).is_file():
        raise FileNotFoundError(f"{option} must be {rule} or a file that exists, got {text!r}")
    source = text if inline else Path(text).read_text(encoding="utf-8")
    try:
        value = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be JSON, got {text!r}: {error}") from error
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{option} must be {wanted} in JSON, got {text!r}")
    return value


def parse_space(texts: Sequence[str]) -> UserSpace:
    """Read each ``--space``: a hyperparameter with its range, choices or value, or JSON of several.

    In JSON a value fixes a hyperparameter, a list is its choices, an object its range.

    Raises:
        ValueError: if a text is none of these, or a range lacks an end.
        FileNotFoundError: if it is neither of these nor a file that exists.

    Example:
        >>> parse_space(["learning_rate=1e-3..1e-1", "activation=relu,tanh", "n_layers=2"])
        {'learning_rate': (0.001, 0.1), 'activation': ['relu', 'tanh'], 'n_layers': 2}
        >>> parse_space(['{"n_layers": 2, "dropout": {"low": 0, "high": 1}}'])
        {'n_layers': 2, 'dropout': (0, 1)}
    """
    from tuner.storage.call import read_space

    space: dict[str, object] = {}
    for text in texts:
        if _ASSIGNED.match(text) and not Path(text).is_file():
            name, _, values = text.partition("=")
            space[name.strip()] = _parse_range(text, values.strip())
        else:
            space |= read_space(
                read_json(text, "--space", dict, rule="name=low..high, name=value, JSON"),
                source="--space",
            )
    return space


_ASSIGNED = re.compile(r"\s*\w+\s*=")


def _parse_range(text: str, values: str) -> object:
    if ".." in values:
        low, high = (parse_scalar(end.strip()) for end in values.split("..", 1))
        if not all(isinstance(end, int | float) for end in (low, high)):
            raise ValueError(
                f"--space must give a range as low..high in numbers, such as dropout=0..0.5, "
                f"got {text!r}"
            )
        return low, high
    if "," in values:
        return [parse_scalar(value.strip()) for value in values.split(",") if value.strip()]
    return parse_scalar(values)


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


_SHORT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")  # JSON has no .5 and 5.


def parse_scalar(text: str) -> object:
    """Read a number, true, false, null, or else a text.

    >>> parse_scalar("5"), parse_scalar(".5"), parse_scalar("null"), parse_scalar("auto")
    (5, 0.5, None, 'auto')
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return float(text) if _SHORT_NUMBER.fullmatch(text) else text
    return text if isinstance(value, dict | list) else value
