"""Objectives that misbehave: each trial says what was wrong, and the search goes on."""

import cmath
import warnings

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner import load_study, tune

QUIET = {"show_progress_bar": False, "pruner": "none"}


class UnspeakableError(Exception):
    """Cannot even say what it is."""

    def __str__(self):
        raise ValueError("no words")


class NoNumber:
    """Claims to be a number."""

    def __float__(self):
        raise RuntimeError("not really")


RETURNED = {
    "None": (None, "got None"),
    "a tuple": ((0.5, 3), "got tuple"),
    "an array": (np.zeros(3), r"got ndarray of shape \(3,\)"),
    "a tensor": (torch.zeros(2, 2), r"got Tensor of shape \(2, 2\)"),
    "complex": (cmath.sqrt(-1), "got complex"),
    "complex of numpy": (np.complex64(1j), "got complex64"),
    "a word": ("good", "got str"),
    "too large": (10**400, "got int"),
    "no number": (NoNumber(), "got NoNumber"),
}


@pytest.mark.parametrize("returned", RETURNED)
def test_what_is_no_number_is_said_in_one_sentence(returned):
    value, words = RETURNED[returned]
    rule = rf"^objective must return a number, {words} in trial 2; return the value to tune"
    with pytest.raises(TypeError, match=rule):
        tune(lambda trial: value, space={"x": (0, 9)}, n_trials=9, **QUIET)


@pytest.mark.parametrize("ending", ["journal", "db"])
def test_a_user_attribute_that_no_study_can_hold_is_named(ending, tmp_path):
    def objective(trial):
        trial.set_user_attr("weights", [np.zeros(3)] if trial.number == 1 else [0.0])
        return 1.0

    storage = tmp_path / f"s.{ending}"
    result = tune(objective, space={"x": (0.0, 1.0)}, n_trials=3, storage=storage, **QUIET)

    table = result.trials_dataframe()
    assert table["state"].tolist() == ["COMPLETE", "FAIL", "COMPLETE"]
    assert table["error"][1].startswith(
        "TypeError: user attribute 'weights' of trial 1 must be of plain JSON types, got list ("
    )
    assert "array.tolist()" in table["error"][1]


def test_a_table_has_an_errors_first_line_of_at_most_300_characters():
    def objective(trial):
        raise ValueError("x" * 1000 if trial.number else "first\nsecond")

    result = tune(objective, space={"x": (0.0, 1.0)}, n_trials=2, **QUIET)

    first, second = result.trials_dataframe()["error"]
    assert first == "ValueError: first"
    assert (len(second), second[:14]) == (300, "ValueError: xx")


def attribute(name):
    return lambda trial: trial.set_user_attr(name, {"params": 1, "stopped": 2})


def ended_by_itself(trial):
    trial.study.tell(trial, 0.5)
    return 0.5


MISDEEDS = {
    **{name: lambda trial, value=value: value for name, (value, _) in RETURNED.items()},
    "NaN": lambda trial: float("nan"),
    "raises": lambda trial: 1 / 0,
    "raises without words": lambda trial: (_ for _ in ()).throw(UnspeakableError()),
    "raises a surrogate": lambda trial: (_ for _ in ()).throw(ValueError("\ud800 \x00\n\n")),
    "raises nothing": lambda trial: (_ for _ in ()).throw(ValueError()),
    "prunes": lambda trial: (_ for _ in ()).throw(optuna.TrialPruned),
    "ends itself": ended_by_itself,
    "reports a word": lambda trial: trial.report("good", 0),
    "reports twice": lambda trial: trial.report(0.1, 0) or trial.report(0.2, 0) or 0.1,
    "suggests otherwise": lambda trial: trial.suggest_categorical("x", ["a", "b"]),
    "changes the params": lambda trial: trial.params.clear() or 0.5,
    "attribute of no JSON": lambda trial: trial.set_user_attr("a", object()),
    **{
        f"attribute {name}": attribute(name)
        for name in ("record", "params", "error", "curve", "checkpoint", "origin", "model")
    },
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(list(MISDEEDS)), min_size=2, max_size=6), st.booleans())
def test_whatever_an_objective_does_each_trial_is_in_the_table_once(tmp_path_factory, deeds, later):
    storage = tmp_path_factory.mktemp("study") / "s.journal"

    def objective(trial):
        if trial.number % 2:  # or the same error in each of the first would end the search
            return trial.params["x"]
        return MISDEEDS[deeds[trial.number // 2]](trial)

    call = {"space": {"x": (0.0, 1.0)}, "storage": storage, "study_name": "s", **QUIET}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of what is reported twice and the like
        if later:
            tune(objective, n_trials=len(deeds), **call)
        table = tune(objective, n_trials=2 * len(deeds), **call).trials_dataframe()

    assert table["number"].tolist() == list(range(2 * len(deeds)))
    assert set(table["state"]) <= {"COMPLETE", "FAIL", "PRUNED"}
    assert set(table["state"][1::2]) == {"COMPLETE"}
    assert table["error"].notna().eq(table["state"] == "FAIL").all()
    assert table["error"].dropna().str.len().between(1, 300).all()
    stored = [trial.params["x"] for trial in load_study(storage).trials]
    assert table["params_x"].tolist() == stored
