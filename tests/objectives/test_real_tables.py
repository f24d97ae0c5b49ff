from pathlib import Path

import pytest

from objectives.data.table import load_tabular

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data beside the repository")
@pytest.mark.parametrize(
    ("name", "task", "n_features", "n_categorical"),
    [
        ("adult", "binary", 14, 8),
        ("titanic", "binary", 8, 3),
        ("letter", "multiclass", 16, 0),
        ("diamonds", "regression", 9, 3),
        ("nyc_taxi_fare", "regression", 9, 5),
    ],
)
def test_real_tables_load_without_a_warning(name, task, n_features, n_categorical):
    data = load_tabular(SHARED / name / f"{name}.csv.gz", target="target")

    assert data.task == task
    assert data.train.X.shape[1] == n_features
    assert len(data.categorical) == n_categorical
