"""Simulated learning curves: the YAHPO Gym surrogate of LCBench, and regret on its tasks.

The folder holds ``weights.npz``, ``encoding.json`` and ``meta.json``: a small residual network that
gives the validation accuracy of a multilayer perceptron for a task, seven hyperparameters and an
epoch (Pfisterer et al. 2022; data: Zimmer et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]

EPOCHS = 50
_ACCURACY = 1
_N_BLOCKS = 3
_N_RANDOM = 5000

# As in YAHPO Gym, except that the surrogate saw at most four layers, and that the batch size is a
# power of two as in this project. A study stores exponents under another name.
SPACE: Mapping[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "log2_batch_size": IntDistribution(4, 9),
    "max_dropout": FloatDistribution(0.0, 1.0),
    "max_units": IntDistribution(64, 1024, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "num_layers": IntDistribution(1, 4),
    "weight_decay": FloatDistribution(1e-5, 1e-1),
}
# Widths as powers of two, too: shapes coincide more often.
BUCKETS: Mapping[str, BaseDistribution] = {
    **{name: dist for name, dist in SPACE.items() if name != "max_units"},
    "log2_max_units": IntDistribution(6, 10),
}
_COLUMNS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)


def decoded(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that a study's parameters stand for."""
    powers = {
        name.removeprefix("log2_"): 2**value
        for name, value in stored.items()
        if name.startswith("log2_")
    }
    return powers | {n: value for n, value in stored.items() if not n.startswith("log2_")}


def suggest(trial: optuna.Trial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Suggest every parameter of ``space``."""
    for name, dist in space.items():
        if isinstance(dist, IntDistribution):
            trial.suggest_int(name, dist.low, dist.high, log=dist.log)
        elif isinstance(dist, FloatDistribution):
            trial.suggest_float(name, dist.low, dist.high, log=dist.log)
    return trial.params


def sampled(n: int, *, seed: int) -> list[dict[str, Any]]:
    """Return random configurations, the same at each call."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [dict(suggest(study.ask(), SPACE)) for _ in range(n)]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set: its learning curves, and what random search finds on it.

    Args:
        name: OpenML's number of the task.
        embedding: what the surrogate knows of the task.
        weights: of the surrogate.
        best: the best accuracy out of many random configurations.
        median: their median.
    """

    name: str
    embedding: Array
    weights: Mapping[str, Any]
    best: float = 1.0
    median: float = 0.0

    def curve(self, stored: Mapping[str, Any]) -> Array:
        """Return the validation accuracy after each of the epochs, in per cent."""
        params = decoded(stored)
        row = [float(params[name]) for name in _COLUMNS]
        return self.accuracy(np.array([[epoch, *row] for epoch in range(1, EPOCHS + 1)]))

    def regret(self, accuracy: Array) -> Array:
        """Return 0 for the best known accuracy and 1 for the median of random search."""
        return (self.best - accuracy) / (self.best - self.median)

    def accuracy(self, x: Array) -> Array:
        """Evaluate the surrogate on rows of epoch and hyperparameters."""
        w = self.weights
        x = np.where(w["x_log"], np.log(np.where(w["x_log"], x, 1.0)), x)
        x = ((x - w["x_shift"]) / w["x_scale"]).astype(np.float32)
        e = np.repeat(self.embedding[None], len(x), 0)
        h = np.concatenate([e, x], 1) @ w["first_layer_weight"].T + w["first_layer_bias"]
        for block in range(_N_BLOCKS):
            values, gates = np.split(
                _linear(_norm(h, w, f"l{block}_norm"), w, f"l{block}_linear0"), 2, 1
            )
            h = h + _linear(values * np.maximum(gates, 0), w, f"l{block}_linear1")
        h = np.maximum(_norm(h, w, "last_normalization"), 0)
        logit = h @ w["head_weight"][_ACCURACY] + w["head_bias"][_ACCURACY]
        share = 1 / (1 + np.exp(-np.clip(logit, -50, 50).astype(np.float64)))
        # The network gives the logarithm of the accuracy.
        found: Array = np.exp(share * w["y_scale"][_ACCURACY] + w["y_shift"][_ACCURACY])
        return found


def _norm(h: Any, w: Mapping[str, Any], name: str) -> Any:
    scale = w[f"{name}_weight"] / np.sqrt(w[f"{name}_running_var"] + 1e-5)
    return (h - w[f"{name}_running_mean"]) * scale + w[f"{name}_bias"]


def _linear(h: Any, w: Mapping[str, Any], name: str) -> Any:
    return h @ w[f"{name}_weight"].T + w[f"{name}_bias"]


def load_tasks(folder: Path, n_tasks: int | None) -> list[Task]:
    """Read the first ``n_tasks`` of the tasks of even index, which are those to develop on."""
    weights = dict(np.load(folder / "weights.npz"))
    codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
    names = list(json.loads((folder / "meta.json").read_text())["tasks"])[::2]
    return [
        _with_reference(
            Task(name=name, embedding=weights["embds_fct_0_weight"][codes[name]], weights=weights)
        )
        for name in names[:n_tasks]
    ]


def _with_reference(task: Task) -> Task:
    """Return the task with the best and the median of random search."""
    rng = np.random.default_rng(0)
    rows = np.stack([_random_column(name, rng) for name in _COLUMNS], 1)
    epochs = range(10, EPOCHS + 1, 10)
    curves = [task.accuracy(np.insert(rows, 0, epoch, axis=1)) for epoch in epochs]
    values = np.max(curves, axis=0)
    return Task(
        name=task.name,
        embedding=task.embedding,
        weights=task.weights,
        best=float(values.max()),
        median=float(np.median(values)),
    )


def _random_column(name: str, rng: np.random.Generator) -> Array:
    stored = name if name in SPACE else f"log2_{name}"
    dist: Any = SPACE[stored]
    if stored != name:
        return np.exp2(rng.integers(dist.low, dist.high + 1, _N_RANDOM))
    if isinstance(dist, IntDistribution) and not dist.log:
        return rng.integers(dist.low, dist.high + 1, _N_RANDOM).astype(float)
    if dist.log:
        return np.exp(rng.uniform(np.log(dist.low), np.log(dist.high), _N_RANDOM))
    return rng.uniform(dist.low, dist.high, _N_RANDOM)
