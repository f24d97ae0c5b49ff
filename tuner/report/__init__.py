"""A study as one HTML page, and as a result shows itself in a notebook."""

from tuner.report.html import write_report

__all__ = ["write_report"]
