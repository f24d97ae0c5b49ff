import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from objectives.data.encoders import TabularEncoder
from objectives.data.table import DataWarning, frame_from, load_tabular

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def mixed(n=40):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "city": rng.choice(["Oslo", "Rome", "NA"], n),
            "member": rng.choice([True, False], n),
            "since": pd.date_range("2020-01-01", periods=n, freq="31D"),
            "level": rng.integers(1, 4, n),
            "bought": rng.choice(["no", "yes"], n),
        }
    )


class Pairs(Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def test_the_same_numbers_give_the_same_splits_in_every_form():
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    y = np.arange(30) % 2
    forms = [
        (X, y),
        [X, y],
        (X.tolist(), y.tolist()),
        (torch.from_numpy(X), torch.from_numpy(y)),
        (pd.DataFrame(X, columns=["x0", "x1", "x2"]), pd.Series(y, index=range(100, 130))),
        (X, y[:, None]),
        (X, pd.DataFrame({"y": y})),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(y)),
        Pairs(X, y),
        Pairs(torch.from_numpy(X), torch.from_numpy(y)),
    ]
    expected = load_tabular(forms[0])

    for form in forms[1:]:
        data = load_tabular(form)

        assert np.array_equal(data.train.X.to_numpy(), expected.train.X.to_numpy())
        assert np.array_equal(data.train.y, expected.train.y)
        assert list(data.train.X) == ["x0", "x1", "x2"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_a_file_gives_the_same_data_as_its_frame(tmp_path, suffix):
    frame, path = mixed(), tmp_path / f"shop{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")

    data, expected = load_tabular(path, target="bought"), load_tabular(frame, target="bought")

    assert data.name == path.name
    pd.testing.assert_frame_equal(data.train.X, expected.train.X, check_dtype=False)
    assert data.categorical == expected.categorical == ("city",)
    assert np.array_equal(data.valid.y, expected.valid.y)


def test_csv_markers_are_levels_in_text_and_missing_among_numbers(tmp_path):
    path = tmp_path / "houses.csv"
    rows = [
        f"{i % 7},{'?' if i % 5 == 0 else i % 11},{['NA', 'None', '', 'barn'][i % 4]},{i % 2}"
        for i in range(40)
    ]
    path.write_text("\n".join(["rooms,age,garage,sold", *rows]))

    data = load_tabular(str(path), target="sold")
    every = pd.concat([data.train.X, data.valid.X, data.open_test().X])

    assert every["age"].dtype == np.float64
    assert every["age"].isna().sum() == 8
    assert set(every["garage"].dropna()) == {"NA", "None", "barn"}
    assert every["garage"].isna().sum() == 10


def test_gzipped_csv_is_known_by_its_suffix(tmp_path):
    path = tmp_path / "T.CSV.GZ"
    with gzip.open(path, "wt") as file:
        mixed().to_csv(file, index=False)

    assert len(load_tabular(path, target="bought").train) == 24


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_separator_and_byte_order_mark_are_understood(tmp_path, separator):
    path = tmp_path / "t.csv"
    mixed().to_csv(path, sep=separator, index=False, encoding="utf-8-sig")

    assert list(load_tabular(path, target="bought").train.X)[:2] == ["age", "city"]


@pytest.mark.parametrize(
    ("name", "task", "n_classes", "n_rows"),
    [
        ("digits", "multiclass", 10, 1797),
        ("breast_cancer", "binary", 2, 569),
        ("wine", "multiclass", 3, 178),
        ("iris", "multiclass", 3, 150),
        ("diabetes", "regression", None, 442),
    ],
)
def test_builtin_datasets_load_by_name_without_a_warning(name, task, n_classes, n_rows):
    data = load_tabular(name)

    assert data.task == task
    assert (None if data.classes is None else len(data.classes)) == n_classes
    assert len(data.train) + len(data.valid) + data.n_test == n_rows


def test_loaded_data_passes_through_unchanged():
    data = load_tabular("iris")

    assert load_tabular(data, seed=7) is data


def test_images_are_flattened_to_one_row_each():
    images = np.random.default_rng(0).random((20, 4, 4), dtype=np.float32)

    data = load_tabular((images, np.arange(20) % 2))

    assert data.train.X.shape == (12, 16)
    assert frame_from(images[:2], data.input_columns).shape == (2, 16)


def test_half_precision_tensors_are_read():
    X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    assert load_tabular((X, torch.arange(20) % 2)).train.X["x0"].dtype == np.float32


def test_text_arrays_of_numbers_become_numbers():
    X = np.array([[str(i / 3), "red" if i % 2 else "blue"] for i in range(30)])

    data = load_tabular((X, np.arange(30) % 3 > 0))

    assert data.train.X["x0"].dtype == np.float64
    assert data.categorical == ("x1",)


def test_columns_get_the_dtype_of_their_cells():
    frame = pd.DataFrame(
        {
            "flag": pd.Series([True, None] * 15, dtype=object),
            "count": pd.Series([1, 2, None] * 10, dtype=object),
            "day": [f"2024-01-{1 + i % 28:02}" for i in range(30)],
            "span": pd.to_timedelta([1, 2, 3] * 10, unit="h"),
            "code": ["01", "02", "10"] * 10,
            "y": [0, 1] * 15,
        }
    )

    X = load_tabular(frame, target="y").train.X

    assert X["flag"].dtype == "boolean"
    assert X["count"].dtype == np.float64
    assert X["day"].dtype.kind == "M"
    assert X["span"].max() == 3 * 3600
    assert set(X["code"]) == {"01", "02", "10"}


def test_integer_columns_become_categories_on_request():
    assert load_tabular(mixed(), target="bought").categorical == ("city",)
    data = load_tabular(mixed(), target="bought", categorical=["level"])

    assert data.categorical == ("city", "level")


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [
        (None, None),
        ("balanced", {0: 0.625, 1: 2.5}),
        ({"rare": 4}, {0: 1.0, 1: 4.0}),
        ({"often": 0.5, "rare": 2}, {0: 0.5, 1: 2.0}),
    ],
)
def test_class_weights_are_resolved_on_the_training_split(class_weight, expected):
    frame = pd.DataFrame({"a": np.arange(50.0) ** 2, "y": ["often"] * 40 + ["rare"] * 10})

    assert load_tabular(frame, target="y", class_weight=class_weight).class_weight == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(age=f["age"] + 1e-9),
        lambda f: f.rename(columns={"age": "years"}),
        lambda f: f.assign(level=f["level"].astype("int32")),
        lambda f: f.assign(bought=f["bought"].replace("no", "never")),
        lambda f: f.iloc[::-1],
    ],
    ids=["value", "name", "dtype", "label", "order"],
)
def test_fingerprint_changes_with_the_content(change):
    first, same = (load_tabular(mixed(), target="bought").fingerprint for _ in range(2))

    assert first == same
    assert load_tabular(change(mixed()), target="bought").fingerprint != first


def test_fingerprint_sees_weights_and_groups_but_not_the_split():
    weight, groups = np.linspace(1, 2, 40), np.arange(40) // 4
    options = [{}, {"sample_weight": weight}, {"groups": groups}, {"seed": 9, "test_size": 0.3}]

    prints = [load_tabular(mixed(), target="bought", **o).fingerprint for o in options]

    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_fingerprint_is_the_same_in_another_process(tmp_path):
    path = tmp_path / "t.csv"
    mixed().to_csv(path, index=False)
    code = f"from objectives.data.table import load_tabular as l; d = l({str(path)!r}, target='bought'); print(d.fingerprint)"  # noqa: E501

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == load_tabular(path, target="bought").fingerprint


def test_test_rows_are_kept_from_sight_until_opened():
    data = load_tabular("iris")

    assert len(data.open_test()) == data.n_test == 30
    assert not [name for name in vars(data) if "test" in name and not name.startswith("_")]
    assert repr(data) == (
        "TabularData('iris': multiclass, 4 features, 90 train / 30 valid / 30 test rows)"
    )


def test_prediction_takes_frames_by_name_and_arrays_by_position():
    data = load_tabular("digits")
    columns, raw = tuple(data.train.X), np.arange(128.0).reshape(2, 64)
    frame = pd.DataFrame(raw, columns=data.input_columns, index=[5, 9])

    by_position = frame_from(raw, columns, input_columns=data.input_columns)
    by_name = frame_from(frame[frame.columns[::-1]].assign(extra=1), columns)

    assert len(columns) == 61
    pd.testing.assert_frame_equal(by_position, by_name)


def test_left_out_columns_need_not_be_there_for_prediction():
    frame = mixed().assign(empty=np.nan)
    with pytest.warns(DataWarning, match="'empty'"):
        data = load_tabular(frame, target="bought")

    assert "empty" in data.input_columns
    frame_from(mixed(), tuple(data.train.X), input_columns=data.input_columns)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (pd.DataFrame({"ages": [1], "b": [2]}), "none named 'age'; did you mean 'ages'"),
        (np.zeros((2, 3)), "must have 2 columns as in training, got 3"),
        (np.zeros(2), r"shape \(2,\); reshape one feature"),
    ],
    ids=["misspelt-column", "too-wide", "one-axis"],
)
def test_prediction_with_other_columns_says_what_is_wrong(X, words):
    with pytest.raises(ValueError, match=words):
        frame_from(X, ["age", "b"])


def test_dates_with_and_without_a_time_are_read_side_by_side_in_prediction_and_as_time():
    days = pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d").tolist()
    mixed = [f"{day}T10:00" if k % 2 else day for k, day in enumerate(days)]
    table = pd.DataFrame({"day": days, "a": np.arange(60) % 7, "y": np.arange(60) % 2})
    encoder = TabularEncoder.fit(table[["day", "a"]])

    by_time = load_tabular(table.assign(when=mixed[::-1]), target="y", time="when")
    encoded = encoder.transform(table.assign(day=mixed)[["day", "a"]])

    assert by_time.train.X.day.iloc[0] == pd.Timestamp(days[-1])
    assert encoded[::2] == pytest.approx(encoder.transform(table[["day", "a"]])[::2])
