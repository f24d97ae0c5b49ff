"""`StudyView`: a study, read once, for tables, diagnosis, plots, report and notebooks.

A study that is still running changes between two readings. A view does not, so everything that is
derived from one view agrees. The tables read any Optuna study. What `tune_mlp` records (seed, best
epoch, why a trial ended, the learning curve) is in each trial's user attributes; a study made with
Optuna alone has none of it, and those cells stay empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from objectives.space.registry import READY_MADE
from objectives.space.space import defaults, make_space
from tuner.storage.chosen import Recorded, in_words, recorded_choice
from tuner.storage.importances import study_importances
from tuner.storage.study import StudyOfTrials, quiet_optuna
from tuner.storage.trial_attrs import (
    Confirmed,
    best_complete,
    best_confirmed,
    confirmed_values,
    counted,
    records,
    started,
    stop_in_words,
    study_metric,
    study_record,
    trial_params,
)

if TYPE_CHECKING:
    from objectives.objective import Objective
    from objectives.space.hyperparameter import Described, Hyperparameter, Params, Space


# These columns exist, in this order and with these types, for an empty study too.
TRIAL_COLUMNS: dict[str, str] = {
    "number": "int64",
    "state": "str",
    "value": "float64",
    "value_last": "float64",
    "value_std": "float64",
    "value_confirmed": "float64",
    "best_epoch": "Int64",
    "epochs_run": "Int64",
    "duration_s": "float64",
    "seed": "Int64",
    "worker": "Int64",
    "stopped": "str",
    "error": "str",
}

_CURVES = ("valid_loss", "train_loss", "learning_rate", "duration_s")
_AS_RECORDED = ("value_std", "best_epoch", "epochs_run", "seed", "worker", "error")
# A trial that broke down in one of these ways has no value, whatever it reported before.
_BROKE_DOWN = ("diverged", "out of memory", "returned")
_INT64_MAX = 2**63 - 1
_NUMBER = (int, float, type(None))


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyView:
    """What a study held at one moment, and what follows from it; see `view_of`.

    The tables are shared by all who look at the view: copy one before you change it.

    Args:
        study_name: its name.
        metric: name of the tuned metric.
        direction: ``"maximize"`` or ``"minimize"``.
        trials: those that are running or have ended, sorted by number.
        user_attrs: of the study itself.
        objective: what was tuned, if it is at hand.
        best_number: which of several trials of the same best value Optuna calls the best; without
            it, it is the first.
    """

    study_name: str
    metric: str
    direction: str
    trials: tuple[FrozenTrial, ...]
    user_attrs: Mapping[str, Any]
    objective: Objective | None = None
    best_number: int | None = None

    @property
    def record(self) -> Mapping[str, Any]:
        """What this package recorded of the study; empty for a study made by Optuna alone."""
        return study_record(self.user_attrs)

    @property
    def counts(self) -> str:
        """The number of trials by state, in words; empty without trials."""
        stop = stop_in_words(self.user_attrs, self.trials, self.direction)
        return counted(self.trials) + stop

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that have ended, pruned and failed ones included."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @cached_property
    def by_number(self) -> dict[int, FrozenTrial]:
        """The trials by number."""
        return {trial.number: trial for trial in self.trials}

    @property
    def sign(self) -> float:
        """1 where lower values are better, else -1: times a value, the cost."""
        return -1.0 if self.direction == "maximize" else 1.0

    @cached_property
    def best_trial(self) -> FrozenTrial | None:
        """The trial with the best confirmed value or, where none was confirmed, the complete one
        with the best value; of equals the one that Optuna says.
        """
        confirmed = best_confirmed(self.user_attrs, self.direction)
        if confirmed in self.by_number:
            return self.by_number[confirmed]
        costs = {
            trial.number: self.sign * trial.value
            for trial in self.trials
            if trial.state is TrialState.COMPLETE
            and trial.value is not None
            and not math.isnan(trial.value)
        }
        least = min(costs.values(), default=None)
        best = [number for number, cost in costs.items() if cost == least]
        if not best:
            return None
        return self.by_number[self.best_number if self.best_number in best else best[0]]

    @cached_property
    def confirmed(self) -> dict[int, Confirmed]:
        """What trials were worth when they were trained again on folds, by number."""
        return confirmed_values(self.user_attrs)

    @cached_property
    def chosen(self) -> Recorded | None:
        """What the result predicts with; None if it is not known, or was chosen of fewer trials."""
        known = recorded_choice(self.user_attrs)
        states = [trial.state for trial in self.trials]
        is_of_all = known is not None and known.n_complete == states.count(TrialState.COMPLETE)
        is_here = known is not None and known.weights.keys() <= self.by_number.keys()
        return known if is_of_all and is_here else None

    @property
    def comparison(self) -> str:
        """How the result's model does beside the default configuration; empty if not known."""
        if self.chosen is None:
            return ""
        return in_words(self.chosen, self.metric, self.direction, self.default_trial)

    @cached_property
    def default_params(self) -> Params | None:
        """The default configuration of the searched space.

        It is None where the objective is not at hand and the study was not made with a ready-made
        one, whose hyperparameters are documented.
        """
        space = getattr(self.objective, "space", None)
        if space:
            return defaults(space)
        table, described = self.documented, self.record.get("space", {})
        if not described or not described.keys() <= table.keys():
            return None
        named = {name: table[name] for name in described}
        user_space = {name: _space_argument(e, table[name]) for name, e in described.items()}
        return defaults(make_space(named, user_space))

    @cached_property
    def default_trial(self) -> FrozenTrial | None:
        """The first complete trial of the default configuration, if one ran it."""
        if self.default_params is None:
            return None
        complete = (trial for trial in self.trials if trial.state is TrialState.COMPLETE)
        return next((t for t in complete if trial_params(t) == self.default_params), None)

    @cached_property
    def space(self) -> dict[str, Described]:
        """The searched space: name -> entry as `objectives.space.describe` writes it."""
        recorded = self.record.get("space")
        if recorded:
            return dict(recorded)
        return {
            name: _described(distribution)
            for trial in self.finished
            for name, distribution in trial.distributions.items()
        }

    @property
    def documented(self) -> Space:
        """The documented hyperparameters of a ready-made objective; empty for any other."""
        ready_made = READY_MADE.get(str(self.record.get("objective")))
        return {} if ready_made is None else ready_made.table

    @cached_property
    def trials_table(self) -> pd.DataFrame:
        """See `tuner.tables.trials_dataframe`."""
        rows = [_trial_row(trial, self.direction) for trial in self.trials]
        for row, trial in zip(rows, self.trials, strict=True):
            known = self.confirmed.get(trial.number)
            row["value_confirmed"] = None if known is None else known.mean
        columns = {
            name: pd.Series(list(map(_encodable, [row[name] for row in rows])), dtype=dtype)
            for name, dtype in TRIAL_COLUMNS.items()
        }
        params = [trial_params(trial) for trial in self.trials]
        recorded = self.record.get("params", ())
        for name in dict.fromkeys([*recorded, *(name for row in params for name in row)]):
            columns[f"params_{name}"] = _param_column([row.get(name) for row in params])
        return pd.DataFrame(columns)

    @cached_property
    def curves_table(self) -> pd.DataFrame:
        """See `tuner.tables.curves_dataframe`."""
        epochs, columns = list[int](), [list[float | None]() for _ in range(1 + len(_CURVES))]
        n_rows = []
        for trial in self.trials:
            steps, recorded = _curve(trial)
            n_rows.append(len(steps))
            epochs += steps
            for column, cells in zip(columns, recorded, strict=True):
                column += cells
        numbers = np.repeat([trial.number for trial in self.trials], n_rows)
        # A foreign study may call its metric "loss": its column must not be the recorded loss's.
        value = "valid_value" if f"valid_{self.metric}" in _CURVES else f"valid_{self.metric}"
        names = ("number", "epoch", value, *_CURVES)
        kept = [np.array(column, dtype=np.float64) for column in columns]
        whole = [np.array(column, dtype=np.int64) for column in (numbers, epochs)]
        return pd.DataFrame(dict(zip(names, [*whole, *kept], strict=True)))

    @cached_property
    def ended(self) -> pd.DataFrame:
        """Rows of ended trials, with a column ``cost``: the value, with a sign that makes lower
        better.
        """
        table = self.trials_table
        table = table.assign(cost=self.sign * table["value"])
        return table[table["state"] != "RUNNING"]

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Rows of `ended` that are complete and have a finite value, the best first."""
        usable = (self.ended["state"] == "COMPLETE") & np.isfinite(self.ended["cost"])
        best = None if self.best_trial is None else self.best_trial.number
        rows = self.ended[usable].assign(is_other=lambda table: table["number"] != best)
        ranked: pd.DataFrame = rows.sort_values(["cost", "is_other"], kind="stable")
        return ranked.drop(columns="is_other")

    @property
    def best_row(self) -> pd.DataFrame:
        """The row of `ranked` that is the best trial's, which after a confirmation need not be the
        first; none if no trial is complete, or its value is not finite.
        """
        return self.ranked[self.ranked["number"] == getattr(self.best_trial, "number", None)]

    @cached_property
    def curves(self) -> Curves:
        """Learning curves by trial number, with columns ``value`` and ``cost`` of the metric."""
        table = self.curves_table
        value = table.iloc[:, 2]
        return Curves(table.assign(value=value, cost=self.sign * value))

    @property
    def best_curve(self) -> pd.DataFrame | None:
        """The best trial's learning curve, if it has one."""
        return None if self.best_trial is None else self.curves.get(self.best_trial.number)

    @cached_property
    def in_memory(self) -> optuna.Study:
        """The same trials as a study in memory, for what Optuna computes from one."""
        with quiet_optuna():
            return StudyOfTrials(self.trials, self.direction, self.study_name)

    @cached_property
    def importances(self) -> dict[str, float]:
        """Share of each searched hyperparameter in what made trials good, the largest first.

        Pruned trials count at the place they had at equal steps, see `study_importances`.
        """
        return study_importances(self.in_memory)

    @property
    def params(self) -> list[str]:
        """Names of the hyperparameters in `trials_table`."""
        names = [str(column) for column in self.trials_table]
        return [name.removeprefix("params_") for name in names if name.startswith("params_")]

    @cached_property
    def varied(self) -> list[str]:
        """Hyperparameters with more than one value among the trials, the most important first."""
        varied = [n for n in self.params if self.trials_table[f"params_{n}"].nunique() > 1]
        ranked = [name for name in self.importances if name in varied]
        return list(dict.fromkeys([*ranked, *varied]))


class Curves(Mapping[int, pd.DataFrame]):
    """Parts of a table by trial number, each cut out when it is asked for: a study may have 10,000.

    Args:
        table: with columns ``number`` and ``cost``, in which a trial's rows lie together.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table, self._costs = table, table["cost"].to_numpy()
        numbers, starts, counts = np.unique(
            table["number"].to_numpy(), return_index=True, return_counts=True
        )
        rows = zip(numbers.tolist(), starts.tolist(), counts.tolist(), strict=True)
        self._rows = {number: slice(start, start + count) for number, start, count in rows}

    def __getitem__(self, number: int) -> pd.DataFrame:
        return self._table.iloc[self._rows[number]]

    def costs(self, number: int) -> npt.NDArray[np.float64]:
        """Return the column ``cost`` of a trial."""
        return self._costs[self._rows[number]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def view_of(study: optuna.Study | StudyView, objective: Objective | None = None) -> StudyView:
    """Read a study once.

    Args:
        study: any study with one direction, or a view, which is returned as it is.
        objective: what was tuned, if it is at hand: for its legal ranges and its class shares.

    Raises:
        ValueError: if the study has several directions.

    Example:
        >>> study = optuna.create_study(direction="maximize", study_name="demo")
        >>> study.add_trials([optuna.trial.create_trial(value=value) for value in (0.1, 0.3)])
        >>> view = view_of(study)
        >>> view.counts, view.best_trial.number
        ('2 trials: 2 complete', 1)
    """
    if isinstance(study, StudyView):
        return study if objective is None else replace(study, objective=objective)
    metric, direction = study_metric(study)
    trials = tuple(started(study))
    best = best_complete(study)
    return StudyView(
        study_name=study.study_name,
        metric=metric,
        direction=direction,
        trials=trials,
        user_attrs=study.user_attrs,
        objective=objective,
        best_number=None if best is None else best.number,
    )


def _space_argument(entry: Described, row: Hyperparameter) -> object:
    if "fixed" in entry:
        return entry["fixed"]
    if "choices" in entry:
        return list(entry["choices"])
    if row.log and not entry.get("log"):  # a pair would mean a log scale
        kind = IntDistribution if row.kind == "int" else FloatDistribution
        return kind(entry["low"], entry["high"])
    return entry["low"], entry["high"]


def _described(distribution: BaseDistribution) -> Described:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        ends = {"low": distribution.low, "high": distribution.high}
        return {**ends, "log": True} if distribution.log else ends
    assert isinstance(distribution, CategoricalDistribution), "Optuna has these three"
    return {"choices": list(distribution.choices)}


def _trial_row(trial: FrozenTrial, direction: str) -> dict[str, object]:
    attrs = records(trial)
    reports = trial.intermediate_values
    last = reports[max(reports)] if reports else trial.value
    seconds = None if trial.duration is None else trial.duration.total_seconds()
    broke_down = attrs.get("stopped", "").startswith(_BROKE_DOWN)
    value = trial.value if trial.state is TrialState.COMPLETE else None
    if value is None:
        finite = [value for value in reports.values() if math.isfinite(value)]
        value = (max if direction == "maximize" else min)(finite, default=None)
    value = attrs.get("best_value", value)
    if trial.state is TrialState.FAIL or (trial.state is TrialState.PRUNED and broke_down):
        value = None
    ran = attrs.get("epochs_run")
    if ran == 0:  # a function trains as it likes; what it reports is all that is known of it
        is_unknown = trial.state is TrialState.COMPLETE and not reports
        ran = None if is_unknown else len(reports)
    return {name: attrs.get(name) for name in _AS_RECORDED} | {
        "epochs_run": ran,
        "number": trial.number,
        "state": trial.state.name,
        "value": value,
        "value_last": attrs.get("value_last", last),
        "duration_s": attrs.get("duration_s", seconds),
        "stopped": attrs.get("stopped", "pruned" if trial.state is TrialState.PRUNED else None),
    }


def _curve(trial: FrozenTrial) -> tuple[list[int], list[list[float | None]]]:
    """Return the epochs of a trial, and the columns of its curve, all as long."""
    curve = records(trial).get("curve", {})
    recorded = [curve.get(name) for name in ("value", *_CURVES)]
    # A foreign trial may keep anything under that name.
    is_ours = [isinstance(c, list) and isinstance((c or [None])[0], _NUMBER) for c in recorded]
    columns = [c if ours else [] for c, ours in zip(recorded, is_ours, strict=True)]
    if n_epochs := max(map(len, columns)):
        filled = [column + [None] * (n_epochs - len(column)) for column in columns]
        return list(range(n_epochs)), filled
    reports = sorted(trial.intermediate_values.items())
    values = [value if math.isfinite(value) else None for _, value in reports]
    nothing: list[float | None] = [None] * len(reports)
    return [step for step, _ in reports], [values, *[nothing] * len(_CURVES)]


def _param_column(values: Sequence[object]) -> pd.Series:
    """Column of the plainest type that holds every value: truth, whole, real number or text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int} and all(abs(v) <= _INT64_MAX for v in values if isinstance(v, int)):
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float} and kinds != {int}:
        return pd.Series([float("nan") if v is None else v for v in values], dtype="float64")
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pd.Series(list(map(_encodable, texts)), dtype="str")


def _encodable(value: object) -> object:
    """Return a text without half characters, as names of files may have them."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
