"""Cohorts: a trial trains as it would alone, ends when it should, and never touches a neighbour."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.mlp import MLPObjective
from objectives.objective import EpochResult
from objectives.space.hyperparameter import ACTIVATIONS, OPTIMIZERS
from objectives.space.tables import MLP_TABLE
from objectives.training.device import multiplies_bfloat16
from objectives.training.mlp_cohort import MLPCohort
from objectives.training.recipe import RECIPES

DEFAULTS = {name: row.default for name, row in MLP_TABLE.items()} | {"hidden_units": 6, "epochs": 3}


def make_objective(task: str = "multiclass", n: int = 60, **options: Any) -> MLPObjective:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    y: Any = X[:, 0] + 0.1 * rng.normal(size=n)
    if task != "regression":
        y = np.digitize(y, [0.0] if task == "binary" else [-0.5, 0.5])
    metric = "rmse" if task == "regression" else "log_loss"
    return MLPObjective((X, y), metric=metric, **options)


def run(cohort: MLPCohort, n_epochs: int = 99) -> dict[int, list[EpochResult]]:
    """Train until all trials have ended, and return their curves."""
    curves: dict[int, list[EpochResult]] = {}
    for _ in range(n_epochs):
        for number, result in cohort.train_epoch().items():
            curves.setdefault(number, []).append(result)
            if result.stopped is not None:
                cohort.drop(number)
    return curves


def numbers(curve: list[EpochResult]) -> list[tuple[float, float, float]]:
    return [(r.value, r.valid_loss, r.train_loss) for r in curve]


configurations = st.fixed_dictionaries(
    {
        "learning_rate": st.floats(1e-4, 0.05),
        "epochs": st.integers(1, 4),
        "batch_size": st.sampled_from([8, 16, "full"]),
        "n_layers": st.integers(1, 2),
        "hidden_units": st.sampled_from([4, 6]),
        "activation": st.sampled_from(ACTIVATIONS),
        "dropout": st.sampled_from([0.0, 0.2, 0.5]),
        "optimizer": st.sampled_from(OPTIMIZERS),
        "momentum": st.sampled_from([0.0, 0.9]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
    }
)
OBJECTIVES = {
    (task, recipe, weighted): make_objective(
        task, recipe=recipe, sample_weight=np.linspace(0.5, 1.5, 60) if weighted else None
    )
    for task in ("binary", "multiclass", "regression")
    for recipe in RECIPES
    for weighted in (False, True)
}


@settings(max_examples=40, deadline=None)
@given(
    key=st.sampled_from(sorted(OBJECTIVES)),
    trials=st.lists(configurations, min_size=2, max_size=5),
    late=st.integers(0, 2),
)
def test_a_curve_in_a_cohort_equals_the_curve_alone(
    key: tuple[str, str, bool], trials: list[dict[str, Any]], late: int
) -> None:
    objective = OBJECTIVES[key]
    alone = {}
    for number, params in enumerate(trials):
        cohort = objective.cohort(seed=1)
        cohort.add(number, params)
        alone |= run(cohort)

    together: dict[int, list[EpochResult]] = {}
    cohort = objective.cohort(seed=1)
    last = len(trials) - 1
    for number, params in enumerate(trials[:last]):
        cohort.add(number, params)
    # The last one joins later, in a place that may have become free.
    together |= run(cohort, late)
    cohort.add(last, trials[last])
    for number, curve in run(cohort).items():
        together[number] = together.get(number, []) + curve

    assert sorted(together) == sorted(alone)
    for number, curve in alone.items():
        np.testing.assert_allclose(numbers(curve), numbers(together[number]), rtol=2e-4, atol=1e-5)
        assert [r.stopped for r in curve] == [r.stopped for r in together[number]]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_trials_that_one_call_of_the_optimizer_moves_come_out_as_alone(
    recipe: str, optimizer: str, momentum: float
) -> None:
    objective = make_objective("multiclass", recipe=recipe)
    alike = DEFAULTS | {"batch_size": 8, "optimizer": optimizer, "momentum": momentum}
    trials = [alike | {"activation": name} for name in ("relu", "gelu", "tanh")]
    alone = {}
    for number, params in enumerate(trials):
        cohort = objective.cohort(seed=1)
        cohort.add(number, params)
        alone |= run(cohort)

    cohort = objective.cohort(seed=1)
    for number, params in enumerate(trials[:2]):
        cohort.add(number, params)
    first = cohort.train_epoch()
    cohort.add(2, trials[2])  # an epoch behind the others, so at another rate where it falls
    rest = run(cohort)

    assert not np.allclose(numbers(alone[0]), numbers(alone[1]))
    for number, curve in alone.items():
        together = ([first[number]] if number in first else []) + rest[number]
        np.testing.assert_allclose(numbers(curve), numbers(together), rtol=2e-4, atol=1e-5)
        assert [r.learning_rate for r in curve] == [r.learning_rate for r in together]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_trial_that_diverges_leaves_its_neighbours_alone(task: str, optimizer: str) -> None:
    objective = make_objective(task, recipe="plain")
    tame = DEFAULTS | {"batch_size": 8}  # the others go on beside it for some steps
    wild = tame | {"learning_rate": 1e30, "optimizer": optimizer}
    cohort = objective.cohort(seed=0)
    cohort.add(0, tame)
    expected = run(cohort)[0]

    cohort.add(0, tame)
    cohort.add(1, wild)
    curves = run(cohort)

    assert curves[1][-1].stopped == f"diverged at epoch {len(curves[1]) - 1}"
    assert curves[1][-1].failed
    np.testing.assert_allclose(numbers(curves[0]), numbers(expected), rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_curve_in_a_cohort_on_the_gpu_equals_the_curve_alone() -> None:
    objective = make_objective(device="cuda")
    trials = {n: DEFAULTS | {"dropout": 0.5, "optimizer": o} for n, o in enumerate(OPTIMIZERS)}
    together = objective.cohort(seed=0)
    for number, params in trials.items():
        together.add(number, params)
    curves = run(together)

    for number, params in trials.items():
        alone = objective.cohort(seed=0)
        alone.add(number, params)
        np.testing.assert_allclose(numbers(curves[number]), numbers(run(alone)[number]), rtol=1e-3)


def test_a_trial_ends_when_patience_runs_out_and_keeps_the_weights_of_its_best_epoch() -> None:
    objective = make_objective("regression", patience=2, recipe="plain")
    cohort = objective.cohort(seed=0)
    cohort.add(7, DEFAULTS | {"epochs": 500, "learning_rate": 0.1})
    values = []
    while True:
        result = cohort.train_epoch()[7]
        values.append(result.value)
        if result.stopped:
            break

    best = int(np.argmin(values))
    model = cohort.model(7)

    assert result.stopped == "patience"
    assert len(values) == best + 3
    score = model.score(objective.data.valid.X, objective.data.valid.y)
    assert score == pytest.approx(values[best], rel=1e-5)


def test_only_trials_of_one_shape_and_batch_size_have_room_beside_one_another() -> None:
    cohort = make_objective().cohort(seed=0)

    assert cohort.has_room(DEFAULTS)
    cohort.add(0, DEFAULTS)

    assert cohort.has_room(DEFAULTS | {"learning_rate": 0.5, "activation": "tanh", "dropout": 0.0})
    assert not cohort.has_room(DEFAULTS | {"hidden_units": 7})
    assert not cohort.has_room(DEFAULTS | {"n_layers": 1})
    assert not cohort.has_room(DEFAULTS | {"batch_size": 16})
    cohort.drop(0)
    assert cohort.has_room(DEFAULTS | {"batch_size": 16})


def test_networks_too_large_to_gain_by_stacking_train_alone() -> None:
    cohort = make_objective().cohort(seed=0)
    wide = DEFAULTS | {"hidden_units": 600}

    cohort.add(0, wide)

    assert not cohort.has_room(wide)


def test_a_network_that_trains_alone_has_no_group() -> None:
    cohort = make_objective().cohort(seed=0)

    assert cohort.batch_key(DEFAULTS) == cohort.batch_key(DEFAULTS | {"learning_rate": 0.5})
    assert cohort.batch_key(DEFAULTS | {"hidden_units": 600}) is None


def test_bfloat16_rounds_the_products_of_large_networks_alone() -> None:
    wide = DEFAULTS | {"hidden_units": 700, "n_layers": 3}
    curves = {}
    for precision in ("float32", "bfloat16"):
        for number, params in enumerate((DEFAULTS, wide)):
            cohort = make_objective(precision=precision).cohort(seed=0)
            cohort.add(number, params)
            curves[precision, number] = numbers(run(cohort)[number])

    assert curves["bfloat16", 0] == curves["float32", 0]
    assert curves["bfloat16", 1] != curves["float32", 1]
    np.testing.assert_allclose(curves["bfloat16", 1], curves["float32", 1], rtol=0.05)


def test_auto_precision_is_what_the_processor_multiplies_natively() -> None:
    native = "bfloat16" if multiplies_bfloat16() else "float32"

    assert make_objective(precision="auto").record["precision"] == native


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match="precision must be one of auto, float32, bfloat16, got 'half'"
    ):
        make_objective(precision="half")


def test_repeats_are_averaged_and_predict_together() -> None:
    objective = make_objective(n_repeats=3)
    cohort = objective.cohort(seed=0)
    cohort.add(0, DEFAULTS)

    result = [cohort.train_epoch() for _ in range(3)][-1][0]
    model = cohort.model(0)

    X, y = objective.data.valid.X, objective.data.valid.y
    assert len(model.network.flat) == 3
    assert not math.isclose(float(model.network.flat[0, 0]), float(model.network.flat[1, 0]))
    # The mean of three models' losses is no smaller than the loss of their mean: log is concave.
    assert model.score(X, y, "log_loss") < result.value


@pytest.mark.parametrize(("n_repeats", "patience"), [(0, 1), (1.5, 1), (1, 0), (1, "x")])
def test_counts_that_are_no_counts_are_refused(n_repeats: Any, patience: Any) -> None:
    with pytest.raises(ValueError, match=r"(n_repeats|patience) must be a whole number"):
        make_objective(n_repeats=n_repeats, patience=patience)
