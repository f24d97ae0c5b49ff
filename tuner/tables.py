"""Trials and learning curves as data frames with fixed columns, and their export to files."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_object_dtype, is_string_dtype

from objectives._messages import short
from tuner.storage.view import TRIAL_COLUMNS, StudyView, view_of

if TYPE_CHECKING:
    import optuna


__all__ = ["TRIAL_COLUMNS", "curves_dataframe", "export", "trials_dataframe"]


def trials_dataframe(study: optuna.Study | StudyView) -> pd.DataFrame:
    """Table of a study's trials, one row a trial, sorted by number.

    Trials still waiting to be started are left out. ``value`` is the metric at the trial's best
    epoch, also for a pruned trial, so compare rows of state ``COMPLETE`` only; ``value_last`` is
    the metric at its last epoch. Where a trial is several folds or repeats, ``value`` is their
    mean and ``value_std`` their standard deviation at that epoch. ``epochs_run`` of a function of
    your own is the number of its reports, empty if it makes none. ``value_confirmed`` is the mean
    over folds of a trial that was trained again at the end of its search.

    Args:
        study: any study with one direction, made by this package or by Optuna alone.

    Returns:
        The columns ``number, state, value, value_last, value_std, value_confirmed, best_epoch,
        epochs_run, duration_s, seed, worker, stopped, error`` and one ``params_<name>`` for each
        hyperparameter, searched or fixed. Whole numbers that may be missing are ``Int64``, text is
        ``str``, durations are seconds.

    Raises:
        ValueError: if the study has several directions.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(direction="maximize")
        >>> study.add_trial(optuna.trial.create_trial(value=0.9, user_attrs={"best_epoch": 3}))
        >>> trials_dataframe(study)[["number", "state", "value", "best_epoch"]].values.tolist()
        [[0, 'COMPLETE', 0.9, 3]]
    """
    return view_of(study).trials_table.copy()


def curves_dataframe(study: optuna.Study | StudyView) -> pd.DataFrame:
    """Table of a study's learning curves, one row a trial and epoch.

    A trial without a recorded curve is read from its intermediate values: the step is the epoch,
    and the losses, the learning rate and the duration stay empty.

    Args:
        study: any study with one direction.

    Returns:
        The columns ``number, epoch, valid_<metric>, valid_loss, train_loss, learning_rate,
        duration_s``, sorted by number and epoch. Epochs count from 0; ``duration_s`` is the
        seconds that this epoch took; a value that was not finite is empty.

    Raises:
        ValueError: if the study has several directions.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values={0: 2, 1: 1}))
        >>> curves_dataframe(study)[["number", "epoch", "valid_value"]].values.tolist()
        [[0.0, 0.0, 2.0], [0.0, 1.0, 1.0]]
    """
    return view_of(study).curves_table.copy()


# A spreadsheet runs a cell as a formula that begins with one of these signs, which have wide and
# small twins (OWASP, "CSV Injection") ...
_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212-"
# ... also after what it skips: white space, control characters, marks without width.
_SKIPPED = r"\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff"
_FORMULA = re.compile(rf"^(?=[\t\n]|[{_SKIPPED}]*[{_SIGNS}])")
# A cell begins anew after a line's end, and where the list separator is a semicolon or a tab: to
# such a spreadsheet quotes inside a line mean nothing.
_FORMULA_INSIDE = re.compile(
    rf"(?<=[;\t\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029])(?=[{_SKIPPED}]*[{_SIGNS}])"
)
# What no system reads as more than a sign of a file's name.
_NOT_IN_NAMES = re.compile(r"[^\w .+=@-]")
_MAX_NAME = 60  # a character may take 4 bytes of the 255 that a name may have
# Control characters that XML 1.0, and so an .xlsx file, cannot hold: an error text may have them.
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_XLSX_MAX_ROWS = 1_048_575  # Excel's 1,048,576 less the header.


def export(frame: pd.DataFrame | StudyView, path: str | os.PathLike[str]) -> Path:
    """Write a table to ``path`` in the format that its suffix names.

    For a paper or a page, ``.tex`` (a ``tabular`` for the package booktabs) and ``.md`` round to
    four digits. Of a trial table they hold number, state, value, best epoch and the hyperparameters
    that differ; a remark names the others.

    Args:
        frame: the table, whose index is not written; or a view of a study for its trials, of which
            the best one is bold in ``.tex`` and ``.md``.
        path: a file ending in ``.csv``, ``.csv.gz``, ``.parquet``, ``.json`` (a list of one object
            a row), ``.xlsx``, ``.tex`` or ``.md``, in an existing folder; an existing file is
            replaced. In CSV and Excel files, what a spreadsheet would run as a formula in a text
            cell or a column's name gets a ``'`` before it. JSON has null for what is missing or not
            finite.

    Returns:
        The path written.

    Raises:
        ValueError: if the suffix is none of these, ``path`` is a folder, or an Excel file would be
            too long.
        FileNotFoundError: if the folder does not exist.
        ImportError: if Parquet or Excel is asked and its library is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(pd.DataFrame({"number": [0]}), folder + "/trials.csv").read_text()
        'number\\n0\\n'
    """
    path = check_path(path)
    best: int | None = None
    if isinstance(frame, StudyView):
        best = None if frame.best_trial is None else frame.best_trial.number
        frame = frame.trials_table
    write = _PRINTED.get(path.suffix.lower())
    if write is not None:
        path.write_text(write(*_for_print(frame), best), encoding="utf-8")
    else:
        _writer(path)(frame, path)
    return path


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return ``path`` if `export` can write there; check it before a long search.

    Raises:
        ValueError: if the suffix names no format, or ``path`` is a folder.
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in _PRINTED:
        _writer(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must be in a folder that exists, got path='{path}'; create {path.parent} first"
        )
    if path.is_dir():
        raise ValueError(f"path must be a file, got the folder path='{path}'; add a file name")
    return path


def file_name(name: str) -> str:
    """Return a study's name, whatever it holds, as part of the name of a file in its folder.

    Example:
        >>> file_name("../../adult income")
        '.._.._adult income'
    """
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME]


def _writer(path: Path) -> Callable[[pd.DataFrame, Path], None]:
    for suffix, write in _WRITERS.items():
        if path.name.lower().endswith(suffix):
            return write
    raise ValueError(
        f"path must end in one of {', '.join([*_WRITERS, *_PRINTED])}, got path='{path}'; change "
        "its suffix"
    )


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    # Without a time stamp the same table gives the same bytes.
    zipped: Any = {"method": "gzip", "mtime": 0} if path.name.lower().endswith(".gz") else None
    text = _map_text(frame, lambda text: _FORMULA_INSIDE.sub("'", _defuse(text)))
    text.to_csv(path, index=False, lineterminator="\n", compression=zipped)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    _require("pyarrow", extra="parquet", path=path)
    frame = frame.copy()
    for name, column in frame.items():
        kinds = {type(cell) for cell in column.dropna()} if is_object_dtype(column) else set()
        if len(kinds) > 1:  # a column of Parquet has one type
            frame[name] = [None if pd.isna(cell) else str(cell) for cell in column]
    frame.to_parquet(path, engine="pyarrow", index=False)


def _write_json(frame: pd.DataFrame, path: Path) -> None:
    # `DataFrame.to_json` rounds numbers to 15 digits; `json` writes them so that they read back.
    rows = [
        {str(name): _json_cell(cell) for name, cell in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    dumps = partial(json.dumps, ensure_ascii=False, allow_nan=False, default=str)
    lines = ",\n".join(map(dumps, rows))
    path.write_text(f"[{lines}]\n", encoding="utf-8")


def _write_xlsx(frame: pd.DataFrame, path: Path) -> None:
    _require("openpyxl", extra="excel", path=path)
    if len(frame) > _XLSX_MAX_ROWS:
        raise ValueError(
            f"frame must have at most {_XLSX_MAX_ROWS} rows for Excel, got {len(frame)} rows; "
            "export to .parquet or .csv.gz"
        )
    clean = _map_text(frame, lambda text: _NOT_IN_XML.sub("", text))
    _map_text(clean, _defuse).to_excel(path, engine="openpyxl", index=False)


def _for_print(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return a table as people read it, cells as text, and a remark on what it leaves out."""
    remark = ""
    if {"number", "state", "value"} <= set(frame):
        names = [str(name) for name in frame if str(name).startswith("params_")]
        same = [name for name in names if frame[name].nunique(dropna=False) == 1]
        fixed = [f"{n.removeprefix('params_')}={short(frame[n].iloc[0])}" for n in same]
        remark = f"The same in all trials: {' '.join(', '.join(fixed).split())}." if fixed else ""
        shown = ["number", "state", "value"]
        shown += [n for n in ("value_std", "best_epoch") if n in frame and frame[n].notna().any()]
        frame = frame[[*shown, *(name for name in names if name not in same)]]
    columns: dict[str, list[str]] = {}
    for name, column in frame.items():
        plain = str(name).removeprefix("params_")  # but for one that is called as another column
        columns[str(name) if plain in columns else plain] = _as_text(str(name), column)
    return pd.DataFrame(columns), remark


def _as_text(name: str, column: pd.Series) -> list[str]:
    if name.startswith("params_") or not pd.api.types.is_float_dtype(column):
        return [" ".join(short(cell).split()) for cell in column]
    # Digits below one another: four of the largest value.
    largest = column.abs().replace(math.inf, math.nan).max()
    digits = min(max(0, 4 - math.ceil(math.log10(largest))), 8) if largest > 0 else 0
    return ["" if pd.isna(cell) else f"{cell:.{digits}f}" for cell in column]


def _is_best(frame: pd.DataFrame, best: int | None) -> list[bool]:
    numbers = frame["number"] if "number" in frame else frame.index
    return [str(number) == str(best) for number in numbers]


def _sides(frame: pd.DataFrame) -> list[bool]:
    """Say for each column whether it holds numbers, which stand on the right."""
    return [
        bool(pd.to_numeric(column[column != ""], errors="coerce").notna().all())
        for _, column in frame.items()
    ]


def _tex(frame: pd.DataFrame, remark: str, best: int | None) -> str:
    is_best = _is_best(frame, best)

    def bold(row: pd.Series) -> list[str]:
        return ["font-weight: bold" if is_best[frame.index.get_loc(row.name)] else ""] * len(row)

    style = frame.style.format(escape="latex").format_index(escape="latex", axis=1)
    style = style.hide(axis="index").apply(bold, axis=1)
    sides = "".join("r" if is_number else "l" for is_number in _sides(frame))
    text = style.to_latex(hrules=True, column_format=sides, convert_css=True)
    lines = ["% \\usepackage{booktabs}", *([f"% {remark}"] if remark else [])]
    return "\n".join([*lines, text])


def _markdown(frame: pd.DataFrame, remark: str, best: int | None) -> str:
    def line(cells: Iterable[object], *, bold: bool = False) -> str:
        texts = [_MARKDOWN.sub(r"\\\g<0>", str(cell)) for cell in cells]
        marked = [f"**{text}**" if bold and text else text for text in texts]
        return f"| {' | '.join(marked)} |"

    rule = ["---:" if is_number else "---" for is_number in _sides(frame)]
    rows = zip(frame.itertuples(index=False), _is_best(frame, best), strict=True)
    lines = [line(frame), f"| {' | '.join(rule)} |", *(line(row, bold=b) for row, b in rows)]
    return "\n".join([*lines, *(["", _MARKDOWN.sub(r"\\\g<0>", remark)] if remark else []), ""])


_MARKDOWN = re.compile(r"[\\`*_|<>\[\]]")
_PRINTED = {".tex": _tex, ".md": _markdown}


def _json_cell(cell: object) -> object:
    """A cell without NaN and infinity, which JSON lacks, also inside a user attribute."""
    if isinstance(cell, Mapping):
        return {str(name): _json_cell(value) for name, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [_json_cell(value) for value in cell]
    is_missing = cell is None or cell is pd.NA or cell is pd.NaT
    return None if is_missing or (isinstance(cell, float) and not math.isfinite(cell)) else cell


def _defuse(text: str) -> str:
    # CSV does not quote a bare carriage return, at which a spreadsheet would begin a new row.
    return _FORMULA.sub("'", text.replace("\r\n", "\n").replace("\r", "\n"))


def _map_text(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    def changed(cell: object) -> object:
        return change(cell) if isinstance(cell, str) else cell

    frame = frame.copy()
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)
        if is_object_dtype(column) or is_string_dtype(column):
            frame[name] = column.map(changed)
    return frame.rename(columns=changed)


def _require(library: str, *, extra: str, path: Path) -> None:
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise ImportError(
            f"writing path='{path}' must have {library} installed, got none; "
            f"run pip install 'fusetune[{extra}]'"
        ) from error


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _write_csv,
    ".csv.gz": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
    ".xlsx": _write_xlsx,
}
