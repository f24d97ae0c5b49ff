"""How the command line ends: with a line on stderr, and the exit code that says what happened."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from objectives._messages import short
from tuner.cli.options import STORAGE

if TYPE_CHECKING:
    import optuna
    import pandas as pd
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
def one_line_errors(said: Callable[[str], str] = str) -> Iterator[None]:
    """Print the library's errors, and its warnings, as one line on stderr; errors exit with 2.

    Args:
        said: puts a message in the command line's own words.
    """

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        _complain(f"warning: {said(str(message))}", typer.colors.YELLOW)

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            yield
        except KeyboardInterrupt:
            echo("interrupted", err=True)
            raise typer.Exit(SIGNALLED + signal.SIGINT) from None
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
            _complain(f"error: {said(str(error))}", typer.colors.RED)
            raise typer.Exit(USAGE_ERROR) from error


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
    typer.echo(json.dumps(values) if as_json else visible(_wrapped(text)))


def _wrapped(text: str) -> str:
    """Break lines between words where a terminal would break them within words."""
    if not sys.stdout.isatty():
        return text
    fill = textwrap.TextWrapper(
        shutil.get_terminal_size().columns,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ).fill
    return "\n".join(map(fill, text.splitlines()))


def located(study: str, study_name: str | None = None) -> tuple[str, str | None]:
    """Return storage and name of a study that was typed as its name in `STORAGE`, a file or a URL.

    Raises:
        FileNotFoundError: for a name where there is no such file.

    Example:
        >>> located("people.journal"), located("sqlite:///s.db", "first")
        (('people.journal', None), ('sqlite:///s.db', 'first'))
    """
    if "://" in study or study.endswith((".journal", ".db")) or study_name is not None:
        return study, study_name
    if not Path(STORAGE).exists():
        raise FileNotFoundError(
            f"STUDY must be a .journal or .db file, a URL, or the name of a study in {STORAGE}, "
            f"which is not in this folder, got {study!r}"
        )
    return STORAGE, study


def stored(study: str, study_name: str | None) -> optuna.Study:
    """Load a stored study, and Optuna with it; the study's name may be left out if it is alone."""
    from tuner.storage.study import load_study

    return load_study(*located(study, study_name))


def command_for(command: str, storage: object, study_name: str | None, *rest: str) -> str:
    """Return a command on a study as it is typed; it shows no password."""
    if storage == STORAGE and study_name is not None:
        return _typed(["tuner", command, study_name, *rest])
    from tuner.storage.backends import redacted

    named = [] if study_name is None else ["--study-name", study_name]
    return _typed(["tuner", command, redacted(storage), *named, *rest])


def _typed(words: list[str]) -> str:
    # cmd.exe knows no single quotes.
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def suggest(command: str, as_json: bool) -> None:
    """End a command with what to type next, for people."""
    if not as_json:
        echo(f"next: {command}", err=True)


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


def check_new(option: str, path: Path, *, force: bool = False) -> None:
    """Raise FileExistsError if a file is there, unless it may be overwritten."""
    if path.exists() and not force:
        raise FileExistsError(
            f"{option} must be a new file, got {path}, which is there; add --force to overwrite it"
        )


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
            kept = ", which keeps what the study holds" if is_stored else ""
            again = f"run the same command again{kept}"
            self._say(f"interrupted while loading, before any training: {again}")
            raise typer.Exit(self.exit_code)
        kept = count_states(result.study)
        self._say(f"interrupted: {kept or 'no trial had ended'}")
        if kept and table is not None:
            self._say(f"the trial table is in {table}")
        if is_stored:
            self._say(f"to go on: {_resume_command(options)}")
        else:
            self._say("leave out --storage none to be able to go on after an interruption")
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
    rest = [] if options.get("n_jobs") is None else ["--n-jobs", str(options["n_jobs"])]
    return command_for("resume", options["storage"], str(options["study_name"]), *rest)


_TOP = 10


def print_result(
    result: TuningResult,
    place: str,
    table: Path,
    model: Path | None,
    *,
    test: bool,
    as_json: bool,
) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are.

    Args:
        result: of the search.
        place: where its study is.
        table: where its trials are.
        model: where its model is, if anywhere.
        test: open the test split.
        as_json: print one JSON object.
    """
    from tuner.storage.trial_attrs import (
        confirmed_values,
        count_states,
        finished,
        study_metric,
    )

    best, default, (metric, _) = result.best_trial, result.default_trial, study_metric(result.study)
    score = result.test_score() if test else None
    if not as_json:
        trials = {f"best (trial {best.number})": best}
        if default is not None:
            trials[f"default (trial {default.number})"] = default
        _print_trials(trials, metric, confirmed_values(result.study.user_attrs))
    lines = [*filter(None, [result.comparison()]), str(score or "the test split stays shut")]
    name = result.study.study_name
    lines += [count_states(result.study), f"kept: study {name} in {place}, table {table}"]
    values = {
        "study_name": name,
        "storage": place,
        "metric": metric,
        "best_trial": best.number,
        "best_params": result.best_params,
        "best_value": result.best_value,
        "confirmed_value": result.confirmed_value,
        "default_value": None if default is None else default.value,
        "test": None
        if score is None
        else {name: getattr(score, name) for name in ("value", "low", "high", "n")},
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
    rank = "it is the best so far" if best == number else f"the best is still trial {best}"
    rank = "no trial is complete yet" if best is None else rank
    ending = _ending(row["state"], short(row["stopped"]), short(row["error"]))
    tell(f"trial {number} {ending}; {rank}", values, as_json)


_ENDINGS = {
    "epochs": "trained for all its epochs",
    "patience": "ended early, as it no longer improved",
    "timeout": "ended at the time limit, with the best epoch so far",
    "out of memory": "ran out of memory",
}


def _ending(state: str, stopped: str, error: str) -> str:
    """Say how a trial ended.

    >>> _ending("COMPLETE", "patience", ""), _ending("PRUNED", "diverged at epoch 3", "")
    ('ended early, as it no longer improved', 'diverged at epoch 3')
    """
    if state == "FAIL":
        return f"failed: {error}"
    if stopped.startswith("pruned"):
        return f"was {stopped}"
    return _ENDINGS.get(stopped, stopped or "is complete")


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


def print_frame(frame: pd.DataFrame, title: str, as_json: bool) -> None:
    """Print a small table, or its rows as one JSON list."""
    from rich.table import Table

    if as_json:
        typer.echo(frame.to_json(orient="records", double_precision=15))
        return
    shown = Table(title=visible(title), title_justify="left")
    for name in frame:
        shown.add_column(visible(str(name).replace("_", " ")), justify="right")
    for row in frame.itertuples(index=False):
        shown.add_row(*(visible(short(cell)) for cell in row))
    _print_table(shown)


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)
