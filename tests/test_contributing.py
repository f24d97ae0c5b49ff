"""The example of CONTRIBUTING.md is complete: it is tuned, saved and loaded as it stands."""

import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np

from objectives.models.module import FittedModule
from tests.objectives.networks import KINDS, SIGNALS
from tuner import tune

ROOT = Path(__file__).resolve().parents[1]


def example_code():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return block


def example():
    module = types.ModuleType("gru")
    exec(compile(example_code(), "gru.py", "exec"), module.__dict__)
    return module


def test_the_example_is_short_and_clean():
    options = ["--stdin-filename", "objectives/gru.py", "-"]

    for check in (["check"], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *check, *options],
            cwd=ROOT,
            input=example_code(),
            text=True,
            check=True,
        )
    assert len(example_code().splitlines()) <= 60


def test_the_example_is_tuned_and_its_model_is_saved_and_loaded(tmp_path):
    gru = example()
    space = {"epochs": 2, "hidden_units": (4, 8), "learning_rate": (0.01, 0.1)}
    objective = gru.GRUObjective((SIGNALS, KINDS), space=space)

    result = tune(objective, n_trials=3, show_progress_bar=False)

    frame = result.trials_dataframe()
    assert frame["params_hidden_units"].between(4, 8).all()
    result.model.save(tmp_path / "gru.safetensors")
    loaded = FittedModule.load(tmp_path / "gru.safetensors", build=gru.GRU)
    assert np.array_equal(loaded.predict_proba(SIGNALS), result.model.predict_proba(SIGNALS))
