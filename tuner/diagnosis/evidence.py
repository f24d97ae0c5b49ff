"""What findings share: their form, the searched ranges, and how much a study's values jitter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tuner.diagnosis.ranges import Levels, Range, search_range
from tuner.storage.view import StudyView

_JITTER_EPOCHS = 10  # Up to and around the best epoch: the values that best was chosen from.
_MIN_JITTER_EPOCHS = 5
_JITTER_TRIALS = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a study shows.

    Args:
        finding: the result, in a sentence.
        evidence: the numbers it rests on.
        advice: what to do next.
        hyperparameter: the one it is about; None for the study as a whole.
        change: what the next space does with it: ``("widen", "low")`` or ``("widen", "high")``,
            ``("cap", number)`` or ``("fix", value)``.
    """

    finding: str
    evidence: str
    advice: str
    hyperparameter: str | None = None
    change: tuple[str, Any] | None = None


class Noise(NamedTuple):
    """How far two equally good trials may lie apart, in the metric's units: one standard error, and
    the source of it in words.
    """

    value: float
    source: str


def ranges(view: StudyView) -> dict[str, Range | Levels]:
    """The searched ranges of numbers, by name."""
    own = getattr(view.objective, "space", None)
    # The rows as documented come first: those of the objective may hold another distribution.
    rows = {**(own if isinstance(own, Mapping) else {}), **view.documented}
    searched = {name: search_range(entry, rows.get(name)) for name, entry in view.space.items()}
    return {name: entry for name, entry in searched.items() if entry is not None}


def noise(view: StudyView) -> Noise | None:
    """The standard error of a value, or None if it is not known.

    For accuracy it is that of a share of ``n_valid`` rows, with two successes and two failures
    added so that a perfect score has one too (Agresti & Coull 1998). For other metrics it is the
    jitter of the curve around the best epoch, in the best five trials (median).
    """
    n_valid = view.record.get("split", {}).get("n_valid")
    if view.metric == "accuracy" and n_valid and not view.ranked.empty:
        share = (float(view.ranked["value"].iloc[0]) * n_valid + 2) / (n_valid + 4)
        error = math.sqrt(max(share * (1 - share), 0.0) / (n_valid + 4))
        return Noise(error, f"the standard error of accuracy on {n_valid} validation rows")
    numbers = view.ranked["number"].head(_JITTER_TRIALS)
    jitters = [jitter(view.curves[n]) for n in numbers if n in view.curves]
    known = [value for value in jitters if value is not None and value > 0]
    if not known:
        return None
    return Noise(float(np.median(known)), "what neighbouring epochs of the best trials differ by")


def jitter(curve: pd.DataFrame) -> float | None:
    """Standard deviation of the metric from one epoch to the next, around the best epoch.

    Differences of neighbours have twice the variance of one value, and leave a trend out.

    Args:
        curve: with a column ``cost``, one row an epoch.

    Example:
        >>> round(jitter(pd.DataFrame({"cost": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]})), 3)
        0.775
    """
    costs = curve["cost"].dropna()
    if len(costs) < _MIN_JITTER_EPOCHS:
        return None
    best = int(costs.to_numpy().argmin())
    near = costs.iloc[max(best - _JITTER_EPOCHS, 0) : best + _JITTER_EPOCHS + 1]
    return float(near.diff().std() / math.sqrt(2)) if len(near) >= _MIN_JITTER_EPOCHS else None
