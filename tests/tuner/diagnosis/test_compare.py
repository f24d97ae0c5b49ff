"""`compare`: how sure the difference of two studies is."""

import json
import math

import pytest
from sklearn.datasets import load_breast_cancer

from tests.tuner.studies import make_study, make_trial
from tuner import compare, load_result, tune_cnn, tune_mlp

SMALL = {"n_trials": 2, "epochs": 2, "show_progress_bar": False}


@pytest.fixture(scope="module")
def good():
    return tune_mlp("breast_cancer", space={"learning_rate": 1e-2}, study_name="good", **SMALL)


@pytest.fixture(scope="module")
def bad():
    return tune_mlp("breast_cancer", space={"learning_rate": 1e-7}, study_name="bad", **SMALL)


def test_of_the_same_rows_the_interval_is_paired_and_narrower(good, bad):
    paired = compare(good, bad)
    other_seed = tune_mlp(
        "breast_cancer", space={"learning_rate": 1e-7}, study_name="other", seed=1, **SMALL
    )
    unpaired = compare(good, other_seed)

    assert paired.how == "paired on the same 455 held-out rows, on which both were chosen"
    assert paired.low > 0
    assert "good is better; difference" in paired.sentence
    assert unpaired.how.startswith("unpaired, as the rows differ: 455 and 455 held-out rows")
    assert unpaired.low <= unpaired.difference <= unpaired.high


def test_turned_round_it_is_the_same(good, bad):
    one, other = compare(good, bad), compare(bad, good)

    assert other.second_is_better
    assert not one.second_is_better
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


def test_a_result_is_as_good_as_itself(good):
    same = compare(good, good)

    assert list(same.table) == ["name", "a: good", "b: good"]
    assert same.difference == 0
    assert same.low < 0 < same.high
    assert ": no difference; " in same.sentence


def test_the_values_are_those_of_the_models_on_held_out_rows(good):
    model = good.ensemble_weights()
    compared = compare(good, good)

    if len(model) == 1:  # the best trial alone: the mean over rows is near the mean over folds
        assert compared.values[0] == pytest.approx(good.best_value, abs=0.01)
    held_out = good.objective.held_out_rows
    assert len(held_out.y) == len(load_breast_cancer().target) - 114


def test_a_study_that_is_loaded_compares_as_before(tmp_path, good):
    stored = tune_mlp(
        "breast_cancer",
        space={"learning_rate": 1e-2},
        study_name="stored",
        storage=tmp_path / "s.journal",
        **SMALL,
    )

    compared = compare(load_result(tmp_path / "s.journal"), good)

    assert compared.difference == pytest.approx(0, abs=1e-6)
    assert compare(stored, good).values == pytest.approx(compared.values)


def test_images_are_judged_on_the_validation_split():
    space = {"hidden_units": 8, "epochs": 1}
    small = {"space": space, "n_trials": 1, "show_progress_bar": False}

    compared = compare(*(tune_cnn("digits", study_name=name, **small) for name in ("a", "b")))

    assert compared.how.startswith("paired on the same ")
    assert compared.difference == 0


def test_of_studies_alone_the_best_values_are_compared_without_an_interval():
    a, b = make_study(make_trial(0.9), name="a"), make_study(make_trial(0.8), name="b")

    compared = compare(a, b)

    assert math.isnan(compared.low)
    assert compared.sentence == (
        "accuracy 0.9 and 0.8: a is ahead; difference 0.1, of the best trials on validation, "
        "without an interval"
    )
    assert json.loads(compared.to_json())["low"] is None


def test_a_script_gets_numbers_and_parameters(good, bad):
    found = json.loads(compare(good, bad).to_json())

    assert found["best_params"]["good"]["learning_rate"] == 1e-2
    assert found["low"] <= found["difference"] <= found["high"]
    assert "learning_rate" in repr(compare(good, bad))
    assert "<p>" in compare(good, bad)._repr_html_()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_study(make_trial(), metric="log_loss", direction="minimize"), "of the same metric"),
        (make_study(name="empty"), "got none in study 'empty'"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        compare(make_study(make_trial()), other)
