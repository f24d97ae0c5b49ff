"""Fine-tuning: weights from a file, a new head, a frozen phase, and rates of their own."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision import models

from objectives.finetune import FinetuneObjective
from objectives.models.backbones import last_linear, make_network, pretrained
from objectives.models.module import FittedModule
from objectives.space.space import defaults
from tests.objectives.networks import PICTURES, SHADES

SMALL = {"backbone": "mobilenet_v3_small", "image_size": 16}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return models.mobilenet_v3_small(weights=None).state_dict()


@pytest.fixture(params=["pth", "safetensors"])
def weights(request, state, tmp_path):
    path = tmp_path / f"weights.{request.param}"
    save = torch.save if request.param == "pth" else safetensors.torch.save_file
    save(dict(state), path)
    return path


def start(objective, **params):
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space) | params)
    return cohort, cohort._trials[0].module


def test_weights_of_a_file_are_those_that_training_starts_from(weights, state):
    objective = FinetuneObjective((PICTURES, SHADES), weights=weights, **SMALL)

    _, module = start(objective)

    assert torch.equal(module.network.features[0][0].weight.cpu(), state["features.0.0.weight"])
    assert module.head.out_features == 1


def first_layer(module):
    return module.network.features[0][0].weight.detach().clone()


def test_a_frozen_backbone_stays_as_it_is_until_its_epochs_are_over():
    objective = FinetuneObjective((PICTURES, SHADES), weights=None, **SMALL)
    cohort, module = start(objective, frozen_epochs=1)
    weight, head = first_layer(module), module.head.weight.detach().clone()
    statistics = module.network.features[0][1].running_mean.clone()

    cohort.train_epoch()

    assert torch.equal(first_layer(module), weight)
    assert torch.equal(module.network.features[0][1].running_mean, statistics)
    assert not torch.equal(module.head.weight, head)
    cohort.train_epoch()
    assert not torch.equal(first_layer(module), weight)


def test_a_backbone_rate_of_zero_leaves_the_backbone_as_it_is():
    objective = FinetuneObjective((PICTURES, SHADES), weights=None, **SMALL)
    cohort, module = start(objective, frozen_epochs=0, backbone_rate=0.0)
    weight = first_layer(module)

    cohort.train_epoch()

    assert torch.equal(first_layer(module), weight)


def test_head_and_backbone_have_rates_of_their_own():
    objective = FinetuneObjective((PICTURES, SHADES), weights=None, **SMALL)

    cohort, _ = start(objective, learning_rate=0.01, backbone_rate=0.1)

    assert cohort._trials[0].rates == pytest.approx([0.01, 0.001])


def test_grey_images_are_shown_as_colour_and_a_saved_model_needs_no_weights(tmp_path):
    objective = FinetuneObjective((PICTURES[..., 0], SHADES), weights=None, **SMALL)
    cohort, _ = start(objective)
    cohort.train_epoch()
    model = cohort.model(0)

    model.save(tmp_path / "model.safetensors")

    loaded = FittedModule.load(tmp_path / "model.safetensors")
    images = PICTURES[..., 0]
    assert np.array_equal(loaded.predict_proba(images), model.predict_proba(images))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "vit_b_16", "densenet121"])
def test_the_last_linear_layer_is_the_head_of_each_kind_of_network(name):
    with torch.device("meta"):
        network = models.get_model(name, weights=None)

    assert last_linear(network)[1].out_features == 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size"), [("squeezenet1_1", 32), ("googlenet", 32), ("vit_b_32", 64)]
)
def test_networks_of_other_kinds_are_trained_saved_and_loaded(backbone, size, tmp_path):
    data = (PICTURES, np.arange(60) % 3)
    objective = FinetuneObjective(data, backbone=backbone, weights=None, image_size=size)
    cohort, _ = start(objective, frozen_epochs=0, batch_size=64)

    assert np.isfinite(cohort.train_epoch()[0].train_loss)
    model, path = cohort.model(0), tmp_path / "model.safetensors"
    model.save(path)
    expected = model.predict_proba(PICTURES[:5])
    assert expected.shape == (5, 3)
    assert np.array_equal(FittedModule.load(path).predict_proba(PICTURES[:5]), expected)


@pytest.mark.slow
def test_places_of_a_vision_transformer_are_stretched_to_another_image_size(tmp_path):
    network = models.vit_b_32(weights=None, image_size=224)
    torch.save(network.state_dict(), tmp_path / "vit_b_32.pth")
    found = pretrained("vit_b_32", tmp_path / "vit_b_32.pth")

    wider = make_network("vit_b_32", found.state, (64, 64))

    assert wider.encoder.pos_embedding.shape == (1, 1 + 4, 768)
    assert torch.equal(wider.conv_proj.weight, network.conv_proj.weight)


@pytest.mark.parametrize(
    ("backbone", "file", "size", "mean"),
    [
        ("mobilenet_v3_small", "own.safetensors", 224, 0.485),
        ("resnet50", "resnet50-0676ba61.pth", 224, 0.485),
        ("efficientnet_v2_s", None, 384, 0.485),
        ("efficientnet_v2_l", None, 480, 0.5),
        ("inception_v3", None, 299, 0.485),
    ],
)
def test_images_are_prepared_as_the_weights_were_trained(backbone, file, size, mean, tmp_path):
    path = None if file is None else tmp_path / file
    if path is not None:
        state = models.get_model(backbone, weights=None).state_dict()
        save = torch.save if path.suffix == ".pth" else safetensors.torch.save_file
        save(dict(state), path)

    found = pretrained(backbone, path)

    assert (found.size, found.mean[0]) == (size, mean)


def test_weights_that_cannot_be_downloaded_are_asked_for_as_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    for weights in ("DEFAULT", "ResNet18_Weights.IMAGENET1K_V1", models.ResNet18_Weights.DEFAULT):
        with pytest.raises(ConnectionError, match=r"IMAGENET1K_V1 of 'resnet18' .* give weights="):
            pretrained("resnet18", weights)


def test_an_optimizer_of_ones_own_trains_head_and_backbone():
    seen = []

    def optimizer(parameters, params):
        seen.append((len(parameters), params["backbone_rate"]))
        return torch.optim.SGD(parameters, lr=params["learning_rate"])

    objective = FinetuneObjective((PICTURES, SHADES), weights=None, optimizer=optimizer, **SMALL)
    _, module = start(objective)

    assert seen == [(len(list(module.parameters())), 0.1)]
    assert "optimizer" not in objective.space


MISTAKES = {
    "backbone": ({"backbone": "resnet81"}, "model of torchvision.models, got 'resnet81'"),
    "weights": ({"weights": "IMAGENET"}, "one of IMAGENET1K_V1, DEFAULT for 'mobilenet_v3_small'"),
    "no file": ({"weights": "none.pth"}, "a file that exists, got weights='none.pth'"),
    "too small": (
        {"backbone": "squeezenet1_1"},
        "one that 'squeezenet1_1' takes, got 16x16 .*had image",
    ),
    "no square": (
        {"backbone": "vit_b_16", "image_size": (16, 32)},
        "multiple of 16 and square .* got 16x32",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_fine_tuned_is_named_before_any_training(case):
    changed, words = MISTAKES[case]
    with pytest.raises(ValueError, match=words):
        FinetuneObjective((PICTURES, SHADES), **(SMALL | {"weights": None} | changed))


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(ValueError, match="state dict of 'resnet18'"):
        pretrained("resnet18", weights)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"x": Evil()}, tmp_path / "evil.pth")

    with pytest.raises(ValueError, match="must hold a state dict"):
        pretrained("resnet18", tmp_path / "evil.pth")
