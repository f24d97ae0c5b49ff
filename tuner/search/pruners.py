"""Pruners by name: ``"none"``, ``"median"``, ``"asha"``, ``"hyperband"``, or any Optuna pruner.

A pruner stops a trial against *other* trials (state PRUNED); `patience` stops it against itself
(state COMPLETE).
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)

from objectives._messages import hint

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
