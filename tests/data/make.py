"""Make the files of this folder with the code of a checkout: python tests/data/make.py FOLDER.

It uses public names only, so that any version can make them: run it with PYTHONPATH at a checkout.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

SEARCH = {"n_trials": 2, "epochs": 2, "seed": 0, "show_progress_bar": False}
SMALL = {"hidden_units": 4, "n_layers": 1}
STUDIES = ("iris.journal", "iris.db")
SHADES = ["dark", "light"] * 15


def people() -> pd.DataFrame:
    """Return numbers and text with gaps, dates, booleans, and two targets."""
    rng = np.random.default_rng(0)
    n_rows = 90
    size = rng.normal(size=n_rows).round(3)
    colour = rng.choice(["red", "green", "blue"], n_rows)
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n_rows) < 0.1, np.nan, size),
            "colour": pd.Series(colour).where(rng.random(n_rows) > 0.1),
            "born": pd.date_range("1990-01-01", periods=n_rows, freq="37D").strftime("%Y-%m-%d"),
            "member": rng.random(n_rows) > 0.5,
        }
    )
    frame["income"] = (1000 + 100 * size + 50 * (colour == "red")).round(2)
    frame["answer"] = np.where(size + (colour == "red") > 0.4, "yes", "no")
    return frame


def pictures() -> np.ndarray:
    """Return grey images of 8 x 8 pixels; every other one is dark above."""
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    images[::2, :4] //= 4
    return images


def line(n_inputs: int, n_outputs: int) -> nn.Module:
    """Build a module of one's own."""
    return nn.Linear(n_inputs, n_outputs)


def write_models(folder: Path) -> None:
    """Write a model of each kind, and what each predicts for the data that it was tuned on."""
    from tuner import tune_cnn, tune_finetune, tune_mlp, tune_module

    images, table = pictures(), pd.read_csv(folder / "people.csv")
    classes, values = table.drop(columns="income"), table.drop(columns="answer")
    features = table.drop(columns=["income", "answer"])
    options = SEARCH | {"space": SMALL}
    short = SEARCH | {"n_trials": 1, "epochs": 1}
    results = {
        "binary.model.zip": tune_mlp(classes, target="answer", **options),
        "values.model.zip": tune_mlp(values, target="income", **options),
        "folds.model.zip": tune_mlp(classes, target="answer", folds=2, **options),
        "module.safetensors": tune_module(line, values, target="income", **SEARCH),
        "cnn.safetensors": tune_cnn((images, SHADES), **options),
        "finetune.safetensors": tune_finetune(
            (images, SHADES), backbone="shufflenet_v2_x0_5", weights=None, image_size=32, **short
        ),
    }
    predictions = {}
    for name, result in results.items():
        model = result.model
        X = features if getattr(model, "images", None) is None else images
        if name.startswith("finetune"):
            _repeat(model.module)
        model.save(folder / name)
        predict = model.predict if model.classes is None else model.predict_proba
        predictions[name] = {"labels": model.predict(X).tolist(), "numbers": predict(X).tolist()}
    (folder / "predictions.json").write_text(json.dumps(predictions) + "\n")


def _repeat(module: nn.Module) -> None:
    """Give the weights a pattern that repeats, so that their file is small once compressed."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            pattern = (torch.arange(parameter.numel()) * 5 % 13 - 6) / 6
            scale = (2 / parameter[0].numel()) ** 0.5
            parameter.data = pattern.view_as(parameter) * scale


def write_studies(folder: Path) -> None:
    """Write a study with its best model beside it, to a journal and to a database."""
    from tuner import tune_mlp

    for name in STUDIES:
        tune_mlp("iris", storage=folder / name, **SEARCH, space=SMALL)


def compress(folder: Path) -> None:
    """Compress what is not text: models are mostly the zeros between the parts of encoders."""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".csv", ".journal", ".json", ".md", ".py"):
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            path.unlink()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    people().to_csv(target / "people.csv", index=False)
    write_models(target)
    write_studies(target)
    compress(target)
