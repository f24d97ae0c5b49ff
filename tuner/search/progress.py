"""The progress of a search: one line in a terminal or a notebook, a line each tenth in a file."""

from __future__ import annotations

import io
import math
import sys
import time
import warnings
from types import TracebackType
from typing import Any, Self

from tqdm import TqdmWarning

from objectives._messages import short

with warnings.catch_warnings():
    # A notebook without ipywidgets gets the line of a terminal, which does as well.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm


_COUNTED = "{n_fmt}/{total_fmt} trials |{bar}| {desc} [{elapsed}<{time_left}]"
# Where a line has no room for the bar, it must not push the time out of sight.
_NARROW = "{n_fmt}/{total_fmt}, {desc} [{elapsed}<{time_left}]"
_NARROW_COLUMNS = 75
_LOGGED = "{n_fmt}/{total_fmt} trials, {desc} [{elapsed}<{time_left}]"
_UNCOUNTED = "{n_fmt} trials, {desc} [{elapsed}<{time_left}]"


_TICK_S = 0.5


def is_piped() -> bool:
    """Whether stderr is a file or a pipe, where a line cannot be drawn anew."""
    return not sys.stderr.isatty() and "ipykernel" not in sys.modules


class ProgressBar:
    """Trials done, pruned and failed, best value so far, time spent and time left.

    Time left is what the mean time of a trial predicts, but never more than ``timeout`` leaves.
    Where stderr is a file or a pipe, there is a line after the first trial and after each tenth of
    the search.

    Args:
        total: number of trials the search will have when it is done; None if only time ends it.
        timeout: seconds the search may take; None if only trials end it.
        metric: name shown beside the best value, e.g. ``"accuracy"``.
        enabled: False shows nothing, and every method then does nothing.
        initial: finished trials a resumed study starts with, left out of the mean time of a trial.

    Attributes:
        is_shown: whether there is anything to look at.

    Example:
        >>> with ProgressBar(total=2, timeout=None, metric="accuracy", enabled=False) as bar:
        ...     bar.update(finished=1, pruned=0, failed=0, best=0.97)
    """

    def __init__(
        self,
        *,
        total: int | None,
        timeout: float | None,
        metric: str,
        enabled: bool,
        initial: int = 0,
    ) -> None:
        """Draw the empty bar."""
        self.is_shown = enabled
        self._metric = metric
        self._is_piped = enabled and is_piped()
        self._tenths, self._written = -1, initial
        apart: dict[str, Any] = {"file": io.StringIO(), "mininterval": math.inf}
        self._bar = _TimedBar(
            total=total,
            initial=initial,
            desc=_status(metric, pruned=0, failed=0, best=None),
            bar_format=_UNCOUNTED if total is None else _LOGGED if self._is_piped else _COUNTED,
            dynamic_ncols=True,
            # The default follows the latest trials' speed, which pruning makes jump about.
            smoothing=0,
            disable=not enabled,
            **(apart if self._is_piped else {}),
        )
        self._bar.timeout = timeout
        self._drawn_at = time.monotonic()
        self._bar.refresh()  # The first line was drawn before the bar knew its time limit.

    def update(self, *, finished: int, pruned: int, failed: int, best: float | None) -> None:
        """Show the state of the search; every count is the study's total so far.

        Args:
            finished: trials that have ended, pruned and failed ones and ``initial`` included.
            pruned: how many of these were pruned.
            failed: how many of these failed.
            best: best value so far; None if no trial has one yet.
        """
        text = _status(self._metric, pruned=pruned, failed=failed, best=best)
        self._bar.set_description_str(text, refresh=False)
        if self._bar.total is not None:
            self._bar.total = max(self._bar.total, finished)  # a study may have more than is asked
        self._bar.update(finished - self._bar.n)
        self._log()

    def tick(self) -> None:
        """Move the clock on while a long trial trains; drawn at most twice a second."""
        now = time.monotonic()
        if not self._bar.disable and now - self._drawn_at >= _TICK_S:
            self._drawn_at = now
            self._log() if self._is_piped else self._bar.refresh()

    def _log(self) -> None:
        """Write a line to a file if a further tenth of the trials, or of the time, is over."""
        bar = self._bar
        if not self._is_piped or (bar.n == self._written and bar.timeout is None):
            return
        known = bar.format_dict
        shares = [bar.n / bar.total] if bar.total else []
        shares += [known["elapsed"] / bar.timeout] if bar.timeout else []
        tenths = int(10 * min(max(shares, default=0.0), 1.0))
        if tenths > self._tenths:
            self._write(tenths)

    def _write(self, tenths: int) -> None:
        self._tenths, self._written = tenths, int(self._bar.n)
        print(str(self._bar).strip(), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Write a line of its own to stderr, above the bar."""
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Draw the last state and leave the line; a second call does nothing."""
        if self._is_piped and self._bar.n != self._written:
            self._write(self._tenths)
        self._bar.close()

    def __enter__(self) -> Self:
        """Return the bar itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bar, also when the search was interrupted."""
        self.close()


class _TimedBar(tqdm):  # type: ignore[type-arg]
    """A bar whose ``{time_left}`` knows of a time limit as well."""

    timeout: float | None = None

    @property
    def format_dict(self) -> Any:
        """What ``bar_format`` may name."""
        known = super().format_dict
        known["time_left"] = self._time_left(known)
        if known["total"] is not None and (known["ncols"] or 80) < _NARROW_COLUMNS:
            known["bar_format"] = _NARROW
        return known

    def _time_left(self, known: Any) -> str:
        limits = []
        if self.timeout is not None:
            limits.append(self.timeout - known["elapsed"])
        done = known["n"] - known["initial"]
        if known["total"] is not None and done > 0:
            limits.append((known["total"] - known["n"]) * known["elapsed"] / done)
        return str(self.format_interval(max(0.0, min(limits)))) if limits else "?"


def _status(metric: str, *, pruned: int, failed: int, best: float | None) -> str:
    value = "-" if best is None or not math.isfinite(best) else short(best)
    parts = [f"{pruned} pruned", f"best {metric} {value}"]
    if failed:
        parts.insert(1, f"{failed} failed")
    return ", ".join(parts)
