import datetime

import numpy as np
import pandas as pd
import pytest

from objectives.data.table import DataWarning, load_tabular
from objectives.data.targets import infer_task, read_target


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["no", "yes", "no"], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([True, False, True], "binary"),
        (pd.Categorical([1, 2, 3]), "multiclass"),
        ([0, 1], "binary"),
        ([0.0, 1.0, 0.0, 1.0], "binary"),
        ([0, 1, 2] * 2, "multiclass"),
        ([*range(20)] * 2, "multiclass"),
        ([*range(21)] * 2, "regression"),
        ([0, 1, 2, 3], "regression"),
        ([0.5, 1.5] * 10, "regression"),
    ],
    ids=[
        "two-texts",
        "three-texts",
        "booleans",
        "categories",
        "two-integers",
        "two-whole-floats",
        "few-integers",
        "twenty-integers",
        "twenty-one-integers",
        "integers-that-never-repeat",
        "two-fractions",
    ],
)
def test_task_is_inferred_from_type_and_number_of_values(values, expected):
    assert infer_task(pd.Series(values)) == expected


@pytest.mark.parametrize(
    ("raw", "classes", "codes"),
    [
        (pd.Series(["no", "yes", "no"]), ["no", "yes"], [0, 1, 0]),
        (np.array(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
        (pd.Series([True, False]), [False, True], [1, 0]),
        (np.array([7, 3, 7, 3], dtype=np.int32), [3, 7], [1, 0, 1, 0]),
        (pd.Series([1, 2, 1, 2], dtype="Int64"), [1, 2], [0, 1, 0, 1]),
        (pd.Series(["NA", "x", "None"]), ["NA", "None", "x"], [0, 2, 1]),
        (pd.Series(["a", 1, "a"], dtype=object), [1, "a"], [1, 0, 1]),
    ],
    ids=["text", "text-array", "booleans", "int32", "nullable", "marker-texts", "mixed-types"],
)
def test_labels_become_codes_in_sorted_order(raw, classes, codes):
    target = read_target(raw, name="y", task=None)

    assert target.classes is not None
    assert target.classes.tolist() == classes
    assert target.y.tolist() == codes
    assert target.y.dtype == np.int64


@pytest.mark.parametrize("dtype", ["<U3", "int32", "int64", "bool", "float64"])
def test_classes_keep_the_dtype_of_the_labels(dtype):
    target = read_target(np.array([0, 1, 1, 0]).astype(dtype), name=None, task=None)

    assert target.classes is not None
    assert target.classes.dtype == np.dtype(dtype)


def test_task_can_be_said_where_the_rule_guesses_otherwise():
    ratings = pd.Series([1, 2, 3, 4, 5, 6, 7] * 4)

    assert read_target(ratings, name="rating", task=None).task == "multiclass"
    assert read_target(ratings, name="rating", task="regression").y.dtype == np.float64
    assert read_target(pd.Series(range(30)), name="id", task="multiclass").y.max() == 29


@pytest.mark.parametrize(
    "labels",
    [
        pd.cut(pd.Series([1.0, 9.0] * 5), [0, 5, 10]),
        [("a", 1), ("b", 2)] * 5,
        pd.to_timedelta([1, 2] * 5, unit="h"),
        [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)] * 5,
    ],
    ids=["intervals", "tuples", "timedeltas", "dates"],
)
def test_labels_that_no_saved_model_can_hold_are_refused_before_training(labels):
    with pytest.raises(
        TypeError, match=r"text, numbers or booleans, got .*; convert it, as in y\."
    ):
        read_target(labels, name="y", task=None)


RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=3000)})
NUMBERS = {
    "class-numbers": (np.arange(3000) % 43, "multiclass", "class numbers.*task='regression'"),
    "years": (1950 + np.arange(3000) % 60, "regression", "a quantity.*task='multiclass'"),
    "counts": (RNG.poisson(12, 3000), "regression", "a quantity.*task='multiclass'"),
    "few-counts": (RNG.poisson(1.5, 3000), "regression", "a quantity.*task='multiclass'"),
}


@pytest.mark.parametrize(("y", "task", "words"), NUMBERS.values(), ids=NUMBERS)
def test_whole_numbers_that_may_be_either_are_decided_by_rule_and_the_guess_is_shown(
    y, task, words
):
    with pytest.warns(DataWarning, match=words):
        assert load_tabular((X, y)).task == task


def test_a_task_that_is_said_needs_no_guess():
    y = np.arange(3000) % 43

    assert load_tabular((X, y), task="regression").task == "regression"
    assert load_tabular((X, y), task="multiclass").task == "multiclass"


def test_labels_that_differ_by_case_or_blanks_are_named():
    y = ["Yes", "yes ", "no"] * 1000

    with pytest.warns(DataWarning, match="labels 'Yes', 'yes ' of target 'y' differ by case"):
        load_tabular((X, y))


def test_rows_without_a_target_are_left_out_on_request_with_their_groups_and_weights():
    frame = X.assign(y=["a", "b", None] * 1000, g=np.arange(3000) // 6, w=1.0)
    options = {"target": "y", "groups": "g", "sample_weight": "w"}

    with pytest.warns(DataWarning, match="1000 of 3000 rows have no target and are left out"):
        data = load_tabular(frame, drop_missing_target=True, **options)

    assert len(data.train) + len(data.valid) + data.n_test == 2000
    assert len(data.train.weight) == len(data.train.group) == len(data.train)
    with pytest.raises(ValueError, match="or give drop_missing_target=True"):
        load_tabular(frame, **options)


def test_rare_classes_are_left_out_on_request():
    y = ["a"] * 1500 + ["b"] * 1498 + ["c"] * 2

    with pytest.warns(DataWarning, match="classes 'c' have fewer than 3 rows and are left out"):
        data = load_tabular((X, y), rare_classes="drop")

    assert data.classes.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="rare_classes='drop'"):
        load_tabular((X, y))


def test_rare_classes_takes_no_other_word():
    with pytest.raises(ValueError, match="rare_classes must be 'drop' or None"):
        load_tabular((X, ["a", "b"] * 1500), rare_classes="keep")
