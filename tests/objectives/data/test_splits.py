import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.data.splits import split_rows
from objectives.data.table import load_tabular

N = 60


def table(n=N):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.normal(size=n),
            "who": np.arange(n) // 4,
            "when": pd.date_range("2024-01-01", periods=n).to_numpy()[rng.permutation(n)],
            "y": rng.integers(0, 2, n),
        }
    )


def all_rows(data):
    return [data.train, data.valid, data.open_test()]


@given(
    counts=st.lists(st.integers(8, 40), min_size=2, max_size=5),
    seed=st.integers(0, 2**31),
)
def test_stratified_splits_hold_every_row_once_and_every_class_in_proportion(counts, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    labels = np.arange(len(counts))

    kind, *parts = split_rows(codes, labels=labels, valid_size=0.2, test_size=0.2, seed=seed)

    assert kind == "stratified"
    assert sorted(np.concatenate(parts)) == list(range(len(codes)))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        found = np.bincount(codes[part], minlength=len(counts))
        assert np.abs(found - share * np.array(counts)).max() <= 2


@given(n_groups=st.integers(3, 12), size=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_no_group_is_in_two_splits(n_groups, size, seed):
    groups = pd.Series(np.repeat(np.arange(n_groups), size), name="who")
    values = np.linspace(0, 1, len(groups))

    kind, *parts = split_rows(
        values, labels=None, valid_size=0.34, test_size=0.34, groups=groups, seed=seed
    )
    seen = [set(groups[part]) for part in parts]

    assert kind == "group"
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    assert all(seen)
    assert sum(map(len, seen)) == n_groups


def test_class_with_three_rows_is_in_the_training_split():
    codes = np.array([0] * 57 + [1] * 3)

    for seed in range(20):
        rows = split_rows(codes, labels=np.array([0, 1]), valid_size=0.2, test_size=0.2, seed=seed)

        assert 1 in codes[rows.train]


def test_time_split_trains_on_the_earliest_and_tests_on_the_latest():
    frame = table()
    earliest_first = frame.sort_values("when")["a"].tolist()

    data = load_tabular(frame, target="y", time="when")

    assert data.split["kind"] == "time"
    assert "when" not in data.train.X
    assert [value for part in all_rows(data) for value in part.X["a"]] == earliest_first


@pytest.mark.parametrize("as_text", [False, True])
def test_times_may_be_dates_as_text_or_numbers(as_text):
    frame = table()
    times = frame["when"].dt.strftime("%d %b %Y") if as_text else frame["when"].astype("int64")

    given_apart = load_tabular(frame.drop(columns="when"), target="y", time=times)

    pd.testing.assert_frame_equal(
        given_apart.train.X, load_tabular(frame, target="y", time="when").train.X
    )


def test_group_column_is_no_feature():
    data = load_tabular(table(), target="y", groups="who")

    assert list(data.train.X) == ["a", "b", "when"]
    assert data.split["kind"] == "group"


def test_same_seed_splits_alike_and_another_seed_otherwise():
    first, again, other = (load_tabular(table(), target="y", seed=seed) for seed in (3, 3, 4))

    pd.testing.assert_frame_equal(first.train.X, again.train.X)
    assert not first.train.X.equals(other.train.X)


def test_split_sizes_are_recorded_and_kept():
    data = load_tabular(table(100), target="y", valid_size=0.1, test_size=0.3, seed=5)

    assert data.split == {
        "kind": "stratified",
        "valid_size": 0.1,
        "test_size": 0.3,
        "seed": 5,
        "n_train": 60,
        "n_valid": 10,
        "n_test": 30,
    }
    assert [len(part) for part in all_rows(data)] == [60, 10, 30]


def test_weights_and_targets_stay_with_their_rows():
    frame = table().assign(y=lambda f: 10 * f["a"], weight=lambda f: f["a"].abs())

    data = load_tabular(frame, target="y", sample_weight="weight")

    assert "weight" not in data.train.X
    for part in [*all_rows(data), data.train_and_valid()]:
        assert part.y == pytest.approx(10 * part.X["a"].to_numpy())
        assert part.weight == pytest.approx(part.X["a"].abs().to_numpy())
        assert list(part.X.index) == list(range(len(part)))


def test_class_that_only_later_rows_have_is_warned_of():
    frame = pd.DataFrame({"a": np.arange(40.0) ** 2, "t": range(40)})
    frame["y"] = ["early", "also early"] * 15 + ["late"] * 10

    with pytest.warns(UserWarning, match="'late'.*training split"):
        data = load_tabular(frame, target="y", time="t")

    assert data.classes is not None
    assert data.classes.tolist() == ["also early", "early", "late"]


@pytest.mark.parametrize("how", [{}, {"groups": "who"}, {"time": "when"}])
def test_no_rows_are_kept_for_a_test_where_none_are_asked_for(how):
    data = load_tabular(table(), target="y", test_size=0, **how)

    assert data.n_test == 0
    assert len(data.train) + len(data.valid) == len(table())
    with pytest.raises(ValueError, match="test_size must be above 0"):
        data.open_test()


def test_rows_of_no_weight_are_no_class_to_learn():
    frame = pd.DataFrame({"a": np.arange(40.0) ** 2, "y": ["no", "yes"] * 20})

    with pytest.raises(ValueError, match="two classes to train on"):
        load_tabular(frame, target="y", sample_weight=(frame["y"] == "no").astype(float))
