"""How the command line ends: with a line on stderr, and the exit code that says what happened."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from objectives._messages import short

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from rich.table import Table

    from tuner.result import TuningResult
    from tuner.storage.trial_attrs import Confirmed


NO_RESULT = 1
USAGE_ERROR = 2
SIGNALLED = 128  # and the signal's number, as a shell has it

EXIT_CODES = (
    "Exit codes: 0 done; 1 a search ended without a complete trial; 2 bad input, or a file or "
    "storage that cannot be used; 130 interrupted, 143 by SIGTERM, 129 by SIGHUP."
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


def stored(storage: str, study_name: str | None) -> optuna.Study:
    """Load a stored study, and Optuna with it; the study's name may be left out if it is alone."""
    from tuner.storage.study import load_study

    return load_study(storage, study_name)


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


_SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]

# Seconds in which several signals count as one: an impatient second Ctrl-C, or the SIGHUP that
# follows a SIGTERM. A later one ends the process at once, should its good order hang.
_ONE_S = 2.0


class Interruption:
    """Ends a command by Ctrl-C, SIGTERM or SIGHUP in good order, as a context.

    The first signal raises KeyboardInterrupt, which the search takes as a reason to put running
    trials back and to return what there is. A signal that is ignored, as under nohup, stays so.

    Attributes:
        signum: the first signal's number; None while there was none.
    """

    def __init__(self) -> None:
        """Start with none noticed."""
        self.signum: int | None = None
        self._at, self._pid = 0.0, os.getpid()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return SIGNALLED + (self.signum or signal.SIGINT)

    def __enter__(self) -> Interruption:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            heeded = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
            self._before = {s: signal.signal(s, self._notice) for s in heeded}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Put back the handlers that were there; after a signal only Python's own end is left."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler if self.signum is None else signal.SIG_IGN)
        if kind is KeyboardInterrupt or (self.signum is not None and kind is not typer.Exit):
            self._say("interrupted: run the same command again")
            raise typer.Exit(self.exit_code) from None

    def stop(
        self, result: TuningResult | None, table: Path | None, options: Mapping[str, object]
    ) -> NoReturn:
        """Say what an interrupted search has kept and how to continue, and exit.

        Args:
            result: what there is; None if the search had not begun to train.
            table: where the trial table is, if anywhere.
            options: of the search; its storage and study name among them.

        Raises:
            typer.Exit: always, with `exit_code`.
        """
        from tuner.storage.trial_attrs import count_states

        is_stored = options.get("storage") is not None
        if result is None:
            self._say("interrupted while loading, before any training")
            kept = "; what the study already holds is kept" if is_stored else ""
            self._say(f"to begin again: run the same command{kept}")
            raise typer.Exit(self.exit_code)
        kept = count_states(result.study)
        self._say(f"interrupted: {kept or 'no trial had ended'}")
        if kept and table is not None:
            self._say(f"the trial table is in {table}")
        if is_stored:
            self._say(f"to go on: {_resume_command(options)}")
        else:
            self._say("add --storage study.journal to be able to go on after an interruption")
        raise typer.Exit(self.exit_code)

    def _notice(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # in a process that the user's code has forked
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif self.signum is None:
            self.signum, self._at = signum, time.monotonic()
            raise KeyboardInterrupt
        elif time.monotonic() > self._at + _ONE_S:
            # Not by way of a stream, which the signal may have found at work.
            os.write(2, b"interrupted again: the same command puts back the trials under way\n")
            os._exit(self.exit_code)

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # after SIGHUP the terminal may be gone
            echo(line, err=True)


def _resume_command(options: Mapping[str, object]) -> str:
    """Return the command that continues a search in a storage; it shows no password."""
    from tuner.storage.backends import redacted

    command = ["tuner", "resume", redacted(options["storage"])]
    command += ["--study-name", str(options["study_name"])]
    if options.get("n_jobs") is not None:
        command += ["--n-jobs", str(options["n_jobs"])]
    if isinstance(options.get("track"), str):
        command += ["--track", str(options["track"])]
    # cmd.exe knows no single quotes.
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


_TOP = 10


def print_result(result: TuningResult, table: Path, model: Path | None, *, as_json: bool) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are."""
    from tuner.storage.trial_attrs import confirmed_values, count_states, finished

    best, default, test = result.best_trial, result.default_trial, result.test_score()
    if not as_json:
        trials = {f"best (trial {best.number})": best}
        if default is not None:
            trials[f"default (trial {default.number})"] = default
        _print_trials(trials, test.metric, confirmed_values(result.study.user_attrs))
    compared = filter(None, [result.comparison()])
    lines = [*compared, str(test), f"{count_states(result.study)}; table: {table}"]
    values = {
        "study_name": result.study.study_name,
        "metric": test.metric,
        "best_trial": best.number,
        "best_params": result.best_params,
        "best_value": result.best_value,
        "confirmed_value": result.confirmed_value,
        "default_value": None if default is None else default.value,
        "test": {"value": test.value, "low": test.low, "high": test.high, "n": test.n},
        "n_trials": len(finished(result.study)),
        "trials": str(table),
        "model": None if model is None else str(model),
    }
    tell("\n".join(lines if model is None else [*lines, f"model: {model}"]), values, as_json)


def print_study(study: optuna.Study, as_json: bool) -> None:
    """Print a study's counts, its best trials and what predicts; ``as_json`` as one JSON object."""
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
        "weights": {} if view.chosen is None else view.chosen.weights,
        "comparison": view.comparison or None,
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
    if view.comparison:
        echo(view.comparison)
    members = [] if view.chosen is None else view.chosen.heaviest_first
    if len(members) > 1:
        echo(f"weights: {', '.join(f'trial {n} {weight:.3f}' for n, weight in members)}")


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
        _print_trials(trials, view.metric, view.confirmed)
    ending = "the best so far" if best == number else f"the best is trial {best}"
    tell(f"trial {number}: {row['state']}, {row['stopped']}; {ending}", values, as_json)


def _print_trials(
    trials: Mapping[str, FrozenTrial], metric: str, confirmed: Mapping[int, Confirmed]
) -> None:
    """Print trials side by side: the first one's hyperparameters, and the metric, also that of the
    trials that were trained again.
    """
    from rich.table import Table

    from tuner.storage.trial_attrs import trial_params

    shown = Table("hyperparameter", *trials)
    params = [trial_params(trial) for trial in trials.values()]
    for name in params[0]:
        shown.add_row(visible(name), *(visible(short(of_trial.get(name))) for of_trial in params))
    shown.add_section()
    shown.add_row(visible(f"valid_{metric}"), *(short(t.value) for t in trials.values()))
    again = [confirmed.get(trial.number) for trial in trials.values()]
    if any(again):
        shown.add_row("trained again on folds", *(short(c.mean) if c else "" for c in again))
    _print_table(shown)


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)
