"""What a study shows and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives._lazy import lazy_names

if TYPE_CHECKING:
    from tuner.diagnosis.confirm import confirm
    from tuner.diagnosis.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "confirm", "diagnose"]

__getattr__ = lazy_names(
    __name__,
    {
        "Diagnosis": "tuner.diagnosis.diagnose",
        "diagnose": "tuner.diagnosis.diagnose",
        "confirm": "tuner.diagnosis.confirm",
    },
)
