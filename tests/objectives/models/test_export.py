"""Exported models predict in other programs what they predict here."""

import numpy as np
import onnxruntime
import pytest
import torch

from objectives.cnn import CNNObjective
from objectives.finetune import FinetuneObjective
from objectives.mlp import MLPObjective
from objectives.models.export import export_program
from objectives.models.module import FittedModule
from objectives.module import ModuleObjective
from objectives.space.space import defaults
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, TwoInputs, build_flat

IMAGES = (PICTURES, SHADES)
SMALL = {"hidden_units": 4}
OBJECTIVES = {
    "mlp of classes": lambda: MLPObjective("iris", space=SMALL, n_repeats=2),
    "mlp of values": lambda: MLPObjective("diabetes", space=SMALL),
    "cnn": lambda: CNNObjective(IMAGES, space=SMALL),
    "finetune": lambda: FinetuneObjective(
        IMAGES, backbone="mobilenet_v3_small", weights=None, image_size=32
    ),
    "module": lambda: ModuleObjective(build_flat, (SIGNALS, KINDS)),
}


def fitted(objective):
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space))
    cohort.train_epoch()
    return cohort.model(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_onnx_file_gives_the_models_own_predictions_for_any_number_of_rows(name, tmp_path):
    objective = OBJECTIVES[name]()
    model = fitted(objective)
    path = tmp_path / "model.onnx"

    model.export_onnx(path)

    inputs = model.encode(objective.data.valid.X)
    session = onnxruntime.InferenceSession(path)
    for rows in (inputs, inputs[:1]):
        (found,) = session.run(None, {"x": rows.numpy()})
        expected = model._average(objective.data.valid.X)
        if model.classes is None:
            expected = model.predict(objective.data.valid.X)
        np.testing.assert_allclose(found, expected[: len(rows)], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_exported_program_gives_the_models_own_predictions(name):
    objective = OBJECTIVES[name]()
    model, X = fitted(objective), objective.data.valid.X

    program = export_program(model)

    found = program.module()(model.encode(X)).detach().numpy()
    expected = model.predict(X) if model.classes is None else model.predict_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dataset", [(SIGNALS, KINDS), "wine"], ids=["arrays", "table"])
def test_a_loaded_module_exports_what_the_saved_one_did(dataset, tmp_path):
    build = flat_or_line
    model = fitted(ModuleObjective(build, dataset))
    model.save(tmp_path / "model.safetensors")

    loaded = FittedModule.load(tmp_path / "model.safetensors", build=build)

    example = torch.zeros(3, *model.example.shape[1:])
    programs = [export_program(m).module() for m in (model, loaded)]
    assert torch.equal(programs[0](example), programs[1](example))


def flat_or_line(n_outputs, n_inputs=10):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n_inputs, n_outputs))


def test_what_cannot_be_exported_says_what_to_do(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 2)), rng.integers(0, 3, 60))
    two = fitted(ModuleObjective(TwoInputs, (X, X[0][:, 0])))
    folds = fitted(MLPObjective("iris", space=SMALL, folds=2))

    with pytest.raises(ValueError, match="one input, got one of several"):
        two.export_onnx(tmp_path / "two.onnx")
    with pytest.raises(ValueError, match=r"2 folds; export result.refit\(\)"):
        folds.export_onnx(tmp_path / "folds.onnx")
    with pytest.raises(ValueError, match="an existing folder"):
        folds.export_onnx(tmp_path / "none" / "folds.onnx")
