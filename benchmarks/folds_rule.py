"""Which tables are better judged by folds, or have their best trials trained again on folds?

    python benchmarks/folds_rule.py DATA_FOLDER [NAME ...] [--rows 1500 3000] [--n-trials 20]
                                    [--seeds 1] [--out FILE]

Each search sees so many rows of a table; up to 4,000 others judge the result's model. Four ways are
compared: one validation split; the same with twice the trials; one split whose best trials are
trained again on five folds (``confirm``); and five folds for every trial. The table gives the mean
change of the error against one split, in percent, and the processor time, which unlike the time by
the clock does not depend on what else the machine does. A file already there is continued.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
from never_worse import Case, error, search

TABLES = {
    "phoneme": "roc_auc",
    "adult": "roc_auc",
    "california_housing": "rmse",
    "wine_quality": "rmse",
    "bike_sharing": "rmse",
    "diamonds": "rmse",
    "letter": "accuracy",
}
ONE_SPLIT: dict[str, Any] = {"folds": None, "confirm": False}
WAYS: dict[str, dict[str, Any]] = {
    "split": ONE_SPLIT,
    "split, twice the trials": ONE_SPLIT,
    "confirm": ONE_SPLIT | {"confirm": "auto"},
    "folds": ONE_SPLIT | {"folds": 5},
}


def main() -> None:
    """Run the searches that are not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(TABLES))
    parser.add_argument("--rows", type=int, nargs="*", default=[1500, 3000])
    parser.add_argument("--n-trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("folds_rule.csv"))
    options = parser.parse_args()
    found = pd.read_csv(options.out).to_dict("records") if options.out.exists() else []
    done = {(line["name"], line["rows"], line["seed"], line["way"]) for line in found}
    for seed in range(options.seeds):
        for rows in options.rows:
            for name in options.names:
                for way, chosen in WAYS.items():
                    if (name, rows, seed, way) in done:
                        continue
                    n_trials = options.n_trials * (2 if "twice" in way else 1)
                    start = time.process_time()
                    result, fresh = search(
                        options.folder,
                        Case(name, rows, TABLES[name]),
                        seed,
                        n_trials=n_trials,
                        **chosen,
                    )
                    cost = error(result, result.model, fresh)
                    cpu_s = time.process_time() - start
                    line = {"name": name, "rows": rows, "seed": seed, "way": way}
                    found.append(line | {"error": cost, "cpu_s": cpu_s})
                    pd.DataFrame(found).to_csv(options.out, index=False)
    table = pd.DataFrame(found).pivot_table(
        index=["rows", "name", "seed"], columns="way", values=["error", "cpu_s"]
    )
    change = 100 * table["error"].div(table["error"]["split"], axis=0) - 100
    print("change of the error against one split, in percent")
    print(change.groupby(["rows", "name"]).mean().round(1)[list(WAYS)].to_string())
    print(change.groupby("rows").mean().round(1)[list(WAYS)].to_string())
    print("processor time in seconds")
    print(table["cpu_s"].groupby("rows").mean().round(1)[list(WAYS)].to_string())


if __name__ == "__main__":
    main()
