"""Which metric a user means: by name, by a scorer of scikit-learn, or by a function."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from objectives._messages import hint, name_of
from objectives.metrics import METRICS, QUICK_SCORERS, Array, Metric

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from objectives.data.targets import Task

Floats: TypeAlias = npt.NDArray[np.float64]

Judge: TypeAlias = Callable[[Floats], Floats]
"""Costs (k,), lower is better, of k predictions (k, n, ...)."""

AnyMetric: TypeAlias = str | Metric | Callable[..., float]
"""A metric's name or itself, a scorer of scikit-learn's `make_scorer`, or a function of yours."""


def get_metric(metric: AnyMetric | None, task: Task, classes: Array | None = None) -> Metric:
    """Return the metric called ``metric``, checked against the task.

    Args:
        metric: a name in `METRICS` or of `sklearn.metrics.get_scorer_names`; a scorer that
            `sklearn.metrics.make_scorer` made; a function ``f(y_true, y_pred)``; a `Metric`; or
            None for accuracy (rmse in regression). As in scikit-learn, a scorer is better the
            greater it is, and a function too, unless its name ends in ``_loss`` or ``_error``. A
            function whose second argument is called ``y_score``, ``y_prob`` or ``y_proba`` is given
            probabilities: (n, n_classes), or those of the second of two classes, (n,). Row weights
            are passed to what takes ``sample_weight``.
        task: ``"binary"``, ``"multiclass"`` or ``"regression"``.
        classes: the labels in code order, which scorers and functions are given; by default the
            codes 0, 1, ... By name the second of two classes is the positive one.

    Raises:
        ValueError: if the name is unknown, or the metric cannot judge this task.
        TypeError: if it is none of these.

    Example:
        >>> get_metric(None, "regression").name
        'rmse'
        >>> get_metric("f1", "binary").score([0, 1], [[0.9, 0.1], [0.2, 0.8]])
        1.0
        >>> from sklearn.metrics import zero_one_loss
        >>> get_metric(zero_one_loss, "binary").direction
        'minimize'
    """
    if metric is None:
        return METRICS["rmse" if task == "regression" else "accuracy"]
    known = _known(metric, task, classes)
    if known is None or task not in known.tasks:
        name = metric if isinstance(metric, str) else getattr(known, "name", metric)
        choices = [other.name for other in METRICS.values() if task in other.tasks]
        names = [n for n in _scorer_names() if task in _tasks_of(n)] if known is None else []
        raise ValueError(
            f"metric must be one of {', '.join(choices)} for task={task!r}, or what scikit-learn "
            f"scores it by, got metric={name!r}{hint(name, [*choices, *names])}"
        )
    return known


def stored_metric(name: str, task: Task) -> Metric:
    """Return the metric that a model's file names; one of the user's own can only be named."""
    try:
        return get_metric(name, task)
    except ValueError:
        return Metric.from_function(
            functools.partial(_not_stored, name), direction="maximize", tasks=(task,), name=name
        )


def _not_stored(name: str, *_: object) -> float:
    raise ValueError(
        f"metric must be given for a score, got metric={name!r} of a file, which cannot hold a "
        "metric of your own; load the model with metric=, or score it with another"
    )


def _known(metric: AnyMetric, task: Task, classes: Array | None) -> Metric | None:
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        known = METRICS.get(metric) or QUICK_SCORERS.get(metric)
        if known is None and task in _tasks_of(metric):
            known = _of_scorer(metric, _scorer(metric), task)
        return known
    from sklearn.metrics import make_scorer

    if isinstance(metric, type(_scorer("accuracy"))):
        name = _name_of_scorer(metric)
        return QUICK_SCORERS.get(name) or _of_scorer(name, metric, task, classes)
    parameters = _parameters_of(metric)
    needed = [p for p in parameters.values() if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    if not callable(metric) or len(parameters) < 2 or len(needed) > 2:
        raise TypeError(
            "metric must be a name, a scorer, a Metric or a function of y_true and y_pred, got "
            f"{name_of(metric)}; make a metric of another function by "
            "Metric.from_function(function, direction='maximize')"
        )
    name = str(name_of(metric))
    if name in METRICS:
        raise ValueError(
            f"metric must have a name of its own, got a function called {name!r}; "
            f"rename it, or give metric={name!r} for the built-in one"
        )
    of_shares = list(parameters)[1] in _SHARES and task != "regression"
    scorer = make_scorer(metric, response_method="predict_proba" if of_shares else "predict")
    made = _of_scorer(name, scorer, task, classes, takes_weight="sample_weight" in parameters)
    return replace(made, direction="minimize") if name.endswith(("_loss", "_error")) else made


def task_of(metric: AnyMetric | None) -> str | None:
    """Return the task that a metric leaves no choice about, so that the target need not say it."""
    if isinstance(metric, str):
        tasks = METRICS[metric].tasks if metric in METRICS else _tasks_of(metric)
    else:
        tasks = metric.tasks if isinstance(metric, Metric) else ()
    return tasks[0] if len(tasks) == 1 else None


# As scikit-learn calls the second argument of a function of probabilities.
_SHARES = ("y_score", "y_prob", "y_proba")


@dataclass(frozen=True)
class _Predictions:
    """Stands before a scorer as the estimator, whose predictions are at hand as its ``X``."""

    classes_: Array | None

    def predict(self, X: Array) -> Array:
        labels: Array = X if self.classes_ is None else self.classes_[X.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Array) -> Array:
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        of_classes = self.classes_ is not None
        return Tags(
            estimator_type="classifier" if of_classes else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if of_classes else None,
            regressor_tags=None if of_classes else RegressorTags(),
        )


@dataclass(frozen=True)
class ByScorer:
    """Judges one model's predictions by a scorer of scikit-learn."""

    scorer: Callable[..., SupportsFloat]
    of_values: bool
    takes_weight: bool
    classes: Array | None = field(default=None, compare=False)

    def __call__(self, y: Array, prediction: Array, weight: Array) -> float:
        """Return the score; NaN where it is not defined for want of some class."""
        from sklearn.exceptions import UndefinedMetricWarning

        labels = None
        if not self.of_values:
            labels = np.arange(prediction.shape[1]) if self.classes is None else self.classes
        truth = y if labels is None else labels[y]
        uneven = self.takes_weight and (weight != weight[0]).any()
        weights = {"sample_weight": weight} if uneven else {}
        with warnings.catch_warnings():
            # Of a class that is never predicted: scikit-learn's value for it is what counts.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            try:
                return float(self.scorer(_Predictions(labels), prediction, truth, **weights))
            except ValueError:
                if labels is None or len(np.unique(y)) == len(labels):
                    raise
                return math.nan  # not defined without rows of some class


def _of_scorer(
    name: str,
    scorer: Callable[..., SupportsFloat],
    task: Task,
    classes: Array | None = None,
    takes_weight: bool | None = None,
) -> Metric:
    """Make a metric of a scorer, which is better the greater it is."""
    if takes_weight is None:
        takes_weight = _takes_weight(name, scorer, task, classes)
    judge = ByScorer(scorer, task == "regression", takes_weight, classes)
    return Metric.from_function(judge, direction="maximize", tasks=(task,), name=name)


def _takes_weight(
    name: str, scorer: Callable[..., SupportsFloat], task: Task, classes: Array | None
) -> bool:
    y, prediction = _toy(task, classes)
    weight = np.arange(1.0, len(y) + 1)
    try:
        ByScorer(scorer, task == "regression", True, classes)(y, prediction, weight)
    except (TypeError, ValueError):  # of weights, or of the task
        try:
            ByScorer(scorer, task == "regression", False, classes)(y, prediction, weight)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"metric must suit task={task!r}, got {name!r}, which raises "
                f"{type(error).__name__}: {error}; choose another one"
            ) from error
        return False
    return True


def _toy(task: Task, classes: Array | None = None) -> tuple[Array, Array]:
    """Return a few rows of true and of predicted values, to see whether a metric takes them."""
    if task == "regression":
        return np.array([1.0, 2.5, 3.0, 4.5]), np.array([1.5, 2.0, 3.0, 5.0])
    n = (2 if task == "binary" else 3) if classes is None else len(classes)
    y = np.tile(np.arange(n), 2)
    return y, (1 + np.eye(n)[y]) / (n + 1)


def _scorer_names() -> list[str]:
    """Return the names of scikit-learn's scorers, those of clusters aside."""
    from sklearn.metrics import cluster, get_scorer_names

    return [n for n in get_scorer_names() if n not in cluster.__all__]


def _scorer(name: str) -> Callable[..., SupportsFloat]:
    # At first use: our own metrics need no scikit-learn, which takes a second to import.
    from sklearn.metrics import get_scorer

    scorer: Callable[..., SupportsFloat] = get_scorer(name)
    return scorer


@functools.cache
def _tasks_of(name: str) -> tuple[Task, ...]:
    """Return the tasks that a scorer of scikit-learn takes: of values, or of classes."""
    if name not in _scorer_names():
        return ()
    scorer, tasks = _scorer(name), []
    for task in _TASKS:
        y, prediction = _toy(task)
        judge = ByScorer(scorer, task == "regression", False)
        with contextlib.suppress(ValueError):
            judge(y, prediction, np.ones(len(y)))
            if task == "regression":  # whose scorers take class codes for values
                return (task,)
            tasks.append(task)
    return tuple(tasks)


_TASKS: tuple[Task, ...] = ("regression", "binary", "multiclass")


def _name_of_scorer(scorer: object) -> str:
    """Return the name that scikit-learn knows a scorer by, or that of its function.

    >>> from sklearn.metrics import fbeta_score, make_scorer
    >>> _name_of_scorer(make_scorer(fbeta_score, beta=2))
    'fbeta_score(beta=2)'
    """
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(scorer))  # which another process has elsewhere
    for name in _scorer_names():
        if repr(_scorer(name)) == text:
            return name
    sign = "neg_" if "greater_is_better=False" in text else ""
    how = r", (?:greater_is_better=False|response_method=(?:'\w+'|\(.*?\)))"
    inside = re.sub(how, "", text.removeprefix("make_scorer(").removesuffix(")"))
    function, _, options = inside.partition(", ")
    return f"{sign}{function}({options})" if options else sign + function


def _parameters_of(function: object) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters if callable(function) else {}
    except ValueError:  # of C, without a signature
        return {}


def is_built_in(metric: Metric, name: str) -> bool:
    """Say whether it is our own metric of that name, not another one that is called so."""
    return metric is METRICS[name]


def judge_for(metric: Metric, y: np.ndarray, weight: Floats) -> Judge:
    """Return what gives the costs of many predictions at once: of probabilities (k, n, n_classes),
    of values (k, n), or of the part of either that the metric looks at.
    """
    sign = -1.0 if metric.direction == "maximize" else 1.0
    truth, weights = torch.from_numpy(np.ascontiguousarray(y)), torch.from_numpy(weight)

    def costs(p: Floats) -> Floats:
        if not len(y) or not weight.any():
            return np.full(len(p), np.nan)
        if is_built_in(metric, "log_loss"):
            own = p if p.ndim == 2 else p[:, np.arange(len(y)), y]
            eps = np.finfo(np.float64).eps  # the bound that scikit-learn sets
            losses: Floats = -(np.log(own.clip(eps, 1 - eps)) @ weight) / weight.sum()
            return losses
        if is_built_in(metric, "roc_auc"):
            return -_areas(p[..., 1] if p.ndim == 3 and p.shape[2] == 2 else p, y, weight)
        if metric.is_quick:
            outputs = torch.from_numpy(p if p.ndim == 3 else p[..., None])
            scores: Floats = metric.batched_scorer(
                outputs, truth, weights.to(outputs.dtype)
            ).numpy()
            return sign * scores
        return sign * np.array([metric.score(y, member, weight) for member in p])

    return costs


def _areas(p: Floats, y: np.ndarray, weight: Floats) -> Floats:
    """Return the area under the ROC curve of each prediction: (k, n), or (k, n, n_classes) for the
    mean over classes, each against the rest.
    """
    if p.ndim == 2:
        return _area(p, y == 1, weight)
    parts = [_area(p[..., c], y == c, weight) for c in range(p.shape[2]) if (y == c).any()]
    known: Floats = np.array([part for part in parts if np.isfinite(part).all()])
    return known.mean(axis=0) if len(known) else np.full(len(p), np.nan)


def _area(p: Floats, positive: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Return areas (k,): the chance that a positive row stands above a negative one.

    Only the negative rows are sorted; each positive one is looked up among them, as ties count one
    half (Mann & Whitney 1947).
    """
    n_positive = weight[positive].sum()
    if not 0 < n_positive < weight.sum():
        return np.full(len(p), np.nan)
    is_even = bool((weight == weight[0]).all())
    areas = []
    for row in p:
        below, above = row[~positive], row[positive]
        if is_even:
            below.sort()
            total = np.arange(len(below) + 1) * weight[0]
        else:
            order = below.argsort()
            below = below[order]
            total = np.concatenate([[0.0], weight[~positive][order].cumsum()])
        left, right = (np.searchsorted(below, above, side=side) for side in ("left", "right"))
        gained = (total[left] + total[right]) / 2
        areas.append(gained @ weight[positive] / (n_positive * total[-1]))
    return np.array(areas)
