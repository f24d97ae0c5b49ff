"""Cross-validation: which rows are in which fold, and folds trained side by side."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from objectives.data.encoders import TableRows
from objectives.data.splits import fold_rows
from objectives.data.table import DataWarning
from objectives.mlp import MLPObjective
from objectives.models.mlp import FittedModel
from objectives.training.tensors import Parts, TensorData
from tests.objectives.training.test_mlp_cohort import DEFAULTS, make_objective, numbers, run


@given(
    n=st.integers(12, 60), n_folds=st.integers(2, 5), kind=st.sampled_from(["random", "stratified"])
)
def test_each_row_validates_once_and_trains_in_all_other_folds(
    n: int, n_folds: int, kind: str
) -> None:
    y = np.arange(n) % 2
    labels = np.array([0, 1]) if kind == "stratified" else None

    folds = fold_rows(y, kind=kind, labels=labels, groups=None, n_folds=n_folds, seed=0)

    assert sorted(np.concatenate([valid for _, valid in folds])) == list(range(n))
    assert all(sorted([*train, *valid]) == list(range(n)) for train, valid in folds)


@given(n_groups=st.integers(5, 9), seed=st.integers(0, 99))
def test_no_group_is_on_both_sides_of_a_fold(n_groups: int, seed: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.arange(40) % n_groups)

    folds = fold_rows(np.zeros(40), kind="group", labels=None, groups=groups, n_folds=3, seed=seed)

    for train, valid in folds:
        assert not set(groups[train]) & set(groups[valid])


def test_by_time_a_fold_trains_on_earlier_rows_only() -> None:
    folds = fold_rows(np.zeros(30), kind="time", labels=None, groups=None, n_folds=4, seed=0)

    assert all(train.max() < valid.min() for train, valid in folds)


BAD = {
    "too many for the rarest class": (
        {"y": np.array([0] * 20 + [1] * 2), "labels": np.array(["a", "b"]), "kind": "stratified"},
        "rarest class, got folds=3 for 2 .* of class 'b'",
    ),
    "too few rows": ({"y": np.zeros(7), "kind": "random"}, "folds=3 for 7 training"),
    "too few groups": (
        {"y": np.zeros(20), "kind": "group", "groups": np.arange(20) % 2},
        "folds=3 for 2 groups",
    ),
    "one class to train on": (
        {"y": np.repeat([0, 1], 10), "kind": "time", "labels": np.array([0, 1])},
        "one class in fold 0",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_folds_that_the_rows_do_not_allow_are_refused(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        fold_rows(**{"labels": None, "groups": None, "n_folds": 3, "seed": 0, **call})  # type: ignore[arg-type]


@pytest.mark.parametrize("folds", [1, 0, 2.5, True, "5"])
def test_a_number_of_folds_that_is_none_is_refused(folds: Any) -> None:
    with pytest.raises(ValueError, match="folds must be a whole number of at least 2 or None"):
        make_objective(folds=folds)


def mixed_table(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=n), "colour": rng.choice(list("rgb"), n)})
    frame.loc[: n // 20, "colour"] = "rare"  # in few folds only, so that encoded widths differ
    frame["price"] = 100 + 10 * frame["size"] + rng.normal(size=n)
    frame["when"] = np.arange(n)
    frame["who"] = np.arange(n) % 13
    return frame


KINDS: dict[str, dict[str, Any]] = {
    "random": {},
    "time": {"time": "when"},
    "group": {"groups": "who"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_trains_beside_the_others_as_it_would_alone(kind: str) -> None:
    frame = mixed_table()
    objective = MLPObjective(frame, target="price", metric="rmse", folds=3, **KINDS[kind])
    cohort = objective.cohort(seed=0)
    cohort.add(0, DEFAULTS | {"dropout": 0.2})
    for _ in range(2):
        together = cohort.train_epoch()[0]

    alone = [fold_alone(objective, number) for number in range(3)]

    assert together.value == pytest.approx(np.mean(alone), rel=1e-4)
    assert together.value_std == pytest.approx(np.std(alone, ddof=1), rel=1e-3)


def fold_alone(objective: MLPObjective, fold: int) -> float:
    """Train one member of trial 0 for two epochs in a cohort without the others."""
    cohort = objective.cohort(seed=0)
    cohort.add(0, DEFAULTS | {"dropout": 0.2})
    trial = cohort._trials[0]
    for member in [m for m in trial.members if m.part != fold]:
        for _, stack in cohort._stacks:
            stack.drop(member)
    trial.members = [m for m in trial.members if m.part == fold]
    cohort._stacks = [(key, stack) for key, stack in cohort._stacks if stack.members]
    return [cohort.train_epoch()[0].value for _ in range(2)][-1]


def test_trials_of_several_folds_train_side_by_side_as_they_would_alone() -> None:
    objective = make_objective(folds=3, n_repeats=2)
    trials = {0: DEFAULTS, 1: DEFAULTS | {"learning_rate": 0.02, "optimizer": "sgd"}}
    cohort = objective.cohort(seed=0)
    for number, params in trials.items():
        assert cohort.has_room(params)
        cohort.add(number, params)

    curves = run(cohort)

    for number, params in trials.items():
        alone = objective.cohort(seed=0)
        alone.add(number, params)
        np.testing.assert_allclose(numbers(curves[number]), numbers(run(alone)[number]), rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_of_folds_averages_what_each_fold_predicts_in_the_targets_units(
    kind: str, tmp_path: Any
) -> None:
    frame = mixed_table()
    objective = MLPObjective(frame, target="price", metric="rmse", folds=3, **KINDS[kind])
    cohort = objective.cohort(seed=0)
    cohort.add(0, DEFAULTS | {"learning_rate": 0.02})
    cohort.train_epoch()

    model = cohort.model(0)

    X, expected = objective.data.valid.X, []
    for part, member in zip(objective.prepared, cohort._trials[0].members, strict=True):
        width = model.network.config["n_inputs"]
        x = torch.from_numpy(part.encoder.transform(X))
        x = torch.nn.functional.pad(x, (0, width - x.shape[1]))
        network = type(model.network)(**model.network.config | {"activations": ["relu"]})
        network.flat = member.row.unsqueeze(0).clone()
        assert part.scaler is not None
        expected.append(network(x)[0, :, 0].numpy() * part.scaler.scale + part.scaler.mean)
    low, high = model.target_scaler.low, model.target_scaler.high
    np.testing.assert_allclose(
        model.predict(X), np.mean(expected, axis=0).clip(low, high), rtol=1e-4
    )
    model.save(tmp_path / "folds.zip")
    assert np.array_equal(FittedModel.load(tmp_path / "folds.zip").predict(X), model.predict(X))


def test_folds_fit_their_encoders_on_their_own_training_rows() -> None:
    objective = MLPObjective(mixed_table(), target="price", folds=3)

    widths = {part.encoder.n_outputs for part in objective.prepared}
    means = {part.scaler.mean for part in objective.prepared if part.scaler is not None}

    assert len(means) == 3
    assert max(widths) == objective.cohort(seed=0)._training.tensors.n_inputs


def part_of(n: int) -> TensorData:
    x = torch.zeros(n, 2)
    return TensorData(
        x=TableRows(x),
        targets=x,
        weight=None,
        valid_x=TableRows(x),
        valid_targets=x,
        valid_y=x[:, 0],
        valid_weight=None,
    )


@pytest.mark.parametrize(
    ("sizes", "n_epoch_rows"),
    [([100], [100]), ([100, 99, 99], [99, 99, 99]), ([100, 50, 51], [100, 50, 50])],
)
def test_parts_of_nearly_one_size_take_equally_many_rows_an_epoch(
    sizes: list[int], n_epoch_rows: list[int]
) -> None:
    parts = Parts([part_of(n) for n in sizes])

    assert parts.n_epoch_rows == n_epoch_rows
    for part, n in enumerate(sizes):
        drawn = parts.draw(part, torch.Generator().manual_seed(0)) - parts.first[part]
        assert len(set(drawn.tolist())) == n_epoch_rows[part]
        assert 0 <= int(drawn.min()) <= int(drawn.max()) < n


@pytest.mark.parametrize(
    ("data", "options", "folds"),
    [
        ("iris", {}, 5),
        ("iris", {"groups": list(range(50)) * 3}, 5),
        ("iris", {"groups": list(range(5)) * 30}, None),  # 4 groups are left beside the test split
        ("iris", {"time": list(range(150)), "task": "regression"}, None),
        ("rare", {}, None),
        ("long", {}, None),
    ],
)
def test_folds_are_chosen_for_small_tables_that_can_be_divided(
    data: str, options: dict[str, Any], folds: int | None
) -> None:
    n = {"rare": 60, "long": 2600}.get(data, 0)
    rows = (np.arange(2.0 * n).reshape(n, 2), np.arange(n) < (4 if data == "rare" else n // 2))
    told: AbstractContextManager[Any] = nullcontext()
    if folds is None and data != "long" and "time" not in options:
        told = pytest.warns(DataWarning, match="5 folds cannot be made: .*; lower folds")
    with told:
        objective = MLPObjective(rows if n else data, folds="auto", space={"epochs": 1}, **options)

    assert objective.folds == folds
    assert objective.record["folds"] == folds
    assert objective.n_members == (folds or 1)
