"""What a search predicts with: an ensemble of trials where that is better, else the best one."""

import json

import numpy as np
import optuna
import pytest
from sklearn.metrics import f1_score

from objectives import FittedModel, MLPObjective
from objectives.models.ensemble import EnsembleModel, Library
from objectives.models.held_out import scale_temperature
from tests.tuner.commands import run
from tests.tuner.reports import Page
from tuner import load_result, tune_mlp
from tuner.storage.view import view_of

SMALL = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}
FAST = {"epochs": 5, "space": SMALL, "pruner": "none", "show_progress_bar": False}
NOISE = np.random.default_rng(0)
X = NOISE.normal(size=(90, 4))
CURVED = 2 * X[:, 0] + 2 * np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
NOISY = X, CURVED + 0.5 * NOISE.normal(size=90)
# Networks that differ and know little: their mean is better than each.
ALIKE = FAST | {
    "space": {
        "hidden_units": 16,
        "n_layers": 1,
        "batch_size": 16,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "activation": ["relu", "tanh", "gelu", "silu"],
    },
    "epochs": 25,
    "folds": 3,
    "sampler": "random",
    "include_default": False,
}


@pytest.mark.parametrize("options", [{"n_repeats": 2}, {"folds": 3}, {"folds": 3, "n_repeats": 2}])
@pytest.mark.parametrize("dataset", ["wine", NOISY])
def test_held_out_predictions_are_of_rows_that_a_network_has_not_seen(dataset, options):
    objective = MLPObjective(dataset, space=SMALL | {"epochs": 3}, **options)
    cohort = objective.cohort(seed=0)
    cohort.add(0, {name: row.default for name, row in objective.space.items()})
    values = [cohort.train_epoch()[0].value for _ in range(3)]
    model, rows = cohort.model(0), objective.held_out_rows

    predictions = objective.held_out(model)

    assert len(predictions) == len(rows.y)
    score = objective.metric.score(rows.y, predictions)
    best = max(values) if objective.metric.direction == "maximize" else min(values)
    assert score == pytest.approx(best, abs=0.25 * abs(best))


def test_a_number_gives_an_ensemble_that_predicts_by_the_mean_of_its_trials(tmp_path):
    storage = tmp_path / "s.journal"
    result = tune_mlp(NOISY, n_trials=8, storage=storage, **ALIKE)

    weights = result.ensemble_weights()
    assert len(weights) > 1
    assert weights["weight"].sum() == pytest.approx(1)
    single = [result.model_of(number).predict(X) for number in weights["trial"]]
    expected = np.average(single, axis=0, weights=weights["weight"])
    np.testing.assert_allclose(result.model.predict(X), expected, rtol=1e-4)
    assert len(result.best_model.network.flat) == 3
    assert np.isfinite(float(result.test_score()))
    result.model.save(tmp_path / "model.zip")
    for loaded in (FittedModel.load(tmp_path / "model.zip"), load_result(storage).model):
        assert (loaded.predict(X) == result.model.predict(X)).all()


def test_a_continued_search_may_choose_what_an_earlier_one_has_chosen(tmp_path):
    call = {"ensemble": 5, "storage": tmp_path / "s.journal", **ALIKE}
    first = tune_mlp(NOISY, n_trials=8, **call)
    again = tune_mlp(NOISY, n_trials=8, **call)
    assert (again.model.predict(X) == first.model.predict(X)).all()

    more = tune_mlp(NOISY, n_trials=9, **call)

    known = {8, *first.ensemble_weights()["trial"], more.best_trial.number}
    assert set(more.ensemble_weights()["trial"]) <= known
    assert (load_result(call["storage"]).model.predict(X) == more.model.predict(X)).all()


def test_without_an_ensemble_the_best_trial_predicts():
    result = tune_mlp(NOISY, ensemble=False, n_trials=3, **FAST)

    assert result.model is result.best_model
    assert result.ensemble_weights()["trial"].tolist() == [result.best_trial.number]


def test_a_result_says_how_it_does_beside_the_default():
    result = tune_mlp("wine", ensemble=False, sampler="manual", trials=[{}], **FAST)

    assert "no better than the default configuration" in repr(result)
    assert "difference 0 (95% interval -0." in result.comparison()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A stored search whose result is an ensemble."""
    storage = tmp_path_factory.mktemp("together") / "diabetes.journal"
    options = {
        "n_trials": 6,
        "epochs": 2,
        "sampler": "random",
        "ensemble": 5,
        "show_progress_bar": False,
    }
    return storage, tune_mlp("diabetes", storage=storage, **options)


def test_report_and_show_say_whether_it_was_worth_it_and_what_predicts(together, tmp_path):
    storage, result = together
    heaviest = result.ensemble_weights().iloc[0]

    page = Page(result.report(tmp_path / "study.html"))
    shown, found = run("show", storage), json.loads(run("show", storage, "--json").stdout)

    words = result.comparison()
    assert f"The model that predicts: {words.removeprefix('model: ')}." in page.text
    row = f"trial {heaviest['trial']} {heaviest['weight']:.3f}"
    assert f"what they differ in {row}" in page.text
    assert f"\n{words}\nweights: {row}" in shown.stdout
    assert f"<p>{words}</p>" in result._repr_html_()
    assert found["comparison"] == words
    assert sum(found["weights"].values()) == pytest.approx(1.0)


def test_what_was_chosen_of_fewer_trials_is_no_longer_told(together):
    study = result_of_one_more_trial(together[1])

    assert view_of(study).chosen is None
    assert view_of(study).comparison == ""


def result_of_one_more_trial(result):
    study = optuna.create_study(study_name="more")
    for name, value in result.study.user_attrs.items():
        study.set_user_attr(name, value)
    study.add_trials([*result.study.trials, optuna.trial.create_trial(value=1.0)])
    return study


def test_a_loaded_result_compares_a_single_trial_as_the_search_did(tmp_path):
    storage = tmp_path / "iris.journal"
    options = {"n_trials": 3, "epochs": 3, "ensemble": False, "show_progress_bar": False}
    result = tune_mlp("iris", storage=storage, **options)

    assert result.comparison()
    assert load_result(storage).comparison() == result.comparison()


def test_a_temperature_changes_probabilities_and_is_kept_with_the_model(tmp_path):
    model = tune_mlp("wine", ensemble=False, n_trials=1, **FAST).best_model
    data = model.feature_names
    rows = np.random.default_rng(0).normal(size=(5, len(data)))

    model.at_temperature(2.0).save(tmp_path / "model.zip")

    loaded = FittedModel.load(tmp_path / "model.zip")
    assert (loaded.predict(rows) == model.predict(rows)).all()
    expected = scale_temperature(model.at_temperature(1.0).predict_proba(rows), 2.0)
    np.testing.assert_allclose(loaded.predict_proba(rows), expected)


def test_a_library_keeps_the_best_within_its_memory():
    model = tune_mlp("wine", ensemble=False, n_trials=1, **FAST).best_model
    one = model.network.flat.nbytes + 40
    library = Library("minimize", max_bytes=3 * one)

    for number, value in enumerate([5.0, 1.0, 4.0, 2.0, 3.0]):
        library.add(number, value, model, np.zeros(10, np.float32))

    assert library.numbers == {1, 3, 4}


@pytest.mark.parametrize("ensemble", [True, 0, 26, "yes", 1.5])
def test_what_is_no_ensemble_is_refused(ensemble):
    with pytest.raises(ValueError, match="ensemble must be 'auto', False or a whole number"):
        MLPObjective("iris", ensemble=ensemble)


RARE = np.random.default_rng(5).normal(size=(600, 3))
FEW_POSITIVE = RARE, (RARE[:, 0] + NOISE.normal(size=600) > 1.8).astype(int)
QUICK = FAST | {"epochs": 8, "space": SMALL | {"learning_rate": 0.02}}
F1 = {"metric": "f1_macro", "folds": 3, "n_trials": 1, "ensemble": False, **QUICK}


def test_a_threshold_chosen_for_the_metric_is_kept_with_the_model(tmp_path):
    storage = tmp_path / "s.journal"
    model = tune_mlp(FEW_POSITIVE, threshold="tune", storage=storage, **F1).model
    plain = tune_mlp(FEW_POSITIVE, **F1).model

    assert plain.threshold == 0.5 != model.threshold
    np.testing.assert_allclose(model.predict_proba(RARE), plain.predict_proba(RARE))
    expected = (model.predict_proba(RARE)[:, 1] >= model.threshold).astype(int)
    assert (model.predict(RARE) == expected).all()
    assert model.score(*FEW_POSITIVE) == pytest.approx(
        f1_score(FEW_POSITIVE[1], expected, average="macro")
    )
    assert model.score(*FEW_POSITIVE, "log_loss") == plain.score(*FEW_POSITIVE, "log_loss")
    model.save(tmp_path / "model.zip")
    for loaded in (FittedModel.load(tmp_path / "model.zip"), load_result(storage).model):
        assert (loaded.predict(RARE) == expected).all()
    both = EnsembleModel([plain, plain.at_temperature(2.0)], [1, 1]).at_threshold(0.2)
    both.save(tmp_path / "both.zip")
    assert (FittedModel.load(tmp_path / "both.zip").predict(RARE) == both.predict(RARE)).all()


def test_a_test_score_is_of_the_labels_that_the_threshold_gives():
    result = tune_mlp(FEW_POSITIVE, threshold="tune", **F1)
    test = result.objective.data.open_test()

    expected = f1_score(test.y, result.model.predict(test.X), average="macro")
    assert float(result.test_score()) == pytest.approx(expected)


def test_a_threshold_is_of_two_classes():
    with pytest.raises(ValueError, match="threshold must be left out unless there are two classes"):
        MLPObjective("iris", threshold="tune")
