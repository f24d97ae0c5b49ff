"""Where studies live: backends, records, signs of life, checkpoints and models beside a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives import lazy_names

if TYPE_CHECKING:
    from tuner.storage.backends import open_storage
    from tuner.storage.study import Session, load_study

__all__ = ["Session", "load_study", "open_storage"]

__getattr__ = lazy_names(
    __name__,
    {
        "open_storage": "tuner.storage.backends",
        "load_study": "tuner.storage.study",
        "Session": "tuner.storage.study",
    },
)
