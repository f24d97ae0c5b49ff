"""What a study shows and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives._lazy import lazy_names

if TYPE_CHECKING:
    from tuner.diagnosis.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]

__getattr__ = lazy_names(
    __name__, dict.fromkeys(("Diagnosis", "diagnose"), "tuner.diagnosis.diagnosis")
)
