"""Which few configurations, tried in order, do well on most tables?

    python benchmarks/portfolio.py DATA_FOLDER [--configs 48] [--rows 1000 6000] [--out FILE]
    python benchmarks/portfolio.py --choose FILE [--size 10]

The first form trains the same random configurations on subsets of each table and writes their
validation values (never a test score) as they come; a file already there is continued. The second
orders them greedily: each one added lowers the mean regret of the best so far by most (Feurer et
al. 2015, "Initializing Bayesian hyperparameter optimization via meta-learning", and auto-sklearn
2.0's portfolios). Regret is the distance to a table's best value, in units of the table's spread
from its median to its best.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from quality import METRICS, NAMES, load

DEFAULT = {
    "learning_rate": 1e-3,
    "batch_size": 64,
    "n_layers": 2,
    "hidden_units": 128,
    "activation": "relu",
    "dropout": 0.2,
    "optimizer": "adam",
    "weight_decay": 0.0,
}


def configurations(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return the default configuration and random ones, the same at each call."""
    draw = np.random.default_rng(seed)
    found = [dict(DEFAULT)]
    while len(found) < n:
        found.append(
            {
                "learning_rate": float(np.exp(draw.uniform(np.log(3e-4), np.log(2e-2)))),
                "batch_size": int(draw.choice([32, 64, 128, 256])),
                "n_layers": int(draw.choice([1, 2, 3, 4])),
                "hidden_units": int(
                    draw.choice([32, 64, 128, 256, 512], p=[0.1, 0.2, 0.3, 0.25, 0.15])
                ),
                "activation": str(
                    draw.choice(["relu", "gelu", "silu", "tanh"], p=[0.4, 0.2, 0.2, 0.2])
                ),
                "dropout": float(draw.choice([0.0, 0.1, 0.2, 0.3, 0.5])),
                "optimizer": "adamw",
                "weight_decay": float(draw.choice([0.0, 1e-3, 1e-2, 1e-1])),
            }
        )
    return found


def evaluate(frame: pd.DataFrame, meta: dict[str, Any], configs: list[dict[str, Any]]) -> pd.Series:
    """Return each configuration's validation value."""
    from tuner import tune_mlp

    result = tune_mlp(
        frame,
        target="target",
        metric=METRICS[meta["task"]],
        task=meta["task"],
        categorical=meta["categorical_columns"] or None,
        sampler="manual",
        trials=configs,
        pruner="none",
        epochs=60,
        patience=12,
        folds=5 if len(frame) <= 2000 else None,
        show_progress_bar=False,
    )
    return result.trials_dataframe().set_index("number")["value"]


def choose(values: pd.DataFrame, size: int) -> list[int]:
    """Order configurations greedily by the mean regret of the best so far.

    Args:
        values: one row a table, one column a configuration; larger is better.
        size: how many to choose.
    """
    best, median = values.max(axis=1), values.median(axis=1)
    regret = (-values).add(best, axis=0).div((best - median).clip(lower=1e-9), axis=0)
    regret = regret.clip(upper=3).fillna(3)
    chosen: list[int] = []
    so_far = pd.Series(3.0, index=regret.index)
    for _ in range(size):
        means = regret.drop(columns=chosen).clip(upper=so_far, axis=0).mean()
        chosen.append(int(means.idxmin()))
        so_far = np.minimum(so_far, regret[chosen[-1]])
    return chosen


def main() -> None:
    """Train, or choose from what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--configs", type=int, default=48)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 6000])
    parser.add_argument("--out", type=Path, default=Path("portfolio.csv"))
    parser.add_argument("--choose", type=Path)
    parser.add_argument("--size", type=int, default=10)
    options = parser.parse_args()
    configs = configurations(options.configs)
    if options.choose:
        values = pd.read_csv(options.choose)
        table = values.pivot_table(index=["name", "rows"], columns="number", values="value")
        for number in choose(table, options.size):
            print(configs[number])
        return
    done = (
        pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=["name", "rows"])
    )
    for rows in options.rows:
        for name in NAMES:
            if ((done["name"] == name) & (done["rows"] == rows)).any():
                continue
            frame, meta = load(options.folder, name)
            if len(frame) > rows:
                frame = frame.sample(rows, random_state=0)
            elif rows != min(options.rows):
                continue
            found = evaluate(frame.reset_index(drop=True), meta, configs)
            part = pd.DataFrame(
                {"name": name, "rows": rows, "number": found.index, "value": found.values}
            )
            done = pd.concat([done, part], ignore_index=True)
            done.to_csv(options.out, index=False)
            print(
                name, rows, round(float(found.iloc[0]), 4), round(float(found.max()), 4), flush=True
            )


if __name__ == "__main__":
    main()
