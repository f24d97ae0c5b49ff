"""Modules of one's own in files: weights, encoder, and the build that makes them anew."""

import numpy as np
import pandas as pd
import pytest
from torch import nn

from objectives.models.module import FittedModule
from objectives.module import ModuleObjective
from tests.objectives.networks import KINDS, SIGNALS, build_flat, line, trained

VALUES = SIGNALS.mean((1, 2)).astype(float)


def test_a_saved_module_is_loaded_with_its_build_and_predicts_the_same(tmp_path):
    _, cohort = trained(ModuleObjective(build_flat, (SIGNALS, KINDS), space={"width": [6, 8]}))
    model, path = cohort.model(0), tmp_path / "model.safetensors"

    model.save(path)

    loaded = FittedModule.load(path, build=build_flat)
    assert np.array_equal(loaded.predict_proba(SIGNALS), model.predict_proba(SIGNALS))
    with pytest.raises(ValueError, match=r"build must be given .*load\(path, build=build\)"):
        FittedModule.load(path)
    with pytest.raises(ValueError, match="weights of the module that build makes"):
        FittedModule.load(path, build=lambda: nn.Linear(2, 2))


def test_a_module_of_a_table_is_saved_with_its_encoder(tmp_path):
    frame = pd.DataFrame({"size": VALUES, "colour": list("rgbw") * 20, "y": 9 + VALUES})
    _, cohort = trained(ModuleObjective(line, frame, target="y"))
    model, path = cohort.model(0), tmp_path / "model.safetensors"

    model.save(path)

    loaded = FittedModule.load(path, build=line)
    new = pd.DataFrame({"colour": ["purple", "r"], "size": [1.0, None]})
    assert np.array_equal(loaded.predict(new), model.predict(new))
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    altered = path.read_bytes().replace(b"Categories", b"Categoriez")
    path.write_bytes(altered)
    with pytest.raises(ValueError, match=r"got path=.*(save the model again|do not use it)"):
        FittedModule.load(path, build=line)


@pytest.mark.parametrize("damage", [b"", b"no model", None])
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = tmp_path / "model.safetensors"
    _, cohort = trained(ModuleObjective(build_flat, (SIGNALS, KINDS)), 1)
    cohort.model(0).save(path)
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)

    with pytest.raises(ValueError, match="is damaged or was altered"):
        FittedModule.load(path, build=build_flat)
