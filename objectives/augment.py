"""Random changes of training images, whole batches at once: each image its own draw."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from objectives.messages import hint

AUGMENTATIONS = ("none", "flip_crop", "trivial")

# TrivialAugment (Mueller & Hutter 2021), the wide space: strength at most, and whether it has a
# sign. Strengths come in so many steps, so that images of one operation and step change together.
_N_STEPS = 31
_GEOMETRIC = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 32.0, "translate_y": 32.0}
_GEOMETRIC |= {"rotate": 135.0}
_TONES = {"brightness": 0.99, "contrast": 0.99, "sharpness": 0.99, "color": 0.99}
_PLAIN = ("identity", "posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = (*_GEOMETRIC, *_TONES, *_PLAIN)


def augment(images: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Change images at random, without changing what they show.

    Args:
        images: uint8 (B, C, H, W).
        how: ``"none"``; ``"flip_crop"``, a mirror image half of the time and a shift by up to an
            eighth of the height and width, what is laid bare being mirrored; or ``"trivial"``,
            which after flip_crop does one operation of TrivialAugment of random strength (Mueller
            & Hutter 2021, https://arxiv.org/abs/2103.10158).
        generator: draws, on the CPU; the same state gives the same images.

    Returns:
        uint8 (B, C, H, W).

    Raises:
        ValueError: for another ``how``.

    Example:
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> augment(images, "flip_crop", torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """
    if how not in AUGMENTATIONS:
        raise ValueError(
            f"augmentation must be one of {', '.join(AUGMENTATIONS)}, got {how!r}"
            f"{hint(how, AUGMENTATIONS)}"
        )
    if how == "none":
        return images
    changed = _flip_crop(images, generator)
    return _trivial(changed, generator) if how == "trivial" else changed


def _flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror and shift by one gather: each output pixel says which input pixel it shows."""
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator) < 0.5
    rows = _shifted(n, height, generator)
    columns = _shifted(n, width, generator)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1).to(images.device)
    flat = images.flatten(2)
    return flat.gather(2, index[:, None, :].expand_as(flat)).view_as(images)


def _shifted(n: int, length: int, generator: torch.Generator) -> Tensor:
    """Return pixel numbers (n, length) along one axis, shifted and mirrored at both ends."""
    most = min(max(1, length // 8), length - 1)
    shift = torch.randint(-most, most + 1, (n, 1), generator=generator)
    place = (torch.arange(length) + shift).abs()
    return torch.where(place >= length, 2 * (length - 1) - place, place)


def _trivial(images: Tensor, generator: torch.Generator) -> Tensor:
    n = len(images)
    operation = torch.randint(len(OPERATIONS), (n,), generator=generator)
    step = torch.randint(_N_STEPS, (n,), generator=generator) / (_N_STEPS - 1)
    sign = torch.randint(2, (n,), generator=generator) * 2 - 1
    changed = images.clone()
    # One strength an operation and batch: its images change in one call, and over the batches of an
    # epoch every strength comes up.
    for number, name in enumerate(OPERATIONS):
        rows = torch.nonzero(operation == number).flatten()
        if len(rows) and name != "identity":
            strength, way = float(step[rows[0]]), int(sign[rows[0]])
            there = rows.to(images.device)
            changed[there] = _operate(images[there], name, strength, way)
    return changed


def _operate(images: Tensor, name: str, strength: float, sign: int) -> Tensor:
    if name in _GEOMETRIC:
        found: Tensor = _move(images, name, strength * _GEOMETRIC[name] * sign)
    elif name in _TONES:
        found = _tone(images, name, 1.0 + sign * strength * _TONES[name])
    elif name == "posterize":
        found = functional.posterize(images, 8 - round(6 * strength))
    elif name == "solarize":
        found = functional.solarize(images, threshold=255 * (1 - strength))
    elif name == "autocontrast":
        found = functional.autocontrast(images)
    else:
        found = functional.equalize(images)
    return found


def _tone(images: Tensor, name: str, factor: float) -> Tensor:
    if name == "color":
        if images.shape[1] == 1:  # grey has no colour to change
            return images
        return functional.adjust_saturation(images, factor)  # type: ignore[no-any-return]
    change = {
        "brightness": functional.adjust_brightness,
        "contrast": functional.adjust_contrast,
        "sharpness": functional.adjust_sharpness,
    }[name]
    return change(images, factor)  # type: ignore[no-any-return]


def _move(images: Tensor, name: str, strength: float) -> Tensor:
    # The paper's images are 32 pixels wide in the mean; a shift is a share of the size here.
    height, width = images.shape[-2:]
    angle, shift, shear = 0.0, [0, 0], [0.0, 0.0]
    if name == "rotate":
        angle = strength
    elif name.startswith("shear"):
        degrees = torch.rad2deg(torch.atan(torch.tensor(strength))).item()
        shear = [degrees, 0.0] if name == "shear_x" else [0.0, degrees]
    else:
        share = strength / 32 / 2
        shift = [round(share * width), 0] if name == "translate_x" else [0, round(share * height)]
    return functional.affine(  # type: ignore[no-any-return]
        images, angle=angle, translate=shift, scale=1.0, shear=shear
    )
