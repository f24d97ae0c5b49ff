"""How categories of many levels are best given to a network: rare ones grouped or not, one output
for each of the levels up to some number, or a learned embedding.

    python benchmarks/levels.py ../shared/data

Each rule trains the default configuration from three seeds on the same rows; the table has the mean
error on validation rows (1 - accuracy, or rmse over the target's deviation), to be compared along a
row. ``one-hot`` and ``embedding`` are two networks of `ModuleObjective`, alike but for how the
first layer sees the levels: one row of weights for each, or an embedding of 1.6 n ** 0.56 numbers.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from objectives.data import encoders
from objectives.mlp import MLPObjective
from objectives.module import ModuleObjective
from objectives.space.space import defaults

RULES = {
    "256, 2 rows": (256, 2),
    "256, 1 row": (256, 1),
    "256, 5 rows": (256, 5),
    "256, 10 rows": (256, 10),
    "64, 2 rows": (64, 2),
    "1024, 2 rows": (1024, 2),
    "8192, 2 rows": (8192, 2),
}
TABLES = ("adult", "credit_g", "diamonds", "nyc_taxi_fare", "titanic")
N_LEVELS = (200, 5000)
N_SEEDS = 3


def synthetic(n_levels: int, n_rows: int, seed: int) -> pd.DataFrame:
    """A table of two numbers and a category whose levels are as frequent as words (Zipf)."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, n_levels + 1)
    level = rng.choice(n_levels, n_rows, p=share / share.sum())
    x = rng.normal(size=(n_rows, 2))
    y = x[:, 0] + np.sin(2 * x[:, 1]) + rng.normal(size=n_levels)[level]
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "level": [f"l{k}" for k in level]})
    return frame.assign(y=y + 0.5 * rng.normal(size=n_rows))


def tables(folder: Path, n_rows: int) -> dict[str, tuple[pd.DataFrame, str, list[str]]]:
    """Return each table, its target and its columns of categories, by name."""
    found = {}
    for name in TABLES:
        meta = json.loads((folder / name / "meta.json").read_text())
        frame = pd.read_csv(folder / name / f"{name}.csv.gz")
        frame = frame.sample(min(n_rows, len(frame)), random_state=0).reset_index(drop=True)
        found[name] = frame, "target", list(meta["categorical_columns"])
    for n_levels in N_LEVELS:
        found[f"{n_levels} levels"] = synthetic(n_levels, n_rows, 0), "y", []
    return found


def best(objective: Any, seed: int) -> float:
    """Train the default configuration and return its best value on validation rows, as an error."""
    cohort = objective.cohort(seed=seed)
    cohort.add(0, defaults(objective.space))
    values, ended = [], False
    while not ended:
        result = cohort.train_epoch()[0]
        values.append(result.value)
        ended = result.stopped is not None
    if objective.metric.direction == "maximize":
        return 1 - max(values)
    return min(values) / float(np.std(objective.data.train.y))


class Network(nn.Module):
    """Numbers and the codes of levels, one-hot or embedded, through two hidden layers."""

    def __init__(self, n_numbers: int, sizes: list[int], n_outputs: int, embed: bool) -> None:
        super().__init__()
        widths = [min(50, math.ceil(1.6 * n**0.56)) if embed else 128 for n in sizes]
        self.embed = embed
        self.levels = nn.ModuleList(nn.Embedding(n, w) for n, w in zip(sizes, widths, strict=True))
        for level in self.levels:
            nn.init.normal_(level.weight, std=0.1)
        self.first = nn.Linear(n_numbers + (sum(widths) if embed else 0), 128)
        middle = (nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.2))
        self.rest = nn.Sequential(*middle, nn.Linear(128, n_outputs))

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """Return the outputs of rows."""
        parts = [level(codes[:, k]) for k, level in enumerate(self.levels)]
        if self.embed:
            return self.rest(self.first(torch.cat([x, *parts], dim=1)))
        return self.rest(self.first(x) + sum(parts))


def module_errors(frame: pd.DataFrame, target: str, categorical: list[str]) -> dict[str, float]:
    """Return the errors of both networks of `ModuleObjective`."""
    X = frame.drop(columns=target)
    text = [c for c in X if c in categorical or not pd.api.types.is_numeric_dtype(X[c])]
    if not text:
        return {}
    codes, sizes = [], []
    for name in text:
        column = X[name].astype(str)
        counts = column.value_counts()
        code, levels = pd.factorize(column.where(column.map(counts) >= 2, "rare"))
        codes.append(code)
        sizes.append(len(levels))
    numbers = X.drop(columns=text)
    numbers = (numbers - numbers.median()) / (numbers.std() + 1e-9)
    inputs = {
        "x": numbers.fillna(0.0).to_numpy(np.float32, copy=True).reshape(len(X), -1),
        "codes": np.column_stack(codes).astype(np.int64),
    }
    found = {}
    for name, embed in (("one-hot", False), ("embedding", True)):

        def build(n_outputs: int, embed: bool = embed) -> nn.Module:
            return Network(inputs["x"].shape[1], sizes, n_outputs, embed)

        objective = ModuleObjective(
            build, (inputs, frame[target].to_numpy()), space={"epochs": 40}, patience=8
        )
        found[name] = float(np.mean([best(objective, seed) for seed in range(N_SEEDS)]))
    return found


def main() -> None:
    """Train every rule on every table and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--names", nargs="*")
    options = parser.parse_args()
    rows = {}
    for name, (frame, target, categorical) in tables(options.folder, options.rows).items():
        if options.names and name not in options.names:
            continue
        rows[name] = {}
        for rule, (encoders.MAX_LEVELS, encoders.MIN_LEVEL_ROWS) in RULES.items():
            objective = MLPObjective(
                frame,
                target=target,
                categorical=categorical,
                space={"epochs": 40},
                patience=8,
                n_repeats=N_SEEDS,
            )
            rows[name][rule] = best(objective, 0)
        rows[name] |= module_errors(frame, target, categorical)
        print(pd.DataFrame({name: rows[name]}).T.round(4).to_string(), flush=True)
    print(pd.DataFrame(rows).T.round(4).to_string())


if __name__ == "__main__":
    main()
