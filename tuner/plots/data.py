"""The numbers behind the plots, without drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuner.storage.trial_attrs import study_metric
from tuner.tables import curves_dataframe, trials_dataframe

if TYPE_CHECKING:
    import optuna


Floats = npt.NDArray[np.float64]


class HistoryData(NamedTuple):
    """What `plot_history` draws: arrays of one entry a trial, sorted by number.

    ``value`` is NaN where a trial has none; ``best`` is the best value of the complete trials so
    far, NaN before the first.
    """

    metric: str
    direction: str
    number: npt.NDArray[np.int64]
    value: Floats
    state: npt.NDArray[np.str_]
    best: Floats


class CurvesData(NamedTuple):
    """What `plot_curves` draws: one entry for each trial that reported, sorted by number.

    A curve is an array of shape (n_epochs, 2): epoch and metric, NaN where it was not finite.
    ``ending`` says how each ended, as `tuner.plots.axes.ENDINGS` names it.
    """

    metric: str
    direction: str
    number: list[int]
    state: npt.NDArray[np.str_]
    curve: list[Floats]
    best_number: int | None
    ending: npt.NDArray[np.str_]


def history_data(study: optuna.Study) -> HistoryData:
    """Values of a study's trials and the best so far.

    Args:
        study: any study with one direction.

    Returns:
        The arrays that `plot_history` draws.
    """
    metric, direction = study_metric(study)
    trials = trials_dataframe(study)
    complete = trials["value"].where(trials["state"] == "COMPLETE")
    best = complete.cummax() if direction == "maximize" else complete.cummin()
    return HistoryData(
        metric,
        direction,
        trials["number"].to_numpy(),
        trials["value"].to_numpy(),
        trials["state"].to_numpy(dtype=np.str_),
        best.ffill().to_numpy(),
    )


def curves_data(study: optuna.Study) -> CurvesData:
    """Learning curves of a study's trials in the metric that is tuned.

    Args:
        study: any study with one direction.

    Returns:
        The curves that `plot_curves` draws.
    """
    metric, direction = study_metric(study)
    trials = trials_dataframe(study)
    indexed = trials.set_index("number")
    curves = curves_dataframe(study)
    columns = ["epoch", str(curves.columns[2])]
    by_trial = {int(str(number)): frame[columns] for number, frame in curves.groupby("number")}
    return CurvesData(
        metric,
        direction,
        list(by_trial),
        indexed["state"].reindex(list(by_trial)).to_numpy(dtype=np.str_),
        [frame.to_numpy(dtype=np.float64) for frame in by_trial.values()],
        _best_number(trials, direction),
        _endings(indexed).reindex(list(by_trial)).to_numpy(dtype=np.str_),
    )


def _endings(trials: pd.DataFrame) -> pd.Series:
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    stopped = trials["stopped"].fillna("")
    ending = trials["state"].map(words)
    ending = ending.mask(stopped.str.startswith("diverged"), "diverged")
    return ending.mask((trials["state"] == "COMPLETE") & (stopped == "patience"), "patience")


def _best_number(trials: pd.DataFrame, direction: str) -> int | None:
    complete = trials[(trials["state"] == "COMPLETE") & trials["value"].notna()]
    if complete.empty:
        return None
    best = complete["value"].argmax() if direction == "maximize" else complete["value"].argmin()
    return int(complete["number"].iloc[best])
