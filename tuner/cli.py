"""The ``tuner`` command: search, go on, join in, export tables, show a study, plot, diagnose it.

Only `mlp` needs torch, and the others need Optuna and pandas alone, so each command imports what it
uses when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.cli_run import join_in, repeat_by_command, search_by_command
from tuner.console import one_line_errors, print_study

app = typer.Typer(
    name="tuner",
    help="Tune deep-learning models; every trial ends up in a table.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

StudyPath = Annotated[
    str, typer.Argument(metavar="STUDY", help="A .journal or .db file, or a storage URL.")
]
StudyName = Annotated[
    str | None, typer.Option(help="Needed where the storage holds several studies.")
]

Sampler = Annotated[str, typer.Option(help="tpe, random, grid or manual.")]
Pruner = Annotated[str, typer.Option(help="median, asha, hyperband or none.")]
NTrials = Annotated[
    int | None,
    typer.Option(help="Finished trials in the study at the end; default: 30, or the grid."),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds the search may take.")]
Patience = Annotated[int, typer.Option(help="Epochs without gain that end a trial.")]
NJobs = Annotated[int, typer.Option(help="Processes that train.")]
Seed = Annotated[int, typer.Option(help="Same seed, same table.")]
Storage = Annotated[
    str | None, typer.Option(help="A .journal or .db file or a URL, to resume the study from.")
]
SaveModel = Annotated[Path | None, typer.Option(help="Save the best model here.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SpaceJson = Annotated[
    str | None,
    typer.Option(
        help="JSON, or a file of it: a value fixes a hyperparameter, a list gives its choices, "
        'an object its range: {"dropout": 0, "learning_rate": {"low": 0.001, "high": 0.1}}.'
    ),
]
TrialsJson = Annotated[
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


def main() -> None:
    """Run the command line."""
    app(prog_name="tuner")


@app.command()
def mlp(
    data: Annotated[
        str,
        typer.Argument(
            help="A .csv or .parquet file, or one of digits, breast_cancer, wine, iris, diabetes."
        ),
    ],
    target: Annotated[str | None, typer.Option(help="Column to predict.")] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass or regression; default: from the data.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What is tuned; default: accuracy, or rmse for regression.")
    ] = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    n_trials: NTrials = None,
    timeout: Timeout = None,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs a trial trains; default: 100.")
    ] = None,
    patience: Patience = 20,
    n_jobs: NJobs = 1,
    n_repeats: Annotated[int, typer.Option(help="Seeds a trial; their mean is its value.")] = 1,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate each trial on so many folds.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="modern, or plain for the textbook net.")] = "modern",
    precision: Annotated[
        str, typer.Option(help="float32, or auto: bfloat16 where that is faster.")
    ] = "float32",
    seed: Seed = 0,
    storage: Storage = None,
    study_name: Annotated[str, typer.Option(help="Name of the study in the storage.")] = "mlp",
    space: SpaceJson = None,
    trials: TrialsJson = None,
    out: Out = None,
    save_model: SaveModel = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Tune a multilayer perceptron on a table and print the best configuration."""
    options: dict[str, Any] = {
        "target": target, "task": task, "metric": metric, "sampler": sampler, "pruner": pruner,
        "n_trials": n_trials, "timeout": timeout, "epochs": epochs, "patience": patience,
        "n_jobs": n_jobs, "n_repeats": n_repeats, "folds": folds, "recipe": recipe,
        "precision": precision, "seed": seed, "storage": storage, "study_name": study_name,
        "show_progress_bar": not (quiet or as_json),
    }  # fmt: skip
    search_by_command("tune_mlp", data, options, space, trials, out, save_model, as_json)


@app.command()
def cnn(
    data: Annotated[str, typer.Argument(help="A folder with a folder of images a class; digits.")],
    metric: Annotated[str | None, typer.Option(help="What is tuned; default: accuracy.")] = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    n_trials: NTrials = None,
    timeout: Timeout = None,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs a trial trains; default: 20.")
    ] = None,
    patience: Patience = 10,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side to stretch to.")] = None,
    n_jobs: NJobs = 1,
    seed: Seed = 0,
    storage: Storage = None,
    study_name: Annotated[str, typer.Option(help="Name of the study in the storage.")] = "cnn",
    space: SpaceJson = None,
    trials: TrialsJson = None,
    out: Out = None,
    save_model: SaveModel = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Tune a small residual network on images and print the best configuration."""
    options: dict[str, Any] = {
        "metric": metric, "sampler": sampler, "pruner": pruner, "n_trials": n_trials,
        "timeout": timeout, "epochs": epochs, "patience": patience, "image_size": image_size,
        "n_jobs": n_jobs, "seed": seed, "storage": storage, "study_name": study_name,
        "show_progress_bar": not (quiet or as_json),
    }  # fmt: skip
    search_by_command("tune_cnn", data, options, space, trials, out, save_model, as_json)


@app.command()
def export(
    study: StudyPath,
    out: Annotated[
        Path, typer.Option(help="File to write: .csv, .csv.gz, .parquet, .json or .xlsx.")
    ],
    curves: Annotated[
        bool, typer.Option("--curves", help="One row a trial and epoch, not one a trial.")
    ] = False,
    study_name: StudyName = None,
) -> None:
    """Write a study's trials, or its learning curves, to a file."""
    with one_line_errors():
        from tuner import tables
        from tuner.study import load_study

        loaded = load_study(study, study_name)
        frame = tables.curves_dataframe(loaded) if curves else tables.trials_dataframe(loaded)
        tables.export(frame, out)
        typer.echo(f"{len(frame)} rows: {out}")


@app.command()
def show(study: StudyPath, study_name: StudyName = None) -> None:
    """Print a study's counts and its best trials."""
    with one_line_errors():
        from tuner.study import load_study

        print_study(load_study(study, study_name))


@app.command()
def diagnose(
    study: StudyPath,
    study_name: StudyName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Print what a study shows, what to do about it, and the space to search next."""
    with one_line_errors():
        from tuner.diagnosis import diagnose as find
        from tuner.study import load_study

        diagnosis = find(load_study(study, study_name))
        typer.echo(diagnosis.to_json() if as_json else str(diagnosis))


@app.command()
def resume(
    study: StudyPath,
    study_name: StudyName = None,
    data: DataElsewhere = None,
    n_trials: NTrials = None,
    timeout: Timeout = None,
    n_jobs: NJobs = 1,
    out: Out = None,
    save_model: SaveModel = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a study that was interrupted, or to a larger total, as it was begun."""
    changes = {"timeout": timeout, "n_jobs": n_jobs, "show_progress_bar": not (quiet or as_json)}
    changes |= {} if n_trials is None else {"n_trials": n_trials}
    repeat_by_command(study, study_name, data, changes, out, save_model, as_json)


@app.command()
def worker(
    storage: Annotated[str, typer.Option(help="A .journal or .db file or a URL.")],
    study: Annotated[
        str | None, typer.Option(help="Name of the study, if there are several.")
    ] = None,
    data: DataElsewhere = None,
    timeout: Timeout = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the study to be there.")] = 60.0,
) -> None:
    """Join in a study from any machine that reaches its storage, until the study is done."""
    join_in(storage, study, data, timeout, wait)


@app.command()
def plot(
    study: StudyPath,
    kind: Annotated[
        str,
        typer.Option(
            help="overview, history, curves, losses, importances, hyperparameters, rank, parallel "
            "or timeline."
        ),
    ] = "overview",
    out: Annotated[Path | None, typer.Option(help="Image file; default KIND.png.")] = None,
    study_name: StudyName = None,
) -> None:
    """Draw a figure of a study."""
    with one_line_errors():
        import matplotlib

        matplotlib.use("agg")  # a figure for a file needs no window
        from tuner.figures import draw_study
        from tuner.study import load_study

        path = out or Path(f"{kind}.png")
        draw_study(load_study(study, study_name), kind).savefig(path, bbox_inches="tight")
        typer.echo(f"{kind}: {path}")
