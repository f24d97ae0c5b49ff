"""Another study is not resumed by mistake: what differs is named."""

import re
import warnings
from dataclasses import replace

import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from objectives import MLPObjective
from objectives.space.hyperparameter import Hyperparameter
from tuner import StudyMismatchError, tune, tune_mlp

FAST = {"epochs": 2, "show_progress_bar": False}
SPACE = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}


def square(trial):
    return trial.params["x"] ** 2


OTHERS = {
    "metric": ({"metric": "log_loss"}, "minimizes|maximizes|metric"),
    "space": ({"space": SPACE | {"dropout": 0.1}}, "dropout"),
    "recipe": ({"recipe": "plain"}, "recipe 'modern', now 'plain'"),
    "patience": ({"patience": 3}, "patience 20, now 3"),
    "seed of the split": ({"seed": 9}, "split seed"),
    "sizes": ({"valid_size": 0.3}, "split valid_size"),
    "repeats": ({"n_repeats": 2}, "n_repeats 1, now 2"),
    "folds": ({"folds": 3}, "folds 5, now 3"),
    "precision": ({"precision": "bfloat16"}, "precision 'float32', now 'bfloat16'"),
    "epochs": ({"epochs": 3}, "epochs fixed at 2, now fixed at 3"),
    "groups": ({"groups": list(range(50)) * 3}, "split kind 'stratified', now 'group'"),
    "time": ({"time": list(range(150))}, "split kind 'stratified', now 'time'"),
    "class weights": ({"class_weight": {0: 2.0}}, r"class_weight None, now \{'0': 2.0,"),
    "row weights": ({"sample_weight": [1.0, 2.0] * 75}, "other data"),
    "metric of another task": (
        {"task": "regression", "metric": "r2"},
        "metric 'accuracy', now 'r2'",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_study_is_not_resumed_by_mistake(other, tmp_path):
    changed, words = OTHERS[other]
    call = {"storage": tmp_path / "s.journal", "space": SPACE, "n_trials": 1, **FAST}
    call["precision"] = "float32"
    tune_mlp("iris", **call)

    with pytest.raises(StudyMismatchError, match=words):
        tune_mlp("iris", **(call | changed))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_study_keeps_its_precision_and_folds_on_a_machine_that_would_choose_others(
    precision, tmp_path
):
    call = {"storage": tmp_path / "s.journal", "space": SPACE, **FAST}
    tune_mlp("iris", n_trials=1, precision=precision, folds=3, **call)

    result = tune_mlp("iris", n_trials=2, **call)

    assert (result.objective.precision, result.objective.folds) == (precision, 3)
    assert len(result.trials_dataframe()) == 2


def cube(trial):
    return trial.params["x"] ** 3


GRID = Hyperparameter(
    name="x", kind="float", default=0.0, distribution=FloatDistribution(0, 1), grid=(0.0, 1.0)
)
OTHER_CALLS = {
    "ready-made": (
        MLPObjective("iris", space=SPACE, metric="log_loss"),
        {"space": None, "sampler": "tpe"},
        "objective 'own', now 'mlp'",
    ),
    "direction": (square, {"direction": "maximize"}, "minimizes, but direction='maximize'"),
    "range": (
        square,
        {"space": {"x": replace(GRID, distribution=FloatDistribution(0, 0.5))}},
        r"x in \[0.0, 1.0\], now in \[0.0, 0.5\]",
    ),
    "a name more": (square, {"space": {"x": GRID, "y": [1, 2]}}, r"y None, now in \[1, 2\]"),
    "grid": (
        square,
        {"space": {"x": replace(GRID, grid=(0.0, 0.5))}},
        r"grid x \[0.0, 1.0\], now \[0.0, 0.5\]",
    ),
}


@pytest.mark.parametrize("other", OTHER_CALLS)
def test_another_function_or_grid_is_not_taken_for_the_one_that_is_there(other, tmp_path):
    function, changed, words = OTHER_CALLS[other]
    call = {"space": {"x": GRID}, "sampler": "grid", "storage": tmp_path / "s.journal"}
    call["show_progress_bar"] = False
    tune(square, **call)

    with pytest.raises(StudyMismatchError, match=words):
        tune(function, **call | changed)
    assert len(tune(square, **call | {"sampler": "tpe", "n_trials": 3}).study.trials) == 3


def test_a_ready_made_objective_is_told_apart_by_what_it_trains_on(tmp_path):
    call = {"storage": tmp_path / "s.journal", "n_trials": 1, "show_progress_bar": False}
    space = SPACE | {"epochs": 1}
    tune(MLPObjective("iris", space=space), **call)

    with pytest.raises(StudyMismatchError, match="tuned on other data"):
        tune(MLPObjective("wine", space=space), **call)
    with pytest.raises(StudyMismatchError, match="objective 'mlp', now 'own'"):
        tune(square, direction="maximize", **call)
    with pytest.raises(StudyMismatchError, match="recipe 'modern', now 'plain'"):
        tune(MLPObjective("iris", space=space, recipe="plain"), **call)


def test_a_column_taken_for_a_category_is_named(tmp_path):
    frame = pd.DataFrame({"a": [0, 1, 2, 3] * 20, "b": range(80), "y": [0, 0, 1, 1] * 20})
    call = {"target": "y", "storage": tmp_path / "s.journal", "space": SPACE, "n_trials": 1}
    tune_mlp(frame, **call, **FAST)

    with pytest.raises(StudyMismatchError, match=r"categorical \[\], now \['a'\]"):
        tune_mlp(frame, categorical=["a"], **call, **FAST)


def test_another_seed_is_another_study(tmp_path):
    call = {"space": {"x": (0.0, 1.0)}, "storage": tmp_path / "s.db", "show_progress_bar": False}
    tune(square, n_trials=1, **call)

    with pytest.raises(StudyMismatchError, match="was tuned with seed 0, now 7; give another"):
        tune(square, n_trials=2, seed=7, **call)


def test_a_study_begun_with_other_versions_is_gone_on_with_and_names_them(tmp_path):
    path = tmp_path / "s.journal"
    call = {"space": {"x": (0.0, 1.0)}, "storage": path, "show_progress_bar": False}
    study = tune(square, n_trials=1, **call).study
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tune(square, n_trials=2, **call)
    record = study.user_attrs["fusetune"]
    here = record["versions"]["torch"]
    study.set_user_attr("fusetune", record | {"versions": record["versions"] | {"torch": "1.0"}})

    with pytest.warns(UserWarning, match=rf"begun with torch 1\.0 \(now {re.escape(here)}\):"):
        result = tune(square, n_trials=3, **call)
    assert len(result.trials_dataframe()) == 3


def test_other_data_under_the_same_name_are_noticed(tmp_path):
    call = {"storage": tmp_path / "s.journal", "n_trials": 1, "task": "multiclass", **FAST}
    tune_mlp("iris", **call)

    with pytest.raises(StudyMismatchError, match="other data"):
        tune_mlp("wine", **call)


@pytest.mark.parametrize("folds", [None, 3])
def test_a_default_call_continues_a_study_with_the_folds_it_was_begun_with(folds, tmp_path):
    call = {"storage": tmp_path / "s.journal", "space": SPACE, **FAST}
    tune_mlp("iris", folds=folds, n_trials=1, **call)

    result = tune_mlp("iris", n_trials=2, **call)

    assert len(result.study.trials) == 2
    assert result.objective.record["folds"] == folds
    begun = tune_mlp("iris", start_from=result, n_trials=3, space=SPACE, **FAST)
    assert begun.objective.folds == folds


def test_a_function_of_another_name_continues_a_study_with_a_warning(tmp_path):
    call = {"storage": tmp_path / "s.journal", "space": {"x": (0.0, 1.0)}}
    tune(square, n_trials=1, show_progress_bar=False, **call)

    with pytest.warns(UserWarning, match="function square, now <lambda>: its trials can be"):
        result = tune(lambda trial: trial.params["x"], n_trials=2, show_progress_bar=False, **call)

    assert len(result.study.trials) == 2


def test_a_study_of_optuna_alone_is_not_gone_on_with_on_data_that_it_does_not_know(tmp_path):
    storage = f"sqlite:///{tmp_path / 's.db'}"
    study = optuna.create_study(study_name="mlp", storage=storage, direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)

    with pytest.raises(StudyMismatchError, match="'mlp' has trials of Optuna alone"):
        tune_mlp("iris", storage=storage, n_trials=3, **FAST)

    assert "fusetune" not in study.user_attrs
    names = {"storage": storage, "study_name": "mlp", "direction": "maximize"}
    assert len(tune(square, space={"x": (0.0, 1.0)}, n_trials=3, **names).study.trials) == 3


def test_a_study_of_several_directions_is_named(tmp_path):
    storage = f"sqlite:///{tmp_path / 's.db'}"
    directions = ["minimize", "maximize"]
    optuna.create_study(study_name="tune", storage=storage, directions=directions)

    with pytest.raises(StudyMismatchError, match="study 'tune' minimizes and maximizes, but"):
        tune(square, space={"x": (0.0, 1.0)}, n_trials=1, storage=storage)
