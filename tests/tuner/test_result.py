"""Results: the fitted model, the sealed test split, refits, and trials added by hand."""

import numpy as np
import pandas as pd
import pytest

from objectives import FittedModel
from objectives.models.intervals import share_interval
from tuner import tune, tune_mlp

SMALL = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}
FAST = {"epochs": 4, "space": SMALL, "folds": None, "show_progress_bar": False}


@pytest.fixture(scope="module")
def result():
    return tune_mlp("iris", n_trials=6, **FAST)


def test_the_models_validation_score_is_the_best_value(result):
    valid = result.objective.data.valid

    score = result.best_model.score(
        result.objective.data.valid.X, result.best_model.classes[valid.y]
    )

    assert score == pytest.approx(result.best_value)


def test_a_model_trained_again_from_its_seed_is_the_same(result):
    X = result.objective.data.valid.X

    again = result.model_of(result.best_trial.number)

    np.testing.assert_allclose(
        again.predict_proba(X), result.best_model.predict_proba(X), rtol=1e-4
    )


def test_the_model_of_a_resumed_study_is_trained_once_more(result, tmp_path):
    call = {"storage": tmp_path / "s.journal", "n_trials": 6, **FAST}
    tune_mlp("iris", **call)

    resumed = tune_mlp("iris", **call)

    X = resumed.objective.data.valid.X
    expected = result.best_model.predict_proba(X)
    np.testing.assert_allclose(resumed.best_model.predict_proba(X), expected, rtol=1e-4)


def test_a_saved_model_predicts_the_same(result, tmp_path):
    X = result.objective.data.valid.X
    result.model.save(tmp_path / "model.zip")

    loaded = FittedModel.load(tmp_path / "model.zip")

    assert (loaded.predict_proba(X) == result.model.predict_proba(X)).all()


def test_a_refitted_model_has_seen_training_and_validation_rows(result):
    refitted = result.refit()

    data = result.objective.data
    assert refitted.predict(data.valid.X).shape == (len(data.valid),)
    parts = [m.encoders[0].transformer["numbers"] for m in (result.best_model, refitted)]
    assert str(parts[0].steps[0].mean_) != str(parts[1].steps[0].mean_)


def test_each_opening_of_the_test_split_is_recorded():
    result = tune_mlp("iris", n_trials=2, **FAST)
    assert "fusetune:test_openings" not in result.study.user_attrs

    score = result.test_score()
    result.test_score(result.refit())

    openings = result.study.user_attrs["fusetune:test_openings"]
    assert [entry["n"] for entry in openings] == [30, 30]
    assert openings[0]["value"] == float(score)
    assert 0 <= score.low <= float(score) <= score.high <= 1
    assert repr(score).startswith(f"test_accuracy {float(score):.4f} (95% interval ")


def test_the_test_score_is_in_the_units_of_a_regression_target():
    result = tune_mlp("diabetes", n_trials=2, **FAST)

    score = result.test_score()

    data = result.objective.data.open_test()
    expected = np.sqrt(np.mean((result.model.predict(data.X) - data.y) ** 2))
    assert float(score) == pytest.approx(expected)
    assert score.metric == "rmse"


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_trial_tried_by_hand_lands_in_the_same_table(sampler):
    call = FAST | {"space": SMALL | {"dropout": [0.0, 0.3]}}
    result = tune_mlp("iris", sampler=sampler, n_trials=2, **call)

    result.try_params(learning_rate=3e-4)

    frame = result.trials_dataframe()
    assert len(frame) == 3
    assert frame["params_learning_rate"].iloc[2] == 3e-4
    assert frame["params_hidden_units"].tolist() == [8, 8, 8]
    with pytest.raises(ValueError, match="did you mean 'dropout'"):
        result.try_params(dropuot=0.1)


def test_several_repeats_a_trial_give_one_row_and_one_model(tmp_path):
    result = tune_mlp("iris", n_trials=3, n_repeats=3, **FAST)

    assert len(result.trials_dataframe()) == 3
    assert len(result.best_model.network.flat) == 3
    assert len(result.refit().network.flat) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_folds_give_one_row_a_trial_with_its_spread_and_a_model_of_all_folds(n_jobs, tmp_path):
    result = tune_mlp("iris", n_trials=3, n_jobs=n_jobs, sampler="random", **FAST | {"folds": 3})

    frame = result.trials_dataframe()
    assert len(frame) == 3
    assert (frame["value_std"] >= 0).all()
    assert len(result.best_model.encoders) == 3
    assert len(result.refit().network.flat) == 1
    assert 0 <= float(result.test_score()) <= 1


def test_a_lone_network_has_no_spread(result):
    assert result.trials_dataframe()["value_std"].isna().all()


def test_a_frame_is_predicted_as_it_was_given():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=80), "colour": list("rgb") * 26 + ["r", "g"]})
    frame["kind"] = np.where(frame["size"] > 0, "big", "small")
    frame.loc[3, "size"] = np.nan

    result = tune_mlp(frame, target="kind", n_trials=2, **FAST)

    new = pd.DataFrame({"colour": ["purple", None], "size": [2.0, np.nan], "extra": [1, 2]})
    assert set(result.model.predict(new)) <= {"big", "small"}


def test_results_are_readable_at_a_glance(result):
    assert repr(result).startswith("TuningResult: study 'mlp', 6 trials: ")
    assert "valid_accuracy" in repr(result)


def test_a_functions_result_has_no_model():
    result = tune(lambda trial: 1.0, n_trials=1, show_progress_bar=False)

    for access in (lambda: result.model, result.refit, result.test_score):
        with pytest.raises(TypeError, match="must come from a ready-made objective"):
            access()


def test_rows_of_one_group_make_a_test_score_no_surer_than_one_row():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    copies = np.repeat(X, 20, axis=0), np.repeat(y, 20)
    options = {"n_trials": 1, **FAST}

    score = tune_mlp(copies, groups=np.repeat(np.arange(60), 20), **options).test_score()

    as_if_alone = share_interval(round(score.value * score.n), score.n)
    assert score.high - score.low > 2 * (as_if_alone.high - as_if_alone.low)
