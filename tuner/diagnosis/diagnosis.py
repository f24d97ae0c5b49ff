"""`diagnose`: what a study shows, the evidence in numbers, what to do, and the next search space.
`compare`: how the results of two studies differ, and how sure that is.

The practical tips of the tuning literature as code. Each finding is a function of a `StudyView`, in
`space_findings` or `trial_findings`, beside its thresholds and their sources.
"""

from __future__ import annotations

import html
import json
import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution

from objectives._messages import short
from tuner.diagnosis import space_findings, trial_findings
from tuner.diagnosis.evidence import Finding
from tuner.storage.trial_attrs import trial_params
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from objectives.metrics import Metric
    from objectives.models.mlp import FittedModel
    from objectives.objective import Objective


COLUMNS = ("finding", "evidence", "advice", "hyperparameter", "code")

# What spoils the study as a whole comes first.
FINDINGS: tuple[Callable[[StudyView], Finding | list[Finding] | None], ...] = (
    trial_findings.failed,
    trial_findings.out_of_memory,
    trial_findings.diverged,
    trial_findings.imbalanced,
    trial_findings.pruned_too_early,
    space_findings.at_an_edge,
    trial_findings.under_trained,
    trial_findings.impatient,
    trial_findings.overfitting,
    trial_findings.underfitting,
    trial_findings.lead_within_noise,
    space_findings.no_difference,
    space_findings.too_few_trials,
    trial_findings.stalled,
    space_findings.duplicates,
)
_WIDTH = 100


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a study shows; in a notebook it displays as a table.

    Args:
        title: the study and its counts, in words.
        findings: one row a finding, with the columns ``finding, evidence, advice, hyperparameter,
            code``, all text; ``hyperparameter`` is empty where a finding is about the whole study,
            ``code`` is a short name that does not change.
        space: the next search space, ready to pass on as ``tune_mlp(..., space=diagnosis.space)``.
    """

    title: str
    findings: pd.DataFrame
    space: dict[str, Any]

    @property
    def headline(self) -> str:
        """The study, and how many findings there are."""
        n = len(self.findings)
        return f"{self.title}: {n or 'no'} finding{'s' if n != 1 else ''}"

    def to_json(self) -> str:
        """The same as one JSON object; ranges are written as ``tuner mlp --space`` reads them."""
        rows = self.findings.astype(object).where(self.findings.notna(), None)
        space = {name: _plain(entry) for name, entry in self.space.items()}
        return json.dumps(
            {"study": self.title, "findings": rows.to_dict("records"), "space": space}
        )

    def text(self, width: int = _WIDTH) -> str:
        """Return the headline and the findings in lines of ``width`` characters at most."""
        lines = [self.headline]
        for number, row in enumerate(self.findings.to_dict("records"), start=1):
            advice = row["advice"][:1].upper() + row["advice"][1:]
            text = textwrap.fill(f"{row['evidence']}. {advice}.", width - 3)
            lines += [f"{number}. {row['finding']}", textwrap.indent(text, "   ")]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the findings and the next space as text."""
        return f"{self.text()}\nnext space: {self.space}"

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):  # Else sentences end at 50 letters.
            table = self.findings[["finding", "evidence", "advice"]].to_html(index=False, border=0)
        space = f"next space: <code>{html.escape(str(self.space))}</code>"
        shown = table if len(self.findings) else ""
        return f"<p><b>{html.escape(self.headline)}</b></p>{shown}<p>{space}</p>"


def diagnose(study: optuna.Study | StudyView, objective: Objective | None = None) -> Diagnosis:
    """Say what a study shows and what to do next; the test split is not opened.

    Args:
        study: any study with one direction, made by this package or by Optuna alone, or a view of
            one; what it does not record, such as losses, is not judged.
        objective: what was tuned, if it is at hand: its training split has the class shares, its
            space the legal ends of ranges.

    Returns:
        A `Diagnosis`: a table of findings, the most pressing first, and the next search space.

    Raises:
        ValueError: if the study has several directions.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(study_name="demo")
        >>> line = {"x": optuna.distributions.FloatDistribution(1.0, 10.0)}
        >>> for x in (1.0, 1.5, 2.0, 5.0, 9.0):
        ...     study.add_trial(
        ...         optuna.trial.create_trial(value=x, params={"x": x}, distributions=line)
        ...     )
        >>> diagnosis = diagnose(study)
        >>> diagnosis.findings["code"].tolist()
        ['at_an_edge', 'too_few_trials']
        >>> diagnosis.space
        {'x': (0.0, 10.0)}
    """
    view = view_of(study, objective)
    findings: list[Finding] = []
    rows = []
    for find in FINDINGS:
        result = find(view)
        new = [result] if isinstance(result, Finding) else result or []
        findings += new
        rows += [asdict(finding) | {"code": find.__name__} for finding in new]
    return Diagnosis(
        title=f"study {view.study_name}, {view.counts or 'no trials yet'}",
        findings=pd.DataFrame(rows, columns=list(COLUMNS), dtype="str"),
        space=space_findings.next_space(view, findings),
    )


def _plain(entry: Any) -> Any:
    match entry:
        case (low, high) if isinstance(entry, tuple):
            return {"low": low, "high": high}
        case FloatDistribution() | IntDistribution():
            return {"low": entry.low, "high": entry.high, "log": entry.log}
    return entry


class _Result(Protocol):
    """What `compare` takes, such as a `tuner.TuningResult`."""

    @property
    def study(self) -> optuna.Study: ...
    @property
    def judge(self) -> Any: ...
    @property
    def model(self) -> FittedModel: ...
    def test_score(self) -> object: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyComparison:
    """How the results of two studies differ, see `compare`.

    Args:
        table: a row for each hyperparameter of the best trials and, last, for the metric; columns
            ``name`` and one a study.
        metric: that both tuned.
        direction: ``"maximize"`` or ``"minimize"``.
        values: of the metric in both.
        low: lower end of the 95% interval of the difference, the first value less the second; NaN
            where there is none.
        high: upper end.
        how: what the values are of, and how the interval was made.
    """

    table: pd.DataFrame
    metric: str
    direction: str
    values: tuple[float, float]
    low: float
    high: float
    how: str

    @property
    def difference(self) -> float:
        """The first study's value less the second's."""
        return self.values[0] - self.values[1]

    @property
    def second_is_better(self) -> bool:
        """Whether the second study's value is the better one, surely or not."""
        return self.difference < 0 if self.direction == "maximize" else self.difference > 0

    @property
    def sentence(self) -> str:
        """Which study is better, by how much, and how sure that is."""
        better = self.table.columns[2 if self.second_is_better else 1]
        has_interval = not math.isnan(self.low)
        judged = f"{better} is ahead" if self.difference else "no difference"
        if self.low > 0 or self.high < 0:
            judged = f"{better} is better"
        elif has_interval and self.difference:
            judged += ", which may be chance"
        ends = f" (95% interval {short(self.low)} to {short(self.high)})" if has_interval else ""
        first, second = map(short, self.values)
        return (
            f"{self.metric} {first} and {second}: {judged}; "
            f"difference {short(self.difference)}{ends}, {self.how}"
        )

    def to_json(self) -> str:
        """Return all of it as one JSON object."""
        names = self.table["name"].tolist()[:-1]
        found: dict[str, object] = {
            "metric": self.metric,
            "values": list(self.values),
            "difference": self.difference,
            "low": None if math.isnan(self.low) else self.low,
            "high": None if math.isnan(self.high) else self.high,
            "how": self.how,
            "best_params": {
                str(study): dict(zip(names, self.table[study].tolist(), strict=False))
                for study in self.table.columns[1:]
            },
        }
        return json.dumps(found, default=str)

    def __repr__(self) -> str:
        """Return the table and the sentence below it."""
        return f"{self.table.map(short).to_string(index=False)}\n{self.sentence}"

    def _repr_html_(self) -> str:
        return f"{self.table.map(short).to_html(index=False)}<p>{html.escape(self.sentence)}</p>"


def compare(
    a: _Result | optuna.Study, b: _Result | optuna.Study, *, test: bool = False
) -> StudyComparison:
    """Compare the results of two studies that tuned the same metric.

    Where both predict the same rows, the interval of the difference is paired: what is hard or easy
    about these rows cancels out. Otherwise it is made of the intervals of both values as if they
    were independent (MOVER; Zou & Donner 2008), which is wider. Both results were chosen on their
    held-out rows; only the test split has seen neither.

    Args:
        a: a result, of a search or of `tuner.load_result`; or a study, of which the best value
            alone is compared, without an interval.
        b: the other one.
        test: judge on the test split, which is opened, and recorded as opened, in both.

    Raises:
        ValueError: if the studies tuned different metrics, or one has no complete trial.

    Example:
        >>> from tuner import tune_mlp
        >>> small = {"n_trials": 2, "epochs": 2, "show_progress_bar": False}
        >>> relu = tune_mlp("iris", space={"activation": "relu"}, study_name="relu", **small)
        >>> tanh = tune_mlp("iris", space={"activation": "tanh"}, study_name="tanh", **small)
        >>> compared = compare(relu, tanh)
        >>> compared.table.columns.tolist(), compared.low <= compared.difference <= compared.high
        (['name', 'relu', 'tanh'], True)
    """
    views = [view_of(each if isinstance(each, optuna.Study) else each.study) for each in (a, b)]
    if (views[0].metric, views[0].direction) != (views[1].metric, views[1].direction):
        raise ValueError(
            "a and b must be studies of the same metric, got "
            f"{views[0].metric} and {views[1].metric}; tune both with one metric"
        )
    params = [trial_params(_best_of(view)) for view in views]
    values = [float(_best_of(view).value or 0.0) for view in views]
    labels = [view.study_name for view in views]
    if labels[0] == labels[1]:
        labels = [f"a: {labels[0]}", f"b: {labels[1]}"]
    low, high, how = math.nan, math.nan, "of the best trials on validation, without an interval"
    first, second = (_judged(each, test=test) for each in (a, b))
    if first is not None and second is not None:
        values = [first.value, second.value]
        low, high, how = _interval(first, second, test=test)
    names = dict.fromkeys([*params[0], *params[1]])
    rows = [[name, *(of_trial.get(name) for of_trial in params)] for name in names]
    rows.append([f"{'test' if test else 'held-out'} {views[0].metric}", *values])
    return StudyComparison(
        table=pd.DataFrame(rows, columns=["name", *labels]).astype(object),
        metric=views[0].metric,
        direction=views[0].direction,
        values=(values[0], values[1]),
        low=low,
        high=high,
        how=how,
    )


def _best_of(view: StudyView) -> FrozenTrial:
    if view.best_trial is None:
        raise ValueError(
            f"a and b must have complete trials, got none in study {view.study_name!r}; raise "
            "n_trials"
        )
    return view.best_trial


class _Judged(NamedTuple):
    """The rows that a result is judged on, how they were divided, and what its model predicts."""

    metric: Metric
    y: np.ndarray
    prediction: np.ndarray
    weight: np.ndarray | None
    group: np.ndarray | None
    divided: tuple[object, ...]

    @property
    def value(self) -> float:
        return self.metric.score(self.y, self.prediction, self.weight)


def _judged(result: _Result | optuna.Study, *, test: bool) -> _Judged | None:
    """Return what a result predicts for rows that did not train it; None without a model."""
    if isinstance(result, optuna.Study):
        return None
    judge = result.judge
    if not hasattr(judge, "data"):
        return None
    from objectives.models.held_out import scale_temperature

    model = result.model
    divided: tuple[object, ...] = (judge.data.fingerprint, judge.data.split, judge.seed)
    if not test and hasattr(judge, "held_out"):
        # By the networks that did not see a row; in single precision.
        divided = (*divided, getattr(judge, "folds", None))
        prediction, (y, weight, group) = judge.held_out(model), judge.held_out_rows
        prediction = prediction.astype(np.float64)
        if prediction.ndim == 2:
            shares = prediction / prediction.sum(axis=1, keepdims=True)
            prediction = scale_temperature(shares, model.temperature)
        return _Judged(judge.metric, y, prediction, weight, group, divided)
    if test:
        result.test_score()  # records that it is open
    rows = judge.data.open_test() if test else judge.data.valid
    predict = model.predict if model.task == "regression" else model.predict_proba
    group = getattr(rows, "group", None)  # images have none
    prediction = np.asarray(predict(rows.X))
    return _Judged(judge.metric, rows.y, prediction, rows.weight, group, divided)


def _interval(a: _Judged, b: _Judged, *, test: bool) -> tuple[float, float, str]:
    """Return the interval of the difference of two values, and how it was made."""
    from objectives.models.intervals import difference_interval, score_interval

    what = "test rows" if test else "held-out rows, on which both were chosen"
    if a.divided == b.divided and np.array_equal(a.y, b.y):
        paired = difference_interval(
            a.metric, a.y, a.prediction, b.prediction, weight=a.weight, groups=a.group
        )
        return paired.low, paired.high, f"paired on the same {len(a.y)} {what}"
    one, two = (
        score_interval(x.metric, x.y, x.prediction, weight=x.weight, groups=x.group) for x in (a, b)
    )
    below = math.hypot(a.value - one.low, two.high - b.value)
    above = math.hypot(one.high - a.value, b.value - two.low)
    difference = a.value - b.value
    how = f"unpaired, as the rows differ: {len(a.y)} and {len(b.y)} {what}"
    return difference - below, difference + above, how
