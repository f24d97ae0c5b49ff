"""Tune deep-learning models: from a dataset to the best configuration and the fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives import lazy_names
from objectives.space.registry import READY_MADE

if TYPE_CHECKING:
    from objectives.models.intervals import TestScore
    from tuner.api import tune, tune_cnn, tune_finetune, tune_mlp, tune_module
    from tuner.diagnosis.diagnosis import Diagnosis, StudyComparison, compare, diagnose
    from tuner.result import TuningResult, load_result
    from tuner.storage.study import StudyMismatchError, load_study
    from tuner.tracking import MLflowTracker, TensorBoardTracker, Tracker, WandbTracker

__all__ = [
    "Diagnosis",
    "MLflowTracker",
    "StudyComparison",
    "StudyMismatchError",
    "TensorBoardTracker",
    "TestScore",
    "Tracker",
    "TuningResult",
    "WandbTracker",
    "compare",
    "diagnose",
    "load_result",
    "load_study",
    "tune",
    "tune_cnn",
    "tune_finetune",
    "tune_mlp",
    "tune_module",
]

_TRACKERS = ("MLflowTracker", "TensorBoardTracker", "Tracker", "WandbTracker")
__getattr__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(
            ("Diagnosis", "StudyComparison", "compare", "diagnose"), "tuner.diagnosis.diagnosis"
        ),
        **dict.fromkeys(("StudyMismatchError", "load_study"), "tuner.storage.study"),
        "TestScore": "objectives.models.intervals",
        **dict.fromkeys(("TuningResult", "load_result"), "tuner.result"),
        **dict.fromkeys(_TRACKERS, "tuner.tracking"),
        **dict.fromkeys(("tune", *(e.function for e in READY_MADE.values())), "tuner.api"),
    },
)
