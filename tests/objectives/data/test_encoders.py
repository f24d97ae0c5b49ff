import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder

from objectives.data import transformers
from objectives.data.encoders import MAX_LEVELS, Parts, TabularEncoder
from objectives.data.transformers import N_BINS, Categories, PiecewiseLinear, Standard

MODES = ["standard", "smooth_clip", "piecewise"]


def mixed(n=24):
    rng = np.random.default_rng(0)
    gap = np.arange(n) % 5 == 0
    return pd.DataFrame(
        {
            "real": rng.normal(3, 2, n),
            "gaps": np.where(gap, np.nan, rng.normal(size=n)),
            "count": pd.array(np.where(gap, None, np.arange(n) % 4), dtype="Int64"),
            "level": np.arange(n) % 3,
            "flag": np.arange(n) % 2 == 0,
            "maybe": pd.array([True, False, None, True] * (n // 4), dtype="boolean"),
            "city": pd.Series(["Oslo", "Rome", None, "Bonn"] * (n // 4)),
            "size": pd.Categorical(["s", "m", "l"] * (n // 3)),
            "when": pd.date_range("2023-11-28", periods=n, freq="37h"),
        }
    )


def encode(values, mode="standard", categorical=(), then=None):
    frame = pd.DataFrame({"a": values})
    encoder = TabularEncoder.fit(frame, categorical=categorical, numeric=mode)
    return encoder.transform(frame if then is None else pd.DataFrame({"a": then}))


@pytest.mark.parametrize("mode", MODES)
def test_mixed_columns_become_finite_float32(mode):
    encoder = TabularEncoder.fit(mixed(), categorical=["level"], numeric=mode)

    encoded = encoder.transform(mixed())

    assert encoded.shape == (24, encoder.n_outputs)
    assert encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    assert encoded.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 2.0, 4.0], [-1.22474487, 0, 1.22474487]),
        ([5.0, 5.0], [0, 0]),
    ],
    ids=["varying", "constant"],
)
def test_standard_numbers_have_zero_mean_and_unit_variance(values, expected):
    assert encode(values)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "scaled"),
    [
        ([0, 1, 2, 3, 4], np.array([-1, -0.5, 0, 0.5, 1])),
        ([0, 5, 5, 5, 9], np.array([-5, 0, 0, 0, 4]) * 2 / 9),
        ([7, 7, 7, 7, 7], np.zeros(5)),
    ],
    ids=["quartiles", "quartiles-coincide", "constant"],
)
def test_smooth_clip_follows_its_formula(values, scaled):
    expected = scaled / np.sqrt(1 + (scaled / 3) ** 2)

    assert encode(values, "smooth_clip")[:, 0] == pytest.approx(expected)


ANY_FLOATS = st.lists(st.floats(allow_infinity=False), min_size=1, max_size=12)


@given(train=ANY_FLOATS, later=ANY_FLOATS)
def test_smooth_clip_is_bounded_and_keeps_the_order_of_any_floats(train, later):
    clipped = encode(train, "smooth_clip", then=later)[:, 0]
    present = ~np.isnan(later)
    order = np.argsort(np.array(later)[present])

    assert np.abs(clipped).max() <= 3
    assert (np.diff(clipped[present][order]) >= 0).all()
    assert (clipped[~present] == 0).all()


@given(train=ANY_FLOATS, later=ANY_FLOATS, mode=st.sampled_from(MODES))
@example(train=[0.0, 0.0, 1.0, 5e-323, np.nan], later=[5e-324, 0.5], mode="piecewise")
@example(train=[0.0, 5e-324, 1.0, 2.0, 3.0], later=[5e-324, 0.5], mode="piecewise")
def test_any_floats_encode_to_finite_numbers(train, later, mode):
    assert np.isfinite(encode(train, mode, then=later)).all()


def test_piecewise_adds_the_share_of_each_quantile_bin_that_was_passed():
    encoded = encode(np.arange(33.0), "piecewise", then=[-5.0, 0.0, 2.5, 32.0, 99.0, np.nan])
    passed = encoded[:, 1:] - encoded[1, 1:]

    assert encoded.shape[1] == 1 + 32
    assert passed.sum(axis=1).tolist() == pytest.approx([0, 0, 2.5, 32, 32, 16], abs=1e-5)
    assert passed[2, :4].tolist() == pytest.approx([1, 1, 0.5, 0], abs=1e-6)


def test_piecewise_outputs_have_zero_mean_over_the_training_rows():
    encoded = encode(np.arange(40.0) ** 2, "piecewise")

    assert np.abs(encoded.mean(axis=0)).max() < 1e-6


def test_piecewise_gives_columns_of_few_values_fewer_bins():
    assert encode([0.0, 1.0] * 100, "piecewise").shape[1] == 1
    assert encode([0.0, 1.0, 2.0] * 100, "piecewise").shape[1] == 1 + 2
    assert encode([3.0, 3.0, 3.0], "piecewise").shape[1] == 1


@pytest.mark.parametrize("mode", ["standard", "smooth_clip"])
def test_missing_numbers_become_the_median_with_an_indicator(mode):
    encoded = encode([1.0, np.nan, 2.0, 9.0], mode)
    median = encode([1.0, 2.0, 2.0, 9.0], mode, then=[2.0])

    assert encoded[:, 1].tolist() == [0, 1, 0, 0]
    assert encoded[1, 0] == encoded[2, 0]
    assert mode == "standard" or encoded[1, 0] == median[0, 0] == 0


def test_column_without_gaps_in_training_may_have_them_later():
    assert encode([1.0, 2.0, 9.0], then=[np.nan]) == encode([1.0, 2.0, 9.0], then=[2.0])


@pytest.mark.parametrize(
    ("train", "then", "expected"),
    [
        (["a", "b"] * 2, ["b", "a", "new", None], [[0, 1], [1, 0], [0, 0], [0, 0]]),
        (["a", None] * 2, ["a", None, "new"], [[0, 1], [1, 0], [0, 0]]),
        (["a", "a", "b", "c"], ["a", "b", "new"], [[1, 0], [0, 1], [0, 1]]),
        ([1, 2] * 2, [1.0, np.nan], [[1, 0], [0, 0]]),
        ([1, 2] * 2, ["2", "1"], [[0, 1], [1, 0]]),
    ],
    ids=["unseen-is-zeros", "missing-is-a-level", "rare-levels-share", "floats", "texts"],
)
def test_levels_become_one_hot_columns(train, then, expected):
    assert encode(train, categorical=["a"], then=then).tolist() == expected


def test_levels_beyond_the_maximum_share_one_output():
    levels = [f"level {i}" for i in range(MAX_LEVELS + 50)]

    encoded = encode(levels * 2)

    assert encoded.shape[1] == MAX_LEVELS
    assert encoded.sum(axis=1).tolist() == [1] * len(levels) * 2


@pytest.mark.parametrize(
    "then", [[True, False], np.array([1, 0]), ["True", "False"], pd.array([True, None])]
)
def test_booleans_become_zero_and_one_whatever_carries_them(then):
    assert encode([True, False, False], then=then).tolist() == [[1], [0]]


def test_boolean_with_gaps_has_three_levels():
    assert (
        encode(pd.array([True, False, None] * 2, dtype="boolean")).tolist()
        == [
            [0, 0, 1],
            [0, 1, 0],
            [1, 0, 0],
        ]
        * 2
    )


def test_dates_expand_into_the_parts_that_vary():
    days = pd.to_datetime(["2024-02-28", "2024-02-29", "2024-03-01"])

    encoded = encode(days)

    assert encoded.shape[1] == len(["elapsed days", "month", "day", "weekday"])
    assert encoded[:, 0] == pytest.approx([-1.22474487, 0, 1.22474487])


@pytest.mark.parametrize(
    "same",
    [["2024-01-03"], pd.to_datetime(["2024-01-03"]).tz_localize("UTC"), [pd.Timestamp(2024, 1, 3)]],
    ids=["text", "time-zone", "objects"],
)
def test_dates_are_read_from_text_and_time_zones_too(same):
    days = pd.date_range("2024-01-01", periods=9)

    assert encode(days, then=same).tolist() == encode(days)[2:3].tolist()
    assert np.isfinite(encode(days, then=[None])).all()


def test_statistics_come_from_the_rows_of_fit_alone():
    encoder = TabularEncoder.fit(pd.DataFrame({"a": [0.0, 2.0]}), numeric="standard")

    alone, beside = ([{"a": 1.0}], [{"a": 1.0}, {"a": 1000.0}])

    assert encoder.transform(pd.DataFrame(alone))[0] == 0
    assert encoder.transform(pd.DataFrame(beside))[0] == 0


def test_encoding_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = TabularEncoder.fit(mixed(), numeric="piecewise")
        encoder.transform(mixed().assign(city="Paris"))


def test_order_of_columns_and_extra_ones_do_not_matter():
    encoder = TabularEncoder.fit(mixed(), categorical=["level"])
    shuffled = mixed()[mixed().columns[::-1]].assign(extra="x")

    assert np.array_equal(encoder.transform(shuffled), encoder.transform(mixed()))


def test_table_without_rows_gives_a_matrix_without_rows():
    encoder = TabularEncoder.fit(mixed())

    assert encoder.transform(mixed().iloc[:0]).shape == (0, encoder.n_outputs)


def test_scaled_numbers_come_first():
    frame = mixed()[["city", "real", "flag", "gaps"]]

    encoder = TabularEncoder.fit(frame, numeric="standard")

    assert encoder.n_numeric == 2
    assert encoder.transform(frame)[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_column_that_training_rows_leave_empty_becomes_zeros(mode):
    frame = pd.DataFrame({"a": [np.nan, np.nan], "b": [1.0, 2.0]})

    encoded = TabularEncoder.fit(frame, numeric=mode).transform(frame.fillna(5.0))

    assert np.isfinite(encoded).all()


@pytest.mark.parametrize("mode", MODES)
def test_an_encoder_written_as_json_encodes_alike(mode):
    encoder = TabularEncoder.fit(mixed(), categorical=["level"], numeric=mode)

    written = json.dumps(encoder.transformer.state(), allow_nan=False)

    again = replace(encoder, transformer=Parts.from_state(json.loads(written)))
    assert np.array_equal(again.transform(mixed()), encoder.transform(mixed()))
    assert json.dumps(again.transformer.state()) == written


@pytest.mark.parametrize(
    ("fit", "then", "words"),
    [
        ([1.0, 2.0], pd.DataFrame({"b": [1]}), "none named 'a'"),
        ([1.0, 2.0], pd.DataFrame({"a": ["1", "red"]}), "'a' must hold numbers.*'red'"),
        ([1.0, 2.0], pd.DataFrame({"a": [np.inf]}), "'a' must hold finite values"),
        ([1.0, 2.0], pd.DataFrame({"a": [pd.Timestamp(0)]}), "'a' must hold numbers"),
        (pd.date_range("2024", periods=3), pd.DataFrame({"a": ["soon"]}), "'a' must hold dates"),
        (pd.date_range("2024", periods=3), pd.DataFrame({"a": [7]}), "'a' must hold dates"),
    ],
    ids=["missing", "text", "infinite", "date", "no-date", "number-for-date"],
)
def test_table_that_does_not_fit_is_refused_by_column(fit, then, words):
    encoder = TabularEncoder.fit(pd.DataFrame({"a": fit}))

    with pytest.raises(ValueError, match=words):
        encoder.transform(then)


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []})])
def test_encoder_needs_rows_and_columns(frame):
    with pytest.raises(ValueError, match="X must have rows and columns"):
        TabularEncoder.fit(frame)


def test_unknown_numeric_mode_lists_the_modes():
    with pytest.raises(ValueError, match="standard, smooth_clip, piecewise, got numeric='robust'"):
        TabularEncoder.fit(mixed(), numeric="robust")


def parts_of(column, train, n_bins=N_BINS):
    """The encoding of Gorishniy et al. 2022 as its paper writes it."""
    edges = np.unique(np.quantile(train, np.linspace(0, 1, n_bins + 1), method="inverted_cdf"))
    return np.clip((column[:, None] - edges[:-1]) / np.diff(edges), 0.0, 1.0)


@pytest.mark.parametrize("n_levels", [None, 7])
def test_kept_cells_expand_to_the_encoding_of_the_paper(n_levels):
    rng = np.random.default_rng(0)
    first, second = rng.lognormal(size=500), rng.normal(1e6, 1.0, size=500)
    first = first if n_levels is None else np.floor(first) % n_levels
    train = pd.DataFrame({"a": first, "b": second})

    rows = TabularEncoder.fit(train, numeric="piecewise").rows(train)

    raw = np.hstack([parts_of(first, first), parts_of(second, second)])
    np.testing.assert_allclose(rows.expand()[:, 2:], raw - raw.mean(axis=0), atol=4e-6)
    # Two float32 numbers a cell, however many inputs they become.
    assert rows.cells.shape == (500, 4)


def test_rows_expanded_in_batches_and_by_number_are_the_same():
    rows = TabularEncoder.fit(mixed(240), numeric="piecewise").rows(mixed(240))
    every = rows.expand()

    order = torch.randperm(240, generator=torch.Generator().manual_seed(0))

    assert torch.equal(torch.cat(list(rows.stream(order, 50))), every[order])
    assert torch.equal(torch.cat(list(rows.batches())), every)
    wide = rows.expand(order, width=every.shape[1] + 3)
    assert torch.equal(wide, torch.nn.functional.pad(every[order], (0, 3)))


@given(st.lists(st.integers(0, 400).map(str), min_size=2, max_size=900), st.integers(2, 9))
def test_levels_share_outputs_as_in_scikit_learn(levels, max_outputs):
    column = pd.DataFrame({"a": levels})
    then = pd.DataFrame({"a": [*levels, "new"]})
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=max_outputs,
        min_frequency=2,
        sparse_output=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = one_hot.fit(column[["a"]].to_numpy()).transform(then.to_numpy())

    categories = Categories(max_outputs, 2).fit(column)

    assert categories.n_outputs_ == [expected.shape[1]]
    codes = categories.transform(then)[:, 0].astype(int)
    assert np.array_equal(np.eye(expected.shape[1])[codes] * (codes >= 0)[:, None], expected)


def test_quantiles_of_many_rows_are_those_of_a_sample_and_repeat(monkeypatch):
    monkeypatch.setattr(transformers, "SAMPLE_ROWS", 2000)
    column = pd.DataFrame({"a": np.random.default_rng(0).uniform(size=20_000)})

    first, second = (PiecewiseLinear().fit(column) for _ in range(2))

    np.testing.assert_array_equal(first.edges_[0], second.edges_[0])
    np.testing.assert_allclose(first.edges_[0], np.linspace(0, 1, N_BINS + 1), atol=0.05)
    # What needs no order is taken from all rows.
    assert Standard().fit(column).mean_[0] == pytest.approx(column["a"].mean(), rel=1e-12)


@pytest.mark.parametrize(("n_columns", "n_bins"), [(128, 32), (256, 16), (1500, 2), (2500, 0)])
def test_wide_tables_get_fewer_bins(n_columns, n_bins):
    values = np.random.default_rng(0).normal(size=(100, n_columns))
    frame = pd.DataFrame(values, columns=[f"x{k}" for k in range(n_columns)])

    encoder = TabularEncoder.fit(frame, numeric="piecewise")

    assert encoder.n_outputs == n_columns * (1 + n_bins)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_numbers_are_encoded_alike_whatever_their_table_looks_like(mode):
    values = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    plain = pd.DataFrame(values, columns=list("abc"))
    mixed_types = plain.astype({"b": "float64", "c": "Float32"})

    first, second = (TabularEncoder.fit(X, numeric=mode) for X in (plain, mixed_types))

    np.testing.assert_array_equal(first.transform(plain), second.transform(mixed_types))


def test_encoders_of_folds_give_batches_of_one_size_however_many_levels_each_has_seen():
    n = 9000
    cities = pd.DataFrame(
        {"x": np.arange(n, dtype=float), "city": np.arange(n) % 60, "shop": np.arange(n) % 240}
    )
    few, many = (
        TabularEncoder.fit(cities[:rows], categorical=["city", "shop"]).rows(cities)
        for rows in (200, 480)
    )
    width = max(few.n_inputs, many.n_inputs)

    sizes = [[batch.shape for batch in rows.batches(width)] for rows in (few, many)]

    assert few.n_inputs < many.n_inputs
    assert sizes[0] == sizes[1]
    assert len(sizes[0]) > 1
