"""One form for every image: uint8 tensors (channels, height, width) of 1 or 3 channels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional

from objectives.data.frames import as_array

Size = tuple[int, int]

_ROUNDING = 1e-3
"""Values this far outside 0 to 1 come from rounding and are clipped."""

_BRIGHT = 128
"""Fractions are taken for 0 to 255 only if the brightest pixel is at least this."""

_RANGES = "X must hold pixel values from 0 to 1 or from 0 to 255, got values up to "

# What Pillow raises for files that are cut off or hold something else.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UnreadableImageError(ValueError):
    """An image that cannot be read, by the name of its file or its number."""

    # Loaders give an error of a worker process again with its message alone.
    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


def unreadable(name: str) -> UnreadableImageError:
    """Make the error that says which image cannot be read."""
    return UnreadableImageError(
        f"dataset must hold images that can be read, got {name!r}, which cannot; replace it", name
    )


class Pixels(NamedTuple):
    """One image, uint8 (C, H, W), and whether an alpha channel was dropped."""

    image: Tensor
    alpha: bool


class ValueRange(NamedTuple):
    """What is known of the values of images: their extremes, and whether all are whole."""

    low: float
    high: float
    whole: bool
    floating: bool

    def join(self, other: ValueRange) -> ValueRange:
        """Give the range that holds the values of both."""
        return ValueRange(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.floating or other.floating,
        )

    def check(self) -> None:
        """Raise ValueError if values are not finite, negative or above 255."""
        if not np.isfinite([self.low, self.high]).all():
            raise ValueError(
                "X must hold finite pixel values, got NaN or infinite ones; "
                "replace them, as in np.nan_to_num(X)"
            )
        if self.low < -_ROUNDING:
            raise ValueError(
                f"X must hold pixel values of 0 or more, got {self.low:g}; leave normalisation out "
                "(training does it), or scale with (X - X.min()) / (X.max() - X.min())"
            )
        if self.high > 255:
            raise ValueError(f"{_RANGES}{self.high:g}; scale them, as in X / X.max()")

    def scale(self) -> int:
        """Give the factor that takes the values to 0 to 255.

        Integers are taken for 0 to 255, booleans and floats up to 1 for 0 to 1, and floats up to
        255 for 0 to 255 if all are whole or the largest is at least 128: other fractions would lose
        their detail.

        Raises:
            ValueError: if the values are in neither range.
        """
        self.check()
        if not self.floating:
            return 1
        if self.high <= 1 + _ROUNDING:
            return 255
        if not self.whole and self.high < _BRIGHT:
            raise ValueError(f"{_RANGES}{self.high:g} in fractions; scale them, as in X / X.max()")
        return 1


def value_range(values: np.ndarray) -> ValueRange:
    """Return the range of an array; raise TypeError if it holds no numbers."""
    if values.dtype.kind not in "buif":
        raise TypeError(
            f"X must hold images as numbers, got an array of {values.dtype}; "
            "give uint8 or float arrays, PIL images or paths"
        )
    if values.dtype == np.uint8:
        return ValueRange(0, 255, True, False)
    if values.dtype.kind == "b":
        # As a float, so that true becomes white.
        return ValueRange(0, 1, True, True)
    if not values.size:
        return ValueRange(0, 0, True, False)
    floating = values.dtype.kind == "f"
    whole = not floating or bool((values == np.rint(values)).all())
    return ValueRange(float(values.min()), float(values.max()), whole, floating)


def to_uint8(values: np.ndarray, scale: int) -> NDArray[np.uint8]:
    """Scale pixel values to 0 to 255 and round them."""
    if values.dtype == np.uint8:
        return values
    scaled = values.astype(np.float64 if values.itemsize > 4 else np.float32) * scale
    pixels: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Copy pixels into a tensor, whatever order their axes have in memory."""
    return torch.from_numpy(np.array(pixels, order="C"))


def channel_axis(shape: tuple[int, ...], *, is_tensor: bool) -> int:
    """Say which axis of an image of three holds the channels: 0 or 2.

    It is the one of length 1 or 3; failing that, of length 4 (colour and alpha). Where both fit, as
    in (3, 32, 3), a tensor is read as (C, H, W) and an array as (H, W, C).

    Raises:
        ValueError: if neither fits.

    Example:
        >>> channel_axis((32, 32, 3), is_tensor=True), channel_axis((3, 32, 3), is_tensor=True)
        (2, 0)
    """
    for n_channels in ((1, 3), (4,)):
        fits = [axis for axis in (0, 2) if shape[axis] in n_channels]
        if fits:
            return fits[0] if is_tensor or len(fits) == 1 else 2
    raise ValueError(
        "X must hold images of 1 or 3 channels (or 4, with alpha), got images of shape "
        f"{tuple(shape)}; give (N, H, W), (N, H, W, C) or (N, C, H, W)"
    )


def read_image(value: object, scale: int | None = None) -> Pixels:
    """Turn a path, a PIL image, or an array or tensor of 2 or 3 axes into pixels.

    An array's values times ``scale`` run from 0 to 255; by default `ValueRange.scale` decides.

    Raises:
        UnreadableImageError: if a file cannot be decoded.
        ValueError: if an array has other axes or values than an image.
        TypeError: if ``value`` is no image at all.
    """
    if isinstance(value, str | Path):
        return _read_file(Path(value))
    if isinstance(value, Image.Image):
        return _read_pil(value)
    array = as_array(value, "X")
    if array.ndim not in (2, 3) or not array.size:
        raise ValueError(
            f"X must hold images of 2 or 3 axes, got one of shape {array.shape}; "
            "give (H, W), (H, W, C) or (C, H, W)"
        )
    values = value_range(array)
    values.check()
    pixels = to_uint8(array, values.scale() if scale is None else scale)
    if pixels.ndim == 2:
        return Pixels(as_tensor(pixels)[None], False)
    axis = channel_axis(pixels.shape, is_tensor=isinstance(value, Tensor))
    pixels = np.moveaxis(pixels, axis, 0)
    return Pixels(as_tensor(pixels[:3]), len(pixels) == 4)


def fit(image: Tensor, n_channels: int, size: Size) -> Tensor:
    """Give images (..., C, H, W) this many channels, and stretch them to this height and width."""
    if image.shape[-3] != n_channels:
        to_channels = (
            functional.rgb_to_grayscale if n_channels == 1 else functional.grayscale_to_rgb
        )
        image = to_channels(image)
    if tuple(image.shape[-2:]) != size:
        image = functional.resize(image, list(size), antialias=True)
    return image


def _read_file(path: Path) -> Pixels:
    try:
        # Read at once: an error while decoding would leave the file open.
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            # As a viewer shows it: photographs of a phone lie on their side otherwise.
            return _read_pil(ImageOps.exif_transpose(image))
    except _BROKEN as error:
        raise unreadable(str(path)) from error


def _read_pil(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        return Pixels(as_tensor(_eight_bits(image))[None], False)
    alpha = image.has_transparency_data
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "P" and alpha:
        # Straight to RGB, Pillow warns of some palettes.
        image = image.convert("RGBA")
    array = np.asarray(image.convert("L" if grey else "RGB"))
    return Pixels(as_tensor(array[None] if grey else np.moveaxis(array, 2, 0)), alpha)


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    # Pillow clips such greys at 255 instead of scaling them. Some versions open 16 bits as mode I.
    values = np.asarray(image).astype(np.int64)
    if image.mode != "I" or values.max() > 255:
        values = values // 256
    return np.clip(values, 0, 255).astype(np.uint8)
