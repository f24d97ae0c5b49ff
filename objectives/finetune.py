"""`FinetuneObjective`: a pretrained network of torchvision with a new head."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from objectives.cnn import CNNObjective
from objectives.images.data import ImageData
from objectives.models.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    describe_weights,
    make_network,
    pretrained,
)
from objectives.module import ModuleObjective
from objectives.objective import Ensemble
from objectives.space.hyperparameter import Params
from objectives.space.tables import FINETUNE_TABLE
from objectives.training.recipe import make_optimizer


def build(
    *,
    backbone: str,
    n_outputs: int,
    dropout: float = 0.0,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    image_size: Sequence[int] = (224, 224),
    state: Mapping[str, Tensor] | None = None,
    **_: Any,
) -> Backbone:
    """Build a network of torchvision with a new head.

    Arguments are as of `objectives.cnn.build`, mean and std those that the weights were trained
    with; ``state`` holds the weights, None for random ones.
    """
    network = make_network(backbone, state, image_size)
    return Backbone(network, n_outputs=n_outputs, dropout=dropout, mean=mean, std=std)


class FinetuneObjective(CNNObjective):
    """Fine-tune a pretrained classification network of torchvision on images.

    Args:
        dataset: whatever `objectives.load_images` takes.
        backbone: name of a model of `torchvision.models`.
        weights: ``"DEFAULT"`` or another name of torchvision's weights for it, a ``.pth`` or
            ``.safetensors`` file of a state dict, or None for random weights.
        image_size: height and width that images are stretched to; by default what the weights were
            trained with.
        ensemble: a number for an ensemble of so many votes at most; ``"auto"`` is the best trial
            alone here, as several large networks take long to predict.
        options: as of `objectives.cnn.CNNObjective`.

    Raises:
        ValueError: for an unknown backbone, weights of another, or images too small for it.
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
        ensemble: Ensemble = "auto",
        **options: Any,
    ) -> None:
        self.backbone = backbone
        self._pretrained = pretrained(backbone, weights)
        self._weights = describe_weights(weights)
        if not isinstance(dataset, ImageData):
            options["image_size"] = self._pretrained.size if image_size is None else image_size
        ensemble = False if ensemble == "auto" else ensemble
        ModuleObjective.__init__(self, build, dataset, ensemble=ensemble, **options)

    @property
    def hints(self) -> dict[str, object]:
        """What the network is told of the data and the backbone."""
        mean, std = list(self._pretrained.mean), list(self._pretrained.std)
        return super().hints | {"backbone": self.backbone, "mean": mean, "std": std}

    def _check_build(self) -> None:
        try:
            super()._check_build()
        except RuntimeError as error:
            height, width = self.data.image_size
            raise ValueError(
                f"image_size must be one that {self.backbone!r} takes, got {height}x{width} "
                f"({str(error).splitlines()[0]}); its weights had image_size="
                f"{self._pretrained.size}"
            ) from error

    @property
    def record(self) -> dict[str, object]:
        """As of `ModuleObjective`, with the backbone and its weights."""
        return super().record | {"backbone": self.backbone, "weights": self._weights}

    def _build(self, params: Params) -> nn.Module:
        return self.build(**params, **self.hints, state=self._pretrained.state)

    def _make_optimizer(self, module: nn.Module, params: Params) -> torch.optim.Optimizer:
        assert isinstance(module, Backbone)
        if self._optimizer is not None:
            return super()._make_optimizer(module, params)
        rate, share = float(params["learning_rate"]), float(params["backbone_rate"])
        return make_optimizer(module.groups(rate, share), params)

    def _before_epoch(self, module: nn.Module, params: Params, epoch: int) -> None:
        assert isinstance(module, Backbone)
        module.freeze(epoch < int(params["frozen_epochs"]) or params["backbone_rate"] == 0)
