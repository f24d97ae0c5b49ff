"""The call that made a study, written out: it runs, and it can hold nothing else."""

import optuna
import pandas as pd
import pytest

from tests.tuner.studies import make_study
from tuner import tune_mlp
from tuner.storage.call import call_in_python, describe_call, same_call


def test_call_in_the_report_gives_the_same_table_again(tmp_path):
    first = tune_mlp(
        "iris",
        n_trials=4,
        epochs=3,
        seed=7,
        sampler="random",
        storage=tmp_path / "s.journal",
        space={
            "learning_rate": (0.001, 0.1),
            "activation": ["relu", "tanh"],
            "dropout": optuna.distributions.FloatDistribution(0.0, 0.3),
        },
        show_progress_bar=False,
    )
    names = {}

    exec(call_in_python(first.study), names)

    again = names["result"].trials_dataframe().drop(columns="duration_s")
    pd.testing.assert_frame_equal(again, first.trials_dataframe().drop(columns="duration_s"))


@pytest.mark.parametrize("name", ["x\nimport os", "f()", "", "a b"])
def test_call_that_is_no_call_is_not_shown_as_a_program(name):
    study = make_study()
    study.set_user_attr("call", {"function": name, "dataset": None, "options": {}, "objects": {}})

    assert call_in_python(study) == ""


def test_comment_in_the_call_cannot_end_its_line():
    study = make_study()
    study.set_user_attr(
        "call",
        {
            "function": "tune_mlp",
            "dataset": {"object": "a\nimport os"},
            "options": {},
            "objects": {"device": "b\u2028c"},
        },
    )

    compile(call_in_python(study), "call", "exec")
    assert "    ...,  # a import os\n    device=...,  # b c\n" in call_in_python(study)


@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        ({}, True),
        ({"n_trials": 50}, True),
        ({"track": "mlflow"}, True),
        ({"seed": 1}, False),
        ({"space": {"dropout": (0.0, 0.5)}}, False),
        ({"folds": None}, False),
    ],
)
def test_a_call_is_the_same_but_for_its_number_of_trials_and_its_tracker(options, is_same):
    def call(**options):
        defaults = {"seed": 0, "folds": "auto"}
        return describe_call("tune_mlp", {"dataset": "iris", **options}, defaults)

    stored = call(n_trials=30) | {"options": {"n_trials": 30, "folds": 5}}

    assert same_call(call(**options), stored) == is_same
    assert same_call(call(**options), None)
    assert not same_call(call(**options), stored | {"dataset": {"builtin": "wine"}})
