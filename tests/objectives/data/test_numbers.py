"""Numbers as people write them, in files and frames, in features and target, then and later."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives import MLPObjective
from objectives.data.columns import number_readings
from objectives.data.table import DataWarning, load_tabular
from objectives.models.mlp import FittedModel

N = 40
NAN = float("nan")


def write(path, frame, separator=","):
    frame.to_csv(path, index=False, sep=separator)
    return path


def every(data):
    """Return all rows in the order of the column ``place``."""
    frames = [data.train.X, data.valid.X, data.open_test().X]
    return pd.concat(frames).sort_values("place", ignore_index=True)


def loaded(path, column, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return every(load_tabular(path, target="y", **options))[column]


def table(cells):
    """Return a table whose column ``a`` repeats ``cells``."""
    rows = np.arange(N)
    return pd.DataFrame(
        {"place": rows**2, "a": [cells[i % len(cells)] for i in rows], "y": (rows % 5 > 1) * 1}
    )


WRITTEN = {
    "decimal-comma": (["1,5", "2,25", "-3"], [1.5, 2.25, -3], ";"),
    "decimal-comma-and-thousands": (["1.234,5", "12", "1.234.567"], [1234.5, 12, 1234567], ";"),
    "three-decimals-after-commas": (["1,234", "0,500"], [1.234, 0.5], ";"),
    "thousands": (["1,234", "12", "1,234,567.5"], [1234, 12, 1234567.5], ","),
    "thousands-without-decimals": (["1,234", "12,000"], [1234, 12000], ","),
    "lakhs": (["12,34,567", "5.5"], [1234567, 5.5], ","),
    "blanks-between-thousands": (["1 234", "1 234 567,5"], [1234, 1234567.5], ";"),
    "narrow-blanks": (["1\u202f234", "7"], [1234, 7], ","),
    "apostrophes": (["1'234.5", "7"], [1234.5, 7], ","),
    "dollars": (["$1,000.00", "-$3", "$ 5"], [1000, -3, 5], ","),
    "euros": (["1.000,50 €", "7 €"], [1000.5, 7], ";"),
    "currency-code": (["12.5 USD", "USD 3"], [12.5, 3], ","),
    "percent": (["12%", "3.5 %"], [12, 3.5], ","),
    "accounts": (["(1,234)", "5"], [-1234, 5], ","),
    "true-minus": (["\u22125", "2.5"], [-5, 2.5], ","),
    "exponents": (["1,5e3", "2"], [1500, 2], ";"),
}


@pytest.mark.parametrize(("cells", "values", "separator"), WRITTEN.values(), ids=WRITTEN)
def test_numbers_as_people_write_them_get_their_value(tmp_path, cells, values, separator):
    path = write(tmp_path / "t.csv", table(cells), separator)

    column = loaded(path, "a")

    assert column.tolist() == [values[i % len(values)] for i in range(N)]


MARKERS = ["n/a", "na", "NA", "--", ".", "#N/A", "nil", "missing", "Unknown", "Not available", "?"]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_among_numbers_is_a_missing_cell(tmp_path, marker):
    path = write(tmp_path / "t.csv", table(["1", marker, "2.5"]))

    column = loaded(path, "a")

    assert np.array_equal(column[:3], [1, NAN, 2.5], equal_nan=True)


@pytest.mark.parametrize(
    "cells",
    [
        ["$5", "€5"],
        ["12%", "0.5"],
        ["1,2,3", "4"],
        ["1.2.3", "1"],
        ["10:30", "1"],
        ["1_000", "1"],
        ["missing", "red", "1"],
        ["5 kg", "1"],
        ["1,234.5", "1.234,5"],
    ],
    ids=str,
)
def test_what_is_not_surely_a_number_stays_text(tmp_path, cells):
    assert not pd.api.types.is_numeric_dtype(
        loaded(write(tmp_path / "t.csv", table(cells)), "a").dtype
    )


def test_other_columns_of_a_file_decide_about_a_thousand_and_one_point_something(tmp_path):
    frame = table(["1.234", "2.500"]).assign(b=["0,5", "1,25"] * (N // 2))
    path = write(tmp_path / "t.csv", frame, ";")

    assert loaded(path, "a")[:2].tolist() == [1234, 2500]
    assert loaded(write(path, frame.drop(columns="b"), ";"), "a")[:2].tolist() == [1.234, 2.5]


def test_how_columns_were_read_is_said_once(tmp_path):
    frame = table(["1,234", "5"]).assign(b=["unknown", "2.5"] * (N // 2), c=["?", "1"] * (N // 2))

    with pytest.warns(DataWarning) as caught:
        load_tabular(write(tmp_path / "t.csv", frame), target="y")

    assert [str(warning.message) for warning in caught] == [
        'a: read as numbers ("1,234"), b: read as numbers, "unknown" as missing; '
        "name a column in categorical to keep its text"
    ]


def test_a_column_named_categorical_keeps_its_text(tmp_path):
    path = write(tmp_path / "t.csv", table(["1,234", "5"]))

    data = load_tabular(path, target="y", categorical=["a"])

    assert set(data.train.X["a"]) == {"1,234", "5"}


def test_a_target_of_money_is_a_quantity(tmp_path):
    frame = table([1.5, 2]).assign(y=[f"${1000 + 37 * i:,}.00" for i in range(N)])
    path = write(tmp_path / "t.csv", frame)

    with pytest.warns(DataWarning, match=r'y: read as numbers \("\$1,000.00"\)'):
        data = load_tabular(path, target="y")

    assert data.task == "regression"
    assert data.train.y.min() >= 1000


def test_a_frame_keeps_texts_that_may_be_codes_and_reads_those_that_are_none():
    frame = table(["01", "02"]).assign(
        price=["$1.50", "$2"] * (N // 2),
        half=["1.5", "missing"] * (N // 2),
        code=["1", "missing"] * (N // 2),
    )

    with pytest.warns(DataWarning, match=r'price: read as numbers \("\$1.50"\), half'):
        X = every(load_tabular(frame, target="y"))

    assert X["price"][:2].tolist() == [1.5, 2]
    assert X["half"].isna().sum() == N // 2
    assert set(X["a"]) == {"01", "02"}
    assert set(X["code"]) == {"1", "missing"}


@pytest.mark.filterwarnings("ignore::objectives.data.table.DataWarning")
def test_a_model_reads_later_tables_as_it_read_the_training_table(tmp_path):
    frame = table(["1,234", "0,500", "2"])
    objective = MLPObjective(
        write(tmp_path / "t.csv", frame, ";"),
        target="y",
        space={"epochs": 1, "hidden_units": 8},
    )
    params = {name: row.default for name, row in objective.space.items()}
    objective.refit(params, epochs=1, seed=0).save(tmp_path / "m.model.zip")
    model = FittedModel.load(tmp_path / "m.model.zip")
    as_text = pd.DataFrame({"place": [1], "a": ["1,234"]})
    as_number = pd.DataFrame({"place": [1], "a": [1.234]})

    assert np.array_equal(model.encode(as_text), model.encode(as_number))
    assert np.array_equal(
        model.encode(as_text.assign(a="unknown")), model.encode(as_number.assign(a=NAN))
    )


NUMBERS = st.lists(
    st.floats(-1e12, 1e12, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=6
)


@given(numbers=NUMBERS, sign=st.sampled_from(["", "$", "€", "%", " EUR"]))
def test_formatted_numbers_are_read_back(numbers, sign):
    before, after = ("$", "") if sign == "$" else ("", sign)
    texts = [f"{before}{x:,.2f}{after}" for x in numbers]
    swapped = [text.translate(str.maketrans(",.", ".,")) for text in texts]

    assert number_readings(pd.Series(texts))["."].tolist() == numbers
    assert number_readings(pd.Series(swapped))[","].tolist() == numbers


@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_any_texts_are_read_or_left_without_an_error(texts):
    for numbers in number_readings(pd.Series(texts, dtype=object)).values():
        assert len(numbers) == len(texts)
