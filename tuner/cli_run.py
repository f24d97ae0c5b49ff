"""What the commands that train do: search, tell what came of it, go on, join in."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tuner.console import (
    Interruption,
    one_line_errors,
    parse_space,
    print_json,
    print_result,
    read_json,
    stop_interrupted,
)

if TYPE_CHECKING:
    import optuna

    from tuner.result import TuningResult


def search_by_command(
    entry: str, data: str, options: dict[str, Any], space: str | None, trials: str | None,
    out: Path | None, save_model: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Search with the entry point of that name, and print and write what came of it."""
    with one_line_errors():
        options["space"] = None if space is None else parse_space(space)
        options["trials"] = None if trials is None else read_json(trials, "--trials", list)
        _search_and_tell(entry, data, options, out, save_model, as_json)


def repeat_by_command(
    storage: str, study_name: str | None, data: str | None, changes: dict[str, Any],
    out: Path | None, save_model: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Make the call that a study records again, with ``changes``, as `search_by_command` does."""
    with one_line_errors():
        from tuner.call import recorded_call
        from tuner.study import load_study

        study = load_study(storage, study_name)
        entry, dataset, options = recorded_call(study, data=data)
        options |= {"storage": storage, "study_name": study.study_name} | changes
        _search_and_tell(entry, dataset, options, out, save_model, as_json)


def join_in(
    storage: str, study_name: str | None, data: str | None, timeout: float | None, wait: float
) -> None:
    """Train trials of a study beside other processes, and say how many came to an end here."""
    with one_line_errors():
        from tuner.call import recorded_call
        from tuner.tables import count_states

        # As Ctrl-C: trials under way go back into the queue. It is what a scheduler sends.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        study = _awaited(storage, study_name, wait)
        entry, dataset, options = recorded_call(study, data=data)
        ended: list[int] = []
        options |= {
            "storage": storage, "study_name": study.study_name, "timeout": timeout,
            "show_progress_bar": False, "callbacks": [lambda _, trial: ended.append(trial.number)],
        }  # fmt: skip
        result = _search(entry, dataset, options, table=None)
        typer.echo(f"{len(ended)} trials ended here; study {study.study_name}: "
                   f"{count_states(result.study) or 'no trials yet'}")  # fmt: skip


def _awaited(storage: str, study_name: str | None, wait: float) -> optuna.Study:
    """Load a study that another process may be about to make."""
    from tuner.call import recorded_call
    from tuner.study import CALL, load_study

    end = time.monotonic() + wait
    while True:
        try:
            study = load_study(storage, study_name)
            if CALL in study.user_attrs:
                return study
            if time.monotonic() >= end:
                recorded_call(study)  # says what is wrong
        except (FileNotFoundError, ValueError):
            if time.monotonic() >= end:
                raise
        time.sleep(0.5)


def _search_and_tell(
    entry: str, data: Any, options: dict[str, Any], out: Path | None, save_model: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    from tuner.table_files import file_name

    table = _writable(out or Path(f"{file_name(options['study_name'])}-trials.csv"), save_model)
    result = _search(entry, data, options, table)
    if save_model is not None:
        result.model.save(save_model)
    (print_json if as_json else print_result)(result, table, save_model)


def _search(entry: str, data: Any, options: dict[str, Any], table: Path | None) -> TuningResult:
    result = None
    with Interruption() as interruption:
        try:
            import tuner

            search: Callable[..., TuningResult] = getattr(tuner, entry)
            result = search(data, **options)
        except KeyboardInterrupt:
            interruption.noticed = True
    if result is not None and table is not None:
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
