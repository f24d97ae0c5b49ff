"""Weights of rows and classes: what they change, and what they leave alone."""

import numpy as np
import pandas as pd
import pytest

from objectives.mlp import MLPObjective
from objectives.module import ModuleObjective
from objectives.space.space import defaults
from tests.objectives.networks import line
from tests.objectives.test_contract import curve, numbers

RNG = np.random.default_rng(0)
CLOUDS = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
TABLE = CLOUDS.assign(
    y=np.where(CLOUDS.a + RNG.normal(size=200) > 0.5, "yes", "no"), w=RNG.uniform(0.1, 2.0, 200)
)
OBJECTIVES = {
    "mlp": lambda table, **options: MLPObjective(table, target="y", **options),
    "module": lambda table, **options: ModuleObjective(line, table, target="y", **options),
}
every_objective = pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)


def trained(objective, **params):
    params = defaults(objective.space) | {"epochs": 2} | params
    return curve(objective, {name: params[name] for name in objective.space})


@every_objective
def test_sample_weights_in_another_unit_change_no_loss_and_no_metric(make):
    table = TABLE.assign(w=TABLE.w * 100)
    hundredfold, plain = (
        numbers(trained(make(t, sample_weight="w", metric="log_loss"))) for t in (table, TABLE)
    )

    assert np.ravel(hundredfold) == pytest.approx(np.ravel(plain), rel=1e-4)


@every_objective
def test_class_weights_weigh_the_losses_of_both_splits_and_leave_the_metric_alone(make):
    still = {"learning_rate": 1e-12, "dropout": 0.0}
    weighed, plain = (
        trained(make(TABLE, metric="log_loss", class_weight=weight), **still)[-1]
        for weight in ({"yes": 50.0, "no": 1.0}, None)
    )

    assert weighed.value == pytest.approx(plain.value, rel=1e-5)
    assert plain.valid_loss == pytest.approx(plain.value, rel=1e-5)
    assert weighed.valid_loss != pytest.approx(plain.valid_loss, rel=1e-3)
    assert weighed.train_loss != pytest.approx(plain.train_loss, rel=1e-3)


@every_objective
def test_a_split_whose_rows_all_have_weight_zero_is_refused(make):
    table = TABLE.assign(t=np.arange(200), y=TABLE.a + TABLE.b)
    for rows in (slice(0, 120), slice(120, 160)):
        weight = np.ones(200)
        weight[rows] = 0.0
        with pytest.raises(ValueError, match="sample_weight must be above 0 in some row of each"):
            make(table.assign(w=weight), sample_weight="w", time="t")


@every_objective
def test_values_of_a_large_mean_are_judged_to_the_last_digit(make):
    objective = make(TABLE[["a", "b", "c"]].assign(y=1e9 + TABLE.a + TABLE.b), metric="rmse")
    params = defaults(objective.space)
    cohort = objective.cohort(seed=0)
    cohort.add(0, params)
    value = cohort.train_epoch()[0].value

    valid = objective.data.valid
    assert value == pytest.approx(cohort.model(0).score(valid.X, valid.y), rel=1e-4)
