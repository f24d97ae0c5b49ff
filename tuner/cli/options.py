"""Arguments and options that several commands have, and how they are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import choices
from tuner.cli.choices import completer, listing

StudyPath = Annotated[
    str, typer.Argument(metavar="STUDY", help="A .journal or .db file, or a storage URL.")
]
StudyName = Annotated[
    str | None, typer.Option(help="Needed where the storage holds several studies.")
]
Table = Annotated[
    str | None,
    typer.Argument(
        help=f"A .csv or .parquet file, or one of {listing(choices.TABLES)}.",
        autocompletion=completer(choices.TABLES),
    ),
]
Images = Annotated[
    str | None,
    typer.Argument(
        help="A folder with a folder of images a class, or digits.",
        autocompletion=completer(choices.IMAGES),
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
Task = Annotated[
    str | None,
    typer.Option(
        help=f"{listing(choices.TASKS)}; default: from the data.",
        autocompletion=completer(choices.TASKS),
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        help=f"What is tuned: {listing(choices.METRICS)}; default: accuracy, or rmse for "
        "regression.",
        autocompletion=completer(choices.METRICS),
    ),
]
Sampler = Annotated[
    str,
    typer.Option(help=f"{listing(choices.SAMPLERS)}.", autocompletion=completer(choices.SAMPLERS)),
]
Pruner = Annotated[
    str,
    typer.Option(help=f"{listing(choices.PRUNERS)}.", autocompletion=completer(choices.PRUNERS)),
]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, or auto: large networks' products in bfloat16 where that is faster.",
        autocompletion=completer(choices.PRECISIONS),
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
Recipe = Annotated[
    str,
    typer.Option(
        help="modern, or plain for the textbook net.", autocompletion=completer(choices.RECIPES)
    ),
]
Kind = Annotated[
    str,
    typer.Option(help=f"{listing(choices.FIGURES)}.", autocompletion=completer(choices.FIGURES)),
]
Backbone = Annotated[
    str,
    typer.Option(
        help=f"A classification network of torchvision, such as {listing(choices.BACKBONES)}.",
        autocompletion=completer(choices.BACKBONES),
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
