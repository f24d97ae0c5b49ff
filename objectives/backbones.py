"""Classification networks of torchvision with their weights, and a new head on them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from objectives.messages import hint

# What nearly all weights of torchvision were trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_IMAGENET_SIZE = 224
_FILES = (".pth", ".pt", ".safetensors")


class Backbone(nn.Module):
    """A network whose last linear layer was replaced, for pixels from 0 to 255.

    Args:
        network: of torchvision.
        n_outputs: of the new head.
        dropout: share of features silenced before the head.
        mean: by channel, where white is 1, that the weights were trained with.
        std: likewise.
    """

    def __init__(
        self, network: nn.Module, *, n_outputs: int, dropout: float, mean: Sequence[float],
        std: Sequence[float],
    ) -> None:  # fmt: skip
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
    """Return name and module of the last linear layer.

    Raises:
        ValueError: if there is none, as in squeezenet.
    """
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not found:
        raise ValueError(
            f"backbone must end in a linear layer, got {type(network).__name__}, which has none; "
            "choose another, such as 'resnet18'"
        )
    return found[-1]


def check_backbone(name: str) -> None:
    """Raise ValueError unless torchvision has a classification network of that name."""
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"backbone must be a classification model of torchvision.models, got {name!r}"
            f"{hint(name, known)}"
        )


def pretrained(
    backbone: str, weights: str | os.PathLike[str] | None
) -> tuple[dict[str, Tensor] | None, int, Sequence[float], Sequence[float]]:
    """Return a backbone's weights, and the image size, mean and deviation they were trained with.

    Args:
        backbone: a name of torchvision.
        weights: ``"DEFAULT"`` or another name of torchvision's weights for it; a ``.pth``, ``.pt``
            or ``.safetensors`` file of a state dict; or None for random weights.

    Raises:
        ValueError: for an unknown name, or a file that is missing or of another network.
        ConnectionError: if the weights cannot be downloaded; says how to give a file.
    """
    check_backbone(backbone)
    if weights is None:
        return None, _IMAGENET_SIZE, IMAGENET_MEAN, IMAGENET_STD
    if Path(weights).suffix in _FILES:
        return _from_file(backbone, Path(weights)), _IMAGENET_SIZE, IMAGENET_MEAN, IMAGENET_STD
    known = models.get_model_weights(backbone)
    names = list(dict.fromkeys([*known.__members__, "DEFAULT"]))
    if weights not in names:
        raise ValueError(
            f"weights must be one of {', '.join(names)} for {backbone!r}, a .pth, .pt "
            f"or .safetensors file, or None, got weights={str(weights)!r}"
        )
    entry = known[str(weights)]
    try:
        state = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise ConnectionError(
            f"weights {entry.name} of {backbone!r} cannot be downloaded ({error}); fetch "
            f"{entry.url} elsewhere and give weights='{Path(entry.url).name}'"
        ) from error
    preset = entry.transforms()
    return dict(state), int(preset.crop_size[0]), tuple(preset.mean), tuple(preset.std)


def describe_weights(weights: str | os.PathLike[str] | None) -> str | None:
    """Return a name of torchvision's as it is, and of a file the hash of its content, wherever it
    lies.
    """
    if weights is None or Path(weights).suffix not in _FILES:
        return None if weights is None else str(weights)
    with Path(weights).open("rb") as file:
        return f"{Path(weights).suffix} file {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def make_network(backbone: str, state: Mapping[str, Tensor] | None) -> nn.Module:
    """Return a network of torchvision with these weights, or random ones."""
    options = {"init_weights": True} if backbone in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(backbone, weights=None, **options)
    if state is not None:
        network.load_state_dict(dict(state))
    return network


def _from_file(backbone: str, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights must be a file that exists, got weights={str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        make_network(backbone, state)
    except Exception as error:  # whatever the file holds, it is not what was asked for
        raise ValueError(
            f"weights must hold a state dict of {backbone!r}, got {str(path)!r} with something "
            f"else ({str(error).splitlines()[0]})"
        ) from error
    return dict(state)
