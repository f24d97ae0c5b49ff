"""Which few configurations, tried in order, do well on most tables?

    python benchmarks/portfolio.py DATA_FOLDER [--rows 1000 4000] [--numbers 0 1 7 ...]
        [--out portfolio.csv]
    python benchmarks/portfolio.py --choose portfolio.csv [--size 7] [--kinds relu+wd tanh+wd ...]

The first form trains the same configurations on subsets of each table and writes their validation
values (never a test score) as they come; a file already there is continued. The second orders those
that every table has greedily: each one added lowers the mean regret of the best so far by most
(Feurer et al. 2015, "Initializing Bayesian hyperparameter optimization via meta-learning", and
auto-sklearn 2.0's portfolios). Regret is the distance to a table's best value, in units of the
table's spread from its median to its best. Each size is also judged on tables that its portfolio
was not chosen on: both subsets of the table are left out in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from quality import METRICS, WHOLE, load

_N_BASES, _N_SGD = 12, 12
_SHAPES = (
    (2, 128),
    (3, 256),
    (2, 256),
    (1, 256),
    (2, 64),
    (3, 128),
    (2, 512),
    (4, 128),
    (1, 128),
    (2, 256),
    (3, 256),
    (2, 128),
)
_DROPOUT = (0.0, 0.1, 0.2, 0.35, 0.1, 0.2, 0.35, 0.0, 0.1, 0.5, 0.35, 0.2)
_SGD_SHAPES = (
    (1, 256, 0.1),
    (2, 128, 0.2),
    (2, 256, 0.35),
    (1, 128, 0.2),
    (3, 128, 0.1),
    (2, 128, 0.0),
    (1, 256, 0.5),
    (2, 256, 0.2),
    (1, 64, 0.0),
    (3, 256, 0.3),
    (2, 128, 0.4),
    (1, 256, 0.2),
)
_LARGEST_REGRET = 3.0
_TIE = 0.1  # weight of a configuration's own mean regret: on few tables many would be alike


def configurations() -> list[tuple[str, dict[str, Any]]]:
    """Return kind and values of each configuration, the same at each call.

    Kinds stand side by side on the same learning rates, shapes and dropout, so that what weight
    decay or an activation does can be told from the rest. More of SGD follow.
    """
    draw = np.random.default_rng(5)
    rates = draw.permutation(np.geomspace(5e-4, 1.5e-2, _N_BASES))
    decays = draw.permutation(np.geomspace(1e-4, 1e-2, _N_BASES))
    good = {"learning_rate": 0.003, "n_layers": 3, "hidden_units": 256, "dropout": 0.1}
    found: list[tuple[str, dict[str, Any]]] = [("default", {}), ("good", good)]
    for number, (n_layers, width) in enumerate(_SHAPES):
        base = {
            "learning_rate": round(float(rates[number]), 5),
            "n_layers": n_layers,
            "hidden_units": width,
            "dropout": _DROPOUT[number],
        }
        decay = round(float(decays[number]), 6)
        other: dict[str, Any] = {"activation": "tanh"}
        kinds: dict[str, dict[str, Any]] = {"relu": {}, "gelu": {"activation": "gelu"}}
        if number % 2:
            rate = round(min(0.1, 12 * base["learning_rate"]), 4)
            other = {"optimizer": "sgd", "learning_rate": rate}
        kinds["sgd" if number % 2 else "tanh"] = other
        for kind, values in kinds.items():
            most = min(decay, 1e-3) if kind == "sgd" else decay
            found += [(kind, base | values), (f"{kind}+wd", base | values | {"weight_decay": most})]
    draw = np.random.default_rng(7)
    rates = draw.permutation(np.geomspace(5e-3, 5e-2, _N_SGD))
    decays = draw.permutation(np.geomspace(1e-4, 3e-3, _N_SGD))
    for number, (n_layers, width, dropout) in enumerate(_SGD_SHAPES):
        params = {
            "learning_rate": round(float(rates[number]), 4),
            "n_layers": n_layers,
            "hidden_units": width,
            "dropout": dropout,
            "optimizer": "sgd",
            "activation": "relu" if number % 3 else "tanh",
            "weight_decay": round(float(decays[number]), 5),
        }
        found.append(("sgd+wd", params))
    return found


def evaluate(frame: pd.DataFrame, meta: dict[str, Any], configs: list[dict[str, Any]]) -> pd.Series:
    """Return each configuration's validation value."""
    from tuner import tune_mlp

    small = len(frame) <= 1000
    result = tune_mlp(
        frame,
        target="target",
        metric=METRICS[meta["task"]],
        task=meta["task"],
        categorical=meta["categorical_columns"] or None,
        sampler="manual",
        trials=[{"batch_size": 64 if small else 128, **config} for config in configs],
        pruner="none",
        epochs=60,
        patience=12,
        folds=3 if small else None,
        ensemble=False,
        show_progress_bar=False,
    )
    return result.trials_dataframe().set_index("number")["value"]


def regrets(values: pd.DataFrame) -> pd.DataFrame:
    """Return the regret of values (larger is better), a row a table, a column a configuration."""
    best, median = values.max(axis=1), values.median(axis=1)
    regret = (-values).add(best, axis=0).div((best - median).clip(lower=1e-9), axis=0)
    return regret.clip(upper=_LARGEST_REGRET).fillna(_LARGEST_REGRET)


def choose(values: pd.DataFrame, size: int, first: Sequence[int] = ()) -> list[int]:
    """Order configurations greedily by the mean regret of the best so far.

    Args:
        values: one row a table, one column a configuration; larger is better.
        size: how many to choose.
        first: what is tried before them.
    """
    regret = regrets(values)
    so_far = regret[list(first)].min(axis=1) if first else regret.max(axis=1)
    chosen: list[int] = []
    for _ in range(size):
        left = regret.drop(columns=[*first, *chosen])
        means = left.clip(upper=so_far, axis=0).mean() + _TIE * left.mean()
        chosen.append(int(means.idxmin()))
        so_far = np.minimum(so_far, regret[chosen[-1]])
    return chosen


def judge(values: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return the mean regret after the default and so many of the portfolio, and its standard error
    over tables: on the tables that chose it, and on each table left out of the choice.
    """
    regret, names = regrets(values), values.index.get_level_values("name")
    inside = choose(values, size, first=[0])
    rows = {}
    outside = {name: choose(values[names != name], size, first=[0]) for name in set(names)}
    for k in range(size + 1):
        left_out = [
            regret.loc[[key], [0, *outside[key[0]][:k]]].min(axis=1).iloc[0] for key in regret.index
        ]
        rows[k] = {
            "same tables": regret[[0, *inside[:k]]].min(axis=1).mean(),
            "tables left out": np.mean(left_out),
            "standard error": np.std(left_out) / len(left_out) ** 0.5,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def train(folder: Path, sizes: Sequence[int], numbers: Sequence[int], out: Path) -> None:
    """Train configurations on each table, and write a table's values when they are known."""
    configs = configurations()
    columns = ["name", "rows", "number", "value"]
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=columns)
    for rows in sizes:
        for name in WHOLE:
            frame, meta = load(folder, name)
            known = ((done["name"] == name) & (done["rows"] == rows)).any()
            if known or (len(frame) < rows and rows != min(sizes)):
                continue
            if len(frame) > rows:
                frame = frame.sample(rows, random_state=1).reset_index(drop=True)
            found = evaluate(frame, meta, [configs[number][1] for number in numbers])
            part = pd.DataFrame({"number": numbers, "value": found.to_numpy()})
            done = pd.concat([done, part.assign(name=name, rows=rows)], ignore_index=True)
            done.to_csv(out, index=False)
            print(name, rows, round(found.max(), 4), flush=True)


def main() -> None:
    """Train, or choose from what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 4000])
    parser.add_argument("--numbers", type=int, nargs="*", default=range(len(configurations())))
    parser.add_argument("--out", type=Path, default=Path("portfolio.csv"))
    parser.add_argument("--choose", type=Path)
    parser.add_argument("--size", type=int, default=7)
    parser.add_argument("--kinds", nargs="*", help="to choose from, beside the default; all")
    options = parser.parse_args()
    if options.folder:
        train(options.folder, options.rows, options.numbers, options.out)
    if not options.choose:
        return
    configs = configurations()
    table = pd.read_csv(options.choose).pivot_table(
        index=["name", "rows"], columns="number", values="value"
    )
    table = table.dropna(axis="columns")
    kinds = pd.Series([kind for kind, _ in configs])
    print(regrets(table).T.groupby(kinds).mean().T.round(2).to_string())
    if options.kinds:
        table = table[[n for n in table if kinds[n] in ("default", *options.kinds)]]
    print(judge(table, options.size).round(3).to_string())
    for number in choose(table, options.size, first=[0]):
        print(*configs[number])


if __name__ == "__main__":
    main()
