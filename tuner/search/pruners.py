"""Pruners by name: ``"none"``, ``"median"``, ``"asha"``, ``"hyperband"``, or any Optuna pruner.

A pruner stops a trial against *other* trials (state PRUNED); `patience` stops it against itself
(state COMPLETE).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from objectives._messages import hint
from tuner.storage.optuna_internals import last_rung, percentile
from tuner.storage.trial_attrs import PRUNED

PrunerName: TypeAlias = Literal["none", "median", "asha", "hyperband"]

_REPORTS = 20

# Trials that must be complete before a median means something; Optuna's own default.
_STARTUP_TRIALS = 5


def make_pruner(pruner: PrunerName | BasePruner, *, epochs: int) -> BasePruner:
    """Return the pruner called ``pruner``, its steps fitted to trials of at most ``epochs`` epochs.

    The first tenth of the epochs is never judged, since a learning curve says little there. ASHA
    and Hyperband keep a third at each rung, Hyperband with several first rungs.

    Raises:
        ValueError: for an unknown name.
        TypeError: for something that is no pruner.
    """
    names = get_args(PrunerName)
    if isinstance(pruner, BasePruner):
        return pruner
    if not isinstance(pruner, str):
        raise TypeError(f"pruner must be a name or an optuna pruner, got {type(pruner).__name__}")
    first = max(1, epochs // 10)
    if pruner == "none":
        return NopPruner()
    if pruner == "median":
        return MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=first)
    if pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    if pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
    raise ValueError(
        f"pruner must be one of {', '.join(names)}, got {pruner!r}{hint(pruner, names)}"
    )


def report_interval(pruner: PrunerName | BasePruner, *, epochs: int) -> int:
    """Return how many epochs lie between two reports to the pruner.

    Each report is a write to the storage, of 3 ms and more in a database, so a pruner of ours gets
    twenty or so a trial. An Optuna pruner may count steps, and gets all of them.
    """
    return max(1, epochs // _REPORTS) if isinstance(pruner, str) else 1


def why_pruned(study: optuna.Study, trial: FrozenTrial, *, step: str = "epoch") -> str:
    """Say when a trial was pruned, at what value, and what that was compared with.

    Median and percentile pruners compare the trial's best value so far with what the complete
    trials reported at the same step. Of others the class is named.

    Args:
        study: with its pruner.
        trial: as the pruner saw it, see `tuner.storage.optuna_internals.judged`.
        step: what a step is called.
    """
    last = trial.last_step
    if last is None:
        return PRUNED
    is_max = study.direction is StudyDirection.MAXIMIZE
    reports = np.array(list(trial.intermediate_values.values()), dtype=float)
    best = float(np.fmax.reduce(reports) if is_max else np.fmin.reduce(reports))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    reported = [t.intermediate_values.get(last, math.nan) for t in complete]
    others = [value for value in reported if not math.isnan(value)]
    share, bound = percentile(study.pruner), math.nan
    if share is not None and others:
        bound = float(np.percentile(others, 100 - share if is_max else share))
    if best < bound if is_max else best > bound:
        name = "the median" if share == 50 else f"the limit of the best {share:g}%"
        digits = next(d for d in (4, 8, 17) if f"{best:.{d}g}" != f"{bound:.{d}g}")
        return (
            f"{PRUNED} at {step} {last}: {best:.{digits}g} {'below' if is_max else 'above'} "
            f"{bound:.{digits}g}, {name} of {len(others)} trials"
        )
    rung = "" if (reached := last_rung(trial)) is None else f" at rung {reached}"
    value = trial.intermediate_values[last]
    return f"{PRUNED} at {step} {last} (value {value:.4g}) by {type(study.pruner).__name__}{rung}"
