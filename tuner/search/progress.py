"""How a search tells of itself: to people by a line in a terminal or a notebook, or a line each
tenth in a file; and to an experiment tracker.
"""

from __future__ import annotations

import io
import math
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from tqdm import TqdmWarning

from objectives._messages import short, warn_caller
from objectives.objective import PREFIX
from tuner.storage.backends import redacted_text
from tuner.storage.call import call_in_python
from tuner.storage.heartbeat import Baton
from tuner.storage.trial_attrs import finished, trial_params
from tuner.storage.view import view_of
from tuner.tables import curves_dataframe, export, trials_dataframe
from tuner.tracking import EpochRun, StudyRun, Tracker, TrialRun

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tuner.storage.study import Session

with warnings.catch_warnings():
    # A notebook without ipywidgets gets the line of a terminal, which does as well.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm


_COUNTED = "{n_fmt}/{total_fmt} {unit} |{bar}| {desc} [{elapsed}<{time_left}]"
# Where a line has no room for the bar, it must not push the time out of sight.
_NARROW = "{n_fmt}/{total_fmt}, {desc} [{elapsed}<{time_left}]"
_NARROW_COLUMNS = 75
_LOGGED = "{n_fmt}/{total_fmt} {unit}, {desc} [{elapsed}<{time_left}]"
_UNCOUNTED = "{n_fmt} {unit}, {desc} [{elapsed}<{time_left}]"


_TICK_S = 0.5

_ID = f"{PREFIX}tracked_as"  # user attribute of a study: what its runs are known by
_TOLD = f"{PREFIX}tracked"  # of how many ended trials a tracker has been told
_VALUES = "value value_last value_std value_confirmed best_epoch epochs_run duration_s".split()
_FACTS = ("seed", "worker", "stopped", "error")


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
        unit: what is counted. What is no trial is not pruned.

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
        unit: str = "trials",
    ) -> None:
        """Draw the empty bar."""
        self.is_shown = enabled
        self._metric, self._is_of_trials = metric, unit == "trials"
        self._is_piped = enabled and is_piped()
        self._tenths, self._written = -1, initial
        apart: dict[str, Any] = {"file": io.StringIO(), "mininterval": math.inf}
        self._bar = _TimedBar(
            total=total,
            initial=initial,
            unit=unit,
            desc=self._status(pruned=0, failed=0, best=None),
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
        text = self._status(pruned=pruned, failed=failed, best=best)
        self._bar.set_description_str(text, refresh=False)
        if self._bar.total is not None:
            self._bar.total = max(self._bar.total, finished)  # a study may have more than is asked
        self._bar.update(finished - self._bar.n)
        self._log()

    def _status(self, *, pruned: int, failed: int, best: float | None) -> str:
        value = "-" if best is None or not math.isfinite(best) else short(best)
        parts = [f"{pruned} pruned"] if self._is_of_trials else []
        parts += [f"{failed} failed"] if failed else []
        return ", ".join([*parts, f"best {self._metric} {value}"])

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


@contextmanager
def show_runs(
    unit: str, metric: str, *, enabled: bool, timeout: float | None = None
) -> Iterator[Callable[[int, int, float | None], None]]:
    """Show runs that are no trials by a bar, which appears once it is known how many there will be.

    Args:
        unit: what is counted, in the plural.
        metric: as in `ProgressBar`, with ``enabled`` and ``timeout``.

    Yields:
        What is to be told how many have ended, of how many, and the best value so far.
    """
    with ExitStack() as opened:
        bars: list[ProgressBar] = []

        def show(n_ended: int, n_runs: int, best: float | None) -> None:
            if not bars:
                bar = ProgressBar(
                    total=n_runs, timeout=timeout, metric=metric, enabled=enabled, unit=unit
                )
                bars.append(opened.enter_context(bar))
            bars[0].update(finished=n_ended, pruned=0, failed=0, best=best)

        yield show


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


class Tracking:
    """Tells a tracker of a study, from the study itself, so whichever process trains a trial.

    As a context, it closes the study's run also after an error.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker
        self._baton: Baton | None = None
        self._told: set[int] | None = None
        self._n_ended = 0  # trials at the last look

    def __bool__(self) -> bool:
        """Whether there is a tracker, and it works."""
        return self._tracker is not None

    def __enter__(self) -> Tracking:
        """Wait for the study, whose run begins with the first `update`."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the study's run where the search has not come to its end."""
        self._end(None, ())
        self._give_back()

    def update(self, session: Session) -> None:
        """Tell of the trials that have ended since the last time, if no other process tells."""
        study = session.study
        if self._tracker is None or not self._takes(session):
            return
        with self._guarded(self._tracker) as tracker:
            if self._told is None:
                self._told = set(tracker.begin(_study_run(study)))
            told, ended = self._told, finished(study)
            self._n_ended = len(ended)
            new = [_trial_run(study, trial) for trial in ended if trial.number not in told]
            for trial in sorted(new, key=lambda trial: trial.end):
                tracker.log(trial)
                told.add(trial.number)

    def end(self, session: Session, model: Any | None) -> None:
        """Tell of the rest, hand over tables and the model if there is one, and close the run.

        A trial of another process that found this one still telling may have ended since it last
        looked; so it looks again once others may tell.
        """
        study = session.study
        while self._told is not None or study.user_attrs.get(_TOLD) != len(finished(study)):
            self.update(session)
            if self._told is None:  # another process tells, or the tracker has failed
                return
            self._hand_over(study, model)
            if self._tracker is not None:
                study.set_user_attr(_TOLD, self._n_ended)
            self._give_back()

    def _hand_over(self, study: optuna.Study, model: Any | None) -> None:
        best = view_of(study).best_trial
        assert self._tracker is not None, "it has been told of the trials"
        with self._guarded(self._tracker), tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = [
                export(trials_dataframe(study), folder / "trials.csv"),
                export(curves_dataframe(study), folder / "curves.csv"),
            ]
            if model is not None:
                files.append(folder / f"best{model.suffix}")
                model.save(files[-1])
            self._end(None if best is None else _trial_run(study, best), files)

    def _end(self, best: TrialRun | None, files: Sequence[Path]) -> None:
        if self._told is None or self._tracker is None:
            return
        with self._guarded(self._tracker) as tracker:
            self._told = None
            tracker.end(best, files)

    def _takes(self, session: Session) -> bool:
        self._baton = self._baton or Baton(session, "telling a tracker")
        return self._baton.take()

    def _give_back(self) -> None:
        if self._baton is not None:
            self._baton.give_back()

    @contextmanager
    def _guarded(self, tracker: Tracker) -> Iterator[Tracker]:
        """Let the tracker do something; if that fails, warn and do without it from here on."""
        try:
            yield tracker
        except Exception as error:  # whatever it is, no search is to be lost by it
            self._told, self._tracker = None, None
            self._give_back()
            text = redacted_text(" ".join(str(error).split()))[:300]
            warn_caller(
                f"{type(tracker).__name__} failed and the search goes on without it "
                f"({type(error).__name__}: {text}); the same call with a storage logs what is "
                "missing"
            )


def _study_run(study: optuna.Study) -> StudyRun:
    if not isinstance(study.user_attrs.get(_ID), str):
        study.set_user_attr(_ID, uuid.uuid4().hex[:16])
    view = view_of(study)
    return StudyRun(
        name=view.study_name,
        id=study.user_attrs[_ID],
        metric=view.metric,
        direction=view.direction,
        call=call_in_python(study),
    )


def _trial_run(study: optuna.Study, trial: FrozenTrial) -> TrialRun:
    """Return what the tables say of one trial that has ended."""
    view = replace(view_of(study), trials=(trial,))
    (row,) = view.trials_table.to_dict("records")
    has = {str(name): value for name, value in row.items() if not pd.isna(value)}
    end = (trial.datetime_complete or datetime.now()).timestamp()
    start = time = end if trial.datetime_start is None else trial.datetime_start.timestamp()
    curve = []
    for cells in view.curves_table.drop(columns="number").to_dict("records"):
        epoch = int(cells.pop("epoch"))
        values = {str(name): value for name, value in cells.items() if not pd.isna(value)}
        time += values.pop("duration_s", 0.0)
        curve.append(EpochRun(epoch, time, values))
    return TrialRun(
        number=trial.number,
        state=trial.state.name,
        params=trial_params(trial),
        values={name: float(has[name]) for name in _VALUES if name in has},
        facts={name: redacted_text(has[name]) for name in _FACTS if name in has},
        curve=tuple(curve),
        start=start,
        end=end,
    )
