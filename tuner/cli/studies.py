"""The commands that read a stored study: export, show, diagnose, plot, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import options as o
from tuner.cli.console import check_folder, one_line_errors, tell
from tuner.cli.printing import print_study, print_study_json


def export(
    study: o.StudyPath,
    out: Annotated[
        Path, typer.Option(help="File to write: .csv, .csv.gz, .parquet, .json or .xlsx.")
    ],
    curves: Annotated[
        bool, typer.Option("--curves", help="One row a trial and epoch, not one a trial.")
    ] = False,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's trials, or its learning curves, to a file."""
    with one_line_errors():
        from tuner import tables
        from tuner.study import load_study

        loaded = load_study(study, study_name)
        frame = tables.curves_dataframe(loaded) if curves else tables.trials_dataframe(loaded)
        tables.export(frame, out)
        tell(f"{len(frame)} rows: {out}", {"rows": len(frame), "file": str(out)}, as_json)


def show(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print a study's counts and its best trials."""
    with one_line_errors():
        from tuner.study import load_study

        (print_study_json if as_json else print_study)(load_study(study, study_name))


def diagnose(study: o.StudyPath, study_name: o.StudyName = None, as_json: o.AsJson = False) -> None:
    """Print what a study shows, what to do about it, and the space to search next."""
    with one_line_errors():
        from tuner.diagnosis import diagnose as find
        from tuner.study import load_study

        diagnosis = find(load_study(study, study_name))
        typer.echo(diagnosis.to_json() if as_json else str(diagnosis))


def plot(
    study: o.StudyPath,
    kind: o.Kind = "overview",
    out: Annotated[Path | None, typer.Option(help="Image file; default KIND.png.")] = None,
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Draw a figure of a study."""
    with one_line_errors():
        import matplotlib

        matplotlib.use("agg")  # a figure for a file needs no window
        from tuner.figures import draw_study
        from tuner.study import load_study

        path = check_folder("--out", out or Path(f"{kind}.png"))
        draw_study(load_study(study, study_name), kind).savefig(path, bbox_inches="tight")
        tell(f"{kind}: {path}", {"kind": kind, "file": str(path)}, as_json)


def report(
    study: o.StudyPath,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    study_name: o.StudyName = None,
    as_json: o.AsJson = False,
) -> None:
    """Write a study's report: one HTML file that opens offline."""
    with one_line_errors():
        from tuner.report import write_report
        from tuner.study import load_study

        path = write_report(load_study(study, study_name), out)
        tell(f"report: {path}", {"file": str(path)}, as_json)
