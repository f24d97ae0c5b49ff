"""The default call against other ways to a model, on the same held-out rows of real tables.

    pip install ".[bench]"
    python benchmarks/quality.py DATA_FOLDER [--out quality.csv] [--contenders NAME ...]
        [--cases whole|subsets] [--seeds 3] [--seconds-whole 60] [--seconds-subset 20]

Each folder NAME in DATA_FOLDER holds ``NAME.csv.gz`` (label column ``target``) and ``meta.json``.
Cases are whole tables (three quarters to train on, a quarter to score) and subsets of 300, 1,000
and 3,000 training rows (scored on up to 5,000 of the others). Every contender is given the same
training rows and splits off its own validation rows; no one sees the test rows. Searches have the
same seconds; the others take what they take. A search's test score steers nothing.

A row is written as soon as it is known, and rows that are there are not run again. At the end comes
the table of what there is: mean score, mean rank, and the share of cases ahead of the better
gradient boosting, where a difference within one standard error (paired bootstrap) counts half.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from torch import Tensor, nn

from tuner import tune_mlp

WHOLE = (
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
IN_PARTS = ("adult", "phoneme", "california_housing", "diamonds", "wine_quality", "nyc_taxi_fare")
SIZES = (300, 1000, 3000)
METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
SCORES = {"roc_auc": roc_auc_score, "accuracy": accuracy_score, "r2": r2_score}
BOOSTING = ("LightGBM", "HistGradientBoosting")


@dataclass
class Case:
    """Training rows, test rows, and what a contender may know of them."""

    name: str
    n_rows: int
    seed: int
    seconds: float
    task: str
    categorical: list[str]
    X: pd.DataFrame
    y: pd.Series
    test_x: pd.DataFrame
    test_y: np.ndarray

    @property
    def metric(self) -> str:
        """Return the metric's name."""
        return METRICS[self.task]

    @property
    def key(self) -> tuple[str, int, int]:
        """Return what names the case in the table."""
        return self.name, self.n_rows, self.seed

    def encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return training and test inputs as most scripts make them: scaled, and one-hot."""
        numeric = [column for column in self.X if column not in self.categorical]
        levels = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5)
        encode = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numeric),
            (levels, self.categorical),
            sparse_threshold=0,
        )
        return encode.fit_transform(self.X), encode.transform(self.test_x)

    def codes(self) -> np.ndarray:
        """Return the targets as floats, classes numbered in their order."""
        if self.task == "regression":
            return self.y.to_numpy(np.float32)
        return pd.Categorical(self.y).codes.astype(np.float32)


def load(folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read one table and its description."""
    meta = json.loads((folder / name / "meta.json").read_text())
    dtypes = {column: str for column in meta["categorical_columns"]}
    frame = pd.read_csv(
        folder / name / f"{name}.csv.gz", keep_default_na=False, na_values=[""], dtype=dtypes
    )
    return frame.dropna(axis=1, how="all"), meta


def case(folder: Path, name: str, n_rows: int | None, seed: int, seconds: float) -> Case:
    """Split one table; ``n_rows=None`` is all of it."""
    frame, meta = load(folder, name)
    stratify = None if meta["task"] == "regression" else frame["target"]
    train, test = train_test_split(
        frame, train_size=n_rows or 0.75, random_state=seed, stratify=stratify
    )
    y, test = train["target"], test.iloc[:5000] if n_rows else test
    test_y = test["target"].to_numpy()
    if meta["task"] == "binary":
        test_y = test_y == np.unique(y)[1]
    categorical = [column for column in meta["categorical_columns"] if column in frame]
    X, test_x = train.drop(columns="target"), test.drop(columns="target")
    return Case(name, n_rows or 0, seed, seconds, meta["task"], categorical, X, y, test_x, test_y)


def predicted(model: Any, X: Any, task: str) -> np.ndarray:
    """Return what the metric reads: values, classes, or the second class's probability."""
    predict = model.predict_proba if task == "binary" else model.predict
    given = np.asarray(predict(X))
    return given[:, 1] if task == "binary" else given


def ours(case: Case, **options: Any) -> np.ndarray:
    """Search by `tune_mlp`; the search is given no test split, as the case keeps one."""
    result = tune_mlp(
        case.X.assign(target=case.y),
        target="target",
        task=case.task,
        metric=case.metric,
        categorical=case.categorical or None,
        test_size=0,
        seed=case.seed,
        show_progress_bar=False,
        **({"timeout": case.seconds} | options),
    )
    return predicted(result.model, case.test_x, case.task)


def default(case: Case) -> np.ndarray:
    """Train the default configuration, without a search."""
    return ours(case, timeout=None, n_trials=1)


def one_core(case: Case) -> np.ndarray:
    """Search on one split and one core, and take the single best network."""
    return ours(case, folds=None, ensemble=False, n_jobs=1)


def boosting(case: Case) -> np.ndarray:
    """Fit scikit-learn's gradient boosting with its defaults."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=float("nan"), max_categories=255
    )
    encode = make_column_transformer((codes, case.categorical), remainder="passthrough")
    kind: Any = (
        HistGradientBoostingRegressor
        if case.task == "regression"
        else HistGradientBoostingClassifier
    )
    places = list(range(len(case.categorical)))
    model = make_pipeline(encode, kind(categorical_features=places, random_state=case.seed))
    model.fit(case.X, case.y)
    return predicted(model, case.test_x, case.task)


def lightgbm(case: Case) -> np.ndarray:
    """Fit LightGBM with its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    dtypes = {
        column: pd.CategoricalDtype(case.X[column].dropna().unique().tolist())
        for column in case.categorical
    }
    kind = LGBMRegressor if case.task == "regression" else LGBMClassifier
    model = kind(random_state=case.seed, n_jobs=1, verbose=-1)
    model.fit(case.X.astype(dtypes), case.y)
    return predicted(model, case.test_x.astype(dtypes), case.task)


def pytabkit(kind: str) -> Callable[[Case], np.ndarray]:
    """Return a contender: a model of pytabkit with its tuned defaults, on one core."""

    def fit(case: Case) -> np.ndarray:
        import pytabkit

        role = "Regressor" if case.task == "regression" else "Classifier"
        choose = {"roc_auc": "1-auc_ovr", "accuracy": "class_error", "r2": "rmse"}[case.metric]
        model = getattr(pytabkit, f"{kind}_{role}")(
            device="cpu", random_state=case.seed, n_threads=1, val_metric_name=choose
        )
        middle = case.X.median(numeric_only=True)  # it takes no missing numbers
        model.fit(case.X.fillna(middle), case.y, cat_col_names=case.categorical)
        return predicted(model, case.test_x.fillna(middle), case.task)

    return fit


def network(trial: optuna.Trial, n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Build the network of an expert's script."""
    width = trial.suggest_int("width", 16, 512, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    layers: list[nn.Module] = []
    for _ in range(trial.suggest_int("n_layers", 1, 4)):
        layers += [nn.Linear(n_inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


def outputs(model: nn.Module, x: Tensor, task: str) -> np.ndarray:
    """Return what the metric reads of a network's outputs."""
    with torch.no_grad():
        raw = model.eval()(x)
    if task == "multiclass":
        return raw.argmax(1).numpy()
    return raw[:, 0].numpy()


def expert_worker(case: Case, folder: str, ends: float) -> None:
    """Search as an expert's script does: tensors in memory, Adam, early stopping, a pruner."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, test_x = (torch.as_tensor(part, dtype=torch.float32) for part in case.encoded())
    y = torch.as_tensor(case.codes())
    shift, scale = (float(y.mean()), float(y.std())) if case.task == "regression" else (0.0, 1.0)
    target = y.long() if case.task == "multiclass" else ((y - shift) / scale)[:, None]
    rows, valid = train_test_split(
        np.arange(len(y)),
        test_size=0.2,
        random_state=case.seed,
        stratify=None if case.task == "regression" else y.numpy(),
    )
    loss: nn.Module = {
        "binary": nn.BCEWithLogitsLoss(),
        "multiclass": nn.CrossEntropyLoss(),
        "regression": nn.MSELoss(),
    }[case.task]
    n_outputs = int(y.max()) + 1 if case.task == "multiclass" else 1
    score: Any = SCORES[case.metric]

    def objective(trial: optuna.Trial) -> float:
        model = network(trial, x.shape[1], n_outputs)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        )
        size = 2 ** trial.suggest_int("log2_batch_size", 5, 8)
        best, best_epoch = -np.inf, 0
        for epoch in range(100):
            model.train()
            for part in torch.as_tensor(rows)[torch.randperm(len(rows))].split(size):
                optimizer.zero_grad()
                loss(model(x[part]), target[part]).backward()
                optimizer.step()
            found = outputs(model, x[valid], case.task)
            value = score(y[valid].numpy(), found * scale + shift)
            if value > best:
                best, best_epoch = value, epoch
                np.save(f"{folder}/{trial.number}.npy", outputs(model, test_x, case.task))
            trial.report(best, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            if epoch - best_epoch >= 20 or time.time() > ends:
                break
        return float(best)

    storage = JournalStorage(JournalFileBackend(f"{folder}/study.journal"))
    study = optuna.load_study(
        study_name="expert", storage=storage, pruner=optuna.pruners.MedianPruner(5, 5)
    )
    study.optimize(objective, timeout=max(ends - time.time(), 1.0))


def expert(case: Case) -> np.ndarray:
    """Run an expert's script in two processes; return the best trial's predictions."""
    with tempfile.TemporaryDirectory() as folder:
        storage = JournalStorage(JournalFileBackend(f"{folder}/study.journal"))
        study = optuna.create_study(study_name="expert", storage=storage, direction="maximize")
        ends = time.time() + case.seconds
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=expert_worker, args=(case, folder, ends)) for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best: np.ndarray = np.load(f"{folder}/{study.best_trial.number}.npy")
    if case.task == "multiclass":
        return np.unique(case.y)[best]
    if case.task == "regression":
        return best * case.codes().std(ddof=1) + case.codes().mean()
    return best


CONTENDERS: dict[str, Callable[[Case], np.ndarray]] = {
    "tune_mlp": ours,
    "one split, one core": one_core,
    "default configuration": default,
    "expert's script": expert,
    "HistGradientBoosting": boosting,
    "LightGBM": lightgbm,
    "RealMLP-TD": pytabkit("RealMLP_TD"),
    "TabM-D": pytabkit("TabM_D"),
}


def standard_error(case: Case, one: np.ndarray, other: np.ndarray, n_draws: int = 100) -> float:
    """Return the standard error of the difference of two scores on the same test rows."""
    rng, score = np.random.default_rng(0), SCORES[case.metric]
    differences = []
    for _ in range(n_draws):
        rows = rng.integers(0, len(case.test_y), len(case.test_y))
        if case.task == "binary" and len(np.unique(case.test_y[rows])) == 1:
            continue
        y = case.test_y[rows]
        differences.append(score(y, one[rows]) - score(y, other[rows]))
    return float(np.std(differences))


def summary(table: pd.DataFrame, cases: dict[tuple[str, int, int], Case], folder: Path) -> None:
    """Print mean score, mean rank and how often each is ahead of the better boosting."""
    scores = table.pivot_table(
        index=["name", "n_rows", "seed"], columns="contender", values="score"
    )
    names = [name for name in CONTENDERS if name in scores]
    whole = scores[names].dropna()
    print(scores[names].round(4).to_string())
    print(f"\nof {len(whole)} cases that all of them ran:")
    print(
        pd.DataFrame(
            {"mean": whole.mean(), "mean rank": whole.rank(axis=1, ascending=False).mean()}
        ).round(3)
    )
    for contender in names:
        points = []
        for key, row in scores.iterrows():
            held = row.dropna()
            if contender not in held or not set(BOOSTING) <= set(held.index) or key not in cases:
                continue
            rival = str(held[list(BOOSTING)].idxmax())
            one, other = (
                np.load(file_of(folder, key, who), allow_pickle=False) for who in (contender, rival)
            )
            gain = held[contender] - held[rival]
            noise = standard_error(cases[key], one, other)
            points.append(0.5 if abs(gain) <= noise else float(gain > 0))
        if points and contender not in BOOSTING:
            share = f"{np.mean(points):.0%} of {len(points)}"
            print(f"{contender}: ahead of the better boosting in {share}")


def file_of(folder: Path, key: Any, contender: str) -> Path:
    """Return where the predictions of one contender on one case are kept."""
    return folder / ("_".join(map(str, (*key, contender.replace(" ", "-")))) + ".npy")


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("quality.csv"))
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--cases", nargs="*", default=["whole", "subsets"])
    parser.add_argument("--names", nargs="*", default=list(WHOLE))
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds-whole", type=float, default=60.0)
    parser.add_argument("--seconds-subset", type=float, default=20.0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of rows and columns that the contenders speak of each time
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted: list[tuple[str, int | None, int, float]] = []
    if "subsets" in options.cases:
        wanted += [
            (name, n_rows, seed, options.seconds_subset)
            for seed in range(options.seeds)
            for n_rows in options.sizes
            for name in IN_PARTS
            if name in options.names
        ]
    if "whole" in options.cases:
        wanted += [(name, None, 0, options.seconds_whole) for name in options.names]
    kept = options.out.with_suffix("")
    kept.mkdir(parents=True, exist_ok=True)
    cases = {}
    for each in wanted:
        one = case(options.folder, *each)
        cases[one.key] = one
        for contender in options.contenders:
            file = file_of(kept, one.key, contender)
            if file.exists():
                continue
            start = time.perf_counter()
            prediction = CONTENDERS[contender](one)
            seconds = time.perf_counter() - start
            score = SCORES[one.metric](one.test_y, prediction)
            row = (*one.key, contender, one.metric, score, round(seconds, 1))
            pd.DataFrame([row], columns=COLUMNS).to_csv(
                options.out, mode="a", header=not options.out.exists(), index=False
            )
            np.save(file, prediction.astype(str) if one.task == "multiclass" else prediction)
            print(*row, flush=True)
    summary(pd.read_csv(options.out), cases, kept)


COLUMNS = ["name", "n_rows", "seed", "contender", "metric", "score", "seconds"]

if __name__ == "__main__":
    main()
