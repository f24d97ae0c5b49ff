"""Trials out of the queue: some were under way in a process that died, and start afresh."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.configurations import from_stored, searched
from objectives.hyperparameters import Space


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
