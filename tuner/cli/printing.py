"""What the commands print for reading, and as JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from tuner.result import TuningResult

_TOP = 10


def print_result(result: TuningResult, table: Path, model: Path | None) -> None:
    """Print the best configuration beside the default one, the scores, and where the files are."""
    from rich.console import Console
    from rich.table import Table

    from tuner.tables import count_states, trial_params

    best, default = result.best_trial, result.default_trial
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

    test, default = result.test_score(), result.default_trial
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


def print_study(study: optuna.Study) -> None:
    """Print a study's counts and its best trials."""
    from rich.console import Console
    from rich.table import Table

    from tuner.tables import count_states, study_metric, trials_dataframe

    metric, direction = study_metric(study)
    typer.echo(f"study {study.study_name}: {count_states(study) or 'no trials yet'}")
    trials = trials_dataframe(study)
    top = _best(trials, direction)
    if top.empty:
        return
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


def print_study_json(study: optuna.Study) -> None:
    """Print what `print_study` prints as one JSON object."""
    from tuner.records import finished, trial_params
    from tuner.tables import study_metric, trials_dataframe

    metric, direction = study_metric(study)
    trials = trials_dataframe(study)
    params = {trial.number: trial_params(trial) for trial in finished(study)}
    top = _best(trials, direction)
    found = {
        "study_name": study.study_name,
        "metric": metric,
        "direction": direction,
        "states": {str(state): int(n) for state, n in trials["state"].value_counts().items()},
        "best": [
            {"number": int(number), "value": float(value), "params": params[int(number)]}
            for number, value in zip(top["number"], top["value"], strict=True)
        ],
    }
    typer.echo(json.dumps(found))


def _best(trials: pd.DataFrame, direction: str) -> pd.DataFrame:
    complete = trials[trials["state"] == "COMPLETE"]
    return complete.sort_values("value", ascending=direction == "minimize", kind="stable").head(
        _TOP
    )


def print_trial(study: optuna.Study, number: int, rival: int | None, *, as_json: bool) -> None:
    """Print a trial that was made by hand beside the best one before it.

    Args:
        study: that has both.
        number: of the trial.
        rival: number of the one to compare with; None if there was none.
        as_json: print one JSON object.
    """
    from rich.console import Console
    from rich.table import Table

    from tuner.records import trial_params
    from tuner.tables import has_complete, study_metric, trials_dataframe

    by_number = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    row = trials_dataframe(study).set_index("number").loc[number].to_dict()
    best = study.best_trial.number if has_complete(study) else None
    if as_json:
        value = None if row["value"] != row["value"] else float(row["value"])
        found = {
            "number": number, "state": row["state"], "stopped": row["stopped"], "value": value,
            "params": trial_params(by_number[number]), "best_trial": best,
        }  # fmt: skip
        typer.echo(json.dumps(found))
        return
    shown = Table("hyperparameter", f"trial {number}")
    trials = [by_number[number]]
    if rival is not None:
        shown.add_column(f"best before (trial {rival})")
        trials.append(by_number[rival])
    for name in trial_params(trials[0]):
        shown.add_row(name, *(_cell(trial_params(trial).get(name)) for trial in trials))
    shown.add_section()
    metric, _ = study_metric(study)
    shown.add_row(f"valid_{metric}", *(_cell(trial.value) for trial in trials))
    Console(markup=False).print(shown)
    ending = "the best so far" if best == number else f"the best is trial {best}"
    typer.echo(f"trial {number}: {row['state']}, {row['stopped']}; {ending}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return "" if value is None or str(value) == "<NA>" else str(value)
