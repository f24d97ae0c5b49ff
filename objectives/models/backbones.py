"""Classification networks of torchvision with their weights, and a new head on them."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum
from torchvision.models.vision_transformer import interpolate_embeddings

from objectives._messages import hint

# What nearly all weights of torchvision were trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FILES = (".pth", ".pt", ".safetensors")

# Outputs that only help training from random weights.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


class Backbone(nn.Module):
    """A network of torchvision with a new last linear layer, for pixels from 0 to 255.

    ``mean`` and ``std``, by channel, where white is 1, are those of the images trained with.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        n_outputs: int,
        dropout: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255)
        self.mean: Tensor
        self.std: Tensor
        name, last = last_linear(network)
        parent = network.get_submodule(name.rpartition(".")[0])
        self.head = nn.Linear(last.in_features, n_outputs)
        setattr(parent, name.rpartition(".")[2], nn.Sequential(nn.Dropout(dropout), self.head))
        self.network = network
        self.is_frozen = False

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, n_outputs) for pixels (B, 1 or 3, H, W)."""
        colour = images.expand(-1, 3, -1, -1)
        out: Tensor = self.network((colour.float() - self.mean) / self.std)
        return out

    def freeze(self, is_frozen: bool) -> None:
        """Let only the head learn, or all."""
        self.is_frozen = is_frozen
        for parameter in self.network.parameters():
            parameter.requires_grad_(not is_frozen)
        for parameter in self.head.parameters():
            parameter.requires_grad_(True)

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; a frozen backbone keeps the statistics of its batch norms."""
        super().train(mode)
        if mode and self.is_frozen:
            self.network.eval()
            self.head.train()
        return self

    def groups(self, rate: float, share: float) -> list[dict[str, Any]]:
        """Return parameter groups: the head learns at ``rate``, the rest at ``share`` of it."""
        head = list(self.head.parameters())
        known = {id(parameter) for parameter in head}
        rest = [p for p in self.network.parameters() if id(p) not in known]
        return [{"params": head, "lr": rate}, {"params": rest, "lr": rate * share}]


def last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """Return name and module of the last linear layer, which every network here ends in."""
    return [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]


def check_backbone(name: str) -> None:
    """Raise ValueError unless torchvision has a classification network of that name."""
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"backbone must be a classification model of torchvision.models, got {name!r}"
            f"{hint(name, known)}"
        )


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A backbone's weights, None for random ones, and the preprocessing they were trained with."""

    state: dict[str, Tensor] | None
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pretrained(backbone: str, weights: str | os.PathLike[str] | WeightsEnum | None) -> Pretrained:
    """Return a backbone's weights with their preprocessing.

    Args:
        backbone: a name of torchvision.
        weights: ``"DEFAULT"`` or another name of torchvision's weights for it, with or without the
            name of their class; a ``.pth``, ``.pt`` or ``.safetensors`` file of a state dict; or
            None for random weights. A file under the name that torchvision gave it has the
            preprocessing of those weights, any other that of the default ones.

    Raises:
        ValueError: for an unknown name, or a file that is missing or of another network.
        ConnectionError: if the weights cannot be downloaded; says how to give a file.
    """
    check_backbone(backbone)
    known = models.get_model_weights(backbone)
    if weights is None:
        return _with_preset(None, known["DEFAULT"])
    if not isinstance(weights, WeightsEnum) and Path(weights).suffix in _FILES:
        file = Path(weights)
        entry = next((e for e in known if Path(e.url).name == file.name), known["DEFAULT"])
        return _with_preset(_from_file(backbone, file, entry), entry)
    name = str(weights).removeprefix(f"{known.__name__}.")
    names = list(dict.fromkeys([*known.__members__, "DEFAULT"]))
    if name not in names:
        raise ValueError(
            f"weights must be one of {', '.join(names)} for {backbone!r}, a .pth, .pt "
            f"or .safetensors file, or None, got weights={str(weights)!r}"
        )
    return _with_preset(_downloaded(backbone, known[name]), known[name])


def _with_preset(state: dict[str, Tensor] | None, entry: WeightsEnum) -> Pretrained:
    preset = entry.transforms()
    return Pretrained(
        state=state, size=preset.crop_size[0], mean=tuple(preset.mean), std=tuple(preset.std)
    )


def _downloaded(backbone: str, entry: WeightsEnum) -> dict[str, Tensor]:
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError) as error:
        raise ConnectionError(
            f"weights {entry.name} of {backbone!r} cannot be downloaded ({error}); fetch "
            f"{entry.url} elsewhere and give weights='{Path(entry.url).name}'"
        ) from error


def describe_weights(weights: str | os.PathLike[str] | WeightsEnum | None) -> str | None:
    """Return a name of torchvision's as it is, and of a file the hash of its content, wherever it
    lies.
    """
    if weights is None or isinstance(weights, WeightsEnum) or Path(weights).suffix not in _FILES:
        return None if weights is None else str(weights)
    with Path(weights).open("rb") as file:
        return f"{Path(weights).suffix} file {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def make_network(
    backbone: str, state: Mapping[str, Tensor] | None, size: Sequence[int] = (224, 224)
) -> nn.Module:
    """Return a network of torchvision with these weights, or random ones.

    What a head cannot be put on is changed: outputs beside the main one (googlenet, inception_v3)
    are left out, and squeezenet ends in a linear layer. A vision transformer is made for the size.

    Raises:
        ValueError: if a vision transformer cannot take images of that size.
    """
    network: nn.Module = models.get_model(backbone, weights=None, **_options(backbone, size))
    if state is not None:
        if backbone.startswith("vit"):
            state = interpolate_embeddings(size[0], _patch(backbone), OrderedDict(state))
        network.load_state_dict(dict(state))
    if isinstance(network, models.GoogLeNet | models.Inception3):
        network.aux_logits, network.transform_input = False, True
        for name in _AUXILIARY[backbone]:
            setattr(network, name, None)
    if isinstance(network, models.SqueezeNet):
        network.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)
        )
    return network


def _options(backbone: str, size: Sequence[int]) -> dict[str, Any]:
    if backbone in _AUXILIARY:
        return {"init_weights": True}
    if not backbone.startswith("vit"):
        return {}
    if size[0] != size[1] or size[0] % _patch(backbone):
        raise ValueError(
            f"image_size must be a multiple of {_patch(backbone)} and square for {backbone!r}, got "
            f"{size[0]}x{size[1]}; give image_size={max(1, size[0] // _patch(backbone))}"
            f" * {_patch(backbone)}"
        )
    return {"image_size": size[0]}


def _patch(backbone: str) -> int:
    return int(backbone.rpartition("_")[2])


def _from_file(backbone: str, path: Path, entry: WeightsEnum) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights must be a file that exists, got weights={str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        make_network(backbone, state, entry.transforms().crop_size * 2)
    except Exception as error:  # whatever the file holds, it is not what was asked for
        raise ValueError(
            f"weights must hold a state dict of {backbone!r}, got {str(path)!r} with something "
            f"else ({str(error).splitlines()[0]})"
        ) from error
    return dict(state)
