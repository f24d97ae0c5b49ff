"""Default against tuned against gradient boosting, on eleven real tables.

    python benchmarks/quality.py DATA_FOLDER [NAME ...] [--n-trials 30] [--seed 0] [--out FILE]

Each folder NAME in DATA_FOLDER holds ``NAME.csv.gz`` (label column ``target``) and ``meta.json``.
Every search runs with default settings. Gradient boosting is scikit-learn's histogram
implementation with its defaults, fitted on the same training and validation rows as the search and
scored on the same test rows; the search never sees those.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from objectives.data.table import TabularData
from objectives.metrics import Metric
from tuner import TuningResult, tune_mlp

NAMES = (
    "adult",
    "credit_g",
    "titanic",
    "phoneme",
    "sick",
    "letter",
    "california_housing",
    "diamonds",
    "wine_quality",
    "bike_sharing",
    "nyc_taxi_fare",
)
METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}


def load(folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read one table and its description."""
    meta = json.loads((folder / name / "meta.json").read_text())
    dtypes = {column: str for column in meta["categorical_columns"]}
    frame = pd.read_csv(
        folder / name / f"{name}.csv.gz", keep_default_na=False, na_values=[""], dtype=dtypes
    )
    return frame, meta


def boosting(data: TabularData, metric: Metric) -> float:
    """Fit gradient boosting on the search's rows; return its score on the test rows."""
    test = data.open_test()
    features = pd.concat([data.train.X, data.valid.X])
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=float("nan"), max_categories=255
    )
    encode = make_column_transformer((codes, list(data.categorical)), remainder="passthrough")
    kind = (
        HistGradientBoostingRegressor
        if data.task == "regression"
        else HistGradientBoostingClassifier
    )
    model = make_pipeline(
        encode, kind(categorical_features=list(range(len(data.categorical))), random_state=0)
    )
    model.fit(features, [*data.train.y, *data.valid.y])
    prediction = model.predict(test.X) if data.task == "regression" else model.predict_proba(test.X)
    return metric.score(test.y, prediction)


def row(name: str, result: TuningResult, wall_s: float, meta: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    states = result.trials_dataframe()["state"]
    metric = result.objective.metric
    reference = {"roc_auc": "auc"}.get(metric.name, metric.name)
    default = result.test_score(result.model_of(0))
    tuned = result.test_score()
    return {
        "name": name,
        "metric": metric.name,
        "valid_default": result.trials_dataframe()["value"].iloc[0],
        "valid_tuned": result.best_value,
        "test_default": float(default),
        "test_tuned": float(tuned),
        "test_refit": float(result.test_score(result.refit())),
        "boosting_same_split": boosting(result.objective.data, metric),
        "reference": meta["hgb"][reference],
        "trials": len(states),
        "pruned": int((states == "PRUNED").sum()),
        "wall_s": round(wall_s, 1),
    }


def main() -> None:
    """Run the searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--n-trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("quality.csv"))
    options = parser.parse_args()
    rows = []
    for name in options.names:
        frame, meta = load(options.folder, name)
        start = time.perf_counter()
        result = tune_mlp(
            frame,
            target="target",
            metric=METRICS[meta["task"]],
            categorical=meta["categorical_columns"] or None,
            n_trials=options.n_trials,
            seed=options.seed,
            show_progress_bar=False,
        )
        rows.append(row(name, result, time.perf_counter() - start, meta))
        print(
            pd.DataFrame(rows[-1:]).round(4).to_string(index=False, header=len(rows) == 1),
            flush=True,
        )
        pd.DataFrame(rows).to_csv(options.out, index=False)
    table = pd.DataFrame(rows)
    counts = {
        "tuned beats default": table["test_tuned"] > table["test_default"],
        "tuned within 0.01 of the reference": table["test_tuned"] >= table["reference"] - 0.01,
        "tuned within 0.01 of boosting on the same split": (
            table["test_tuned"] >= table["boosting_same_split"] - 0.01
        ),
    }
    for what, holds in counts.items():
        print(f"{what}: {holds.sum()} of {len(table)}")


if __name__ == "__main__":
    main()
