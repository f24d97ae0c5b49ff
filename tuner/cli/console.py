"""How the command line ends: with a line on stderr, and the exit code that says what happened."""

from __future__ import annotations

import json
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
            if not isinstance(error, _expected_errors()):
                raise
            _complain(f"error: {error}", typer.colors.RED)
            raise typer.Exit(USAGE_ERROR) from error


def _expected_errors() -> tuple[type[Exception], ...]:
    # What was not imported has raised nothing, and importing it takes a second.
    loaded = [sys.modules.get(name) for name in ("optuna.exceptions", "sqlalchemy.exc")]
    named = [getattr(m, n, None) for m in loaded for n in ("OptunaError", "SQLAlchemyError")]
    return (ValueError, TypeError, ImportError, OSError, *filter(None, named))


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
    return "".join(c.encode("unicode_escape").decode() if _controls(c) else c for c in str(text))


def _controls(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\n\t\u200d"


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
    result: TuningResult | None, table: Path | None, options: Mapping[str, object]
) -> NoReturn:
    """Say what an interrupted search has kept and how to go on, and exit.

    Args:
        result: what there is; None if the search had not begun.
        table: where the trial table is, if anywhere.
        options: of the search; its storage and study name among them.

    Raises:
        typer.Exit: always, with code 130.
    """
    from tuner.storage.trial_attrs import count_states

    kept = "" if result is None else count_states(result.study)
    lines = [f"interrupted: {kept or 'no trial had ended'}"]
    if kept and table is not None:
        lines.append(f"the trial table is in {table}")
    if options.get("storage") is None:
        lines.append("add --storage study.journal to be able to go on after an interruption")
    elif result is None:
        lines.append("run the same command to begin again")
    else:
        lines.append(f"to go on: {resume_command(options)}")
    for line in lines:
        echo(line, err=True)
    raise typer.Exit(INTERRUPTED)


def resume_command(options: Mapping[str, object]) -> str:
    """Return the command that goes on with a search in a storage; it shows no password.

    Example:
        >>> resume_command({"storage": "my study.journal", "study_name": "mlp", "n_jobs": 2})
        "tuner resume 'my study.journal' --study-name mlp --n-jobs 2"
    """
    from tuner.storage.backends import redacted

    words = ["tuner", "resume", redacted(options["storage"])]
    words += ["--study-name", str(options["study_name"])]
    if options.get("n_jobs", 1) != 1:
        words += ["--n-jobs", str(options["n_jobs"])]
    return shlex.join(words)


_TOP = 10


def print_result(result: TuningResult, table: Path, model: Path | None) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are."""
    from tuner.storage.trial_attrs import count_states

    best, default = result.best_trial, result.default_trial
    trials = {f"best (trial {best.number})": best}
    if default is not None:
        trials[f"default (trial {default.number})"] = default
    test = result.test_score()
    _print_trials(trials, f"valid_{test.metric}")
    echo(test)
    echo(f"{count_states(result.study)}; table: {table}")
    if model is not None:
        echo(f"model: {model}")


def _print_trials(trials: Mapping[str, FrozenTrial], metric: str) -> None:
    """Print trials side by side: the first one's hyperparameters, and the metric."""
    from rich.table import Table

    from tuner.storage.trial_attrs import trial_params

    shown = Table("hyperparameter", *trials)
    params = [trial_params(trial) for trial in trials.values()]
    for name in params[0]:
        shown.add_row(visible(name), *(_cell(of_trial.get(name)) for of_trial in params))
    shown.add_section()
    shown.add_row(visible(metric), *(_cell(trial.value) for trial in trials.values()))
    _print_table(shown)


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)


def print_json(result: TuningResult, table: Path, model: Path | None) -> None:
    """Print what `print_result` prints as one JSON object."""
    from tuner.storage.trial_attrs import finished

    test, default = result.test_score(), result.default_trial
    values = {
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
    typer.echo(json.dumps(values))


def print_study(study: optuna.Study, as_json: bool) -> None:
    """Print a study's counts and its best trials; ``as_json`` as one JSON object."""
    from rich.table import Table

    from tuner.storage.trial_attrs import count_states, study_metric, trial_params
    from tuner.tables import trials_dataframe

    metric, direction = study_metric(study)
    trials = trials_dataframe(study)
    complete = trials[trials["state"] == "COMPLETE"]
    best = complete.sort_values("value", ascending=direction == "minimize", kind="stable")
    top = best.head(_TOP)
    if as_json:
        by_number = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
        values = {
            "study_name": study.study_name,
            "metric": metric,
            "direction": direction,
            "states": {str(state): int(n) for state, n in trials["state"].value_counts().items()},
            "best": [
                {"number": int(n), "value": float(value), "params": trial_params(by_number[int(n)])}
                for n, value in zip(top["number"], top["value"], strict=True)
            ],
        }
        typer.echo(json.dumps(values))
        return
    echo(f"study {study.study_name}: {count_states(study) or 'no trials yet'}")
    if top.empty:
        return
    params = [name for name in map(str, trials) if name.startswith("params_")]
    varied = [name for name in params if trials[name].nunique(dropna=False) > 1]
    title = f"best {len(top)} by valid {metric} ({direction})"
    shown = Table(title=visible(title), title_justify="left")
    for head in ("trial", "value", "epochs"):
        shown.add_column(head, no_wrap=True, justify="right")
    shown.add_column("hyperparameters that differ")
    for _, row in top.iterrows():
        cells = [f"{visible(n).removeprefix('params_')}={_cell(row[n])}" for n in varied]
        shown.add_row(*(_cell(row[c]) for c in ("number", "value", "epochs_run")), ", ".join(cells))
    _print_table(shown)


def print_trial(study: optuna.Study, number: int, rival: int | None, *, as_json: bool) -> None:
    """Print a trial that was made by hand beside the best one before it.

    Args:
        study: that has both.
        number: of the trial.
        rival: number of the one to compare with; None if there was none.
        as_json: print one JSON object.
    """
    from tuner.storage.trial_attrs import has_complete, study_metric, trial_params
    from tuner.tables import trials_dataframe

    by_number = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    row = trials_dataframe(study).set_index("number").loc[number].to_dict()
    best = study.best_trial.number if has_complete(study) else None
    if as_json:
        values = {
            "number": number,
            "state": row["state"],
            "stopped": row["stopped"],
            "value": None if row["value"] != row["value"] else float(row["value"]),
            "params": trial_params(by_number[number]),
            "best_trial": best,
        }
        typer.echo(json.dumps(values))
        return
    trials = {f"trial {number}": by_number[number]}
    if rival is not None:
        trials[f"best before (trial {rival})"] = by_number[rival]
    _print_trials(trials, f"valid_{study_metric(study)[0]}")
    ending = "the best so far" if best == number else f"the best is trial {best}"
    echo(f"trial {number}: {row['state']}, {row['stopped']}; {ending}")


def _cell(value: object) -> str:
    return visible(short(value))
