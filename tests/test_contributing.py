"""What CONTRIBUTING.md says is so; its example is tuned, saved and loaded as it stands."""

import ast
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from objectives.models.module import FittedModule
from tests.objectives.networks import KINDS, SIGNALS
from tests.test_layout import ROOMS
from tuner import tune

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ERRANDS = {
    cells[1].strip(): re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", cells[2])
    for cells in (line.split("|") for line in TEXT.splitlines() if line.startswith("| "))
    if re.match("change how|add ", cells[1].strip())
}


def example_code():
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return block


def defined_names(path):
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_the_order_of_rooms_is_the_one_that_imports_are_held_to():
    orders = [line for line in TEXT.splitlines() if re.match(r"(objectives|tuner): ", line)]

    assert orders == [f"{package}: {' | '.join(rooms)}" for package, rooms in ROOMS.items()]


def test_the_five_errands_are_there():
    assert list(ERRANDS) == [
        "change how dropout is done",
        "add a hyperparameter",
        "add an objective",
        "add a storage",
        "add a plot",
    ]


@pytest.mark.parametrize("errand", ERRANDS)
def test_an_errand_names_files_and_what_stands_in_them(errand):
    assert 2 <= len(ERRANDS[errand]) <= 4
    for path, names in ERRANDS[errand]:
        assert set(re.findall(r"\w+", names)) <= set(defined_names(path)), path


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w.]+/)+\w+\.\w+)`", TEXT))))
def test_every_file_named_exists(path):
    assert (ROOT / path).is_file() or path == "objectives/gru.py"


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
