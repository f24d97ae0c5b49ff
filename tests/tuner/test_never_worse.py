from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from benchmarks.never_worse import CASES, row, search, summary

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
BUILT_IN = {"iris", "wine", "breast_cancer", "digits", "diabetes"}

# A search that is short enough for a test: what is tuned by luck is more often luck in it.
SHORT = {"space": {"epochs": 20}, "n_trials": 5, "n_jobs": 1}


@pytest.mark.slow
# Real tables have copied rows and columns of one value, which is not what is asked here.
@pytest.mark.filterwarnings("ignore::objectives.data.table.DataWarning")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_tuned_model_is_not_worse_than_the_default_configuration_beyond_noise(case):
    if case.table not in BUILT_IN and not SHARED.is_dir():
        pytest.skip("needs shared/data beside the repository")
    rows = [row(case, seed, *search(SHARED, case, seed, **SHORT)) for seed in range(5)]

    gains = 1 - pd.DataFrame(rows)["model"] / pd.DataFrame(rows)["default"]
    # Of twenty tables, one or the other is below by luck: the bound holds for all of them at once.
    noise = t.ppf(1 - 0.025 / len(CASES), len(gains) - 1) * gains.std() / np.sqrt(len(gains))
    assert gains.mean() + noise >= 0, summary(pd.DataFrame(rows)).to_string()
