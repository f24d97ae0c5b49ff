"""Alias of `objectives.data.transformers`: model files of the first versions name it."""

from objectives.data.transformers import (
    Booleans,
    DateParts,
    Levels,
    MedianFill,
    Numbers,
    PiecewiseLinear,
    SmoothClip,
)

__all__ = [
    "Booleans",
    "DateParts",
    "Levels",
    "MedianFill",
    "Numbers",
    "PiecewiseLinear",
    "SmoothClip",
]
