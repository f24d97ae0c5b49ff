"""How the command line ends: with a line on stderr, and the exit code that says what happened."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from objectives._messages import short

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from rich.table import Table

    from tuner.result import TuningResult


NO_RESULT = 1
USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell has it.

EXIT_CODES = (
    "Exit codes: 0 done; 1 a search ended without a complete trial; 2 bad input, or a file or "
    "storage that cannot be used; 130 interrupted."
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print the library's errors, and its warnings, as one line on stderr; errors exit with 2."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            yield
        except BrokenPipeError:  # of `tuner show STUDY | head`, which typer ends quietly
            raise
        except Exception as error:
            # What was not imported has raised nothing, and importing it takes a second.
            loaded = [sys.modules.get(name) for name in ("optuna.exceptions", "sqlalchemy.exc")]
            named = [
                getattr(m, n, None) for m in loaded for n in ("OptunaError", "SQLAlchemyError")
            ]
            expected = (ValueError, TypeError, ImportError, OSError, *filter(None, named))
            if not isinstance(error, expected):
                raise
            _complain(f"error: {error}", typer.colors.RED)
            raise typer.Exit(USAGE_ERROR) from error


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    _complain(f"warning: {message}", typer.colors.YELLOW)


def _complain(text: str, color: str) -> None:
    typer.secho(visible(" ".join(text.split())), fg=color, err=True)


def visible(text: object) -> str:
    r"""Return text with control characters as escapes, so that none reaches the terminal.

    Names, labels and errors of a stored study are anyone's. Lines and tabs stay.

    Example:
        >>> visible("a\x1b[31mb\u202ec")
        'a\\x1b[31mb\\u202ec'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t\u200d"
        else c
        for c in str(text)
    )


def echo(text: object, *, err: bool = False) -> None:
    """Print text for reading, see `visible`."""
    typer.echo(visible(text), err=err)


def tell(text: str, values: Mapping[str, object], as_json: bool) -> None:
    """Print ``text`` for reading or, if ``as_json``, what it says as one JSON object."""
    typer.echo(json.dumps(values) if as_json else visible(text))


def check_folder(option: str, path: Path) -> Path:
    """Return the path of a file to write, if its folder is there and can be written.

    Raises:
        FileNotFoundError: if there is no such folder.
        PermissionError: if it cannot be written.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{option} must be in a folder that exists, got {path}; create the folder first"
        )
    effective = os.access in os.supports_effective_ids
    if not os.access(path.parent, os.W_OK, effective_ids=effective):
        raise PermissionError(f"{option} must be in a folder that can be written, got {path}")
    return path


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Collect Ctrl-C even where a search ends by it in good order and returns what there is."""
    noticed: list[int] = []

    def notice(signum: int, frame: FrameType | None) -> None:
        noticed.append(signum)
        signal.default_int_handler(signum, frame)

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


def stop_interrupted(
    result: TuningResult | None, table: Path | None, options: Mapping[str, object]
) -> NoReturn:
    """Say what an interrupted search has kept and how to continue, and exit with code 130.

    Args:
        result: what there is; None if the search had not begun.
        table: where the trial table is, if anywhere.
        options: of the search; its storage and study name among them.
    """
    from tuner.storage.backends import redacted
    from tuner.storage.trial_attrs import count_states

    counts = "" if result is None else count_states(result.study)
    echo(f"interrupted: {counts or 'no trial had ended'}", err=True)
    if counts and table is not None:
        echo(f"the trial table is in {table}", err=True)
    if options.get("storage") is None:
        echo("add --storage study.journal to be able to go on after an interruption", err=True)
    elif result is None:
        echo("run the same command to begin again", err=True)
    else:
        command = ["tuner", "resume", redacted(options["storage"])]  # shows no password
        command += ["--study-name", str(options["study_name"])]
        if options.get("n_jobs", 1) != 1:
            command += ["--n-jobs", str(options["n_jobs"])]
        echo(f"to go on: {shlex.join(command)}", err=True)
    raise typer.Exit(INTERRUPTED)


_TOP = 10


def print_result(result: TuningResult, table: Path, model: Path | None, *, as_json: bool) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are."""
    from tuner.storage.trial_attrs import count_states, finished

    best, default, test = result.best_trial, result.default_trial, result.test_score()
    if not as_json:
        trials = {f"best (trial {best.number})": best}
        if default is not None:
            trials[f"default (trial {default.number})"] = default
        _print_trials(trials, f"valid_{test.metric}")
    lines = [str(test), f"{count_states(result.study)}; table: {table}"]
    values = {
        "study_name": result.study.study_name,
        "metric": test.metric,
        "best_trial": best.number,
        "best_params": result.best_params,
        "best_value": result.best_value,
        "default_value": None if default is None else default.value,
        "test": {"value": test.value, "low": test.low, "high": test.high, "n": test.n},
        "n_trials": len(finished(result.study)),
        "trials": str(table),
        "model": None if model is None else str(model),
    }
    tell("\n".join(lines if model is None else [*lines, f"model: {model}"]), values, as_json)


def print_study(study: optuna.Study, as_json: bool) -> None:
    """Print a study's counts and its best trials; ``as_json`` as one JSON object."""
    from rich.table import Table

    from tuner.storage.trial_attrs import trial_params
    from tuner.storage.view import view_of

    view = view_of(study)
    trials, top = view.trials_table, view.ranked.head(_TOP)
    values = {
        "study_name": view.study_name,
        "metric": view.metric,
        "direction": view.direction,
        "states": trials["state"].value_counts().to_dict(),
        "best": [
            {"number": number, "value": value, "params": trial_params(view.by_number[number])}
            for number, value in zip(top["number"].tolist(), top["value"].tolist(), strict=True)
        ],
    }
    tell(f"study {view.study_name}: {view.counts or 'no trials yet'}", values, as_json)
    if as_json or top.empty:
        return
    varied = [n for n in view.params if trials[f"params_{n}"].nunique(dropna=False) > 1]
    title = f"best {len(top)} by valid {view.metric} ({view.direction})"
    shown = Table(title=visible(title), title_justify="left")
    for head in ("trial", "value", "epochs"):
        shown.add_column(head, no_wrap=True, justify="right")
    shown.add_column("hyperparameters that differ")
    for _, row in top.iterrows():
        params = ", ".join(f"{name}={short(row[f'params_{name}'])}" for name in varied)
        cells = [*(short(row[name]) for name in ("number", "value", "epochs_run")), params]
        shown.add_row(*map(visible, cells))
    _print_table(shown)


def print_trial(study: optuna.Study, number: int, rival: int | None, *, as_json: bool) -> None:
    """Print a trial that was made by hand beside the best one before it.

    Args:
        study: that has both.
        number: of the trial.
        rival: number of the one to compare with; None if there was none.
        as_json: print one JSON object.
    """
    from tuner.storage.trial_attrs import trial_params
    from tuner.storage.view import view_of

    view = view_of(study)
    row = view.trials_table.set_index("number").loc[number].to_dict()
    best = None if view.best_trial is None else view.best_trial.number
    values = {
        "number": number,
        "state": row["state"],
        "stopped": row["stopped"],
        "value": None if math.isnan(row["value"]) else row["value"],
        "params": trial_params(view.by_number[number]),
        "best_trial": best,
    }
    if not as_json:
        trials = {f"trial {number}": view.by_number[number]}
        if rival is not None:
            trials[f"best before (trial {rival})"] = view.by_number[rival]
        _print_trials(trials, f"valid_{view.metric}")
    ending = "the best so far" if best == number else f"the best is trial {best}"
    tell(f"trial {number}: {row['state']}, {row['stopped']}; {ending}", values, as_json)


def _print_trials(trials: Mapping[str, FrozenTrial], metric: str) -> None:
    """Print trials side by side: the first one's hyperparameters, and the metric."""
    from rich.table import Table

    from tuner.storage.trial_attrs import trial_params

    shown = Table("hyperparameter", *trials)
    params = [trial_params(trial) for trial in trials.values()]
    for name in params[0]:
        shown.add_row(visible(name), *(visible(short(of_trial.get(name))) for of_trial in params))
    shown.add_section()
    shown.add_row(visible(metric), *(short(trial.value) for trial in trials.values()))
    _print_table(shown)


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)
