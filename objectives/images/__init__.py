"""Images: arrays, class folders and torchvision datasets, read into tensors and augmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives import lazy_names

if TYPE_CHECKING:
    from objectives.images.data import ImageData, ImageSplit
    from objectives.images.load import MAX_BYTES, load_images

__all__ = ["MAX_BYTES", "ImageData", "ImageSplit", "load_images"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "objectives.images.load"))
