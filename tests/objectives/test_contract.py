"""What every ready-made objective keeps, whatever it trains."""

import gc
import weakref

import numpy as np
import optuna
import pytest
import torch

from objectives.cnn import CNNObjective
from objectives.finetune import FinetuneObjective
from objectives.mlp import MLPObjective
from objectives.module import ModuleObjective
from objectives.space.space import defaults
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, build_flat
from tests.test_contributing import example

OBJECTIVES = {
    "mlp": lambda **options: MLPObjective(
        "iris", space={"epochs": 4, "hidden_units": (4, 64), "n_layers": (1, 2)}, **options
    ),
    "module": lambda **options: ModuleObjective(
        build_flat,
        (SIGNALS, KINDS),
        space={
            "epochs": 4,
            "width": [4, 8],
            "dropout": (0.0, 0.5),
            "batch_size": [8, 16],
            "optimizer": ["sgd", "adam"],
            "weight_decay": (0.01, 0.5),
            "clip_norm": [0.0, 0.01],
            "schedule": ["one_cycle", "none"],
            "label_smoothing": (0.0, 0.3),
        },
        **options,
    ),
    "cnn": lambda **options: CNNObjective(
        (PICTURES, SHADES),
        space={"epochs": 4, "hidden_units": [4, 6], "batch_size": [8, 16]},
        **options,
    ),
    "finetune": lambda **options: FinetuneObjective(
        (PICTURES, SHADES),
        backbone="mobilenet_v3_small",
        weights=None,
        image_size=16,
        space={"epochs": 4, "batch_size": [16, 32], "frozen_epochs": (0, 1)},
        **options,
    ),
    "example of CONTRIBUTING.md": lambda **options: example().GRUObjective(
        (SIGNALS, KINDS),
        space={"epochs": 4, "hidden_units": (4, 8), "batch_size": [8, 16]},
        **options,
    ),
}
every_objective = pytest.mark.parametrize("make", OBJECTIVES.values(), ids=OBJECTIVES)


def curve(objective, params, seed=0, n_epochs=99):
    cohort = objective.cohort(seed=seed)
    cohort.add(0, params)
    found = []
    while len(found) < n_epochs and (not found or found[-1].stopped is None):
        found.append(cohort.train_epoch()[0])
    return found


def numbers(results):
    return [(r.value, r.valid_loss, r.train_loss) for r in results]


@every_objective
def test_it_reports_once_an_epoch_with_rising_steps_and_says_when_its_epochs_are_over(make):
    objective = make(patience=None)

    results = curve(objective, defaults(objective.space))

    assert [r.epoch for r in results] == [0, 1, 2, 3]
    assert [r.stopped for r in results] == [None, None, None, "epochs"]
    assert all(np.isfinite(numbers(results)).ravel())


@every_objective
def test_it_ends_after_patience_epochs_without_a_better_one(make):
    objective = make(patience=1)
    params = defaults(objective.space) | {"learning_rate": 1e-12, "epochs": 50}

    results = curve(objective, params)

    assert results[-1].stopped == "patience"
    assert len(results) < 50


@every_objective
def test_a_dropped_trial_trains_no_further_and_frees_its_memory(make):
    objective = make()
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space))
    cohort.train_epoch()
    trial = cohort._trials[0]
    held = trial.members[0].best_row if hasattr(trial, "members") else trial.module
    remembered = [weakref.ref(trial), weakref.ref(held)]
    del trial, held

    cohort.drop(0)
    cohort.drop(0)
    gc.collect()

    assert cohort.train_epoch() == {}
    assert [ref() for ref in remembered] == [None, None]


def tensor_bytes():
    gc.collect()
    # These types alone: the shapes that torch's exporter keeps in its caches, after another test of
    # this process, are tensors without memory, and asking where it lies is an error.
    tensors = [o for o in gc.get_objects() if type(o) in (torch.Tensor, torch.nn.Parameter)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


@every_objective
def test_a_trial_that_comes_and_goes_leaves_nothing_in_memory(make):
    objective = make()
    cohort = objective.cohort(seed=0)
    held = []

    for number in range(2):
        cohort.add(number, defaults(objective.space))
        cohort.train_epoch()
        held += [tensor_bytes()] if number else []
        cohort.drop(number)
        held.append(tensor_bytes())

    before, during, after = held
    assert during > before
    assert after == before


@every_objective
def test_the_model_is_that_of_the_best_epoch(make):
    objective = make(patience=None, metric="log_loss")
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space) | {"learning_rate": 0.1, "epochs": 6})

    values = [cohort.train_epoch()[0].value for _ in range(6)]

    valid = objective.data.valid
    score = cohort.model(0).score(valid.X, objective.data.classes[valid.y], "log_loss")
    assert score == pytest.approx(min(values), rel=1e-4)


@every_objective
def test_the_same_seed_gives_the_same_curve_and_another_seed_another(make):
    objective = make()
    params = defaults(objective.space)
    torch.manual_seed(1)
    first = numbers(curve(objective, params))
    torch.manual_seed(2)
    torch.rand(5)

    assert numbers(curve(objective, params)) == first
    assert numbers(curve(objective, params, seed=1)) != first


@every_objective
def test_training_leaves_torchs_own_random_numbers_alone(make):
    objective = make()
    torch.manual_seed(0)
    expected = torch.rand(3)

    torch.manual_seed(0)
    curve(objective, defaults(objective.space), n_epochs=2)

    assert torch.equal(torch.rand(3), expected)


def other_value(row):
    special = {"clip_norm": 0.001, "epochs": 9}  # shorter than any gradient; another pace
    if row.name in special:
        return special[row.name]
    dist = row.distribution
    if dist is None:
        known = row.grid
    elif isinstance(dist, optuna.distributions.CategoricalDistribution):
        known = dist.choices
    else:
        known = [row.from_stored(end) for end in (dist.high, dist.low)]
    return next(value for value in known if value != row.default)


@every_objective
def test_every_hyperparameter_of_its_space_changes_something(make):
    objective = make()
    curves = {}
    for optimizer in ("adam", "sgd"):
        base = defaults(objective.space) | {"optimizer": optimizer, "clip_norm": 0.0}
        base = {name: value for name, value in base.items() if name in objective.space}
        curves[optimizer] = base, numbers(curve(objective, base, n_epochs=2))

    for name, row in objective.space.items():
        base, expected = curves["sgd" if name in ("momentum", "clip_norm") else "adam"]
        other = "sgd" if name == "optimizer" else other_value(row)
        assert numbers(curve(objective, base | {name: other}, n_epochs=2)) != expected, name


@every_objective
def test_it_works_under_plain_optuna(make):
    objective = make()
    study = optuna.create_study(
        direction=objective.metric.direction, sampler=optuna.samplers.RandomSampler(seed=0)
    )

    study.optimize(objective, n_trials=2)

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    for trial in study.trials:
        assert list(trial.intermediate_values) == [0, 1, 2, 3]
        assert trial.user_attrs["fusetune:record"]["epochs_run"] == 4


@every_objective
def test_it_stops_at_once_when_a_pruner_says_so(make):
    objective = make()
    pruner = optuna.pruners.ThresholdPruner(upper=-1, n_warmup_steps=1)
    study = optuna.create_study(direction=objective.metric.direction, pruner=pruner)

    study.optimize(objective, n_trials=1)

    (trial,) = study.trials
    assert trial.state.name == "PRUNED"
    assert list(trial.intermediate_values) == [0, 1]
    assert trial.user_attrs["fusetune:record"]["epochs_run"] == 2


@every_objective
def test_a_refitted_model_predicts_labels_as_they_were_given(make):
    objective = make()

    model = objective.refit(defaults(objective.space), epochs=2, seed=0)

    assert set(model.predict(objective.data.valid.X)) <= set(objective.data.classes)
