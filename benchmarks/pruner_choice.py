"""Simulated searches with each pruner: regret of the best complete trial against epochs spent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
from lcbench import EPOCHS, SPACE, Task, suggest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.trial import TrialState

from objectives.objective import BestEpoch
from tuner.search.samplers import make_pruner, report_interval, sampler_source

# In trials of all epochs.
BUDGETS = (16, 32, 64)
BASELINE = "median"


def _median(n_startup: int, n_warmup: int) -> Callable[[], BasePruner]:
    return lambda: MedianPruner(n_startup_trials=n_startup, n_warmup_steps=n_warmup)


def _percentile(percent: float, n_startup: int, n_warmup: int) -> Callable[[], BasePruner]:
    return lambda: PercentilePruner(percent, n_startup_trials=n_startup, n_warmup_steps=n_warmup)


def _asha(first: int, factor: int) -> Callable[[], BasePruner]:
    return lambda: SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)


# Below the fifth epoch the surrogate means little, so none of these judges there.
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": lambda: make_pruner("none", epochs=EPOCHS),
    "median": lambda: make_pruner("median", epochs=EPOCHS),
    "asha": lambda: make_pruner("asha", epochs=EPOCHS),
    "hyperband": lambda: make_pruner("hyperband", epochs=EPOCHS),
    "median, startup 10": _median(10, 5),
    "median, startup 2": _median(2, 5),
    "median, warm-up 10": _median(5, 10),
    "median, warm-up 20": _median(5, 20),
    "patient 1 x 2 epochs": lambda: PatientPruner(_median(5, 5)(), patience=1),
    "patient 3 x 2 epochs": lambda: PatientPruner(_median(5, 5)(), patience=3),
    "percentile 10": _percentile(10, 5, 5),
    "percentile 25": _percentile(25, 5, 5),
    "percentile 25, startup 2": _percentile(25, 2, 5),
    "percentile 40": _percentile(40, 5, 5),
    "percentile 60": _percentile(60, 5, 5),
    "percentile 75": _percentile(75, 5, 5),
    "percentile 25, start 10, warm-up 10": _percentile(25, 10, 10),
    "asha, from 5, half": _asha(5, 2),
    "asha, from 5, quarter": _asha(5, 4),
    "asha, from 10, third": _asha(10, 3),
    "asha, from 10, half": _asha(10, 2),
    "hyperband, half": lambda: HyperbandPruner(5, EPOCHS, 2),
}


def regrets(task: Task, name: str, *, seed: int, patience: int | None) -> dict[str, float]:
    """Run one search; return the regret at each budget, and how many trials it made of it."""
    # Hyperband's brackets follow from the study's name.
    study = optuna.create_study(
        direction="maximize", pruner=PRUNERS[name](), study_name=f"{task.name}-{seed}"
    )
    source = sampler_source("tpe", seed=seed, distributions=SPACE)
    spent, best, ends = 0, -np.inf, []
    while spent < max(BUDGETS) * EPOCHS:
        study.sampler = source(len(study.get_trials(deepcopy=False)))
        value, n_epochs = run_trial(study, task, patience=patience)
        spent += n_epochs
        best = max(best, value)
        ends.append((spent, best))
    found: dict[str, float] = {}
    for budget in BUDGETS:
        inside = [(at, value) for at, value in ends if at <= budget * EPOCHS]
        found[f"budget {budget}"] = float(task.regret(np.array(inside[-1][1])))
    states = [t.state for t in study.get_trials(deepcopy=False)]
    return found | {"n trials": len(ends), "n pruned": states.count(TrialState.PRUNED)}


def run_trial(study: optuna.Study, task: Task, *, patience: int | None) -> tuple[float, int]:
    """Simulate one trial as `tuner.search.loop` runs it; return its value and its epochs."""
    trial = study.ask()
    curve = task.curve(suggest(trial, SPACE))
    interval = report_interval("median", epochs=EPOCHS)
    best = BestEpoch(direction="maximize", patience=patience)
    for epoch, value in enumerate(curve.tolist()):
        best.update(epoch, value)
        ended = epoch + 1 == EPOCHS or best.exhausted(epoch)
        if ended or epoch % interval == 0:
            trial.report(value, step=epoch)
        if ended:
            study.tell(trial, best.value)
            return max(curve[: epoch + 1]), epoch + 1
        if epoch % interval == 0 and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return -np.inf, epoch + 1
    raise AssertionError("the last epoch ends a trial")
