"""Tables: readers, columns, checks, targets, splits and encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives import lazy_names

if TYPE_CHECKING:
    from objectives.data.table import (
        DataWarning,
        Split,
        TabularData,
        Task,
        frame_from,
        load_tabular,
    )

__all__ = ["DataWarning", "Split", "TabularData", "Task", "frame_from", "load_tabular"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "objectives.data.table"))
