"""How the command line ends: with a line on stderr, and the exit code that says what happened."""

from __future__ import annotations

import json
import os
import shlex
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
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
        except _expected_errors() as error:
            _say(f"error: {error}", typer.colors.RED)
            raise typer.Exit(USAGE_ERROR) from error


def _expected_errors() -> tuple[type[Exception], ...]:
    # Asked only once something was raised, so that a command that works need not import them.
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    return (ValueError, TypeError, ImportError, OSError, OptunaError, SQLAlchemyError)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}", typer.colors.YELLOW)


def _say(text: str, color: str) -> None:
    typer.secho(" ".join(text.split()), fg=color, err=True)


def tell(text: str, found: Mapping[str, Any], as_json: bool) -> None:
    """Print ``text`` for reading or, if ``as_json``, what it says as one JSON object."""
    typer.echo(json.dumps(found) if as_json else text)


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
    result: TuningResult | None, table: Path | None, options: Mapping[str, Any]
) -> NoReturn:
    """Say what an interrupted search has kept and how to go on, and exit.

    Args:
        result: what there is; None if the search had not begun.
        table: where the trial table is, if anywhere.
        options: of the search; its storage and study name among them.

    Raises:
        typer.Exit: always, with code 130.
    """
    from tuner.tables import count_states

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
        typer.echo(line, err=True)
    raise typer.Exit(INTERRUPTED)


def resume_command(options: Mapping[str, Any]) -> str:
    """Return the command that goes on with a search in a storage; it shows no password.

    Example:
        >>> resume_command({"storage": "my study.journal", "study_name": "mlp", "n_jobs": 2})
        "tuner resume 'my study.journal' --study-name mlp --n-jobs 2"
    """
    from tuner.storage import redacted

    words = ["tuner", "resume", redacted(options["storage"])]
    words += ["--study-name", str(options["study_name"])]
    if options.get("n_jobs", 1) != 1:
        words += ["--n-jobs", str(options["n_jobs"])]
    return shlex.join(words)
