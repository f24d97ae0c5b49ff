"""One process's work on a study: what it has under way, and how a trial begins and ends."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from objectives.configurations import suggest
from objectives.objective import Cohort, TrialRecord, trial_seed
from tuner.artifacts import Artifacts
from tuner.checkpoints import Checkpoints
from tuner.claims import Claims
from tuner.handed import HandedTrial
from tuner.progress import ProgressBar
from tuner.records import ORIGIN
from tuner.study import TunedStudy

Callback = Callable[[optuna.Study, FrozenTrial], None]

# A user's own code that fails alike in each of the first trials will fail for ever.
_HOPELESS = 3

# Between two looks at what other processes do.
_PAUSE_S = 0.5


@dataclass(kw_only=True)
class Search:
    """One process's work on a study: its budget, its trials under way, and the best model so far.

    Args:
        claims: how the process comes by its trials.
        seed: trials' own seeds follow from it and their numbers.
        deadline: `time.monotonic` at which to stop, inside trials too; None for no limit.
        callbacks: called with study and trial after each trial.
        progress: shows how far it is.
        n_parallel: trials under way at most.
        report_every: epochs from one report to the next; the curve is kept whole all the same.
        artifacts: where the best trial's model is kept.
        checkpoint: which trials are saved on the way, see `tuner.checkpoints.Checkpoints`.
    """

    claims: Claims
    seed: int
    deadline: float | None
    callbacks: Sequence[Callback]
    progress: ProgressBar
    n_parallel: int = 1
    report_every: int = 1
    artifacts: Artifacts = field(default_factory=lambda: Artifacts(None))
    checkpoint: bool | None = False
    running: dict[int, tuple[optuna.Trial, TrialRecord]] = field(default_factory=dict)
    best_model: tuple[int, Any] | None = None
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Clear away what processes that died have left."""
        self.checkpoints = Checkpoints(
            artifacts=self.artifacts, study=self.study, checkpoint=self.checkpoint
        )
        if self.artifacts:
            self.checkpoints.clear()
            self.artifacts.clear_models(self.study)

    @property
    def study(self) -> TunedStudy:
        """The study worked on."""
        return self.claims.study

    @property
    def direction(self) -> str:
        """Of the study, as a word."""
        return self.study.direction.name.lower()

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def interrupted(self) -> bool:
        """Whether the run is to stop in all its processes."""
        return self.claims.heartbeat.stopped.is_set()

    def wants_more(self) -> bool:
        """Say whether another trial should be started, if there is one."""
        return not (self.study.stop_requested or self.late or len(self.running) >= self.n_parallel)

    def waits(self) -> bool:
        """Wait while other processes train the last trials, which are this one's if they die.

        Returns:
            Whether there may be something to do again.
        """
        if not self.wants_more() or not self.claims.others_at_work():
            return False
        time.sleep(_PAUSE_S)
        self.show()
        return True

    def start(self, room: Callable[[Mapping[str, Any]], bool]) -> int | None:
        """Start the next trial and return its number; None if there is none for this process."""
        trial = self.claims.next(room)
        return None if trial is None else self._begin(trial)

    def _begin(self, trial: optuna.Trial) -> int:
        with warnings.catch_warnings():
            # A value given by hand may lie outside the range; it is meant.
            warnings.filterwarnings("ignore", message="Fixed parameter .* out of range")
            sampled = suggest(self.claims.space, trial)
        params = trial.user_attrs.get("params") or sampled
        seed = trial_seed(self.seed, trial.number)
        record = TrialRecord(
            direction=self.direction,
            params=params,
            seed=seed,
            worker=self.claims.heartbeat.number,
            has_params="params" in trial.user_attrs,
        )
        self.running[trial.number] = (trial, record)
        return trial.number

    def enter(self, cohort: Cohort, number: int) -> None:
        """Let a started trial train: from where a dead process left it, or from the start."""
        trial, record = self.running[number]
        self.checkpoints.begin(trial, record, cohort)
        if record.results and isinstance(trial, HandedTrial):
            trial.keep_until(record.results[-1].epoch)

    def finish(
        self,
        number: int,
        state: TrialState,
        stopped: str,
        value: float | None = None,
        *,
        duration_s: float | None = None,
        **attributes: Any,
    ) -> None:
        """Write a trial's records, with what is given over them; tell its state; call back.

        A trial that another process has ended, since it took this one for dead, is that one's.
        """
        trial, record = self.running.pop(number)
        found = record.attributes(stopped) | attributes
        if duration_s is not None:
            found["record"]["duration_s"] = duration_s
        try:
            for name, attribute in found.items():
                trial.set_user_attr(name, attribute)
            frozen = self._tell(trial, value, state)
        except UpdateFinishedTrialError:
            self.claims.heartbeat.trials.discard(number)
            return
        self.claims.heartbeat.trials.discard(number)
        self.checkpoints.forget(number)
        self.show()
        for callback in self.callbacks:
            callback(self.study, frozen)

    def _tell(self, trial: optuna.Trial, value: float | None, state: TrialState) -> FrozenTrial:
        with warnings.catch_warnings():
            # Optuna notes that a trial without reports has no value.
            warnings.simplefilter("ignore", UserWarning)
            try:
                return self.study.tell(trial, value, state=state)
            except ValueError:
                if self.study.trials[trial.number].state is TrialState.RUNNING:
                    raise
                raise UpdateFinishedTrialError(f"trial {trial.number} was taken over") from None

    def fail(self, number: int, error: Exception) -> None:
        """Mark a trial as failed; raise the error if the first trials all failed by it."""
        self.errors.append(repr(error))
        text = f"{type(error).__name__}: {error}"
        self.finish(number, TrialState.FAIL, "error", error=text)
        if len(self.errors) == self._n_own() == _HOPELESS and len(set(self.errors)) == 1:
            raise error

    def put_back(self) -> None:
        """Return the trials under way to the queue, for another run."""
        self.running.clear()
        self.claims.heartbeat.put_back()

    def show(self) -> None:
        """Refresh the progress line."""
        show(self.study, self.progress)

    def _n_own(self) -> int:
        """Count the finished trials, without those that another study brought in."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state.is_finished() and ORIGIN not in t.user_attrs for t in trials)


def show(study: optuna.Study, progress: ProgressBar) -> None:
    """Refresh the progress line of a study; a line that is not shown costs no look at the study."""
    if not progress.is_shown:
        return
    finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    states = [trial.state for trial in finished]
    progress.update(
        finished=len(states), pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        best=best_value(finished, study.direction.name.lower()),
    )  # fmt: skip


def best_value(trials: Sequence[FrozenTrial], direction: str) -> float | None:
    """Return the best complete trial's value, or None while no trial is complete."""
    complete = [t.value for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
    choose = min if direction == "minimize" else max
    return choose(complete) if complete else None
