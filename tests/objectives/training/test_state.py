"""States as bytes: what goes in comes out, and nothing else is taken."""

import io
import pickle
import random

import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given

from objectives.space.space import defaults
from objectives.training.cohort import pack, unpack
from tests.objectives.test_contract import every_objective, numbers

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TENSORS = st.sampled_from(
    [
        torch.tensor(1.5),
        torch.arange(4, dtype=torch.uint8),
        torch.ones(2, 3).t(),
        torch.zeros(0),
        torch.tensor([True, False]),
        torch.ones(3, dtype=torch.bfloat16),
    ]
)
KEYS = st.text() | st.integers()
STATES = st.recursive(
    PLAIN | TENSORS,
    lambda part: (
        st.lists(part) | st.lists(part).map(tuple) | st.dictionaries(KEYS, part, max_size=4)
    ),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(STATES)
def test_what_is_packed_is_unpacked(state):
    assert same(unpack(pack(state)), state)


@pytest.mark.parametrize(
    ("part", "name"),
    [(random.Random(0), "random.Random"), (np.float64(1), "numpy.*scalar")],
    ids=["object", "numpy"],
)
def test_what_could_not_be_read_again_is_refused_by_name(part, name):
    with pytest.raises(TypeError, match=f"state must hold tensors and plain values, got .*{name}"):
        pack({"a": [part]})


class Attack:
    """Runs a program when it is unpickled."""

    def __reduce__(self):
        return print, ("run",)


def saved_by_torch(state, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        pickle.dumps({"epoch": 3}),
        safetensors.torch.save({}, metadata={"fusetune state": '{"dict": []}'}),
        saved_by_torch(Attack()),
        saved_by_torch(Attack(), _use_new_zipfile_serialization=False),
    ],
    ids=["empty", "zip", "pickle", "safetensors", "code", "older code"],
)
def test_bytes_of_another_kind_are_refused_and_run_nothing(content, capsys):
    with pytest.raises(ValueError, match="state must be one that training wrote"):
        unpack(content)
    assert capsys.readouterr().out == ""


def test_bytes_that_are_cut_off_anywhere_are_refused():
    content = pack({"row": torch.ones(20), "epoch": 3})

    for size in random.Random(0).sample(range(len(content)), 40):
        with pytest.raises(ValueError, match="state must be one that training wrote"):
            unpack(content[:size])


@every_objective
def test_a_trial_goes_on_from_its_state_as_if_it_had_not_been_cut_off(make):
    objective = make(patience=2)
    params = defaults(objective.space) | {"dropout": 0.2, "optimizer": "sgd"}
    params = {name: params[name] for name in objective.space}
    cohort = objective.cohort(seed=0)
    cohort.add(3, params)
    cohort.train_epoch()
    cohort.train_epoch()
    state = cohort.state(3)
    expected = [cohort.train_epoch()[3] for _ in range(2)]
    valid = objective.data.valid

    other = objective.cohort(seed=0)
    other.restore(3, params, state)
    found = [other.train_epoch()[3] for _ in range(2)]

    assert np.ravel(numbers(found)) == pytest.approx(np.ravel(numbers(expected)), rel=1e-6)
    assert [r.epoch for r in found] == [2, 3]
    assert [r.stopped for r in found] == [r.stopped for r in expected]
    model, same_model = cohort.model(3), other.model(3)
    assert (same_model.predict(valid.X) == model.predict(valid.X)).all()


@every_objective
def test_a_state_of_something_else_is_refused_and_takes_no_place(make):
    objective = make()
    params = defaults(objective.space)
    cohort = objective.cohort(seed=0)

    with pytest.raises(ValueError, match="state must be of trial 0, got another"):
        cohort.restore(0, params, pack({"members": [], "best": {}, "module": {}}))
    assert cohort.train_epoch() == {}
    cohort.add(0, params)
    assert list(cohort.train_epoch()) == [0]


def test_a_state_of_another_width_is_refused():
    from objectives.mlp import MLPObjective

    objective = MLPObjective("iris", space={"epochs": 2})
    params = defaults(objective.space)
    cohort = objective.cohort(seed=0)
    cohort.add(0, params | {"hidden_units": 8})
    state = cohort.state(0)

    with pytest.raises(ValueError, match="state must be of trial 1, got another"):
        cohort.restore(1, params | {"hidden_units": 16}, state)
