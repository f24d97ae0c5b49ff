"""Tune deep-learning models: from a dataset to the best configuration and the fitted model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.diagnosis import Diagnosis, diagnose
    from tuner.entry import tune, tune_mlp
    from tuner.load import load_result
    from tuner.networks import tune_cnn, tune_finetune, tune_module
    from tuner.result import TuningResult
    from tuner.score import TestScore
    from tuner.study import StudyMismatchError, load_study

__all__ = [
    "Diagnosis",
    "StudyMismatchError",
    "TestScore",
    "TuningResult",
    "diagnose",
    "load_result",
    "load_study",
    "tune",
    "tune_cnn",
    "tune_finetune",
    "tune_mlp",
    "tune_module",
]

_HOMES = {
    "Diagnosis": "tuner.diagnosis",
    "StudyMismatchError": "tuner.study",
    "TestScore": "tuner.score",
    "TuningResult": "tuner.result",
    "diagnose": "tuner.diagnosis",
    "load_result": "tuner.load",
    "load_study": "tuner.study",
    "tune": "tuner.entry",
    "tune_cnn": "tuner.networks",
    "tune_finetune": "tuner.networks",
    "tune_module": "tuner.networks",
    "tune_mlp": "tuner.entry",
}


def __getattr__(name: str) -> Any:
    # Names are fetched at first use, so that the command line can list and export studies without
    # loading torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
