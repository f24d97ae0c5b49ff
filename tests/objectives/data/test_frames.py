"""Frames of other libraries give what the same pandas frame gives, in training and prediction."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from objectives import MLPObjective
from objectives.data import frames
from objectives.data.frames import as_frame, frame_from
from objectives.data.table import load_tabular

N = 40


def shop():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, N),
            "visits": rng.integers(0, 9, N),
            "gaps": [None if i % 4 == 0 else float(i % 7) for i in range(N)],
            "city": rng.choice(["Oslo", "Rome", "Bonn"], N),
            "size": pd.Categorical(rng.choice(["s", "m"], N)),
            "member": rng.choice([True, False], N),
            "since": pd.date_range("2020-01-01", periods=N, freq="31D"),
            "level": rng.integers(0, 3, N),
        }
    )


def arrow():
    return pa.Table.from_pandas(shop(), preserve_index=False)


class ArrowRows:
    """What is used of a Hugging Face dataset: its columns' names and its rows as Arrow tables."""

    def __init__(self, table):
        self.table = table
        self.column_names = table.column_names

    def with_format(self, kind):
        assert kind == "arrow"
        return self.table

    def __len__(self):
        return self.table.num_rows

    def __getitem__(self, key):
        return self.table[key]


FRAMES = {
    "polars": lambda: pl.from_arrow(arrow()),
    "lazy-polars": lambda: pl.from_arrow(arrow()).lazy(),
    "pyarrow": arrow,
    "arrow-dtypes": lambda: arrow().to_pandas(types_mapper=pd.ArrowDtype),
    "nullable-dtypes": lambda: shop().convert_dtypes(),
    "columns": lambda: {name: column.tolist() for name, column in shop().items()},
    "columns-of-arrays": lambda: {name: column.to_numpy() for name, column in shop().items()},
    "hugging-face": lambda: ArrowRows(arrow()),
}


@pytest.fixture(params=FRAMES)
def frame(request):
    return FRAMES[request.param]()


def test_a_frame_of_any_library_trains_and_predicts_like_the_pandas_frame(frame):
    space = {"epochs": 1, "hidden_units": 8}
    objective = MLPObjective(frame, target="level", space=space)
    expected = MLPObjective(shop(), target="level", space=space)
    params = {name: row.default for name, row in objective.space.items()}

    model = objective.refit(params, epochs=1, seed=0)

    assert objective.data.task == "multiclass"
    assert np.array_equal(objective.data.train.y, expected.data.train.y)
    assert np.array_equal(
        objective.prepared[0].tensors.x.expand(), expected.prepared[0].tensors.x.expand()
    )
    assert np.array_equal(model.predict(frame), model.predict(shop()))


@pytest.mark.parametrize(
    "as_y",
    [
        lambda y: pl.Series("level", y),
        lambda y: pa.chunked_array([y]),
        lambda y: pa.array(y),
        lambda y: pd.Series(y, dtype="int64[pyarrow]"),
        lambda y: pl.DataFrame({"level": y}),
    ],
    ids=["polars", "chunked-arrow", "arrow", "arrow-dtype", "one-column-frame"],
)
def test_target_beside_a_frame_may_be_a_series_of_any_library(as_y):
    X, y = shop().drop(columns="level"), shop()["level"].tolist()

    data = load_tabular((pl.from_pandas(X), as_y(y)))

    assert np.array_equal(data.train.y, load_tabular((X, y)).train.y)
    assert data.classes.tolist() == [0, 1, 2]


def test_arrow_integers_with_gaps_are_refused_as_target_in_one_sentence():
    table = pa.table({"x": list(range(20)), "y": [None, *range(19)]})

    with pytest.raises(ValueError, match="no missing cells, got 1 in column 'y'"):
        load_tabular(table, target="y")


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_sparse_features_are_made_dense(form):
    X = np.random.default_rng(0).integers(0, 3, (30, 4)).astype(float)
    y = np.arange(30) % 2

    data = load_tabular((form(X), y))

    assert np.array_equal(data.train.X.to_numpy(), load_tabular((X, y)).train.X.to_numpy())
    assert np.array_equal(frame_from(form(X), data.input_columns).to_numpy(), X)


def test_sparse_columns_of_a_frame_are_made_dense():
    X = pd.DataFrame.sparse.from_spmatrix(
        sparse.random(30, 3, 0.5, random_state=0), columns=[*"abc"]
    )

    data = load_tabular((X, np.arange(30) % 2))

    assert set(map(str, data.train.X.dtypes)) == {"float64"}


def test_sparse_features_beyond_the_bound_are_refused_before_they_fill_the_memory():
    X = sparse.csr_matrix((frames.MAX_DENSE_CELLS // 1000, 1001))

    with pytest.raises(ValueError, match="at most 100000000 cells where it is sparse"):
        load_tabular((X, np.zeros(X.shape[0])))


def test_a_dict_of_datasets_is_refused_with_the_way_to_one_of_them():
    parts = {"train": ArrowRows(arrow()), "test": ArrowRows(arrow())}

    with pytest.raises(ValueError, match=r"as in dataset\['train'\]"):
        load_tabular(parts, target="level")


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="columns of one length"):
        load_tabular({"a": [1, 2], "y": [1]}, target="y")


@pytest.mark.parametrize("values", [np.zeros((2, 2)), [[1, 2]], "table.csv", 3])
def test_what_has_no_named_columns_is_no_frame(values):
    assert as_frame(values) is None


def test_a_column_that_is_there_twice_is_named_whether_for_training_or_prediction():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "a"])

    for columns in (["a", "b", "a"], [1, "b", "1"]):
        with pytest.raises(ValueError, match=r"distinct column names, got '[a1]' more than once"):
            load_tabular((X.set_axis(columns, axis=1), np.arange(60) % 2))
    with pytest.raises(ValueError, match="X must have distinct column names, got 'a' more than"):
        frame_from(X, ["a", "b"])
    assert list(frame_from(X, ["b"])) == ["b"]
