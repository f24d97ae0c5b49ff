"""The space to search next: what is widened, narrowed, capped and fixed."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import create_trial

from objectives.space.space import describe, make_space
from objectives.space.tables import MLP_TABLE
from tests.tuner.studies import RATES, by_rate, make_study, peaked, rates
from tuner.diagnosis.diagnosis import diagnose


def test_next_space_widens_the_edge_and_closes_in_elsewhere():
    study = make_study(*peaked(40, learning_rate=0.1))

    space = diagnose(study).space

    assert space["learning_rate"][0] > 1e-3
    assert space["learning_rate"][1] == 1.0
    assert set(space) == {"learning_rate", "epochs", "dropout", "n_layers", "activation"}


def test_next_space_is_one_that_the_entry_points_take():
    space = diagnose(make_study(*peaked(40, learning_rate=0.1))).space

    rows = make_space(MLP_TABLE, space)

    low, high = space["learning_rate"]
    assert (rows["learning_rate"].distribution.low, rows["learning_rate"].distribution.high) == (
        low,
        high,
    )
    assert rows["learning_rate"].distribution.log


def test_without_enough_trials_the_next_space_is_the_same():
    space = diagnose(make_study(*rates(3e-3, 9e-2))).space

    assert space["learning_rate"] == (1e-4, 1e-1)
    assert space["n_layers"] == (1, 4)
    assert space["activation"] == ["relu", "tanh"]


def test_hyperparameter_without_effect_is_fixed_at_the_best_value():
    diagnosis = diagnose(make_study(*peaked(100)))

    useless = diagnosis.findings.query("code == 'no_difference'")["hyperparameter"].tolist()
    assert "learning_rate" not in useless
    assert useless
    assert not any(isinstance(diagnosis.space[name], tuple) for name in useless)


def test_levels_of_a_grid_are_widened_by_one_more():
    levels = [0.001, 0.01, 0.1]
    space = {"learning_rate": {"choices": levels}}
    study = make_study(*rates(0.1, 0.1, 0.1, 0.01, 0.001), space=space, sampler="grid")

    assert diagnose(study).space == {"learning_rate": [0.001, 0.01, 0.1, 1.0]}
    assert "too_few_trials" not in diagnose(study).findings["code"].tolist()


@pytest.mark.parametrize(
    ("levels", "values", "expected"),
    [
        ([16, 32, 64], [64, 64, 64, 32, 16], [16, 32, 64, 128]),
        ([1, 2, 3], [3, 3, 3, 2, 1], [1, 2, 3, 4]),
        ([0.1, 0.2, 0.3], [0.3, 0.3, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]),
        ([16, 32, 64], [32, 64, 64, 32, 16], [16, 32, 64]),
    ],
)
def test_numbers_to_choose_from_have_edges_too(levels, values, expected):
    study = optuna.create_study(direction="maximize")
    choice = CategoricalDistribution(levels)
    study.add_trials(
        create_trial(value=-i, params={"n": n}, distributions={"n": choice})
        for i, n in enumerate(values)
    )

    assert diagnose(study).space == {"n": expected}


def test_levels_from_which_on_trials_diverge_are_left_out():
    space = {"learning_rate": {"choices": RATES}}

    found = diagnose(make_study(*by_rate(diverged_from=3e-2), space=space)).space

    assert found == {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]}


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"low": 16, "high": 256, "powers_of_two": True}, (16, 256)),
        ({"low": 16, "high": 256}, IntDistribution(16, 256)),
        ({"low": 16, "high": 256, "log": True}, IntDistribution(16, 256, log=True)),
    ],
)
def test_range_on_another_scale_than_the_documented_one_keeps_it(described, expected):
    found = diagnose(make_study(space={"batch_size": described})).space["batch_size"]

    assert found == expected
    kept = make_space(MLP_TABLE, {"batch_size": found})["batch_size"]
    assert describe({"batch_size": kept})["batch_size"] == described
