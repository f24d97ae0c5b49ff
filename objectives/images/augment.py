"""Augmentation of whole batches on their device: every image changes in a way of its own."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms.v2 import functional

from objectives._messages import nearest

Augmentation = Literal["none", "crop", "flip_crop", "trivial"]

# The space "Wide" of Mueller & Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
# Augmentation" (arXiv 2103.10158), with torchvision's bins and units.
N_STRENGTHS = 31
MAX_SHEAR = 0.99
MAX_SHIFT = 32
"""Pixels, though never more than the image's own width or height."""
MAX_ANGLE = 135.0
MAX_BLEND = 0.99
MIN_BITS = 2

_MOVES = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "sharpness": functional.adjust_sharpness,
    "colour": functional.adjust_saturation,
}
_TONES = ("posterize", "solarize", "autocontrast", "equalize")

OPERATIONS = (*_MOVES, *_TONES, *_BLENDS)
"""What TrivialAugment chooses from; the last, colour, is left out for grey images."""


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Change each image of a batch at random.

    ``"crop"`` shifts each image by up to an eighth of its height and width; what comes in at the
    edge is the image's own mirror image. ``"flip_crop"`` also mirrors half of the images, which
    changes what letters and digits mean. ``"trivial"`` is TrivialAugment (Mueller & Hutter 2021,
    arXiv 2103.10158) with its wide space: each image undergoes one operation of random strength.
    What an image leaves when it moves becomes black. Shifts are never longer than the image, and
    grey images skip the operation on colour.

    Args:
        images: (B, C, H, W), uint8, or floats from 0 to 1, which ``"trivial"`` rounds to 256
            levels.
        how: ``"none"``, ``"crop"``, ``"flip_crop"`` or ``"trivial"``.
        generator: the only source of randomness: the same state gives the same images. A generator
            on the CPU gives the same draws for every device.

    Returns:
        A tensor of the same shape, type and device; ``images`` itself for ``"none"``.

    Raises:
        ValueError: if ``how`` is none of these, or the images are of another form.

    Example:
        >>> batch = torch.zeros(128, 3, 32, 32, dtype=torch.uint8)
        >>> augment(batch, "flip_crop", torch.Generator().manual_seed(0)).shape
        torch.Size([128, 3, 32, 32])
    """
    known = get_args(Augmentation)
    if how not in known:
        raise ValueError(
            f"how must be one of {', '.join(known)}, got how={how!r}; {nearest(how, known)}"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            "images must have the shape (batch, 1 or 3, height, width), got "
            f"{tuple(images.shape)}; give one image as image[None]"
        )
    if how == "none" or not len(images):
        return images
    if how in ("crop", "flip_crop"):
        return _crop(images, generator, flip=how == "flip_crop")
    if images.dtype == torch.uint8:
        return _trivial(images, generator)
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return _trivial(levels, generator).to(images.dtype) / 255


def _draw(n_values: int, n_images: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw a whole number below ``n_values`` for each image."""
    drawn = torch.randint(n_values, (n_images,), generator=generator, device=generator.device)
    return drawn.to(like.device)


def _crop(images: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    n_images, n_channels, height, width = images.shape
    rows = _shifted(n_images, height, generator, images)
    columns = _shifted(n_images, width, generator, images)
    if flip:
        mirrored = _draw(2, n_images, generator, images).bool()
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    # One lookup in each flattened channel is several times faster than indexing by four tensors.
    pixels = (rows[:, :, None] * width + columns[:, None, :]).reshape(n_images, 1, -1)
    return images.flatten(2).gather(2, pixels.expand(-1, n_channels, -1)).view_as(images)


def _shifted(n_images: int, length: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Give for each image which pixels of an axis are seen, (B, length), when it is shifted."""
    reach = min(max(1, length // 8), length - 1)
    shift = _draw(2 * reach + 1, n_images, generator, like) - reach
    pixels = (torch.arange(length, device=like.device) + shift[:, None]).abs()
    return torch.where(pixels < length, pixels, 2 * (length - 1) - pixels)


def _trivial(images: Tensor, generator: torch.Generator) -> Tensor:
    n_images, n_channels = images.shape[:2]
    n_operations = len(OPERATIONS) - (n_channels == 1)
    chosen = _draw(n_operations, n_images, generator, images)
    strength = _draw(N_STRENGTHS, n_images, generator, images) / (N_STRENGTHS - 1)
    sign = 1 - 2 * _draw(2, n_images, generator, images)
    signed = strength * sign
    out = images.clone()
    moved = (chosen > 0) & (chosen < len(_MOVES))
    numbers = moved.nonzero()[:, 0]
    if len(numbers):
        out[numbers] = _move(images[numbers], chosen[numbers], signed[numbers])
    for number in range(len(_MOVES), n_operations):
        numbers = (chosen == number).nonzero()[:, 0]
        if not len(numbers):
            continue
        name = OPERATIONS[number]
        if name in _BLENDS:
            out[numbers] = _blend(images[numbers], name, signed[numbers])
        else:
            out[numbers] = _tone(images[numbers], name, strength[numbers])
    return out


def _move(images: Tensor, chosen: Tensor, signed: Tensor) -> Tensor:
    """Shear, shift or turn each image, all in one lookup of the nearest pixels."""
    height, width = images.shape[2:]
    theta = _backward(chosen, signed, height, width)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    # Half precision would not tell apart the pixels of a large image.
    return grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


def _backward(chosen: Tensor, signed: Tensor, height: int, width: int) -> Tensor:
    """Give the matrices (B, 2, 3) from places in the new images to places in the old ones.

    Places run from -1 to 1 across an image. Shears leave the upper left corner where it is.
    """
    theta = torch.zeros(len(chosen), 2, 3, device=chosen.device)

    def where(name: str, value: Tensor) -> Tensor:
        return torch.where(chosen == OPERATIONS.index(name), value, 0.0)

    shear_x = where("shear_x", signed * MAX_SHEAR) * height / width
    shear_y = where("shear_y", signed * MAX_SHEAR) * width / height
    angle = where("rotate", signed * math.radians(MAX_ANGLE))
    shift_x = where("translate_x", (signed * min(MAX_SHIFT, width)).trunc()) * 2 / width
    shift_y = where("translate_y", (signed * min(MAX_SHIFT, height)).trunc()) * 2 / height
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos()
    theta[:, 0, 1] = shear_x - angle.sin() * height / width
    theta[:, 1, 0] = shear_y + angle.sin() * width / height
    theta[:, 0, 2] = shear_x - shift_x
    theta[:, 1, 2] = shear_y - shift_y
    return theta


def _blend(images: Tensor, name: str, signed: Tensor) -> Tensor:
    """Blend images with what is left of them at strength 0: black, grey or a blur."""
    factor = (1 + signed * MAX_BLEND)[:, None, None, None]
    without: Tensor = _BLENDS[name](images, 0.0).float()
    return (without + factor * (images - without)).clamp(0, 255).to(images.dtype)


def _tone(images: Tensor, name: str, strength: Tensor) -> Tensor:
    """Change the values of images without regard to where they are."""
    if name == "autocontrast":
        changed: Tensor = functional.autocontrast(images)
    elif name == "equalize":
        changed = functional.equalize(images)
    elif name == "solarize":
        threshold = 255 * (1 - strength)[:, None, None, None]
        changed = torch.where(images >= threshold, 255 - images, images)
    else:
        bits = (8 - strength * (8 - MIN_BITS)).round().to(torch.int64)
        changed = images & (256 - (1 << (8 - bits))).to(torch.uint8)[:, None, None, None]
    return changed
