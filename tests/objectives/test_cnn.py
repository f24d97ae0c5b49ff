"""Networks for images: what they are fed, what they predict for, and how they are kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from objectives.cnn import CNNObjective, build
from objectives.configurations import defaults
from objectives.module import ModuleObjective
from objectives.module_model import FittedModule
from tests.objectives.networks import PICTURES, SHADES


def trained(objective, n_epochs=2, **params):
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space) | params)
    results = [cohort.train_epoch()[0] for _ in range(n_epochs)]
    return results, cohort


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (48, 32), (128, 128)])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_network_takes_images_of_any_size_and_tells_all_classes_apart(size, n_layers):
    network = build(
        n_channels=3, image_size=size, n_outputs=5, n_layers=n_layers, hidden_units=4,
        activation="silu", dropout=0.1,
    )  # fmt: skip

    assert network(torch.zeros(2, 3, *size, dtype=torch.uint8)).shape == (2, 5)


def test_images_reach_a_module_as_pixels():
    objective = CNNObjective((PICTURES, SHADES))
    told = []

    def build(n_channels, image_size, n_outputs):
        told.append((n_channels, image_size, n_outputs))
        return build_pixels(n_channels, image_size, n_outputs)

    trained(ModuleObjective(build, objective.data))

    assert set(map(str, told)) == {"(3, [8, 8], 1)"}


def build_pixels(n_channels, image_size, n_outputs):
    class Scaled(nn.Module):
        def forward(self, images):
            assert images.dtype == torch.uint8
            return images.flatten(1) / 255

    return nn.Sequential(Scaled(), nn.Linear(n_channels * image_size[0] * image_size[1], n_outputs))


def test_a_residual_network_predicts_for_arrays_pictures_and_paths_and_is_saved_whole(tmp_path):
    objective = CNNObjective((PICTURES, SHADES), space={"hidden_units": 4, "epochs": 3})
    _, cohort = trained(objective)
    model = cohort.model(0)
    files = [tmp_path / f"{k}.png" for k in range(4)]
    for image, file in zip(PICTURES, files, strict=False):
        Image.fromarray(image).save(file)

    expected = model.predict_proba(PICTURES[:4])

    assert np.allclose(model.predict_proba(files), expected, atol=1e-5)
    assert np.allclose(model.predict_proba([Image.open(f) for f in files]), expected, atol=1e-5)
    model.save(tmp_path / "cnn.safetensors")
    loaded = FittedModule.load(tmp_path / "cnn.safetensors")
    assert np.array_equal(loaded.predict_proba(PICTURES), model.predict_proba(PICTURES))
    assert set(loaded.predict(PICTURES)) <= {"dark", "light"}


def test_streamed_images_train_as_those_in_memory():
    curves = []
    for max_bytes in (1 << 30, 10):
        objective = CNNObjective(
            (PICTURES, SHADES), space={"hidden_units": 4}, max_bytes=max_bytes, n_workers=0
        )
        curves.append([r.value for r in trained(objective)[0]])

    assert curves[0] == curves[1]


def test_class_weights_count():
    losses = [
        trained(CNNObjective((PICTURES, SHADES), space={"hidden_units": 4}, class_weight=weight))
        for weight in (None, {"dark": 5.0})
    ]

    assert losses[0][0][0].train_loss != losses[1][0][0].train_loss
