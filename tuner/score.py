"""The score on the test split, with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from objectives.metrics import Metric
    from objectives.model import FittedModel

_N_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class TestScore:
    """The tuned metric on the test split, with a 95% bootstrap interval.

    Args:
        metric: its name.
        value: its value; ``float(score)`` is this number.
        low: lower end of the interval (2.5% quantile of resampled rows).
        high: upper end.
        n: rows in the test split.
    """

    __test__ = False  # for pytest: a score, not a test case

    metric: str
    value: float
    low: float
    high: float
    n: int

    def __float__(self) -> float:
        """Return the value alone."""
        return self.value

    def __repr__(self) -> str:
        """Return the value with its interval."""
        interval = f"95% interval {self.low:.4f} to {self.high:.4f}, n={self.n}"
        return f"test_{self.metric} {self.value:.4f} ({interval})"


def score_test(model: FittedModel, split: Any, metric: Metric) -> TestScore:
    """Score ``model`` on an opened test split, and on resamples of its rows for the interval."""
    prediction = (
        model.predict(split.X) if model.task == "regression" else model.predict_proba(split.X)
    )
    value = metric.score(split.y, prediction, split.weight)
    rng, resampled = np.random.default_rng(0), []
    for _ in range(_N_RESAMPLES):
        rows = rng.integers(0, len(split.y), len(split.y))
        weight = None if split.weight is None else split.weight[rows]
        # NaN where a resample lacks the classes that the metric needs.
        resampled.append(metric.score(split.y[rows], prediction[rows], weight))
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return TestScore(
        metric=metric.name, value=value, low=float(low), high=float(high), n=len(split.y)
    )
