"""`TunedMLPClassifier` and `TunedMLPRegressor` are estimators of scikit-learn like any other."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tuner import tune_mlp
from tuner.sklearn import TunedMLPClassifier, TunedMLPRegressor

SPACE = {"learning_rate": 0.02, "batch_size": 16, "hidden_units": 32, "n_layers": 1, "dropout": 0.0}
SMALL = {"n_trials": 2, "epochs": 15, "space": SPACE | {"optimizer": "adam"}}
FAST = SMALL | {"epochs": 5, "ensemble": False, "folds": None}

UNEQUAL = "which rows validate is drawn by row, so rows given twice are other rows than heavy ones"
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": UNEQUAL,
    "check_sample_weight_equivalence_on_sparse_data": UNEQUAL,
}


@pytest.mark.filterwarnings("ignore::objectives.data.table.DataWarning")  # as tiny data deserve
@parametrize_with_checks(
    [
        kind(**SMALL, pruner="none", folds=None, ensemble=False)
        for kind in (TunedMLPClassifier, TunedMLPRegressor)
    ],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn_finds_nothing_amiss(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def flowers():
    X, y = load_iris(return_X_y=True, as_frame=True)
    return X, y.map({0: "setosa", 1: "versicolor", 2: "virginica"})


def test_arguments_are_those_of_tune_mlp_but_for_what_fit_is_given():
    own = inspect.signature(TunedMLPClassifier).parameters
    entry = inspect.signature(tune_mlp).parameters

    assert set(entry) - set(own) == {
        *("dataset", "target", "task", "test_size", "groups", "time", "sample_weight"),
        *("encoding", "drop_missing_target", "dry_run"),
    }
    assert set(own) - set(entry) == set()
    differing = {name for name in own if own[name].default != entry[name].default}
    assert differing == {"show_progress_bar"}
    assert "n_trials: Finished trials" in TunedMLPRegressor.__doc__


def test_an_unknown_argument_is_refused_with_what_was_meant():
    with pytest.raises(TypeError, match=r"TunedMLPClassifier.*'n_trails'; did you mean 'n_trials'"):
        TunedMLPClassifier(n_trails=3)
    with pytest.raises(TypeError, match="'groups'; give it to fit"):
        TunedMLPRegressor(groups="who")


def test_it_is_scored_in_cross_validation_within_a_pipeline(flowers):
    X, y = flowers

    scores = cross_val_score(make_pipeline(StandardScaler(), TunedMLPClassifier(**SMALL)), X, y)

    assert len(scores) == 5
    assert scores.mean() > 0.8


def test_a_grid_search_chooses_the_sampler(flowers):
    grid = {"sampler": ["random", "tpe"], "recipe": ["plain", "modern"]}

    search = GridSearchCV(TunedMLPClassifier(**FAST), grid, cv=2, scoring="neg_log_loss")
    search.fit(*flowers)

    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.best_score_)
    assert search.best_estimator_.get_params()["sampler"] in grid["sampler"]


def test_fit_searches_all_rows_it_is_given(flowers):
    search = TunedMLPClassifier(**FAST).fit(*flowers)

    data = search.result_.objective.data
    assert len(data.train) + len(data.valid) == len(flowers[0])
    assert len(search.result_.trials_dataframe()) == 2
    with pytest.raises(ValueError, match="test_size must be above 0"):
        search.result_.test_score()


def test_a_fitted_one_knows_labels_and_columns_and_can_be_pickled(flowers):
    X, y = flowers
    search = TunedMLPClassifier(**FAST).fit(X, y)

    assert search.classes_.tolist() == sorted(set(y))
    assert search.feature_names_in_.tolist() == list(X)
    assert search.n_features_in_ == 4
    sent = pickle.loads(pickle.dumps(search))
    assert sent.predict_proba(X).tolist() == search.predict_proba(X).tolist()
    with pytest.raises(NotFittedError):
        clone(search).predict(X)


def test_texts_and_gaps_are_features_as_in_a_table():
    table = pd.DataFrame(
        {"colour": ["red", "blue", None, "red"] * 15, "size": [1.0, 2.0, 3.0] * 20}
    )
    y = table["size"] * 2 + (table["colour"] == "red")

    search = TunedMLPRegressor(**SMALL).fit(table, y)

    assert search.predict(table).shape == (60,)
    assert search.score(table, y) > 0.5


def test_groups_are_routed_to_fit_and_validate_together(flowers):
    X, y = flowers
    groups = np.arange(len(X)) % 30

    with sklearn.config_context(enable_metadata_routing=True):
        search = TunedMLPClassifier(**FAST).set_fit_request(groups=True)
        scores = cross_val_score(search, X, y, cv=GroupKFold(3), params={"groups": groups})
    data = clone(search).fit(X, y, groups=groups).result_.objective.data

    assert scores.shape == (3,)
    assert data.split["kind"] == "group"
    assert data.split["n_test"] == 0


def test_rows_without_a_label_are_named():
    with pytest.raises(ValueError, match="a label for each row, got None in row 2; leave out"):
        TunedMLPClassifier().fit([[0.0], [1.0], [2.0]], ["a", "b", None])


def test_a_class_of_one_row_trains_and_is_warned_of():
    X = np.arange(40.0).reshape(-1, 1)
    y = np.array(["few"] + ["many", "more"] * 19 + ["many"])

    with pytest.warns(UserWarning, match="too rare for a stratified split"):
        search = TunedMLPClassifier(**FAST).fit(X, y)

    data = search.result_.objective.data
    assert search.classes_.tolist() == ["few", "many", "more"]
    assert 0 in data.train.y
