import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from objectives import MLPObjective
from objectives.data import files, frames
from objectives.data.table import DataWarning, load_tabular

N = 40


def good(**columns):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, N),
            "city": rng.choice(["Oslo", "Rome"], N),
            "income": rng.choice(["low", "high"], N),
        }
    )
    return frame.assign(**columns)


def arrays():
    return good()[["age"]].to_numpy(), np.arange(N) % 2


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


def labels(**counts):
    return [label for label, count in counts.items() for _ in range(count)]


BAD = {
    # What is handed in
    "no-rows": (good().iloc[:0], {"target": "income"}, "0 rows"),
    "too-few-rows": (good().iloc[:5], {"target": "income"}, "got 5 rows in all"),
    "no-columns": (good()[["income"]], {"target": "income"}, "got no feature"),
    "not-a-dataset": (3, {}, "got int"),
    "a-stream": (Stream(), {}, "got Stream; collect its rows"),
    "one-array": (arrays()[0], {}, r"must give \(x, y\)"),
    "one-axis": ((np.arange(N), np.arange(N) % 2), {}, r"X.reshape\(-1, 1\)"),
    "ragged-rows": (([[1], [1, 2]] * 9, [0, 1] * 9), {}, "X must have rows of one length"),
    "one-hot-target": ((arrays()[0], np.eye(2)[arrays()[1]]), {}, "argmax"),
    "lengths": ((arrays()[0], [0, 1]), {}, "40 rows and 2 labels"),
    "unknown-name": ("digit", {}, "did you mean 'digits'"),
    "missing-file": ("no/such.csv", {"target": "y"}, "exists, got dataset='no/such.csv'"),
    # The target
    "no-target": (good(), {}, "target=None; choose from age, city, income"),
    "misspelt-target": (good(), {"target": "incom"}, "did you mean 'income'"),
    "target-beside-y": (arrays(), {"target": "y"}, "target must be left out"),
    "target-of-builtin": ("iris", {"target": "y"}, "target must be left out"),
    "missing-target-cells": (
        good(income=[None, *["low", "high"] * 19, "low"]),
        {"target": "income"},
        r"got 1 in column 'income'; drop those rows first, as in df.dropna\(subset=\['income'\]\)",
    ),
    "infinite-target": (good(y=[np.inf, *range(39)]), {"target": "y"}, "target must be finite"),
    "date-target": (good(y=pd.Timestamp("2024")), {"target": "y"}, "target must hold numbers"),
    "nested-target": (good(y=[[1]] * N), {"target": "y"}, "got list in column 'y'"),
    "one-class": (good(income="low"), {"target": "income"}, "only 'low' in column 'income'"),
    "constant-quantity": (
        good(y=1.5),
        {"target": "y", "task": "regression"},
        "two distinct values, got only",
    ),
    "class-of-one-row": (
        good(income=labels(low=39, high=1)),
        {"target": "income"},
        "got 1 of class 'high'",
    ),
    "class-of-two-rows": (
        good(income=labels(low=38, high=2)),
        {"target": "income"},
        "got 2 of class 'high'",
    ),
    "more-classes-than-rows": (
        good(income=[f"c{i // 4}" for i in range(N)]),
        {"target": "income", "test_size": 0.1},
        "got 10 classes for a split of 4 rows",
    ),
    "as-many-classes-as-rows": (
        good(income=[f"c{i}" for i in range(N)]),
        {"target": "income"},
        "40 classes in 40 rows",
    ),
    "misspelt-task": (good(), {"target": "income", "task": "regresion"}, "mean 'regression'"),
    "task-of-two-classes": (
        good(),
        {"target": "income", "task": "multiclass"},
        "use task='binary'",
    ),
    "text-to-regress": (
        good(),
        {"target": "income", "task": "regression"},
        "must hold numbers for task",
    ),
    # Columns
    "infinite": (good(age=[np.inf, *range(39)]), {"target": "income"}, "column 'age'; replace"),
    "doubled-names": (
        good().set_axis(["age", "age", "income"], axis=1),
        {"target": "income"},
        "'age' more than",
    ),
    "nested-cells": (good(tags=[[1]] * N), {"target": "income"}, "list in column 'tags'"),
    "complex-cells": (good(z=1j), {"target": "income"}, "complex ones in column 'z'"),
    "nothing-varies": (
        good()[["income"]].assign(a=1, b=None),
        {"target": "income"},
        "column that varies, got 'a'",
    ),
    "unknown-category": (
        good(),
        {"target": "income", "categorical": ["town", "cty"]},
        "got 'town'",
    ),
    "category-as-text": (
        good(),
        {"target": "income", "categorical": "city"},
        r"write categorical=\['city'\]",
    ),
    # Splits
    "size-of-zero": (good(), {"target": "income", "valid_size": 0}, "got valid_size=0"),
    "size-in-rows": (good(), {"target": "income", "test_size": 10}, "got test_size=10"),
    "nothing-to-train": (
        good(),
        {"target": "income", "valid_size": 0.5, "test_size": 0.5},
        "leave rows to train",
    ),
    "groups-and-time": (
        good(g=range(N), t=range(N)),
        {"target": "income", "groups": "g", "time": "t"},
        "not both",
    ),
    "unknown-groups": (good(), {"target": "income", "groups": "cities"}, "did you mean 'city'"),
    "two-groups": (good(), {"target": "income", "groups": "city"}, "got 2 in 'city'"),
    "missing-group": (
        good(g=[None, *["a", "b", "c"] * 13]),
        {"target": "income", "groups": "g"},
        "1 in 'g'",
    ),
    "short-time": (good(), {"target": "income", "time": [1, 2]}, "for 40 rows"),
    "time-of-words": (good(), {"target": "income", "time": "city"}, "dates or numbers"),
    "one-class-early": (
        good(income=labels(low=30, high=10), t=range(N)),
        {"target": "income", "time": "t"},
        "time split must leave two classes to train on, got none of 'high'",
    ),
    # Weights
    "negative-weight": (
        good(w=[-1, *[1] * 39]),
        {"target": "income", "sample_weight": "w"},
        "got -1 in row 0",
    ),
    "weight-of-text": (
        good(),
        {"target": "income", "sample_weight": "city"},
        "sample_weight must hold finite",
    ),
    "all-weights-zero": (
        good(),
        {"target": "income", "sample_weight": np.zeros(N)},
        "zero in every row",
    ),
    "misspelt-class-weight": (
        good(),
        {"target": "income", "class_weight": "balance"},
        "did you mean 'balanced'",
    ),
    "weight-of-unknown-class": (
        good(),
        {"target": "income", "class_weight": {"hig": 2}},
        "did you mean 'high'",
    ),
    "class-weight-of-zero": (
        good(),
        {"target": "income", "class_weight": {"high": 0}},
        "got 0 for 'high'",
    ),
    "class-weight-of-quantity": (
        good(),
        {"target": "age", "class_weight": "balanced"},
        "use sample_weight",
    ),
}


@pytest.mark.parametrize(("dataset", "options", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_sentence_that_names_it(dataset, options, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        load_tabular(dataset, **options)

    message = str(caught.value)
    assert ";" in message
    assert "\n" not in message
    assert not message.endswith(".")


WORN = [f"{i:04d}-a" for i in range(N)]
DOUBTFUL = {
    "empty": (good(gap=np.nan), "column 'gap' holds no value and is left out", {"gap"}),
    "empty-text": (good(gap=pd.Series([None] * N, dtype=object)), "'gap' holds no value", {"gap"}),
    "constant": (good(unit="kg", one=1), "'unit', 'one' hold one value only", {"unit", "one"}),
    "distinct-texts": (good(name=WORN), "'name' holds text or identifiers", {"name"}),
    "long-texts": (
        good(note=[f"customer {i % 20} was not amused " * 3 for i in range(N)]),
        "'note'",
        {"note"},
    ),
    "row-numbers": (good(user_id=range(N)), "'user_id' holds text or identifiers", {"user_id"}),
    "camel-row-numbers": (good(PassengerId=range(N)), "'PassengerId' holds text", {"PassengerId"}),
    "saved-index": (good(**{"Unnamed: 0": range(N)}), "'Unnamed: 0' holds text", {"Unnamed: 0"}),
    "row-numbers-with-one-twice": (good(id=[0, *range(N - 1)]), "'id' holds text", {"id"}),
    "copy-of-the-target": (
        good(rich=lambda f: f["income"] == "high"),
        "'rich' gives the target away",
        set(),
    ),
    "name-of-the-target": (
        good(**{" Income": range(N)}),
        "' Income' gives the target away, by its name",
        set(),
    ),
}


@pytest.mark.parametrize(("frame", "words", "gone"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_doubtful_columns_are_named_in_a_warning(frame, words, gone):
    with pytest.warns(DataWarning, match=words) as caught:
        data = load_tabular(frame, target="income")

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert set(frame) - set(data.train.X) - {"income"} == gone


def test_copy_of_a_regression_target_is_named_in_a_warning():
    X = np.random.default_rng(0).normal(size=(N, 2))

    with pytest.warns(DataWarning, match="'x1' gives the target away"):
        load_tabular((X, X[:, 1]))


def test_a_column_that_is_almost_a_copy_is_named_and_one_that_often_errs_is_not():
    y = np.repeat(["yes", "no"], 100)
    X = np.random.default_rng(0).normal(size=(200, 1))
    frame = pd.DataFrame({"x": X[:, 0], "status": np.repeat([1, 0], 100), "y": y})
    seldom, often = frame.copy(), frame.copy()
    seldom.loc[[3, 150], "y"] = ["no", "yes"]
    often.loc[:9, "y"] = "no"

    with pytest.warns(DataWarning, match="column 'status' gives the target away"):
        load_tabular(seldom, target="y")
    load_tabular(often, target="y")


@pytest.mark.parametrize("dates", ["%d/%m/%Y", "%d.%m.%Y %H:%M", "%m/%d/%y", "%Y/%m/%d"])
def test_dates_in_another_form_than_iso_are_not_taken_for_text_without_a_word(dates):
    written = pd.date_range("2024-01-01", periods=N // 4).strftime(dates).tolist() * 4

    with pytest.warns(DataWarning, match=r"'seen' holds dates written as .*to_datetime"):
        load_tabular(good(seen=written), target="income")

    load_tabular(good(version=["1.2.3", "1.12.10"] * (N // 2)), target="income")


def test_rows_that_stand_in_a_table_twice_are_counted():
    twice = pd.concat([good(), good().head(3)])

    with pytest.warns(DataWarning, match="3 of 43 rows are copies of others, target included"):
        load_tabular(twice, target="income")
    with pytest.warns(DataWarning, match="1 of 41 rows is a copy of another"):
        load_tabular(pd.concat([good(), good().head(1)]), target="income")


def test_equal_rows_of_a_coarse_table_and_rows_kept_together_are_no_fault():
    coarse = good().assign(age=np.arange(N) % 5)
    load_tabular(coarse, target="income")
    load_tabular(
        pd.concat([good(), good().head(9)]), target="income", groups=[*range(N), *range(9)]
    )


def test_a_warning_about_the_data_stands_at_the_line_of_the_users_own_code():
    with pytest.warns(DataWarning, match="'unit' holds one value only") as caught:
        MLPObjective(good(unit="kg"), target="income", space={"epochs": 1})

    assert {warning.filename for warning in caught} == {__file__}


def test_column_of_the_name_of_y_is_named_in_a_warning():
    with pytest.warns(DataWarning, match="'age' gives the target away"):
        load_tabular((good()[["age", "city"]], pd.Series(np.arange(N) % 2, name="age")))


@pytest.mark.parametrize(
    "columns",
    [
        {"count": range(N)},
        {"user_id": [i % 10 for i in range(N)]},
        {"code": [f"c{i % 30}" for i in range(N)]},
        {"seen": [1.0] * 20 + [None] * 20},
        {"z": torch.linspace(0, 1, N).numpy()},
    ],
    ids=["distinct-integers", "repeated-identifier", "many-levels", "constant-with-gaps", "floats"],
)
def test_columns_that_may_help_are_kept_without_a_warning(columns):
    data = load_tabular(good(**columns), target="income")

    assert set(columns) <= set(data.train.X)


def test_text_asked_for_as_category_is_kept():
    data = load_tabular(good(name=WORN), target="income", categorical=["name"])

    assert data.categorical == ("city", "name")


UNREADABLE = {
    "empty.csv": (b"", "empty.csv"),
    "latin1.csv": ("größe,y\n1,0\n".encode("latin-1"), "UTF-8 table.*latin1.csv"),
    "ragged.csv": (b"a,y\n1,0\n2,1,5\n", "ragged.csv"),
    "wide.csv": (b"a,y\n1,0,7\n2,1,5\n", "wide.csv.*more cells than its first line"),
    "doubled.csv": (b"a,a,y\n1,2,0\n", "doubled.csv': column 'a' occurs more than once"),
    "cut.csv.gz": (gzip.compress(b"a,y\n" + b"1,0\n" * 99)[:-20], "cut.csv.gz"),
    "fake.csv.gz": (b"a,y\n1,0\n", "fake.csv.gz"),
    "fake.parquet": (b"PAR1 no", "fake.parquet"),
    "table.xlsx": (b"", "table.xlsx.: Excel file format"),
    "table.ods": (b"", "must end in .csv.*table.ods"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_is_refused_with_its_path(tmp_path, name):
    content, words = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=words) as caught:
        load_tabular(tmp_path / name, target="y")

    assert "\n" not in str(caught.value)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="must be a file that exists"):
        load_tabular(tmp_path, target="y")


class Broken(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, row):
        if row == 7:
            raise KeyError("no such image")
        return [float(row)], row % 2


def test_a_dataset_that_fails_at_a_row_is_refused_with_the_row():
    with pytest.raises(ValueError, match=r"got KeyError: 'no such image' from Broken\[7\]; mend"):
        load_tabular(Broken())


@pytest.mark.parametrize("dataset", [good(), arrays(), "iris"], ids=["frame", "pair", "built-in"])
@pytest.mark.parametrize("target", [pd.Series(range(N)), np.arange(N), ["income"]])
def test_values_given_as_target_are_refused_without_printing_them(dataset, target):
    with pytest.raises(TypeError, match="target must be the name of a column, got a ") as caught:
        load_tabular(dataset, target=target)

    assert "\n" not in str(caught.value)


def test_a_table_that_memory_cannot_hold_is_refused_with_the_cure(monkeypatch, tmp_path):
    frame = good()
    frame.to_csv(tmp_path / "people.csv", index=False)
    assert frames.free_memory() > 1e6

    monkeypatch.setattr(frames, "free_memory", lambda: 1000.0)
    monkeypatch.setattr(files, "free_memory", lambda: 1000.0)

    fits = r"must fit into memory, got 40 rows x 2 columns, which need .* df\.sample\(\d+\)"
    with pytest.raises(ValueError, match=fits):
        load_tabular(frame, target="income")
    with pytest.raises(ValueError, match=r"must fit into memory, got dataset='.*people\.csv' of"):
        load_tabular(tmp_path / "people.csv", target="income")


def test_whole_numbers_beyond_float64_are_named_and_gaps_beside_them_are_none():
    table = pd.DataFrame({"a": np.arange(60) % 7, "y": np.arange(60) % 2})
    gaps = pd.Series([1, pd.NA, 3] * 20, dtype=object)
    huge = pd.Series([10**400, 1, 2] * 20, dtype=object)

    assert load_tabular(table.assign(n=gaps), target="y").train.X.n.isna().any()
    with pytest.raises(ValueError, match="infinite ones in column 'n'"):
        load_tabular(table.assign(n=huge), target="y")
    for target in (huge, np.arange(60) * 1e31):
        with pytest.raises(ValueError, match="target must hold finite numbers up to 1e\\+30"):
            load_tabular(table.assign(y=target), target="y", task="regression")
