"""Tune deep-learning models: from a dataset to the best configuration and the fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives._lazy import lazy_names

if TYPE_CHECKING:
    from tuner.api import tune, tune_cnn, tune_finetune, tune_mlp, tune_module
    from tuner.diagnosis.diagnosis import Diagnosis, diagnose
    from tuner.result import TestScore, TuningResult, load_result
    from tuner.storage.study import StudyMismatchError, load_study

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

__getattr__ = lazy_names(
    __name__,
    {
        "Diagnosis": "tuner.diagnosis.diagnosis",
        "diagnose": "tuner.diagnosis.diagnosis",
        "StudyMismatchError": "tuner.storage.study",
        "load_study": "tuner.storage.study",
        "TestScore": "tuner.result",
        "TuningResult": "tuner.result",
        "load_result": "tuner.result",
        "tune": "tuner.api",
        "tune_cnn": "tuner.api",
        "tune_finetune": "tuner.api",
        "tune_mlp": "tuner.api",
        "tune_module": "tuner.api",
    },
)
