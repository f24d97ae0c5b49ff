"""Is the tuned model ever worse than the default configuration? Twenty small tables, five seeds.

    python benchmarks/never_worse.py DATA_FOLDER [NAME ...] [--n-trials 12] [--seeds 5] [--out FILE]

Each search sees 100 to 1,000 rows of a table, drawn anew for each seed; up to 4,000 others, which
no search sees, judge what comes of it. The default configuration is trial 0 of the same search, so
it has the same folds and seed. A file already there is continued.

The table has one line a table: the mean error of the default configuration, of the best trial and
of the result's model; the gain of each in percent of the default's error; and the 95% t interval of
the model's gain over seeds. The error is the metric, or 1 less the metric where higher is better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn import datasets

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quality import load
from objectives.models.mlp import FittedModel
from tuner import TuningResult, tune_mlp

MAX_FRESH = 4000


class Case(NamedTuple):
    """A table, the rows that a search sees, and the metric that it tunes."""

    table: str
    rows: int
    metric: str

    @property
    def name(self) -> str:
        """Of the case, in the file and on the command line."""
        return f"{self.table}-{self.rows}"


CASES = (
    Case("iris", 100, "log_loss"),
    Case("wine", 120, "log_loss"),
    Case("breast_cancer", 300, "log_loss"),
    Case("digits", 600, "accuracy"),
    Case("diabetes", 300, "rmse"),
    Case("titanic", 500, "accuracy"),
    Case("credit_g", 250, "accuracy"),
    Case("credit_g", 500, "roc_auc"),
    Case("adult", 300, "log_loss"),
    Case("adult", 1000, "roc_auc"),
    Case("phoneme", 300, "accuracy"),
    Case("phoneme", 1000, "roc_auc"),
    Case("sick", 600, "roc_auc"),
    Case("letter", 1000, "accuracy"),
    Case("california_housing", 300, "rmse"),
    Case("california_housing", 1000, "r2"),
    Case("wine_quality", 500, "mae"),
    Case("bike_sharing", 600, "rmse"),
    Case("diamonds", 400, "rmse"),
    Case("nyc_taxi_fare", 800, "mae"),
)


def table_of(folder: Path, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a table and its categorical columns, from scikit-learn or from the folder."""
    if hasattr(datasets, f"load_{name}"):
        return getattr(datasets, f"load_{name}")(as_frame=True).frame, []
    frame, meta = load(folder, name)
    return frame, meta["categorical_columns"]


def search(
    folder: Path, case: Case, seed: int, **options: Any
) -> tuple[TuningResult, pd.DataFrame]:
    """Tune on rows drawn by ``seed``; return the result and the rows that judge it."""
    frame, categorical = table_of(folder, case.table)
    frame = frame.sample(frac=1.0, random_state=seed, ignore_index=True)
    result = tune_mlp(
        frame.iloc[: case.rows],
        target="target",
        metric=case.metric,
        task="regression" if case.metric in ("rmse", "mae", "r2") else None,
        categorical=categorical or None,
        seed=seed,
        show_progress_bar=False,
        **options,
    )
    fresh = frame.iloc[case.rows : case.rows + MAX_FRESH]
    classes = result.objective.data.classes
    return result, fresh if classes is None else fresh[fresh["target"].isin(classes)]


def error(result: TuningResult, model: FittedModel, fresh: pd.DataFrame) -> float:
    """Return a model's error on rows that its search has not seen."""
    score = model.score(fresh.drop(columns="target"), fresh["target"].to_numpy())
    return 1 - score if result.objective.metric.direction == "maximize" else score


def row(case: Case, seed: int, result: TuningResult, fresh: pd.DataFrame) -> dict[str, Any]:
    """Return one line of the file."""
    first = result.default_trial
    assert first is not None, "the default configuration is trial 0"
    return {
        "name": case.name,
        "metric": case.metric,
        "seed": seed,
        "default": error(result, result.model_of(first.number), fresh),
        "best": error(result, result.best_model, fresh),
        "model": error(result, result.model, fresh),
        "best_trial": result.best_trial.number,
        "n_members": len(result.ensemble_weights()),
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line a table, and whether the model is worse there than noise explains."""
    lines = []
    for name, part in rows.groupby("name", sort=False):
        default, n = part["default"].mean(), len(part)
        gains = 100 * (part["default"] - part["model"]) / default
        half = t.ppf(0.975, n - 1) * gains.std() / np.sqrt(n) if n > 1 else np.inf
        lines.append(
            {
                "name": name,
                "metric": part["metric"].iloc[0],
                "default": default,
                "best": part["best"].mean(),
                "model": part["model"].mean(),
                "best_gain": 100 * (1 - part["best"].mean() / default),
                "gain": gains.mean(),
                "low": gains.mean() - half,
                "high": gains.mean() + half,
                "worst_seed": gains.min(),
                "is_worse": gains.mean() + half < 0,
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    """Run the searches that are not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--n-trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("never_worse.csv"))
    options = parser.parse_args()
    rows = pd.read_csv(options.out).to_dict("records") if options.out.exists() else []
    done = {(line["name"], line["seed"]) for line in rows}
    for seed in range(options.seeds):
        for case in CASES:
            if case.name not in options.names or (case.name, seed) in done:
                continue
            result, fresh = search(options.folder, case, seed, n_trials=options.n_trials)
            rows.append(row(case, seed, result, fresh))
            pd.DataFrame(rows).to_csv(options.out, index=False)
    table = summary(pd.DataFrame(rows))
    print(table.round(3).to_string(index=False))
    print(
        f"mean gain {table['gain'].mean():.1f}% of the default's error (best trial alone "
        f"{table['best_gain'].mean():.1f}%); worse beyond noise on {table['is_worse'].sum()} and "
        f"below the default on {(table['gain'] < 0).sum()} of {len(table)} tables"
    )


if __name__ == "__main__":
    main()
