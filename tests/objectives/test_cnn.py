"""Networks for images: what they are fed, what they predict for, and how they are kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from objectives.cnn import CNNObjective, build
from objectives.data.table import DataWarning
from objectives.models.module import FittedModule
from objectives.module import ModuleObjective
from tests.objectives.networks import PICTURES, SHADES, trained


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (48, 32), (128, 128)])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_network_takes_images_of_any_size_and_tells_all_classes_apart(size, n_layers):
    network = build(
        n_channels=3,
        image_size=size,
        n_outputs=5,
        n_layers=n_layers,
        hidden_units=4,
        activation="silu",
        dropout=0.1,
    )

    assert network(torch.zeros(2, 3, *size, dtype=torch.uint8)).shape == (2, 5)


def test_a_narrow_network_of_large_images_is_trained_in_every_layout():
    torch.manual_seed(0)
    network = build(
        n_channels=1,
        image_size=(200, 200),
        n_outputs=1,
        n_layers=1,
        hidden_units=4,
        activation="relu",
        dropout=0.0,
    )
    images = torch.randint(0, 256, (8, 1, 200, 200), dtype=torch.uint8)

    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network.to(memory_format=layout).zero_grad()
        network(images).sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])

    for plain, last in zip(*gradients, strict=True):
        assert float((last - plain).abs().max()) <= 0.05 * float(plain.abs().max()) + 1e-3


def test_images_larger_than_the_network_is_made_for_are_named_in_a_warning():
    large = np.repeat(np.repeat(PICTURES[..., 0], 17, axis=1), 2, axis=2)

    with pytest.warns(DataWarning, match="images are 136x16, more than the 128 pixels"):
        CNNObjective((large, SHADES), space={"hidden_units": 4})


def test_values_are_predicted_of_images_without_smoothed_labels():
    shades = PICTURES.mean((1, 2, 3))
    objective = CNNObjective((PICTURES, shades), space={"hidden_units": 4}, metric="r2")

    _, cohort = trained(objective, 1)

    assert "label_smoothing" not in objective.space
    assert cohort.model(0).predict(PICTURES).shape == (60,)
    with pytest.raises(ValueError, match="leave out 'label_smoothing' for task='regression'"):
        CNNObjective((PICTURES, shades), space={"label_smoothing": (0.0, 0.1)})


def test_an_optimizer_of_ones_own_takes_the_place_of_the_named_ones():
    seen = []

    def optimizer(parameters, params):
        seen.append(params["weight_decay"])
        return torch.optim.RMSprop(parameters, lr=params["learning_rate"])

    objective = CNNObjective((PICTURES, SHADES), space={"hidden_units": 4}, optimizer=optimizer)
    trained(objective, 1, weight_decay=0.02)

    assert seen == [0.02]
    assert "optimizer" not in objective.space


def test_images_reach_a_module_as_pixels():
    objective = CNNObjective((PICTURES, SHADES))
    told = []

    def build(n_channels, image_size, n_outputs):
        told.append((n_channels, image_size, n_outputs))
        return build_pixels(n_channels, image_size, n_outputs)

    trained(ModuleObjective(build, objective.data))

    assert set(map(str, told)) == {"(3, [8, 8], 1)"}


class Album(Dataset):
    def __len__(self):
        return len(PICTURES)

    def __getitem__(self, row):
        return Image.fromarray(PICTURES[row]), SHADES[row]


def test_a_module_takes_a_folder_or_dataset_of_images_as_tune_cnn_does(tmp_path):
    for row, (image, shade) in enumerate(zip(PICTURES, SHADES, strict=True)):
        (tmp_path / shade).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / shade / f"{row}.png")

    for dataset in (tmp_path, str(tmp_path), Album()):
        objective = ModuleObjective(build_pixels, dataset)
        assert objective.data.image_size == (8, 8)
        assert trained(objective, 1)[1].model(0).predict(PICTURES).shape == (60,)


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
