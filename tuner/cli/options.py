"""Arguments and options that several commands have, and how they are explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from objectives.registry import READY_MADE

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Hyperparameter


StudyPath = Annotated[
    str, typer.Argument(metavar="STUDY", help="A .journal or .db file, or a storage URL.")
]
StudyName = Annotated[
    str | None, typer.Option(help="Needed where the storage holds several studies.")
]


def completer(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Return what typer asks for the names that begin as typed.

    Example:
        >>> completer(SAMPLERS)("r")
        ['random']
    """

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def listing(names: tuple[str, ...]) -> str:
    """Write names as a sentence has them.

    Example:
        >>> listing(RECIPES)
        'modern or plain'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


TABLES = ("digits", "breast_cancer", "wine", "iris", "diabetes")

Table = Annotated[
    str | None,
    typer.Argument(
        help=f"A .csv or .parquet file, or one of {listing(TABLES)}.",
        autocompletion=completer(TABLES),
    ),
]

IMAGES = ("digits",)

Images = Annotated[
    str | None,
    typer.Argument(
        help="A folder with a folder of images a class, or digits.",
        autocompletion=completer(IMAGES),
    ),
]

Config = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file of the arguments by their names in Python, [space] and data among them; "
        "paths in it start from its folder, and options given here win over it."
    ),
]
Target = Annotated[str | None, typer.Option(help="Column to predict.")]

TASKS = ("binary", "multiclass", "regression")

Task = Annotated[
    str | None,
    typer.Option(
        help=f"{listing(TASKS)}; default: from the data.",
        autocompletion=completer(TASKS),
    ),
]

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "log_loss",
    "f1_macro",
    "rmse",
    "mae",
    "r2",
)

Metric = Annotated[
    str | None,
    typer.Option(
        help=f"What is tuned: {listing(METRICS)}; default: accuracy, or rmse for regression.",
        autocompletion=completer(METRICS),
    ),
]

SAMPLERS = ("tpe", "random", "grid", "manual")

Sampler = Annotated[
    str,
    typer.Option(help=f"{listing(SAMPLERS)}.", autocompletion=completer(SAMPLERS)),
]

PRUNERS = ("median", "asha", "hyperband", "none")

Pruner = Annotated[
    str,
    typer.Option(help=f"{listing(PRUNERS)}.", autocompletion=completer(PRUNERS)),
]

PRECISIONS = ("float32", "auto")

Precision = Annotated[
    str,
    typer.Option(
        help="float32, or auto: large networks' products in bfloat16 where that is faster.",
        autocompletion=completer(PRECISIONS),
    ),
]

StartFrom = Annotated[
    str | None,
    typer.Option(
        help="A study in the same storage whose trials to begin with, as far as they fit."
    ),
]
Checkpoint = Annotated[
    bool | None,
    typer.Option(
        help="Save trials under way each five epochs, or never; default: those that last longer "
        "than a minute, each minute."
    ),
]
ArtifactStore = Annotated[
    str | None,
    typer.Option(
        help="Folder for checkpoints and the best model; default: beside the study's file."
    ),
]

RECIPES = ("modern", "plain")

Recipe = Annotated[
    str,
    typer.Option(help="modern, or plain for the textbook net.", autocompletion=completer(RECIPES)),
]

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

Kind = Annotated[
    str,
    typer.Option(help=f"{listing(FIGURES)}.", autocompletion=completer(FIGURES)),
]

# Backbones of common use; torchvision has many more.
BACKBONES = (
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "convnext_tiny",
    "vit_b_16",
)

Backbone = Annotated[
    str,
    typer.Option(
        help=f"A classification network of torchvision, such as {listing(BACKBONES)}.",
        autocompletion=completer(BACKBONES),
    ),
]

Weights = Annotated[
    str,
    typer.Option(
        help="DEFAULT or another name of torchvision's weights, downloaded once; a .pth or "
        ".safetensors file; or none for random weights."
    ),
]
ImageSize = Annotated[int | None, typer.Option(help="Pixels a side to stretch to.")]
NTrials = Annotated[
    int | None,
    typer.Option(help="Finished trials in the study at the end; default: 30, or the grid."),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds the search may take.")]
Epochs = Annotated[int | None, typer.Option(help="Most epochs a trial trains; default: see below.")]
Patience = Annotated[int, typer.Option(help="Epochs without gain that end a trial.")]
NJobs = Annotated[int, typer.Option(help="Processes that train.")]
NRepeats = Annotated[int, typer.Option(help="Seeds a trial; their mean is its value.")]
Folds = Annotated[int | None, typer.Option(help="Cross-validate each trial on so many folds.")]
Seed = Annotated[int, typer.Option(help="Same seed, same table.")]
Storage = Annotated[
    str | None, typer.Option(help="A .journal or .db file or a URL, to resume the study from.")
]
NewStudyName = Annotated[str, typer.Option(help="Name of the study in the storage.")]
Space = Annotated[
    str | None,
    typer.Option(
        help="JSON, or a file of it: a value fixes a hyperparameter, a list gives its choices, "
        'an object its range: {"dropout": 0, "learning_rate": {"low": 0.001, "high": 0.1}}.'
    ),
]
Fix = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="Fix one hyperparameter, such as dropout=0; may be repeated."
    ),
]
Trials = Annotated[
    str | None,
    typer.Option(help="JSON list of configurations, or a file of it, for the manual sampler."),
]
DataElsewhere = Annotated[
    str | None, typer.Option(help="Where the data lie here; default: where they lay at first.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Trial table: .csv, .parquet, .json, .xlsx; default STUDY-trials.csv."),
]
SaveModel = Annotated[Path | None, typer.Option(help="Save the best model here.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class SearchCommand(TyperCommand):
    """A command of the same name as a table of hyperparameters, which its help lists."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help that typer makes, then the hyperparameters."""
        super().format_help(ctx, formatter)
        # Only now, so that `tuner --help` need not import Optuna.
        print_hyperparameters(READY_MADE[str(self.name)].table)


def print_hyperparameters(table: Mapping[str, Hyperparameter]) -> None:
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
