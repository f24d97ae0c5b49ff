"""Time of a fixed set of trials: ours against plain scripts, side by side.

    python benchmarks/throughput.py [--repeats 3] [--epochs 20]

Thirty-two fixed configurations on digits, without pruning, then a grid of thirty-six:

- ours: `tune_mlp` with one process, and with two; the textbook recipe, so that all train alike;
- ours, default recipe: the same configurations as the default call trains them;
- plain: an Optuna script in the style of Optuna's own PyTorch example, with DataLoader,
  ``nn.Sequential`` and ``torch.optim``, and torch's default number of threads;
- expert: tensors in memory, sliced by hand, one thread, two processes on one journal file;
- scikit-learn: `MLPClassifier`, one process; it has no dropout, so its networks do less work.

All see the same standardised rows. The sides take turns; the table has the median of the repeats.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from objectives import MLPObjective
from tuner import tune_mlp

Params = dict[str, Any]
Data = tuple[Tensor, Tensor, Tensor, Tensor]
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def mixed() -> list[Params]:
    """Draw thirty-two configurations."""
    rng = np.random.default_rng(0)
    return [
        {
            "learning_rate": float(10 ** rng.uniform(-4, -1)),
            "batch_size": int(2 ** rng.integers(4, 9)),
            "n_layers": int(rng.integers(1, 4)),
            "hidden_units": int(2 ** rng.integers(5, 9)),
            "activation": str(rng.choice(list(ACTIVATIONS))),
            "dropout": float(rng.uniform(0, 0.5)),
            "optimizer": str(rng.choice(["sgd", "adam"])),
        }
        for _ in range(32)
    ]


def grid() -> list[Params]:
    """List learning rate x dropout x activation at 2 x 64 and a batch of 32."""
    fixed = {"batch_size": 32, "n_layers": 2, "hidden_units": 64, "optimizer": "adam"}
    return [
        {"learning_rate": rate, "dropout": dropout, "activation": activation, **fixed}
        for rate in (0.1, 0.01, 0.001, 0.0001)
        for dropout in (0.0, 0.2, 0.4)
        for activation in ACTIVATIONS
    ]


def digits() -> Data:
    """Return the rows as ours sees them: training and validation inputs and classes."""
    objective = MLPObjective("digits", recipe="plain")
    tensors = objective.prepared[0].tensors
    x, valid_x = tensors.x.expand(), tensors.valid_x.expand()
    return x, tensors.targets.argmax(1), valid_x, tensors.valid_y


def build(params: Params, n_inputs: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return network and optimizer of one configuration."""
    layers: list[nn.Module] = []
    for _ in range(params["n_layers"]):
        layers += [nn.Linear(n_inputs, params["hidden_units"]), ACTIVATIONS[params["activation"]]()]
        layers += [nn.Dropout(params["dropout"])]
        n_inputs = params["hidden_units"]
    model = nn.Sequential(*layers, nn.Linear(n_inputs, 10))
    if params["optimizer"] == "sgd":
        optimizer: Any = torch.optim.SGD(
            model.parameters(), lr=params["learning_rate"], momentum=0.9
        )
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=params["learning_rate"])
    return model, optimizer


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of right answers."""
    model.eval()
    with torch.no_grad():
        hits = model(x).argmax(1) == y
    model.train()
    return hits.float().mean().item()


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """Make one optimizer step."""
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


def plain(configurations: list[Params], data: Data, n_epochs: int) -> float:
    """Run the plain script; return the best accuracy."""
    x, y, valid_x, valid_y = data

    def objective(trial: optuna.Trial) -> float:
        params = configurations[trial.suggest_int("i", 0, len(configurations) - 1)]
        model, optimizer = build(params, x.shape[1])
        loader = DataLoader(TensorDataset(x, y), batch_size=params["batch_size"], shuffle=True)
        best = 0.0
        for epoch in range(n_epochs):
            for rows, labels in loader:
                step(model, optimizer, rows, labels)
            best = max(best, accuracy(model, valid_x, valid_y))
            trial.report(best, epoch)
        return best

    study = optuna.create_study(direction="maximize")
    for i in range(len(configurations)):
        study.enqueue_trial({"i": i})
    study.optimize(objective, n_trials=len(configurations))
    return study.best_value


def _expert_worker(path: str, configurations: list[Params], data: Data, n_epochs: int) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, valid_x, valid_y = data
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))

    def objective(trial: optuna.Trial) -> float:
        params = configurations[trial.suggest_int("i", 0, len(configurations) - 1)]
        model, optimizer = build(params, x.shape[1])
        best = 0.0
        for _ in range(n_epochs):
            for rows in torch.randperm(len(x)).split(params["batch_size"]):
                step(model, optimizer, x[rows], y[rows])
            best = max(best, accuracy(model, valid_x, valid_y))
        return best

    while any(t.state is optuna.trial.TrialState.WAITING for t in study.get_trials(deepcopy=False)):
        study.optimize(objective, n_trials=1)


def expert(configurations: list[Params], data: Data, n_epochs: int) -> float:
    """Run the expert's two processes; return the best accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s.journal")
        storage = JournalStorage(JournalFileBackend(path))
        study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
        for i in range(len(configurations)):
            study.enqueue_trial({"i": i})
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_expert_worker, args=(path, configurations, data, n_epochs))
            for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return study.best_value


def scikit_learn(configurations: list[Params], data: Data, n_epochs: int) -> float:
    """Run scikit-learn's; return the best accuracy."""
    x, y, valid_x, valid_y = (part.numpy() for part in data)
    best = 0.0
    for params in configurations:
        model = MLPClassifier(
            hidden_layer_sizes=(params["hidden_units"],) * params["n_layers"],
            activation={"sigmoid": "logistic"}.get(params["activation"], params["activation"]),
            solver=params["optimizer"],
            learning_rate_init=params["learning_rate"],
            batch_size=params["batch_size"],
            max_iter=1,
            random_state=0,
        )
        for _ in range(n_epochs):
            model.partial_fit(x, y, classes=range(10))
            best = max(best, model.score(valid_x, valid_y))
    return best


def ours(configurations: list[Params], n_epochs: int, n_jobs: int, recipe: str = "plain") -> float:
    """Run ours; return the best accuracy."""
    result = tune_mlp(
        "digits",
        sampler="manual",
        trials=configurations,
        epochs=n_epochs,
        patience=None,
        pruner="none",
        recipe=recipe,
        folds=None,
        confirm=False,
        ensemble=False,
        n_jobs=n_jobs,
        show_progress_bar=False,
    )
    return result.best_value


def main() -> None:
    """Run all sides in turn and print a table for each set of trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data, n = digits(), options.epochs
    for title, configurations in (("32 mixed", mixed()), ("grid of 36", grid())):
        sides: dict[str, Callable[[], float]] = {
            "ours, 1 process": lambda c=configurations: ours(c, n, 1),  # type: ignore[misc]
            "ours, 2 processes": lambda c=configurations: ours(c, n, 2),  # type: ignore[misc]
            "ours, default recipe": lambda c=configurations: ours(c, n, 1, "modern"),  # type: ignore[misc]
            "scikit-learn": lambda c=configurations: scikit_learn(c, data, n),  # type: ignore[misc]
            "plain script": lambda c=configurations: plain(c, data, n),  # type: ignore[misc]
            "expert, 2 processes": lambda c=configurations: expert(c, data, n),  # type: ignore[misc]
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        best: dict[str, float] = {}
        for _ in range(options.repeats):
            for name, side in sides.items():
                start = time.perf_counter()
                best[name] = side()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        fastest = min(medians["ours, 1 process"], medians["ours, 2 processes"])
        print(f"{title}, {n} epochs: median of {options.repeats}")
        for name, median in medians.items():
            ratio = median / fastest
            print(f"  {name:<20} {median:7.2f} s  {ratio:5.2f}x  best accuracy {best[name]:.4f}")


if __name__ == "__main__":
    main()
