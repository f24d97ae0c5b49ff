"""The commands about models: finetune, predict, try."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes, load_iris

from objectives import FittedModel, FittedModule
from tests.tuner.commands import SMALL, run
from tuner import load_study, tune_cnn, tune_mlp, tune_module
from tuner.tables import trials_dataframe

TINY = {"hidden_units": 8, "n_layers": 1, "epochs": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a model of each kind, under names that say nothing of it."""
    folder = tmp_path_factory.mktemp("models")
    small = {"n_trials": 1, "show_progress_bar": False}
    tune_mlp("iris", space=TINY, **small).model.save(folder / "table")
    tune_mlp("diabetes", space=TINY, **small).model.save(folder / "values")
    tune_cnn("digits", space=TINY, **small).model.save(folder / "images")
    return folder


@pytest.fixture
def iris(in_folder):
    frame = load_iris(as_frame=True).data
    frame.to_csv("flowers.csv", index=False)
    frame.to_parquet("flowers.parquet", index=False)
    return frame


@pytest.fixture
def images(in_folder):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (4, 8, 8), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = in_folder / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (in_folder / "photos" / "notes.txt").write_text("no image")
    return in_folder / "photos"


@pytest.mark.parametrize("data", ["flowers.csv", "flowers.parquet"])
def test_predictions_for_a_table_are_the_models_in_the_order_of_its_rows(data, saved, iris):
    done = run("predict", saved / "table", data, "--proba")

    assert done.exit_code == 0, done.output
    frame = pd.read_csv(io.StringIO(done.stdout))
    model = FittedModel.load(saved / "table")
    assert list(frame) == ["prediction", "proba_0", "proba_1", "proba_2"]
    assert frame["prediction"].tolist() == model.predict(iris).tolist()
    np.testing.assert_allclose(frame.iloc[:, 1:], model.predict_proba(iris))


def test_predictions_for_images_name_their_files(saved, images):
    done = run("predict", saved / "images", images, images / "a" / "0.png", "--out", "p.csv")

    assert done.exit_code == 0, done.output
    assert done.stdout == "5 rows: p.csv\n"
    frame = pd.read_csv("p.csv")
    names = [path.rsplit("/", 1)[-1] for path in frame["file"]]
    assert names == ["0.png", "2.png", "1.png", "3.png", "0.png"]
    model = FittedModule.load(saved / "images")
    assert frame["prediction"].tolist() == model.predict(frame["file"].tolist()).tolist()


def test_predictions_as_json_are_a_list_of_rows(saved, iris):
    done = run("predict", saved / "table", "flowers.csv", "--json")

    rows = json.loads(done.stdout)
    assert len(rows) == 150
    assert set(rows[0]) == {"prediction"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "none.csv"], "none.csv"),
        (["table", "bad.csv"], "sepal length (cm)"),
        (["table", "flowers.csv", "flowers.csv"], "DATA must be one table"),
        (["values", "values.csv", "--proba"], "predict_proba must be asked of a classifier"),
        (["images", "photos/a/9.png"], "photos/a/9.png"),
        (["images", "empty"], "DATA must be images or folders of them, got none in 'empty'"),
        (["images", "flowers.csv"], "flowers.csv"),
        (["none", "flowers.csv"], "path must be an existing file"),
        (["/etc/hostname", "flowers.csv"], "another kind of file"),
        (["table", "flowers.csv", "--out", "p.doc"], "path must end in one of .csv"),
        (["table", "flowers.csv", "--out", "no/p.csv"], "folder that exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_predicted_is_one_sentence(arguments, message, saved, iris, images):
    pd.DataFrame({"x": [1]}).to_csv("bad.csv", index=False)
    load_diabetes(as_frame=True).data.to_csv("values.csv", index=False)
    (images.parent / "empty").mkdir()

    done = run("predict", saved / arguments[0], *arguments[1:])

    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_module_of_ones_own_is_to_be_loaded_in_python(in_folder):
    from torch import nn

    def build(n_inputs, n_outputs, width):
        return nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU(), nn.Linear(width, n_outputs))

    X, y = np.random.default_rng(0).normal(size=(60, 3)).astype("float32"), np.arange(60) % 2
    result = tune_module(
        build, (X, y), space={"width": [4]}, epochs=1, n_trials=1, show_progress_bar=False
    )
    result.model.save("own.safetensors")

    pd.DataFrame(X).to_csv("x.csv", index=False)
    done = run("predict", "own.safetensors", "x.csv")

    assert done.exit_code == 2
    assert "FittedModule.load(path, build=build)" in done.stderr


# --- finetune ---


def test_finetune_searches_with_a_backbone_of_random_weights(in_folder):
    space = json.dumps({"frozen_epochs": 0, "batch_size": 64})

    done = run(
        "finetune",
        "digits",
        "--backbone",
        "mobilenet_v3_small",
        "--weights",
        "none",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--n-trials",
        "1",
        "--space",
        space,
        "--fix",
        "dropout=0.1",
        "--save-model",
        "m",
        "--json",
    )

    assert done.exit_code == 0, done.output
    params = json.loads(done.stdout)["best_params"]
    assert (params["frozen_epochs"], params["batch_size"], params["dropout"]) == (0, 64, 0.1)
    assert len(pd.read_csv("finetune-digits-trials.csv")) == 1
    assert FittedModule.load("m").hints["backbone"] == "mobilenet_v3_small"


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--backbone", "resnet19"], "resnet18"), (["--weights", "none.pth"], "none.pth")],
)
def test_a_backbone_that_is_not_there_is_one_sentence(option, message, in_folder):
    done = run("finetune", "digits", *option)

    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


# --- try ---


@pytest.fixture
def journal(in_folder):
    done = run("mlp", "iris", *SMALL, "--storage", "s.journal", "--fix", "n_layers=1")
    assert done.exit_code == 0, done.output
    return in_folder / "s.journal"


def test_a_trial_by_hand_is_the_best_one_with_other_values(journal):
    before = load_study(journal).best_trial
    call = load_study(journal).user_attrs["fusetune:call"]

    done = run("try", journal, "learning_rate=0.02", "optimizer=sgd", "--json")

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    study = load_study(journal)
    assert (found["number"], found["state"]) == (2, "COMPLETE")
    changed = before.user_attrs["fusetune:params"] | {"learning_rate": 0.02, "optimizer": "sgd"}
    assert found["params"] == changed
    assert found["best_trial"] == study.best_trial.number
    assert len(trials_dataframe(study)) == 3
    assert (
        study.user_attrs["fusetune:call"] == call
    )  # or `tuner resume` would go on to another total


def test_a_trial_by_hand_is_shown_beside_the_best_before(journal):
    done = run("try", journal, "dropout=0")

    assert done.exit_code == 0, done.output
    assert "trial 2" in done.stdout
    assert "best before (trial" in done.stdout
    assert "trial 2 trained for all its epochs; " in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'?"),
        ("dropout=2", "dropout must be"),
        ("dropout", "each hyperparameter must be name=value"),
        ("optimizer=sdg", "did you mean 'sgd'?"),
    ],
)
def test_an_impossible_trial_by_hand_changes_nothing(param, message, journal):
    done = run("try", journal, param)

    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(load_study(journal).trials) == 2
