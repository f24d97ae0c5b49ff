"""How often 95% intervals for test scores hold the true score.

    python benchmarks/coverage.py [--n-samples 1000] [--seed 0] [CASE ...]

Each case draws test splits of a world whose true score is known (to three digits, from a million
rows). The column ``rows resampled`` is the plain percentile bootstrap of single rows, for
comparison. About two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from objectives.metrics import METRICS
from objectives.models.intervals import Interval, difference_interval, score_interval

Array = npt.NDArray[Any]
Draw = Callable[[np.random.Generator, int], dict[str, Array]]
"""Truth ``y``, ``prediction`` and perhaps ``other`` and ``groups``, of about so many rows."""

N_TRUTH = 1_000_000
N_RESAMPLED = 200  # of the bootstrap that is there for comparison


@dataclass(frozen=True)
class Case:
    """A metric, a world and the size of a test split."""

    metric: str
    n: int
    draw: Draw


def _probabilities(logits: Array) -> Array:
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=1)


def hits(rng: np.random.Generator, n: int, *, accuracy: float, size: int = 1) -> dict[str, Array]:
    """Predictions right with one probability, or one that differs between groups of ``size``."""
    n_groups = -(-n // size)
    share = np.full(n_groups, accuracy)
    if size > 1:
        share = rng.beta(accuracy * 2, (1 - accuracy) * 2, n_groups)
    groups = np.repeat(np.arange(n_groups), size)
    y = rng.integers(0, 2, len(groups))
    said = np.where(rng.random(len(groups)) < share[groups], y, 1 - y)
    found = {"y": y, "prediction": np.eye(2)[said]}
    return found | ({"groups": groups} if size > 1 else {})


def classes(
    rng: np.random.Generator,
    n: int,
    *,
    positive: float,
    distance: float,
    size: int = 1,
    other: float | None = None,
) -> dict[str, Array]:
    """Two normal classes ``distance`` apart, told by their log odds; groups share a shift."""
    n_groups = -(-n // size)
    groups = np.repeat(np.arange(n_groups), size)
    y = (rng.random(len(groups)) < positive).astype(np.int64)
    shift = rng.normal(size=n_groups)[groups] if size > 1 else 0.0
    x = y * distance + rng.normal(size=len(groups)) + shift
    odds = np.log(positive / (1 - positive)) + distance * (x - distance / 2)
    found = {"y": y, "prediction": _probabilities(odds)}
    if other is not None:
        noisy = x + other * rng.normal(size=len(x))
        found["other"] = _probabilities(distance * (noisy - distance / 2))
    return found | ({"groups": groups} if size > 1 else {})


def values(rng: np.random.Generator, n: int, *, tails: float = np.inf) -> dict[str, Array]:
    """Values with errors that are normal, or of Student's t with few degrees of freedom."""
    y = rng.normal(size=n)
    errors = rng.normal(size=n) if np.isinf(tails) else rng.standard_t(tails, n)
    return {"y": y, "prediction": y + 0.5 * errors}


EVEN = partial(classes, positive=0.5, distance=1.5)
RARE = partial(classes, positive=0.1, distance=2.0)
PAIR = partial(classes, positive=0.3, distance=1.5, other=0.7)
CASES: dict[str, Case] = {
    "accuracy .99, n=30": Case("accuracy", 30, partial(hits, accuracy=0.99)),
    "accuracy .80, n=100": Case("accuracy", 100, partial(hits, accuracy=0.8)),
    "accuracy .80, 20 groups of 10": Case("accuracy", 200, partial(hits, accuracy=0.8, size=10)),
    "accuracy .90, 50 groups of 6": Case("accuracy", 300, partial(hits, accuracy=0.9, size=6)),
    "balanced accuracy, 10% positive, n=100": Case("balanced_accuracy", 100, RARE),
    "f1, n=60": Case("f1_macro", 60, EVEN),
    "f1, 10% positive, n=200": Case("f1_macro", 200, RARE),
    "AUC .86, n=60": Case("roc_auc", 60, EVEN),
    "AUC .98, n=60": Case("roc_auc", 60, partial(classes, positive=0.5, distance=3.0)),
    "AUC .92, 10% positive, n=200": Case("roc_auc", 200, RARE),
    "AUC, 25 groups of 8": Case("roc_auc", 200, partial(EVEN, size=8)),
    "log loss, n=60": Case("log_loss", 60, EVEN),
    "log loss, 10% positive, n=200": Case("log_loss", 200, RARE),
    "rmse, n=30": Case("rmse", 30, values),
    "rmse, heavy tails, n=200": Case("rmse", 200, partial(values, tails=5.0)),
    "mae, n=30": Case("mae", 30, values),
    "r2, n=60": Case("r2", 60, values),
    "difference of accuracy, n=60": Case("accuracy", 60, PAIR),
    "difference of accuracy, 30 groups": Case("accuracy", 300, partial(PAIR, size=10)),
    "difference of AUC, n=100": Case("roc_auc", 100, PAIR),
    "difference of log loss, n=100": Case("log_loss", 100, PAIR),
}


def interval(metric: str, rows: dict[str, Array]) -> Interval:
    """The interval that a test score has, or a difference where there is another model."""
    judge = difference_interval if "other" in rows else score_interval
    return judge(METRICS[metric], **rows)


def true_score(case: Case) -> float:
    """The score on so many rows that chance hardly counts."""
    rows = case.draw(np.random.default_rng(1), N_TRUTH)
    metric = METRICS[case.metric]
    score = metric.score(rows["y"], rows["prediction"])
    return score - metric.score(rows["y"], rows["other"]) if "other" in rows else score


def percentile_of_rows(metric: str, rows: dict[str, Array]) -> Interval:
    """Quantiles of the score on resampled single rows, whatever groups there are."""
    rng, y, found = np.random.default_rng(0), rows["y"], []
    for _ in range(N_RESAMPLED):
        drawn = rng.integers(0, len(y), len(y))
        score = METRICS[metric].score(y[drawn], rows["prediction"][drawn])
        if "other" in rows:
            score -= METRICS[metric].score(y[drawn], rows["other"][drawn])
        found.append(score)
    return Interval(*np.nanquantile(found, [0.025, 0.975]))


def coverage(
    case: Case,
    *,
    n_samples: int,
    seed: int = 0,
    how: Callable[[str, dict[str, Array]], Interval] = interval,
) -> tuple[float, float]:
    """Return how many of ``n_samples`` intervals hold the true score, and their mean width.

    Samples without an interval, as of one class, count as misses.
    """
    rng, truth = np.random.default_rng(seed), true_score(case)
    found = [how(case.metric, case.draw(rng, case.n)) for _ in range(n_samples)]
    held = [low - 1e-9 <= truth <= high + 1e-9 for low, high in found]
    return float(np.mean(held)), float(np.nanmean([high - low for low, high in found]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("case", nargs="*", default=list(CASES))
    parser.add_argument("--n-samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="the percentile bootstrap as well")
    args = parser.parse_args()
    table = []
    for name in args.case:
        run = partial(coverage, CASES[name], n_samples=args.n_samples, seed=args.seed)
        held, width = run()
        row: dict[str, Any] = {"case": name, "coverage": held, "mean width": width}
        if args.plain:
            row["rows resampled"] = run(how=percentile_of_rows)[0]
        table.append(row)
    print(pd.DataFrame(table).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
