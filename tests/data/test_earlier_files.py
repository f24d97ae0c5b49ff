"""Models and studies that an earlier version saved are read by today's code; see README.md."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from objectives import load_model
from tests.data.make import SEARCH, SMALL, STUDIES, line, pictures
from tests.tuner.commands import run
from tuner import load_result, load_study, tune_mlp

# The libraries that wrote the files may be newer or older than those that are installed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Trying to unpickle estimator"),
    pytest.mark.filterwarnings("ignore:study .* was begun with"),
]

FOLDER = Path(__file__).parent
PREDICTIONS = json.loads((FOLDER / "predictions.json").read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return unpacked(FOLDER, tmp_path_factory.mktemp("models"))


@pytest.fixture
def studies(in_folder):
    return unpacked(FOLDER, in_folder)


def unpacked(source, folder):
    for path in source.rglob("*"):
        copy = folder / path.relative_to(source)
        if path.is_file() and path.suffix in (".gz", ".journal"):
            copy.parent.mkdir(exist_ok=True)
            if path.suffix == ".gz":
                copy.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            else:
                shutil.copy(path, copy)
    return folder


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_model_of_an_earlier_version_predicts_what_it_did_then(name, models):
    model = load_model(models / name, build=line if name.startswith("module") else None)

    X = pictures() if name.startswith(("cnn", "finetune")) else pd.read_csv(FOLDER / "people.csv")
    numbers = model.predict(X) if model.classes is None else model.predict_proba(X)
    np.testing.assert_allclose(numbers, PREDICTIONS[name]["numbers"], rtol=1e-4)
    if model.classes is not None:
        assert model.predict(X).tolist() == PREDICTIONS[name]["labels"]


def test_the_command_predicts_with_a_model_of_an_earlier_version(models):
    done = run("predict", models / "values.model.zip", FOLDER / "people.csv", "--json")

    predicted = [row["prediction"] for row in json.loads(done.stdout)]
    np.testing.assert_allclose(predicted, PREDICTIONS["values.model.zip"]["numbers"], rtol=1e-4)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_an_earlier_version_is_continued_from_its_trials(name, studies):
    before = [(t.state, t.value, t.user_attrs["params"]) for t in load_study(name).trials]

    space = SMALL | {"weight_decay": 0.0}  # which has joined the default space since
    result = tune_mlp("iris", storage=name, **SEARCH | {"n_trials": 3}, space=space)

    trials = result.study.trials
    assert [(t.state, t.value, t.user_attrs["params"]) for t in trials[:2]] == before
    assert len(trials) == 3
    assert trials[2].state.is_finished()


@pytest.mark.parametrize("name", STUDIES)
def test_the_best_model_of_an_earlier_study_is_loaded_without_training(name, studies, monkeypatch):
    monkeypatch.setattr("objectives.training.mlp_cohort.MLPCohort.add", None)

    result = load_result(name)

    assert result.best_value == load_study(name).best_value
    assert set(result.model.predict([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])) <= {0, 1, 2}


@pytest.mark.parametrize("name", STUDIES)
def test_the_commands_show_and_report_a_study_of_an_earlier_version(name, studies):
    shown, reported = run("show", name, "--json"), run("report", name, "--out", "report.html")

    assert shown.exit_code == reported.exit_code == 0, shown.output + reported.output
    assert str(load_study(name).best_value)[:5] in shown.output
    assert "tune_mlp" in Path("report.html").read_text()
