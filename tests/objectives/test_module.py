"""Modules of one's own: what build is told, what training takes, and what goes wrong."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from objectives.data.table import DataWarning
from objectives.module import ModuleObjective
from objectives.space.space import defaults
from objectives.training.feeds import load_arrays
from objectives.training.recipe import schedule_factor
from tests.objectives.networks import (
    KINDS,
    SIGNALS,
    TwoInputs,
    build_flat,
    regressor,
    share_of_hits,
    trained,
)

VALUES = SIGNALS.mean((1, 2)).astype(float)


def test_a_module_of_several_inputs_takes_a_tuple_or_a_dict():
    rng = np.random.default_rng(0)
    x, level = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    y = x[:, 0] + level

    curves = []
    for X in ((x, level), {"x": x, "level": level}):
        objective = ModuleObjective(TwoInputs, (X, y), metric="rmse")
        results, cohort = trained(objective, 3, learning_rate=0.05)
        curves.append([r.value for r in results])
        assert cohort.model(0).predict(X).shape == (60,)

    assert curves[0] == curves[1]
    assert curves[0][-1] < curves[0][0]


class Pairs(Dataset):
    def __len__(self):
        return len(SIGNALS)

    def __getitem__(self, row):
        return torch.from_numpy(SIGNALS[row]), int(KINDS[row])


def test_a_map_style_dataset_is_the_same_as_its_arrays():
    both = [trained(ModuleObjective(build_flat, d))[0] for d in (Pairs(), (SIGNALS, KINDS))]

    assert [r.value for r in both[0]] == [r.value for r in both[1]]


def test_a_table_is_encoded_and_build_is_told_its_width():
    frame = pd.DataFrame({"size": VALUES, "colour": list("rgbw") * 20, "kind": KINDS > 0})
    told = []

    def build(n_inputs, n_outputs, width=4):
        told.append((n_inputs, n_outputs))
        return nn.Sequential(nn.Linear(n_inputs, width), nn.Linear(width, n_outputs))

    objective = ModuleObjective(build, frame, target="kind")
    _, cohort = trained(objective)

    assert set(told) == {(5, 1)}
    new = pd.DataFrame({"colour": ["purple"], "size": [1.0]})
    assert cohort.model(0).predict(new)[0] in (True, False)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_two_classes_may_have_one_output_or_two(n_outputs):
    objective = ModuleObjective(
        lambda: build_flat(n_outputs=n_outputs), (SIGNALS, KINDS > 0), metric="roc_auc"
    )

    results, cohort = trained(objective, 8, learning_rate=0.02)

    assert results[-1].value > 0.7
    probabilities = cohort.model(0).predict_proba(SIGNALS)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", nn.functional.smooth_l1_loss])
def test_values_are_predicted_in_their_own_units(loss):
    objective = ModuleObjective(
        regressor, (SIGNALS, 1000 + 50 * VALUES), loss=loss, metric="r2", seed=1
    )

    results, cohort = trained(objective, 25, learning_rate=0.03)

    assert results[-1].value > 0.3
    assert 900 < cohort.model(0).predict(SIGNALS).mean() < 1100


@pytest.mark.parametrize("name", ["none", "cosine", "one_cycle"])
def test_schedules_stay_between_nothing_and_the_full_rate(name):
    factors = [schedule_factor(name, k / 100) for k in range(101)]

    assert 0 <= min(factors) <= max(factors) <= 1
    assert factors[-1] == (1.0 if name == "none" else pytest.approx(0.0))


MISTAKES = {
    "neither takes it": (
        {"space": {"widht": [4, 8]}},
        ValueError,
        "got 'widht'; did you mean 'width'",
    ),
    "too few outputs": (
        {"build": lambda: build_flat(n_outputs=2)},
        ValueError,
        r"shape \(rows, 3\).* \(2, 2\)",
    ),
    "a module itself": (
        {"build": nn.Linear(50, 3)},
        TypeError,
        r"got a module itself \(Linear\); give lambda: copy.deepcopy\(module\)",
    ),
    "no module": ({"build": lambda: 3}, TypeError, "must return a torch.nn.Module, got int"),
    "nothing to train": (
        {"build": lambda: build_flat().requires_grad_(False)},
        ValueError,
        "build must return a module with parameters to train, got Sequential in which none",
    ),
    "no tensor": (
        {"build": lambda: nn.LSTM(5, 3, batch_first=True)},
        TypeError,
        "gives a tensor, got tuple",
    ),
    "unknown loss": ({"loss": "mse"}, ValueError, "loss must be one of cross_entropy"),
    "target": ({"target": "y"}, ValueError, "target must name a column of a table"),
    "patience": ({"patience": 0}, ValueError, "patience must be"),
    "no value": (
        {"build": lambda width: build_flat(width)},
        ValueError,
        r"told of the data \(n_outputs.*got width .*; give space=\{'width': ...\}, or a default",
    ),
    "said twice": (
        {"optimizer": "sgd", "space": {"optimizer": ["sgd", "adamw"]}},
        ValueError,
        "optimizer must be given once, got optimizer='sgd' and",
    ),
    "idle schedule": (
        {"schedule": float, "space": {"schedule": ["none", "cosine"]}},
        ValueError,
        "leave out 'schedule' with a function as schedule",
    ),
    "idle smoothing": (
        {"loss": nn.functional.cross_entropy, "space": {"label_smoothing": 0.1}},
        ValueError,
        "leave out 'label_smoothing' with a function as loss",
    ),
    "bare metric": (
        {"metric": share_of_hits},
        TypeError,
        "Metric.from_function.function, direction=",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named_before_any_training(case):
    changed, kind, words = MISTAKES[case]
    options = {"build": build_flat} | changed
    with pytest.raises(kind, match=words):
        ModuleObjective(options.pop("build"), (SIGNALS, KINDS), **options)


@pytest.mark.parametrize("last", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Identity()])
def test_a_softmax_at_the_end_is_named(last):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ModuleObjective(lambda: nn.Sequential(build_flat(), last), (SIGNALS, KINDS))

    told = [str(warning.message) for warning in caught if "softmax" in str(warning.message)]
    assert len(told) == isinstance(last, nn.Softmax)


class Torn(Dataset):
    """Rows of signals, of which one cannot be read."""

    def __len__(self):
        return len(KINDS)

    def __getitem__(self, row):
        return SIGNALS[row], {7: {}}.get(row, {row: 1})[row] * KINDS[row]


BAD_ARRAYS = {
    "lengths": ((SIGNALS, KINDS[:-1]), "X and y must have the same length, got 80 and 79"),
    "NaN": ((np.where(SIGNALS > 2, np.nan, SIGNALS), KINDS), "finite numbers"),
    "inputs differ": (((SIGNALS, SIGNALS[:5]), KINDS), "as many rows in each"),
    "a row that raises": (Torn(), "each index, got KeyError: 7 at row 7 of 80; mend or leave out"),
    "three parts": ([(1.0, 2, 3)] * 60, r"give several inputs as \(\(x1, x2\), y\)"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_cannot_be_used_are_refused(case):
    dataset, words = BAD_ARRAYS[case]
    with pytest.raises(ValueError, match=words):
        ModuleObjective(build_flat, dataset)


class Greedy(nn.Module):
    """Asks for more memory than any machine has, once it is told to."""

    def __init__(self, at_once=False, in_training=False):
        super().__init__()
        self.in_training = in_training
        self.layer = nn.Linear(10, 3)
        if at_once:
            self.layer = nn.Linear(1 << 30, 1 << 20)

    def forward(self, x):
        if self.in_training and self.training:
            return self.layer(torch.empty(1 << 50))
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("where", ["at_once", "in_training"])
def test_a_module_that_is_too_large_ends_its_trial_and_says_so(where):
    objective = ModuleObjective(Greedy, (SIGNALS, KINDS), space={where: [0, 1]})

    results, cohort = trained(objective, 1, **{where: 1})

    assert results[0].stopped == "out of memory"
    cohort.drop(0)
    cohort.add(1, defaults(objective.space))
    assert np.isfinite(cohort.train_epoch()[1].value)


class Broken(nn.Module):
    """Gives NaN while it trains."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 3)

    def forward(self, x):
        out = self.layer(x.flatten(1))
        return out * torch.nan if self.training else out


def test_a_default_that_is_too_large_leaves_the_smaller_ones_to_be_tried():
    objective = ModuleObjective(Greedy, (SIGNALS, KINDS), space={"at_once": [1, 0]})

    too_large, cohort = trained(objective, 1)
    cohort.drop(0)
    small, _ = trained(objective, 1, at_once=0)

    assert (too_large[0].stopped, small[0].stopped) == ("out of memory", None)


def test_a_module_that_gives_nan_has_diverged():
    results, _ = trained(ModuleObjective(Broken, (SIGNALS, KINDS)), 1)

    assert results[0].stopped == "diverged at epoch 0"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(40) // 4, "one value for each row, got shape \\(40,\\) for 60 rows"),
        (np.arange(80) // 4, "one value for each row, got shape \\(80,\\) for 60 rows"),
        ([None, *range(59)], "no missing cells, got 1"),
    ],
)
def test_groups_of_arrays_that_are_not_one_a_row_are_refused(groups, message):
    arrays = np.zeros((60, 3, 4)), np.arange(60) % 3

    with pytest.raises(ValueError, match=f"groups must h.*{message}"):
        load_arrays(arrays, groups=groups)


def test_arrays_whose_training_rows_lack_a_class_are_warned_of():
    y = np.array([*([0, 1] * 25), *[2] * 10])

    with pytest.warns(DataWarning, match="classes 2 .* cannot be learned with this group split"):
        load_arrays((np.zeros((60, 3)), y), groups=np.arange(60) // 10, seed=0)
