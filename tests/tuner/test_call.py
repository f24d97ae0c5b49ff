"""The call that made a study: kept in it, read back, and enough to join in elsewhere."""

import json

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import tuner
from tuner import tune, tune_mlp
from tuner.storage.call import describe_call, read_space, recorded_call

FAST = {"epochs": 2, "show_progress_bar": False}


DEFAULTS = {"space": None, "seed": 0, "storage": None, "n_trials": None}


def function(dataset, **options):
    return describe_call("function", {"dataset": dataset, **options}, DEFAULTS)


@pytest.mark.parametrize(
    "wish",
    [
        3,
        "relu",
        [1, 2],
        (0.1, 0.5),
        IntDistribution(1, 9, log=True),
        IntDistribution(2, 8, step=2),
        FloatDistribution(1.0, 8.0),
        FloatDistribution(0.0, 1.0, step=0.25),
    ],
)
def test_a_space_is_read_as_it_was_written_also_through_json(wish):
    call = json.loads(json.dumps(function("iris", space={"x": wish})))

    assert read_space(call["options"]["space"]) == {"x": wish}


def test_choices_of_an_optuna_distribution_are_kept_as_a_list():
    call = function("iris", space={"x": CategoricalDistribution([1, "a"])})

    assert read_space(call["options"]["space"]) == {"x": [1, "a"]}


def test_only_what_differs_from_the_defaults_is_kept_and_nothing_of_one_machine():
    call = function("iris", seed=0, n_trials=3, storage="sqlite://u:pw@h/d", test_size=0.1)

    assert call["options"] == {"n_trials": 3, "test_size": 0.1}
    assert "pw" not in json.dumps(call)


@pytest.mark.parametrize(
    ("dataset", "described"),
    [
        ("iris", {"builtin": "iris"}),
        (pd.DataFrame({"a": [1, 2]}), {"object": "DataFrame of 2 x 1"}),
        ((np.zeros((4, 3)), np.zeros(4)), {"object": "(ndarray of 4 x 3, ndarray of 4)"}),
    ],
)
def test_a_dataset_is_named_or_told_in_words(dataset, described):
    assert function(dataset)["dataset"] == described


@pytest.mark.parametrize(
    ("address", "described"),
    [
        ("https://host/t.csv", {"builtin": "https://host/t.csv"}),
        ("https://host/t.csv?token=geheim", "https://host/t.csv"),
        ("https://me:geheim@host/t.csv", "https://host/t.csv"),
        ("s3://me:geheim@host:9000/t.csv#geheim", "s3://host:9000/t.csv"),
    ],
)
def test_an_address_is_recorded_without_tokens_and_passwords(address, described):
    recorded = function(address)["dataset"]

    assert "geheim" not in str(recorded)
    assert recorded == described or recorded["object"].startswith(described)


def test_a_file_is_kept_by_its_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)

    assert function("d.csv")["dataset"] == {"path": str(tmp_path / "d.csv")}


def test_a_recorded_call_made_again_goes_on_with_the_study(tmp_path):
    storage = tmp_path / "s.journal"
    space = {"hidden_units": [8, 16], "n_layers": 1, "learning_rate": (0.001, 0.1)}
    first = tune_mlp("iris", n_trials=3, space=space, seed=4, storage=storage, **FAST)

    name, dataset, options = recorded_call(first.study)
    again = getattr(tuner, name)(
        dataset, storage=storage, **options | {"n_trials": 5}, show_progress_bar=False
    )

    assert len(again.trials_dataframe()) == 5
    assert recorded_call(again.study)[2]["n_trials"] == 5


def test_data_that_lie_elsewhere_here_do_not_replace_where_they_lay_at_first(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        rows = "\n".join(f"{i},{i % 7},{i % 2}" for i in range(60))
        (tmp_path / folder / "d.csv").write_text(f"x,z,y\n{rows}\n")
    call = FAST | {"target": "y", "storage": tmp_path / "s.journal"}

    tune_mlp(tmp_path / "a" / "d.csv", n_trials=2, **call)
    result = tune_mlp(tmp_path / "b" / "d.csv", n_trials=3, **call)

    assert recorded_call(result.study)[1] == str(tmp_path / "a" / "d.csv")


def square(trial):
    return trial.params["x"] ** 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optuna.create_study(), "records no call; make the call in Python"),
        (
            lambda: (
                tune(square, space={"x": (0.0, 1.0)}, n_trials=1, show_progress_bar=False).study
            ),
            "got objective as Python objects; make the same call of tune",
        ),
        (
            lambda: (
                tune_mlp(
                    (np.arange(60.0).reshape(-1, 1), np.arange(60) % 2), n_trials=1, **FAST
                ).study
            ),
            r"data must be given .* \(ndarray of 60 x 1, ndarray of 60\) in memory",
        ),
    ],
)
def test_a_call_that_cannot_be_repeated_by_command_says_why(make, message):
    with pytest.raises(ValueError, match=message):
        recorded_call(make())
