"""Which trial is next: queued ones first, each for one process alone, else a new one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.space.hyperparameter import Hyperparameter, Space
from objectives.space.space import from_stored, sample, searched
from tuner.search.samplers import KnownSpaceSampler
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.study import TunedStudy


@dataclass(kw_only=True)
class Claims:
    """How one process comes by its trials, beside others that work on the same study.

    Args:
        study: to work on.
        storage: where it lives.
        space: the search space; empty where the objective suggests by itself.
        source: gives the sampler for a trial by its number, see `samplers.sampler_source`.
        n_trials: finished trials in the study at which to stop.
        heartbeat: this process's presence in the study.
        n_ahead: trials to draw ahead of time; 0 where one trial's outcome steers the next.
        listed: whether all trials are queued, so that none is left to sample.
        only: the one queued trial to take; None for all.
    """

    study: TunedStudy
    storage: BaseStorage
    space: Mapping[str, Hyperparameter]
    source: Callable[..., BaseSampler]
    n_trials: int
    heartbeat: Heartbeat
    n_ahead: int = 0
    listed: bool = False
    only: int | None = None

    @cached_property
    def _study_id(self) -> int:
        return self.storage.get_study_id_from_name(self.study.study_name)

    def next(self, room: Callable[[Mapping[str, Any]], bool]) -> optuna.Trial | None:
        """Take a trial: a queued one that has room, else a new one.

        Queued trials are known beforehand, so those that train as one are taken together; each
        keeps its number, and so its seed. Of those in the queue the first are enough, so that two
        processes that choose at the same moment never take more than there are to do.

        Returns:
            None if no queued trial has room, or other processes have the last ones under way.
        """
        with self.heartbeat.lock:
            self._queue_ahead()
            trials = self.study.get_trials(deepcopy=False)
            waiting = self._waiting(trials)
            for frozen in waiting:
                params = frozen.user_attrs.get("params")
                fits = not self.heartbeat.trials if params is None else room(params)
                if fits and (trial := self._claim(frozen.number)) is not None:
                    return trial
            if waiting or not self._may_draw or self._n_left(trials) <= 0:
                return None
            return self._new()

    @property
    def _may_draw(self) -> bool:
        # A random search's trials come through the queue, which another process may be filling.
        return not (self.listed or self.n_ahead) and self.only is None

    def _waiting(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
        if self.only is not None:
            return [trial for trial in waiting if trial.number == self.only]
        return waiting[: self._n_left(trials)]

    def others_at_work(self) -> bool:
        """Say whether the study is not done only because other processes have trials under way."""
        if not self.heartbeat.is_shared:
            return False
        trials = self.study.get_trials(deepcopy=False)
        n_running = sum(trial.state is TrialState.RUNNING for trial in trials)
        return n_running > len(self.heartbeat.trials) and self._n_unfinished(trials) > 0

    def _n_unfinished(self, trials: Sequence[FrozenTrial]) -> int:
        return self.n_trials - sum(trial.state.is_finished() for trial in trials)

    def _n_left(self, trials: Sequence[FrozenTrial]) -> int:
        n_running = sum(trial.state is TrialState.RUNNING for trial in trials)
        return max(0, self._n_unfinished(trials) - n_running)

    def _claim(self, number: int) -> optuna.Trial | None:
        """Take a queued trial; None if another process was faster."""
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        try:
            if not self.storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
                return None
        except UpdateFinishedTrialError:  # so fast that it has ended the trial by now
            return None
        self.heartbeat.trials.add(number)
        self.study.sampler = self.source(number)
        return HandedTrial(self.study, trial_id)

    def _new(self) -> optuna.Trial | None:
        """Make a trial; None if others made the last ones at the same moment.

        Its number is known before anything is drawn, so that no two processes draw alike.
        """
        trial_id = self.storage.create_new_trial(self._study_id, self._drawn())
        number = self.storage.get_trial_number_from_id(trial_id)
        if number >= self.n_trials and self._is_surplus(number):
            self.storage.set_trial_state_values(trial_id, state=TrialState.WAITING)
            return None
        self.heartbeat.trials.add(number)
        self.study.sampler = self.source(number)
        return optuna.Trial(self.study, trial_id)

    def _drawn(self) -> FrozenTrial | None:
        """Draw the next trial of TPE before it is made, while no other is under way.

        It comes out as it would otherwise, in one write instead of one a hyperparameter, which are
        half of what a trial costs in a file.

        Returns:
            None where it must be made first: others are at work, or its number decides what it
            learns from.
        """
        if self.heartbeat.trials or isinstance(self.study.pruner, HyperbandPruner):
            return None
        sampler = self.source(len(self.study.get_trials(deepcopy=False)), alone=True)
        if not isinstance(sampler, KnownSpaceSampler):
            return None
        drawn = sampler.draw(self.study)
        rows = searched(self.space).values()
        # Last, so that none joins in between that would draw the same.
        if drawn.keys() != {row.stored_name for row in rows} or self.heartbeat.others():
            return None
        return whole_trial(TrialState.RUNNING, self.space, drawn)

    def _is_surplus(self, number: int) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        n_before = sum(
            t.state.is_finished() or (t.state is TrialState.RUNNING and t.number < number)
            for t in trials
        )
        return n_before >= self.n_trials

    def _queue_ahead(self) -> None:
        """Draw trials that depend on no other, so that alike ones can train together.

        Only the first of several processes does: two at once would draw the same.
        """
        if not self.n_ahead or self.only is not None:
            return
        trials = self.study.get_trials(deepcopy=False)
        n_waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        missing = range(n_waiting, min(self._n_left(trials), self.n_ahead))
        if not missing or any(n < self.heartbeat.number for n in self.heartbeat.others()):
            return
        for _ in missing:
            sampler = self.source(len(self.study.get_trials(deepcopy=False)))
            stored = sample(self.space, sampler, self.study)
            self.study.add_trial(whole_trial(TrialState.WAITING, self.space, stored))


class HandedTrial(optuna.Trial):
    """A queued trial; what an earlier run of it reported counts only once it is reported again.

    Optuna cannot delete a report. A trial that is run again would be judged by what it reported
    before it was cut off, and Optuna would ignore its new reports with a warning.

    Args:
        study: that the trial belongs to.
        trial_id: of the trial in the storage.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        super().__init__(study, trial_id)
        self._id = trial_id
        self._stale = set(self.storage.get_trial(trial_id).intermediate_values)

    def keep_until(self, step: int) -> None:
        """Let the reports up to ``step`` count: training goes on after it, from a checkpoint."""
        self._stale = {s for s in self._stale if s > step}

    def report(self, value: float, step: int) -> None:
        """Report as `optuna.Trial.report` does, over what an earlier run reported at the step."""
        if step in self._stale:
            self.storage.set_trial_intermediate_value(self._id, int(step), float(value))
            self._stale.discard(step)
        else:
            super().report(value, step)

    def should_prune(self) -> bool:
        """Ask the study's pruner, which sees this run's reports alone."""
        # Optuna's own asks a copy that the trial took when it was made.
        trial = copy.copy(self.storage.get_trial(self._id))
        values = trial.intermediate_values
        trial.intermediate_values = {s: v for s, v in values.items() if s not in self._stale}
        return self.study.pruner.prune(self.study, trial)


def whole_trial(
    state: TrialState,
    space: Space,
    stored: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """Return a trial to be put into a study that has its hyperparameters already.

    So it takes one write, where Optuna makes one for each hyperparameter that is suggested.

    Args:
        state: RUNNING or WAITING.
        space: the search space.
        stored: the searched hyperparameters, by their stored names.
        params: the whole configuration; by default what ``stored`` stands for.

    Raises:
        ValueError: if a hyperparameter is missing or out of its range.
    """
    rows = searched(space).values()
    return create_trial(
        state=state,
        params=dict(stored),
        distributions={row.stored_name: row.distribution for row in rows if row.distribution},
        user_attrs={"params": dict(params or from_stored(space, stored))},
    )
