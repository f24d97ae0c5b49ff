"""`FinetuneObjective`: a pretrained network of torchvision with a new head."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from objectives.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    describe_weights,
    make_network,
    pretrained,
)
from objectives.cnn import CNNObjective
from objectives.image_data import ImageData
from objectives.module import ModuleObjective
from objectives.module_training import make_optimizer
from objectives.training_table import FINETUNE_TABLE


def build(
    *, backbone: str, n_outputs: int, dropout: float = 0.0,
    mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
    state: Mapping[str, Tensor] | None = None, **_: Any,
) -> Backbone:  # fmt: skip
    """Build a network of torchvision with a new head.

    Args:
        backbone: its name.
        n_outputs: 1 for values and two classes, else one a class.
        dropout: share of features silenced before the head.
        mean: by channel, that the weights were trained with.
        std: likewise.
        state: its weights; None for random ones.
        _: hyperparameters of training, which have no part in the network.
    """
    network = make_network(backbone, state)
    return Backbone(network, n_outputs=n_outputs, dropout=dropout, mean=mean, std=std)


class FinetuneObjective(CNNObjective):
    """Fine-tune a pretrained classification network of torchvision on images.

    Args:
        dataset: whatever `objectives.images.load_images` takes.
        backbone: name of a model of `torchvision.models`.
        weights: ``"DEFAULT"`` or another name of torchvision's weights for it, a ``.pth`` or
            ``.safetensors`` file of a state dict, or None for random weights.
        image_size: height and width that images are stretched to; by default what the weights were
            trained with.
        options: as of `objectives.cnn.CNNObjective`.

    Raises:
        ValueError: for an unknown backbone, or weights of another.
        ConnectionError: if weights cannot be downloaded; says how to give a file.
    """

    kind = "finetune"
    table = FINETUNE_TABLE

    def __init__(
        self,
        dataset: Any,
        *,
        backbone: str = "resnet18",
        weights: str | os.PathLike[str] | None = "DEFAULT",
        image_size: int | tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        self.backbone = backbone
        self._state, size, self._mean, self._std = pretrained(backbone, weights)
        self._weights = describe_weights(weights)
        if not isinstance(dataset, ImageData):
            options["image_size"] = size if image_size is None else image_size
        ModuleObjective.__init__(self, build, dataset, **options)

    @property
    def hints(self) -> dict[str, Any]:
        """What the network is told of the data and the backbone."""
        n_outputs = self.n_classes if self.n_classes > 2 else 1
        return {
            "backbone": self.backbone, "n_outputs": n_outputs, "mean": list(self._mean),
            "std": list(self._std),
        }  # fmt: skip

    @property
    def record(self) -> dict[str, Any]:
        """As of `ModuleObjective`, with the backbone and its weights."""
        return super().record | {"backbone": self.backbone, "weights": self._weights}

    def _build(self, params: Mapping[str, Any]) -> nn.Module:
        return build(**params, **self.hints, state=self._state)

    def _make_optimizer(
        self, module: nn.Module, params: Mapping[str, Any]
    ) -> torch.optim.Optimizer:
        assert isinstance(module, Backbone)
        rate, share = float(params["learning_rate"]), float(params["backbone_rate"])
        return make_optimizer(module.groups(rate, share), params)

    def _before_epoch(self) -> Callable[[nn.Module, Mapping[str, Any], int], None]:
        return _freeze


def _freeze(module: nn.Module, params: Mapping[str, Any], epoch: int) -> None:
    assert isinstance(module, Backbone)
    module.freeze(epoch < int(params["frozen_epochs"]) or params["backbone_rate"] == 0)
