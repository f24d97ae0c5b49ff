"""Files of modules: safetensors that name a network, from which nothing is run."""

import json

import numpy as np
import pytest
import safetensors.torch

from objectives.cnn import CNNObjective
from objectives.models.module import FittedModule

KEY = "fusetune"
WRONG_FILE = r"path must be a file that FittedModule\.save wrote"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "cnn.safetensors"
    X = np.random.default_rng(0).integers(0, 255, (24, 8, 8), dtype=np.uint8)
    space = {"n_layers": 1, "hidden_units": 8, "epochs": 1}
    cohort = CNNObjective((X, np.arange(24) % 3), space=space).cohort(seed=0)
    cohort.add(0, {**{k: h.default for k, h in CNNObjective.table.items()}, **space})
    cohort.train_epoch()
    cohort.model(0).save(path)
    return path


def altered(saved, path, **changes):
    """Write the file with other entries in its description; an entry in one is named a__b."""
    content = saved.read_bytes()
    size = int.from_bytes(content[:8], "little")
    record = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        if inner:
            record[outer] = record[outer] | {inner: value}
        else:
            record[outer] = value
    state = safetensors.torch.load(content)
    path.write_bytes(safetensors.torch.save(state, metadata={KEY: json.dumps(record)}))
    return path


def test_a_file_of_a_network_of_ours_needs_nothing_else(saved, tmp_path):
    image = np.zeros((1, 8, 8), dtype=np.uint8)

    model = FittedModule.load(altered(saved, tmp_path / "same.safetensors"))

    assert model.predict(image) == FittedModule.load(saved).predict(image)


@pytest.mark.parametrize(
    "changes",
    [
        {"params": None},
        {"params__n_layers": 10**9},
        {"params__n_layers": "2"},
        {"params__hidden_units": 10**7},
        {"params__activation": "__import__"},
        {"hints__n_channels": 3},
        {"hints__image_size": 8},
        {"hints": {}},
        {"task": "none"},
        {"metric": ["accuracy"]},
        {"classes": {"dtype": "O8", "values": [[1], [2]]}},
        {"classes": {"dtype": "U999999999", "values": ["a"]}},
        {"images": {"n_channels": "x", "size": [8, 8]}},
        {"target_scaler": {"mean": 0}},
        {"kind": ["cnn"]},
        {"kind": "finetune"},
    ],
    ids=str,
)
def test_a_description_that_was_altered_is_refused_in_one_sentence(changes, saved, tmp_path):
    path = altered(saved, tmp_path / "model.safetensors", **changes)

    with pytest.raises(ValueError, match=WRONG_FILE):
        FittedModule.load(path)


def test_a_kind_that_is_not_ours_is_never_imported(saved, tmp_path):
    path = altered(saved, tmp_path / "model.safetensors", kind="antigravity")

    with pytest.raises(ValueError, match="build must be given to load a module of your own"):
        FittedModule.load(path)


def test_a_file_of_a_module_cut_off_anywhere_is_refused(saved, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "model.safetensors"
    for end in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])

        with pytest.raises(ValueError, match=WRONG_FILE):
            FittedModule.load(path)
