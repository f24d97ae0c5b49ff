"""Time and memory of the default recipe on large and on wide tables, each in a process of its own.

    python benchmarks/large_tables.py [--only 100000x20] [--recipe plain]

One trial of one epoch on one core: seconds to prepare (load, check, split, encode), seconds of the
whole call and of training in it, seconds to predict for all rows, with the processor's seconds
beside each in brackets, and the highest memory of the process, as `resource.getrusage` tells it, of
which the libraries take about 400 MB. The numbers are float32; ``+10`` are columns of text.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

TABLES = ("100000x20", "300000x30", "1000000x10", "2000x5000", "1000000x50+10")
LEVELS = 20


def make_table(name: str) -> pd.DataFrame:
    """Return a table of so many rows, numeric and text columns, and a target of two classes."""
    shape, _, texts = name.partition("+")
    n_rows, n_numbers = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((n_rows, n_numbers), dtype=np.float32)
    table = pd.DataFrame(numbers, columns=[f"x{k}" for k in range(n_numbers)])
    levels = np.array([f"level {k}" for k in range(LEVELS)], dtype=object)
    for k in range(int(texts or 0)):
        table[f"text{k}"] = pd.Series(levels[rng.integers(LEVELS, size=n_rows)], dtype="str")
    table["y"] = (numbers[:, 0] + rng.normal(size=n_rows) > 0).astype(int)
    return table


@contextlib.contextmanager
def timed(spent: list[str]) -> Iterator[None]:
    """Note the seconds by the clock, and those of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    spent.append(f"{time.perf_counter() - clock:7.2f} ({time.process_time() - processor:6.2f})")


def measure(name: str, recipe: str) -> None:
    """Prepare, tune and predict once, and print the row of the table."""
    from objectives import MLPObjective
    from tuner import tune_mlp

    table, spent = make_table(name), list[str]()
    with timed(spent):
        objective = MLPObjective(table, target="y", recipe=recipe, device="cpu")
    data = objective.data
    del objective
    with timed(spent):
        result = tune_mlp(
            data, recipe=recipe, n_trials=1, epochs=1, device="cpu", n_jobs=1, folds=None,
            ensemble=False, show_progress_bar=False,
        )  # fmt: skip
    trained = result.trials_dataframe()["duration_s"].sum()
    X = table.drop(columns="y")
    with timed(spent):
        result.model.predict(X)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = f"{name:>15}{spent[0]:>19}{spent[1]:>19}{trained:9.2f}{spent[2]:>19}{peak:9.0f}"
    print(line, flush=True)


def main() -> None:
    """Measure each table in a fresh process, and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=TABLES)
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return measure(options.here, options.recipe)
    head = f"{'table':>15}{'prepare':>19}{'tune one epoch':>19}{'training':>9}"
    print(f"{head}{'predict all':>19}{'peak MB':>9}")
    for name in options.only:
        command = [sys.executable, __file__, "--here", name, "--recipe", options.recipe]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
