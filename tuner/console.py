"""What the command line reads and prints; `tuner.cli` has the commands."""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tuner.result import TuningResult

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell has it.
_TOP = 10


def read_json(text: str, option: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
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
        found = json.loads(source)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be JSON, got {text!r}: {error}") from error
    if not isinstance(found, kind):
        wanted = "an object" if kind is dict else "a list"
        raise ValueError(f"{option} must be {wanted} in JSON, got {text!r}")
    return found


def parse_space(text: str) -> dict[str, Any]:
    """Read ``--space``: a value fixes a hyperparameter, a list is its choices, an object its range.

    Raises:
        ValueError: if it is not a JSON object, or a range lacks ``low`` or ``high``.
        FileNotFoundError: if it is neither JSON nor a file that exists.

    Example:
        >>> parse_space('{"n_layers": 2, "activation": ["relu"], "dropout": {"low": 0, "high": 1}}')
        {'n_layers': 2, 'activation': ['relu'], 'dropout': (0, 1)}
    """
    from tuner.call import read_space

    return read_space(read_json(text, "--space", dict), source="--space")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print the library's errors, and its warnings, as one line on stderr; errors exit with 2."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            yield
        except _expected_errors() as error:
            _say(f"error: {error}", typer.colors.RED)
            raise typer.Exit(USAGE_ERROR) from error


def _expected_errors() -> tuple[type[Exception], ...]:
    # Asked only once something was raised, so that a command that works need not import them.
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    from tuner.storage import StorageError

    files = (FileNotFoundError, PermissionError, IsADirectoryError)
    return (ValueError, TypeError, ImportError, *files, StorageError, OptunaError, SQLAlchemyError)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}", typer.colors.YELLOW)


def _say(text: str, color: str) -> None:
    typer.secho(" ".join(text.split()), fg=color, err=True)


class Interruption:
    """Notices Ctrl-C even where a search ends by it in good order and returns what there is."""

    def __init__(self) -> None:
        """Start with none noticed."""
        self.noticed = False

    def __enter__(self) -> Interruption:
        """Listen."""
        self._before = signal.signal(signal.SIGINT, self._notice)
        return self

    def __exit__(self, *error: object) -> None:
        """Put back the handler that was there."""
        signal.signal(signal.SIGINT, self._before)

    def _notice(self, signum: int, frame: FrameType | None) -> None:
        self.noticed = True
        signal.default_int_handler(signum, frame)


def stop_interrupted(
    result: TuningResult | None, table: Path | None, storage: str | None
) -> NoReturn:
    """Say what an interrupted search has kept and how to go on, and exit.

    Args:
        result: what there is; None if the search had not begun.
        table: where the trial table is, if anywhere.
        storage: where the study lives, as the user gave it.

    Raises:
        typer.Exit: always, with code 130.
    """
    from tuner.storage import redacted
    from tuner.tables import count_states

    kept = "" if result is None else count_states(result.study)
    lines = [f"interrupted: {kept or 'no trial had ended'}"]
    if kept and table is not None:
        lines.append(f"the trial table is in {table}")
    if storage is not None:
        lines.append(f"the study is kept in {redacted(storage)}; run the same command to go on")
    else:
        lines.append("add --storage study.journal to be able to go on after an interruption")
    for line in lines:
        typer.echo(line, err=True)
    raise typer.Exit(INTERRUPTED)


def print_result(result: TuningResult, table: Path, model: Path | None) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are."""
    from rich.console import Console
    from rich.table import Table

    from tuner.tables import count_states, trial_params

    best, default = result.best_trial, default_trial(result)
    shown = Table("hyperparameter", f"best (trial {best.number})")
    trials = [best]
    if default is not None:
        shown.add_column(f"default (trial {default.number})")
        trials.append(default)
    for name in result.best_params:
        shown.add_row(name, *(_cell(trial_params(trial).get(name)) for trial in trials))
    shown.add_section()
    test = result.test_score()
    shown.add_row(f"valid_{test.metric}", *(_cell(trial.value) for trial in trials))
    Console(markup=False).print(shown)
    typer.echo(str(test))
    typer.echo(f"{count_states(result.study)}; table: {table}")
    if model is not None:
        typer.echo(f"model: {model}")


def print_json(result: TuningResult, table: Path, model: Path | None) -> None:
    """Print what `print_result` prints as one JSON object."""
    from tuner.tables import finished

    test, default = result.test_score(), default_trial(result)
    found = {
        "study_name": result.study.study_name,
        "metric": test.metric,
        "best_trial": result.best_trial.number,
        "best_params": result.best_params,
        "best_value": result.best_value,
        "default_value": None if default is None else default.value,
        "test": {"value": test.value, "low": test.low, "high": test.high, "n": test.n},
        "n_trials": len(finished(result.study)),
        "trials": str(table),
        "model": None if model is None else str(model),
    }
    typer.echo(json.dumps(found))


def default_trial(result: TuningResult) -> FrozenTrial | None:
    """Trial 0, if it ran the default configuration and is complete; else None."""
    from objectives.configurations import defaults
    from tuner.tables import finished, trial_params

    first = finished(result.study)[0]
    is_default = trial_params(first) == defaults(result.objective.space)
    return first if is_default and first.number == 0 and first.state.name == "COMPLETE" else None


def print_study(study: optuna.Study) -> None:
    """Print a study's counts and its best trials."""
    from rich.console import Console
    from rich.table import Table

    from tuner.tables import count_states, study_metric, trials_dataframe

    metric, direction = study_metric(study)
    typer.echo(f"study {study.study_name}: {count_states(study) or 'no trials yet'}")
    trials = trials_dataframe(study)
    complete = trials[trials["state"] == "COMPLETE"]
    if complete.empty:
        return
    top = complete.sort_values("value", ascending=direction == "minimize", kind="stable").head(_TOP)
    params = [name for name in map(str, trials) if name.startswith("params_")]
    varied = [name for name in params if trials[name].nunique(dropna=False) > 1]
    shown = Table(title=f"best {len(top)} by valid {metric} ({direction})", title_justify="left")
    for head in ("trial", "value", "epochs"):
        shown.add_column(head, no_wrap=True, justify="right")
    shown.add_column("hyperparameters that differ")
    for _, row in top.iterrows():
        cells = [f"{name.removeprefix('params_')}={_cell(row[name])}" for name in varied]
        shown.add_row(*(_cell(row[c]) for c in ("number", "value", "epochs_run")), ", ".join(cells))
    Console(markup=False).print(shown)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return "" if value is None or str(value) == "<NA>" else str(value)
