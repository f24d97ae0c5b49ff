"""Simulated searches that begin with a portfolio: which start, which sampler after it.

The portfolio of a task is chosen on the other tasks, as a user's table is none of those that a
portfolio was chosen on. Mean regret after 3, 6, 12 and 25 trials' worth of epochs (9 tasks, one
seed): TPE alone 0.63, 0.48, 0.33, 0.16; after a portfolio of five 0.18, 0.17, 0.10, 0.05.
Portfolios of 10 and 15, other numbers of trials before TPE learns, and no pruner differ from that
within noise. ASHA has 0.23 and 0.21 at 3 and 6: cheaper trials do not pay where good ones come
first. A Gaussian process in TPE's place, after the same random start and with the median pruner
(4 tasks, two seeds, ``--names gp``): 0.29 and 0.17 at 12 and 25, TPE 0.17 and 0.03; differences
0.11 +- 0.06 and 0.14 +- 0.16 with the first seed, 0.13 +- 0.10 and 0.13 +- 0.10 with the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from lcbench import EPOCHS, Task, sampled
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from portfolio import choose
from pruner_choice import run_trial

from objectives.objective import trial_seed
from tuner.search.samplers import make_pruner

# In trials of all epochs.
BUDGETS = (3, 6, 12, 25)
BASELINE = "tpe"
_N_CANDIDATES = 300
_LARGEST = 25


@dataclass(frozen=True, kw_only=True)
class Start:
    """How a search begins and goes on.

    Args:
        size: configurations of the portfolio to begin with.
        sampler: of the trials that follow.
        startup: trials after which the sampler learns from them; those of the portfolio count.
        pruner: by name.
    """

    size: int = 0
    sampler: str = "tpe"
    startup: int = 10
    pruner: str = "median"

    def make_sampler(self, seed: int) -> BaseSampler:
        """Return the sampler of one trial."""
        if self.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=self.startup)
        return TPESampler(seed=seed, n_startup_trials=self.startup, multivariate=True)


STARTS: dict[str, Start] = {
    "tpe": Start(),
    "portfolio 2": Start(size=2),
    "portfolio 5": Start(size=5),
    "portfolio 10": Start(size=10),
    "portfolio 15": Start(size=15),
    "portfolio 25": Start(size=25),
    "portfolio 5, startup 5": Start(size=5, startup=5),
    "portfolio 5, startup 20": Start(size=5, startup=20),
    "portfolio 10, startup 20": Start(size=10, startup=20),
    "portfolio 10, none": Start(size=10, pruner="none"),
    "portfolio 10, asha": Start(size=10, pruner="asha"),
    "portfolio 10, hyperband": Start(size=10, pruner="hyperband"),
    "asha": Start(pruner="asha"),
    "gp": Start(sampler="gp"),
    "portfolio 10, gp": Start(size=10, sampler="gp"),
}


def portfolios(tasks: Sequence[Task]) -> dict[str, list[Mapping[str, Any]]]:
    """Return for each task an order of random configurations, chosen on the others."""
    configs = sampled(_N_CANDIDATES, seed=1)
    values = {task.name: [task.curve(config).max() for config in configs] for task in tasks}
    table = pd.DataFrame.from_dict(values, orient="index")
    return {
        task.name: [configs[k] for k in choose(table.drop(index=task.name), _LARGEST)]
        for task in tasks
    }


def regrets(
    task: Task, name: str, portfolio: Sequence[Mapping[str, Any]], *, seed: int
) -> dict[str, float]:
    """Run one search; return the regret at each budget."""
    start = STARTS[name]
    study = optuna.create_study(
        direction="maximize",
        pruner=make_pruner(start.pruner, epochs=EPOCHS),  # type: ignore[arg-type]  # by name
        study_name=f"{task.name}-{seed}",
    )
    for config in portfolio[: start.size]:
        study.enqueue_trial(dict(config))
    spent, best, ends = 0, -np.inf, []
    while spent < max(BUDGETS) * EPOCHS:
        n_trials = len([t for t in study.get_trials(deepcopy=False) if t.state.is_finished()])
        study.sampler = start.make_sampler(trial_seed(seed, n_trials))
        value, n_epochs = run_trial(study, task, patience=20)
        spent += n_epochs
        best = max(best, value)
        ends.append((spent, best))
    found: dict[str, float] = {}
    for budget in BUDGETS:
        inside = [value for at, value in ends if at <= budget * EPOCHS]
        found[f"budget {budget}"] = float(task.regret(np.array(inside[-1]))) if inside else 1.0
    return found
