"""A study as one HTML page, and as a result shows itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objectives._lazy import lazy_names

if TYPE_CHECKING:
    from tuner.report.html import write_report

__all__ = ["write_report"]

__getattr__ = lazy_names(
    __name__,
    {
        "write_report": "tuner.report.html",
    },
)
