"""How long the report and the overview of a study take, and how large the page is.

    python benchmarks/report.py [--n-trials 1000] [--n-epochs 50] [--runs 3]

Nothing trains: the trials are made up, a tenth of them pruned and a few diverged or failed, with
eight hyperparameters and whole learning curves. Both sides run in turn; the median counts. A
journal file is read as it would be after a search.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.space.space import describe, from_stored, stored_space
from objectives.space.tables import MLP_TABLE
from tuner.plots.figures import draw
from tuner.report.html import write_report
from tuner.storage.backends import open_storage
from tuner.storage.study import load_study


def made_up_trial(number: int, n_epochs: int, rng: np.random.Generator) -> FrozenTrial:
    """A trial that learns faster the nearer its learning rate is to 0.003."""
    space = stored_space(MLP_TABLE)
    sampler = optuna.samplers.RandomSampler(seed=number)
    study: Any = None
    stored = {
        name: sampler.sample_independent(study, study, name, distribution)
        for name, distribution in space.items()
    }
    params = from_stored(MLP_TABLE, stored)
    ending = rng.choice(
        ["epochs", "patience", "pruned", "diverged at epoch 3", "error"],
        p=[0.5, 0.36, 0.1, 0.03, 0.01],
    )
    n_run = {"epochs": n_epochs, "patience": n_epochs // 2}.get(ending, 5)
    level = 0.95 - 0.1 * abs(np.log10(float(params["learning_rate"]) / 0.003))
    values = level * (1 - 0.7 ** np.arange(1, n_run + 1)) + rng.normal(0, 0.004, n_run)
    losses = (1.1 - values).tolist()
    state = TrialState.COMPLETE if ending in ("epochs", "patience") else TrialState.PRUNED
    state = TrialState.FAIL if ending == "error" else state
    return create_trial(
        state=state,
        value=None if state is TrialState.FAIL else float(values.max()),
        params=stored,
        distributions=space,
        user_attrs={
            "params": params,
            "best_epoch": int(values.argmax()),
            "epochs_run": n_run,
            "duration_s": 0.05 * n_run,
            "worker": 0,
            "seed": number,
            **({"error": "RuntimeError: made up"} if ending == "error" else {"stopped": ending}),
            "curve": {
                "value": values.tolist(),
                "valid_loss": losses,
                "train_loss": losses,
                "learning_rate": [params["learning_rate"]] * n_run,
                "duration_s": [0.05] * n_run,
            },
        },
    )


def make_study(path: Path, n_trials: int, n_epochs: int) -> None:
    """Write a study of made-up trials to a journal file."""
    study = optuna.create_study(
        study_name="made up", direction="maximize", storage=open_storage(path)
    )
    study.set_user_attr(
        "fusetune",
        {
            "objective": "mlp",
            "metric": "accuracy",
            "sampler": "random",
            "pruner": "median",
            "patience": 10,
            "seed": 0,
            "task": "multiclass",
            "space": describe(MLP_TABLE),
            "split": {"kind": "stratified", "n_train": 6000, "n_valid": 2000, "n_test": 2000},
        },
    )
    rng = np.random.default_rng(0)
    study.add_trials([made_up_trial(number, n_epochs, rng) for number in range(n_trials)])


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that ``work`` takes: by the clock, and of this process, which other work spares."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - start_cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-trials", type=int, default=1000)
    parser.add_argument("--n-epochs", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    matplotlib.use("agg")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        journal, page, image = (Path(folder, n) for n in ("s.journal", "s.html", "s.png"))
        make_study(journal, arguments.n_trials, arguments.n_epochs)
        study = load_study(journal)
        sides: dict[str, Callable[[], Any]] = {
            "open": lambda: load_study(journal).get_trials(),
            "overview": lambda: draw(study, "overview").savefig(image),
            "report": lambda: write_report(study, page),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(arguments.runs):
            for name, work in sides.items():
                times[name].append(seconds(work))
        print(f"{arguments.n_trials} trials x {arguments.n_epochs} epochs, seconds (median)")
        print(f"  {'':10} {'clock':>6} {'CPU':>6}")
        for name, taken in times.items():
            clock, cpu = map(statistics.median, zip(*taken, strict=True))
            print(f"  {name:10} {clock:6.2f} {cpu:6.2f}")
        print(f"  page of {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
