"""The ``tuner`` command: search, export a study's tables, show a study, diagnose it.

Only `mlp` needs torch, and the others need Optuna and pandas alone, so each command imports what it
uses when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.console import (
    Interruption,
    one_line_errors,
    parse_space,
    print_json,
    print_result,
    print_study,
    read_json,
    stop_interrupted,
)

if TYPE_CHECKING:
    from tuner.result import TuningResult

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
        "n_jobs": n_jobs, "n_repeats": n_repeats, "folds": folds, "recipe": recipe, "seed": seed,
        "storage": storage, "study_name": study_name,
        "show_progress_bar": not (quiet or as_json),
    }  # fmt: skip
    _run("tune_mlp", data, options, space, trials, out, save_model, as_json)


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
    _run("tune_cnn", data, options, space, trials, out, save_model, as_json)


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


def _run(
    entry: str, data: str, options: dict[str, Any], space: str | None, trials: str | None,
    out: Path | None, save_model: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Search with the entry point of that name, and print and write what came of it."""
    with one_line_errors():
        options["space"] = None if space is None else parse_space(space)
        options["trials"] = None if trials is None else read_json(trials, "--trials", list)
        name = str(options["study_name"]).replace("/", "_")
        table = _writable(out or Path(f"{name}-trials.csv"), save_model)
        result = _search(entry, data, options, table)
        if save_model is not None:
            result.model.save(save_model)
        (print_json if as_json else print_result)(result, table, save_model)


def _search(entry: str, data: str, options: dict[str, Any], table: Path) -> TuningResult:
    result = None
    with Interruption() as interruption:
        try:
            import tuner

            search: Callable[..., TuningResult] = getattr(tuner, entry)
            result = search(data, **options)
        except KeyboardInterrupt:
            interruption.noticed = True
    if result is not None:
        result.export(table)
    if result is None or interruption.noticed:
        stop_interrupted(result, table, options["storage"])
    return result


def _writable(table: Path, model: Path | None) -> Path:
    """Find out before a long search, not after it, that a file could not be written."""
    from tuner.table_files import check_path

    if model is not None and not model.parent.is_dir():
        raise FileNotFoundError(
            f"--save-model must be in a folder that exists, got {model}; create the folder first"
        )
    return check_path(table)
