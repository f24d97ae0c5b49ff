"""The report as a file: what is in it, and what is left out."""

import io
from base64 import b64decode

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image

from tests.tuner.commands import run
from tests.tuner.reports import Page, report_of
from tests.tuner.studies import make_study, make_trial, peaked
from tuner import load_study, tune, tune_mlp
from tuner.report.content import trial_table
from tuner.report.html import write_report
from tuner.storage.trial_attrs import OPENINGS
from tuner.storage.view import view_of


@pytest.fixture(scope="module")
def result():
    return tune_mlp(
        "iris", n_trials=5, epochs=4, space={"dropout": (0.0, 0.1)}, show_progress_bar=False
    )


def test_result_reports_what_was_asked_and_what_came_of_it(result, tmp_path):
    path = result.report(tmp_path / "study.html")

    page = Page(path)
    best = result.best_trial.number
    for expected in (
        "Which configuration gives the highest accuracy on the validation split?",
        "sepal length (cm), sepal width (cm)",
        "train 90 fitted on, but for a fold in turn",
        "valid 30 likewise: every value in this report is the mean over the folds of both",
        f"hyperparameter best (trial {best}) default (trial 0) searched",
        "0.1 0 to 0.1",
        "Still sealed: neither the search nor this report has seen its 30 rows.",
        "too few trials for the space",
        "result = tune_mlp( 'iris',",
        f"optuna {optuna.__version__}",
    ):
        assert expected in page.text
    assert len(page.all("tr")) >= 5
    assert [p.name for p in tmp_path.iterdir()] == ["study.html"]


def test_every_figure_is_inside_the_page_and_in_words(result, tmp_path):
    page = Page(result.report(tmp_path / "study.html"))

    images = page.all("img")
    assert len(images) >= 8
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(len(image["alt"]) > 20 for image in images)
    assert "confusion matrix" in images[-1]["alt"]


def test_a_figure_for_dark_pages_differs_in_its_paper_and_ink_alone(result, tmp_path):
    page = Page(result.report(tmp_path / "study.html"))

    images = page.all("img")
    light, dark = ([i for i in images if i["class"] == name] for name in ("light", "dark"))
    colors = [
        [Image.open(io.BytesIO(b64decode(image["src"].partition(",")[2]))) for image in half]
        for half in (light, dark)
    ]
    assert len(light) == len(dark) == len(page.all("figure"))
    for bright, dim in zip(*colors, strict=True):
        assert bright.size == dim.size
        assert bright.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert dim.convert("RGB").getpixel((0, 0)) == (23, 28, 34)
        assert bright.tobytes() == dim.tobytes()  # of the same shades, by number


@pytest.mark.slow
def test_test_split_is_never_opened_and_a_recorded_score_is_shown(tmp_path):
    result = tune_mlp("iris", n_trials=2, epochs=2, show_progress_bar=False)
    result.report(tmp_path / "sealed.html")
    assert OPENINGS not in result.study.user_attrs

    score = result.test_score()
    page = Page(result.report(tmp_path / "opened.html"))

    assert len(result.study.user_attrs[OPENINGS]) == 1
    assert f"test_accuracy {score.value:.4g} (95% interval {score.low:.4g} to" in page.text
    assert "Still sealed" not in page.text
    result.test_score()
    again = Page(result.report(tmp_path / "opened.html"))
    assert "It was opened 2 times; only the first time was it unseen." in again.text


def test_stored_study_without_its_objective_says_what_is_missing(tmp_path):
    storage = tmp_path / "iris.journal"
    tune_mlp("iris", n_trials=3, epochs=2, storage=storage, show_progress_bar=False)

    page = report_of(load_study(storage), tmp_path)

    assert "default (trial 0)" in page.text
    assert "The best model was not at hand" in page.text
    assert "confusion" not in page.text


def test_study_made_by_optuna_alone_is_reported_as_far_as_it_tells(tmp_path):
    study = optuna.create_study(study_name="plain")
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=12)

    page = report_of(study, tmp_path)

    assert "Which configuration gives the lowest value?" in page.text
    assert "-1 to 1" in page.text
    for missing in (
        "nothing of its data",
        "no test split",
        "no versions",
        "records no call",
        "does not tell its default",
    ):
        assert missing in page.text


def test_functions_result_is_reported_too(tmp_path):
    result = tune(
        lambda trial: trial.params["x"],
        space={"x": (0.0, 1.0)},
        n_trials=3,
        show_progress_bar=False,
    )

    page = Page(result.report(tmp_path / "study.html"))

    assert "result = tune( objective=..., #" in page.text


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [make_trial(state=TrialState.FAIL, error="RuntimeError: no")],
        [make_trial(stopped="diverged at epoch 1", state=TrialState.PRUNED, metric=[0.1, None])],
        [make_trial(0.5), create_trial(state=TrialState.RUNNING)],
    ],
    ids=["empty", "failed", "diverged", "running"],
)
def test_study_without_much_to_show_still_has_a_report(trials, tmp_path):
    page = report_of(make_study(*trials), tmp_path)

    assert "Versions, and the call that reproduces it" in page.text
    assert ("No trial has begun." in page.text) == (trials == [])


def test_confirmed_configurations_stand_in_it_with_their_intervals(tmp_path):
    confirmed = pd.DataFrame(
        {
            "rank": [1, 2],
            "number": pd.array([4, None], dtype="Int64"),
            "is_default": [False, True],
            "value": [0.9, float("nan")],
            "mean": [0.85, 0.8],
            "std": [0.01, 0.02],
            "low": [0.84, 0.78],
            "high": [0.86, 0.82],
            "n": [3, 3],
        }
    )

    page = report_of(make_study(*peaked(5)), tmp_path, confirmed=confirmed)

    assert "trial 4 0.85 0.84 to 0.86 3 0.9 default 0.8 0.78 to 0.82 3" in page.text


def test_default_configuration_is_found_without_the_objective(result):
    stored = view_of(result.study)

    assert stored.default_params == view_of(result.study, result.objective).default_params


def test_trials_are_listed_best_first_with_what_differs_between_them():
    study = make_study(
        make_trial(0.7, dropout=0.1),
        make_trial(0.9, dropout=0.123456789),
        make_trial(state=TrialState.PRUNED, stopped="pruned", dropout=0.3),
    )

    table = trial_table(study)

    assert [row.cells[0].text for row in table.rows] == ["1", "0", "2"]
    assert [row.is_best for row in table.rows] == [True, False, False]
    names = [column.name for column in table.columns]
    assert names[:4] == ["number", "state", "value", "dropout"]
    assert "learning_rate" not in names
    assert "learning_rate=0.003" in table.same
    dropout = table.rows[0].cells[3]
    assert (dropout.text, dropout.exact) == ("0.1235", "0.123456789")
    assert table.states == {"COMPLETE": 2, "PRUNED": 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study.pdf", "path must end in .html or .htm, got path="),
        ("missing/study.html", "path must lie in an existing folder, got path="),
        ("folder.html", "path must be a file, got the folder path="),
    ],
)
def test_path_that_cannot_be_written_is_one_sentence(name, message, tmp_path):
    (tmp_path / "folder.html").mkdir()

    with pytest.raises(ValueError, match=message):
        write_report(make_study(*peaked(3)), tmp_path / name)


def test_study_of_several_directions_is_refused_and_the_old_report_stays(tmp_path):
    (tmp_path / "study.html").write_text("old")
    study = optuna.create_study(directions=["minimize", "maximize"])

    with pytest.raises(ValueError, match="study must have one direction, got 2"):
        report_of(study, tmp_path)

    assert (tmp_path / "study.html").read_text() == "old"


def test_command_writes_the_report_and_says_where(tmp_path):
    storage, out = tmp_path / "iris.journal", tmp_path / "iris.html"
    tune_mlp("iris", n_trials=2, epochs=2, storage=storage, show_progress_bar=False)

    done = run("report", storage, "--out", out, "--study-name", "mlp")

    assert (done.exit_code, done.stdout.strip()) == (0, f"report: {out}")
    assert Page(out).all("h1") == [{}]


def test_commands_error_is_one_line(tmp_path):
    storage = tmp_path / "iris.journal"
    tune_mlp("iris", n_trials=1, epochs=1, storage=storage, show_progress_bar=False)

    done = run("report", storage, "--out", tmp_path / "missing" / "iris.html")

    assert done.exit_code == 2
    assert done.output.startswith("error: path must lie in an existing folder")
