"""Choose the next trial: take one from the queue, or sample a new one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives.space.hyperparameter import Space
from objectives.space.space import from_stored, sample, searched, to_stored
from tuner.search.plan import Params, distinct
from tuner.search.samplers import KnownSpaceSampler
from tuner.storage import optuna_internals
from tuner.storage.heartbeat import Heartbeat
from tuner.storage.study import Session, TunedStudy, View
from tuner.storage.trial_attrs import (
    PARAMS,
    RECORD_OF_TRIAL,
    has_stalled,
    origin_of,
    records,
    trial_attr,
    trial_params,
)


@dataclass(kw_only=True)
class Timetable:
    """Which earlier trials each trial may learn from where several train at once.

    Trials are thought to train on so many machines, in the order of their numbers and each on the
    machine that is free first, where an epoch takes what its cost says. A trial sees those that
    have ended by then, and none of those that the timetable still has under way, whichever of them
    a processor has finished in fact. It starts once that is certain. So the same study comes out
    whatever the timing, also if it is cut off and continued.

    Args:
        n_machines: trials under way at once, in the timetable.
        cost: of an epoch of a configuration, in any unit; it decides what is seen, and how long a
            processor waits for another where it is wrong.
    """

    n_machines: int
    cost: Callable[[Params], float]
    _epochs: dict[int, int] = field(default_factory=dict)  # of trials that this process trains
    _n_settled: int = 0  # trials that have their place, or need none
    _starts: dict[int, tuple[float, float]] = field(default_factory=dict)  # and cost of an epoch
    _machines: list[int] = field(default_factory=list)  # the last trial of each
    _under_way: dict[int, frozenset[int]] = field(default_factory=dict)

    def note(self, number: int, n_epochs: int | None, params: Params | None = None) -> None:
        """Note how far a trial is, as `TrialQueue.note` does."""
        if params is not None:
            self._starts[number] = self._starts.get(number, (0.0, 0.0))[0], self.cost(params)
        if n_epochs is None:
            self._epochs.pop(number, None)
        else:
            self._epochs[number] = n_epochs

    def is_certain(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Say whether a trial may start, as what it sees is certain.

        Args:
            number: of the next trial.
            trials: of the study, by number.
        """
        for trial in trials[self._n_settled : number]:
            placed = trial.number in self._under_way or not self._counts(trial)
            if not (placed or self._place(trial.number, trials)):
                return False
            self._n_settled += 1
        return number in self._under_way or self._place(number, trials)

    def view(self, number: int, *, bad: bool = False) -> View:
        """Return what a trial sees of the others: the earlier ones, as they were at its start.

        Args:
            number: of the trial.
            bad: whether those under way look as if they were pruned at once.
        """
        hidden, state = self._under_way.get(number, ()), _BAD if bad else TrialState.RUNNING

        def view(trial: FrozenTrial) -> FrozenTrial | None:
            if trial.number > number:
                return None
            return _unfinished(trial, state) if trial.number in hidden else trial

        return view

    def _counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial was or is trained here: not brought in, nor by another process."""
        if trial.state.is_finished():
            return origin_of(trial) is None and "epochs_run" in records(trial)
        return trial.number in self._epochs

    def _place(self, number: int, trials: Sequence[FrozenTrial]) -> bool:
        """Put a trial on the machine that is free first; return False if that is not certain."""
        if len(self._machines) < self.n_machines:
            machine, start = len(self._machines), 0.0
            self._machines.append(number)
        else:
            ends = [(*self._end(trials[n]), m) for m, n in enumerate(self._machines)]
            start, is_certain, machine = min(ends, key=lambda end: (end[0], self._machines[end[2]]))
            if not is_certain:
                return False
            self._machines[machine] = number
        self._starts[number] = start, self._starts.get(number, (0.0, 0.0))[1]
        others = (n for m, n in enumerate(self._machines) if m != machine)
        self._under_way[number] = frozenset(others)
        return True

    def _end(self, trial: FrozenTrial) -> tuple[float, bool]:
        """Return when a trial ends at the earliest, and whether it does so for certain."""
        start, cost = self._starts[trial.number]
        if (n_epochs := self._epochs.get(trial.number)) is not None:  # and at least one to come
            return start + cost * (n_epochs + 1), False
        if not trial.state.is_finished():  # another process has taken it
            return start, True
        if not cost:  # trained before this process began
            cost = self.cost(trial_params(trial))
            self._starts[trial.number] = start, cost
        n_epochs = int(records(trial)["epochs_run"]) + (trial.state is TrialState.FAIL)
        return start + cost * n_epochs, True


# TPE takes a trial that was pruned before its first report for worse than all others.
_BAD = TrialState.PRUNED


def _unfinished(trial: FrozenTrial, state: TrialState) -> FrozenTrial:
    """Return a trial as if it had only begun, in some state."""
    trial = copy.copy(trial)
    trial.state, trial.values = state, None
    trial.intermediate_values, trial.system_attrs = {}, {}
    return trial


def _with_bad_ones(trial: FrozenTrial) -> FrozenTrial:
    return _unfinished(trial, _BAD) if trial.state is TrialState.RUNNING else trial


@dataclass(kw_only=True)
class TrialQueue:
    """The trials that one process takes, while others may work on the same study.

    Args:
        session: of the study.
        source: gives the sampler for a trial by its number, see `samplers.sampler_source`.
        n_trials: finished trials in the study at which to stop.
        heartbeat: this process's presence in the study.
        n_ahead: trials to draw ahead of time; 0 where one trial's outcome steers the next.
        listed: whether all trials are queued, so that none is left to sample.
        only: the one queued trial to take; None for all.
        stop_after: trials without a better one after which none is taken any more; None for never.
        timetable: says what a trial sees of the others, and when it may start; None where each sees
            all that there are.
    """

    session: Session
    source: Callable[..., BaseSampler]
    n_trials: int
    heartbeat: Heartbeat
    n_ahead: int = 0
    listed: bool = False
    only: int | None = None
    stop_after: int | None = None
    timetable: Timetable | None = None

    @property
    def study(self) -> TunedStudy:
        """The study."""
        return self.session.study

    def take(self, has_room: Callable[[Params], bool]) -> optuna.Trial | None:
        """Take a trial: a queued one that has room, otherwise a new one.

        Queued trials are known beforehand, so those that train in one batch are taken together;
        each keeps its number and therefore its seed. Only as many of the queue's first trials are
        looked at as are still wanted, so that two processes that choose at the same moment never
        take more.

        Returns:
            None if no queued trial has room, other processes are training the last ones,
            ``stop_after`` trials have brought nothing better, or the timetable has none start yet.
        """
        with self.heartbeat.lock:
            trials = self.study.get_trials(deepcopy=False)
            if self.timetable is None and self._has_stalled(trials):
                return None
            if self.n_ahead:
                self._queue_ahead()
                trials = self.study.get_trials(deepcopy=False)
            waiting = self._waiting(trials)
            if self.timetable is not None:
                waiting = waiting[:1]  # in the order of their numbers
                number = waiting[0].number if waiting else len(trials)
                if not self.timetable.is_certain(number, trials):
                    return None
                seen = map(self.timetable.view(number), trials[:number])
                if self._has_stalled(trial for trial in seen if trial is not None):
                    return None
            for frozen in waiting:
                params = trial_attr(frozen, PARAMS)
                fits = not self.heartbeat.trials if params is None else has_room(params)
                if fits and (trial := self._claim(frozen)) is not None:
                    return trial
            if waiting or not self._may_draw or self._n_left(trials) <= 0:
                return None
            return self._new(trials)

    def _has_stalled(self, trials: Iterable[FrozenTrial]) -> bool:
        if self.stop_after is None or self.only is not None:
            return False
        return has_stalled(trials, self.study.direction.name.lower(), self.stop_after)

    def note(self, number: int, n_epochs: int | None, params: Params | None = None) -> None:
        """Note how far a trial of this process is, from its start with ``params`` to its end, which
        is None.
        """
        if self.timetable is not None:
            self.timetable.note(number, n_epochs, params)

    @contextmanager
    def seen_by(self, number: int) -> Iterator[None]:
        """Let samplers and pruners see the trials as trial ``number`` sees them."""
        view = None if self.timetable is None else self.timetable.view(number)
        with self.study.seen_through(view):
            yield

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
        """Say whether the study is not done only because other processes have trials under way, or
        are about to draw the next ones.
        """
        if not self.heartbeat.is_shared:
            return False
        trials = self.study.get_trials(deepcopy=False)
        n_running = sum(trial.state is TrialState.RUNNING for trial in trials)
        is_waited_for = n_running > len(self.heartbeat.trials) or self._others_draw()
        return is_waited_for and self._n_unfinished(trials) > 0

    def _others_draw(self) -> bool:
        """Whether it is another process that draws ahead: two at once would draw the same."""
        first = self.heartbeat.number
        return bool(self.n_ahead) and any(number < first for number in self.heartbeat.others())

    def _n_unfinished(self, trials: Sequence[FrozenTrial]) -> int:
        return self.n_trials - sum(trial.state.is_finished() for trial in trials)

    def _n_left(self, trials: Sequence[FrozenTrial]) -> int:
        n_running = sum(trial.state is TrialState.RUNNING for trial in trials)
        return max(0, self._n_unfinished(trials) - n_running)

    def _claim(self, trial: FrozenTrial) -> optuna.Trial | None:
        """Take a queued trial; None if another process was faster."""
        if not optuna_internals.AVAILABLE:
            return self._ask()
        if not optuna_internals.claim_trial(self.session, trial):
            return None
        self.heartbeat.trials.add(trial.number)
        self.study.sampler = self.source(trial.number)
        try:
            return optuna_internals.claimed_trial(self.session, trial)
        except UpdateFinishedTrialError:  # SQLite lets two take it at once, and one was faster
            self.heartbeat.trials.discard(trial.number)
            return None

    def _ask(self) -> optuna.Trial:
        """Take a trial as Optuna chooses it: the first of the queue, otherwise a new one."""
        self.study.sampler = self.source(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask()
        self.heartbeat.trials.add(trial.number)
        return trial

    def _new(self, trials: Sequence[FrozenTrial]) -> optuna.Trial | None:
        """Make a trial; None if others made the last ones at the same moment."""
        if not optuna_internals.AVAILABLE:
            return self._ask()
        # Marked as ours from the start: what an own objective writes has its own names.
        template = self._drawn(trials) or create_trial(
            state=TrialState.RUNNING, user_attrs={RECORD_OF_TRIAL: {}}
        )
        trial = optuna_internals.create_trial(self.session, template)
        if trial.number >= self.n_trials and self._is_surplus(trial.number):
            optuna_internals.requeue_trial(self.session, trial.number)
            return None
        self.heartbeat.trials.add(trial.number)
        self.study.sampler = self.source(trial.number)
        return trial

    def _drawn(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """Draw the next trial of TPE before it is made; those under way count as bad ones.

        So it takes one write, instead of one a hyperparameter, which are half of what a trial costs
        in a file. Processes that draw at the same moment do so by seeds of their own.

        Returns:
            None where it must be made first, as its number decides what it learns from, or the
            sampler is another one.
        """
        if isinstance(self.study.pruner, HyperbandPruner):
            return None
        number = len(trials)
        sampler = self.source(number, alone=True, worker=self.heartbeat.number)
        if not isinstance(sampler, KnownSpaceSampler):
            return None
        view = _with_bad_ones if self.timetable is None else self.timetable.view(number, bad=True)
        with self.study.seen_through(view, trials):
            drawn = sampler.draw(self.study)
        if drawn.keys() != {row.stored_name for row in searched(self.session.space).values()}:
            return None
        return whole_trial(TrialState.RUNNING, self.session.space, drawn)

    def _is_surplus(self, number: int) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        n_before = sum(
            t.state.is_finished() or (t.state is TrialState.RUNNING and t.number < number)
            for t in trials
        )
        return n_before >= self.n_trials

    def _queue_ahead(self) -> None:
        """Draw trials that depend on no other, so that alike ones can train together."""
        if not self.n_ahead or self.only is not None:
            return
        trials = self.study.get_trials(deepcopy=False)
        n_waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        missing = range(n_waiting, min(self._n_left(trials), self.n_ahead))
        if not missing or self._others_draw():
            return
        for _ in missing:
            sampler = self.source(len(self.study.get_trials(deepcopy=False)))
            stored = sample(self.session.space, sampler, self.study)
            self.study.add_trial(whole_trial(TrialState.WAITING, self.session.space, stored))


def enqueue(session: Session, planned: list[dict[str, Any]]) -> None:
    """Queue the planned trials that the study lacks, each once.

    Of several processes that begin at once one queues them, and the others wait.
    """
    if not planned or not _missing(session.study, planned):
        return
    with Heartbeat(session, task="queueing trials") as heartbeat:
        if heartbeat.wait_for_turn(is_done=lambda: not _missing(session.study, planned)):
            for params in _missing(session.study, planned):
                add_to_queue(session, params)


def _missing(study: optuna.Study, planned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = [trial_attr(trial, PARAMS) for trial in study.get_trials(deepcopy=False)]
    texts = {json.dumps(params, sort_keys=True) for params in known if params}
    return [p for p in distinct(planned) if json.dumps(p, sort_keys=True) not in texts]


def add_to_queue(session: Session, params: dict[str, Any]) -> None:
    """Queue one trial, also if the study has one of the same configuration.

    Raises:
        ValueError: if the study could not tell which it was.
    """
    space = session.space
    stored = to_stored(space, params) if space else params
    try:
        session.study.add_trial(whole_trial(TrialState.WAITING, space, stored, params))
    except ValueError:  # given by hand, it may lie outside the range, or be of no space
        session.study.enqueue_trial(stored, user_attrs={PARAMS: params})


def whole_trial(
    state: TrialState,
    space: Space,
    stored: Params,
    params: Params | None = None,
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
        user_attrs={PARAMS: dict(params or from_stored(space, stored))},
    )
