"""The command that uses a saved model: predict."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuner.cli import options as o
from tuner.cli.console import one_line_errors, tell

if TYPE_CHECKING:
    import pandas as pd


# Images read at once, so that memory does not grow with the folder.
_AT_ONCE = 512


def predict(
    model: Annotated[Path, typer.Argument(help="A file that --save-model or model.save wrote.")],
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="A .csv or .parquet file with the columns of training; or image files and "
            "folders of them.",
        ),
    ],
    proba: Annotated[
        bool, typer.Option("--proba", help="Add a column with the probability of each class.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File: .csv, .parquet, .json, .xlsx; default: CSV here.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Predict with a saved model: a row for each row of a table, or for each image."""
    with one_line_errors():
        from objectives.models.load import load_model
        from tuner.tables import check_path, export

        if out is not None:
            check_path(out)
        frame = _predictions(load_model(model), data, proba)
        if out is not None:
            export(frame, out)
            tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)
        elif as_json:
            typer.echo(frame.to_json(orient="records", double_precision=15))
        else:
            frame.to_csv(sys.stdout, index=False, lineterminator="\n")


def _predictions(model: Any, data: Sequence[Path], proba: bool) -> pd.DataFrame:
    """Return the columns ``prediction`` and, if asked, ``proba_<class>``; ``file`` for images."""
    import pandas as pd

    from objectives.data.files import read_file

    if getattr(model, "images", None) is not None:
        parts = [
            _frame(model, [str(path) for path in paths], proba, files=paths)
            for paths in _batches(_images(data))
        ]
        return pd.concat(parts, ignore_index=True)
    if len(data) != 1:
        raise ValueError(
            f"DATA must be one table for a model of tables, got {len(data)} paths; predict each"
        )
    return _frame(model, read_file(data[0]).frame, proba)


def _frame(model: Any, X: Any, proba: bool, files: Sequence[Path] | None = None) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {} if files is None else {"file": list(map(str, files))}
    columns["prediction"] = model.predict(X)
    if proba:
        shares = model.predict_proba(X)
        columns |= {f"proba_{label}": shares[:, i] for i, label in enumerate(model.classes)}
    return pd.DataFrame(columns)


def _images(data: Sequence[Path]) -> list[Path]:
    """Return the image files among ``data`` and in its folders, in order."""
    from objectives.images.folders import images_in

    found = []
    for path in data:
        inside = images_in(path) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"DATA must be images or folders of them, got none in {str(path)!r}")
        found += inside
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"DATA must be files that exist, got {str(missing[0])!r}")
    return found


def _batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _AT_ONCE):
        yield paths[start : start + _AT_ONCE]
