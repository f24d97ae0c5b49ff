"""Networks tuned further in a new space: what is brought in, its models, and what must be alike."""

import numpy as np
import optuna
import pytest

from objectives.data.table import load_tabular
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, build_flat
from tests.tuner.search.test_start_from import origins
from tuner import StudyMismatchError, tune_cnn, tune_finetune, tune_mlp, tune_module
from tuner.storage.trial_attrs import records

QUIET = {"show_progress_bar": False}
FAST = {"epochs": 2, **QUIET}
SMALL = {"n_layers": 1, "hidden_units": 4, "activation": "relu", "optimizer": "adam"}


@pytest.fixture(scope="module")
def iris():
    return load_tabular("iris")


@pytest.fixture(scope="module")
def first(iris):
    trials = [{"dropout": 0.5}, {"learning_rate": 0.02}, {"batch_size": 100, "dropout": 0.0}]
    return tune_mlp(
        iris,
        sampler="manual",
        trials=[*trials, {"learning_rate": 0.05, "batch_size": 16}],
        space=SMALL,
        study_name="first",
        epochs=8,
        folds=None,  # or another seed would give other folds
        **QUIET,
    )


NARROW = SMALL | {"dropout": (0.0, 0.3), "learning_rate": (1e-3, 0.05), "batch_size": (16, 64)}


def test_the_model_of_a_trial_that_was_brought_in_is_the_one_that_was_trained(iris, first):
    call = {"space": NARROW, "epochs": 8, "include_default": False, **QUIET}
    with pytest.warns(UserWarning, match="none is left to train"):
        second = tune_mlp(iris, start_from=first, seed=5, n_trials=2, **call)
    with pytest.warns(UserWarning, match="none is left to train"):
        third = tune_mlp(
            iris,
            start_from=second,
            seed=6,
            n_trials=1,
            **call | {"space": NARROW | {"batch_size": 16}},
        )

    assert first.best_trial.number == 3
    assert origins(second) == [1, 3]
    assert origins(third) == [1]
    assert second.study.trials[1].params["log2_batch_size"] == 4
    X = iris.valid.X
    expected = first.best_model.predict_proba(X)
    for result in (second, third):
        assert result.best_value == first.best_value
        assert np.array_equal(result.best_model.predict_proba(X), expected)
        assert result.refit().predict_proba(X) == pytest.approx(first.refit().predict_proba(X))
        assert records(result.best_trial)["seed"] == records(first.best_trial)["seed"]
    assert second.curves_dataframe()["learning_rate"].max() > 0


SEARCHES = {
    # The default configuration is trial 2 of the first study; learning rates are 0.01 and 0.1.
    "tpe": ({"n_trials": 6}, 6),
    "random": ({"sampler": "random", "n_trials": 6}, 6),
    "enqueued": ({"enqueue": [{"learning_rate": 0.1}, {"learning_rate": 0.002}], "n_trials": 6}, 6),
    "grid": ({"sampler": "grid"}, 5),
    "grid, in part": ({"sampler": "grid", "n_trials": 4}, 4),
    "manual": (
        {"sampler": "manual", "trials": [{"learning_rate": 0.01}, {"learning_rate": 0.003}]},
        4,
    ),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_what_was_brought_in_is_not_trained_again(search, iris):
    fixed = SMALL | {"dropout": 0.2, "batch_size": 64}
    rates = [0.001, 0.002, 0.003, 0.01, 0.1]
    old = tune_mlp(
        iris,
        sampler="manual",
        space=fixed,
        study_name="first",
        trials=[{"learning_rate": r} for r in (0.01, 0.1, 0.001)],
        **FAST,
    )
    options, total = SEARCHES[search]
    wish = rates if options.get("sampler") in ("grid", "manual") else (1e-3, 0.1)

    result = tune_mlp(
        iris, space=fixed | {"learning_rate": wish}, start_from=old, **options, **FAST
    )

    table = result.trials_dataframe()
    assert origins(result)[:3] == [0, 1, 2]
    assert len(table) == total
    assert table["params_learning_rate"].is_unique
    if search == "enqueued":
        assert table["params_learning_rate"][3] == 0.002  # the default configuration was brought


def test_a_study_of_other_data_or_training_is_not_started_from(iris, first):
    by_optuna = optuna.create_study(direction="maximize")
    call = {"space": NARROW, "start_from": first, "n_trials": 9, **FAST}
    others = [
        (("wine", {}), "which was tuned on other data"),
        (("iris", {"seed": 1}), "split seed 0, now 1"),
        ((iris, {"metric": "roc_auc"}), "metric 'accuracy', now 'roc_auc'"),
        ((iris, {"metric": "log_loss"}), "was to maximize, now to minimize"),
        ((iris, {"recipe": "plain"}), "recipe 'modern', now 'plain'"),
        ((iris, {"patience": 3}), "patience 20, now 3"),
        ((iris, {"start_from": by_optuna}), "made by Optuna alone"),
    ]

    for (data, changed), words in others:
        with pytest.raises(StudyMismatchError, match=f"start_from must be .*{words}"):
            tune_mlp(data, **call | changed)


def test_folds_are_the_same_only_under_the_same_seed(iris):
    call = {"space": SMALL, "folds": 2, **FAST}
    cross = tune_mlp(iris, n_trials=1, study_name="first", **call)

    with pytest.raises(StudyMismatchError, match="seed 0, now 1"):
        tune_mlp(iris, n_trials=2, seed=1, start_from=cross, **call)


def test_a_test_split_that_was_opened_before_is_no_longer_unseen():
    call = {"space": SMALL, **FAST}
    opened = tune_mlp("iris", n_trials=1, study_name="first", **call)
    opened.test_score()

    with pytest.warns(UserWarning, match="continues after its test split was opened"):
        tune_mlp("iris", n_trials=2, start_from=opened, **call)


IMAGE = {"hidden_units": 4, "augmentation": "none"}
NETWORKS = {
    "module": (
        tune_module,
        (build_flat, (SIGNALS, KINDS)),
        {"width": (4, 8)},
        {"width": (4, 9)},
        {},
    ),
    "cnn": (tune_cnn, ((PICTURES, SHADES),), IMAGE, IMAGE | {"hidden_units": [4, 6]}, {}),
    "finetune": (
        tune_finetune,
        ((PICTURES, SHADES),),
        {"dropout": 0.0},
        {"dropout": (0.0, 0.1)},
        {"backbone": "mobilenet_v3_small", "image_size": 16, "weights": None, "epochs": 1},
    ),
}


@pytest.mark.parametrize(
    "name", ["module", "cnn", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_other_networks_start_from_a_study_too(name, tmp_path):
    function, data, old, new, options = NETWORKS[name]
    call = FAST | {"storage": tmp_path / "s.journal"} | options
    function(*data, space=old, study_name="first", n_trials=1, **call)

    result = function(*data, space=new, start_from="first", n_trials=2, **call)

    assert origins(result) == [0, None]
