"""Simulated searches that ask for several trials at once: regret against trials and wall time.

A policy gives the trials that train next. Those of one shape (layers, width, batch size) train as
one stack, which is cheaper a member; other shapes train one after the other. TPE learns from all of
them only when they are done.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import optuna
from cohort_policies import POLICIES, Policy
from lcbench import Task, suggest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from stack_costs import CLOCKS, Params, Widths, costs, gains, shape_of

from tuner.search.samplers import KnownSpaceSampler, sampler_source

BUDGETS = (32, 64, 96)
# In the mean time of a random trial that trains alone.
WALL_BUDGETS = (16, 32, 64)
_MAX_TRIALS = 256
# Drawn at once where followers are those candidates that happen to have the leader's shape.
_N_CANDIDATES = 24


class _NoLiarSampler(TPESampler):
    """`KnownSpaceSampler` that does not see trials under way."""

    def __init__(self, space: Mapping[str, BaseDistribution], *, seed: int) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=False)
        self._space = dict(sorted(space.items()))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._space)


class Run:
    """One simulated search: its study, its trials' values, and the clocks."""

    def __init__(self, task: Task, policy: Policy, *, seed: int, widths: Widths) -> None:
        self.task, self.policy, self.seed, self.widths = task, policy, seed, widths
        self.study = optuna.create_study(direction="maximize")
        self.values: list[float] = []
        self.times: list[tuple[float, ...]] = []
        self.clock = (0.0,) * len(CLOCKS)

    def go_on(self) -> None:
        """Ask for trials, train them and tell their values."""
        policy = self.policy
        leader = self._ask({})
        shape = shape_of(leader.params)
        n_followers = policy.size(len(self.values)) - 1
        if policy.shapes in ("good", "best"):
            self._train([leader])
            chosen = self._followed(shape)
            if chosen is not None and self._pays(chosen):
                self._train([self._ask(chosen) for _ in range(n_followers)])
            return
        if not self._pays(shape):
            n_followers = 0
        self._train([leader, *self._followers(shape, n_followers)])

    def _pays(self, shape: Params) -> bool:
        return not self.policy.light_only or gains(shape, self.widths)

    def _followed(self, shape: Params) -> Params | None:
        """Return the shape that is to be tried again, if any."""
        if self.policy.shapes == "best":
            return shape_of(self.study.best_trial.params)
        rank = sum(value > self.values[-1] for value in self.values)
        return shape if rank < len(self.values) / 4 else None

    def _followers(self, shape: Params, n: int) -> Iterator[optuna.Trial]:
        if self.policy.shapes == "match" and len(self.values) >= 10:
            yield from self._matching(shape, n)
            return
        for _ in range(n):
            yield self._ask({} if self.policy.shapes == "free" else shape)

    def _matching(self, shape: Params, n: int) -> Iterator[optuna.Trial]:
        """Draw candidates, and ask for those of ``shape``."""
        if n == 0:
            return
        space, words = dict(self.policy.space), (self.seed, len(self.values))
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        sampler = _NoLiarSampler(space, seed=seed)
        frozen = self.study.get_trials(deepcopy=False)[-1]
        drawn = (sampler.sample_relative(self.study, frozen, space) for _ in range(_N_CANDIDATES))
        for params in itertools.islice((p for p in drawn if shape_of(p) == shape), n):
            self.study.enqueue_trial(params)
            yield self._ask({})

    def _ask(self, fixed: Params) -> optuna.Trial:
        sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        self.study.sampler = PartialFixedSampler(dict(fixed), sampler) if fixed else sampler
        trial = self.study.ask()
        suggest(trial, self.policy.space)
        return trial

    def _sampler(self, n_existing: int) -> BaseSampler:
        source = sampler_source(
            self.policy.sampler, seed=self.seed, distributions=self.policy.space
        )
        found = source(n_existing)
        if self.policy.liar or not isinstance(found, KnownSpaceSampler):
            return found
        words = np.random.SeedSequence((self.seed, 0, n_existing)).generate_state(1)
        return _NoLiarSampler(self.policy.space, seed=int(words[0]))

    def _train(self, trials: list[optuna.Trial]) -> None:
        """Train trials, those of one shape as one stack and stack after stack, and tell them."""
        sizes = Counter(tuple(shape_of(trial.params).items()) for trial in trials)
        for items, k in sizes.items():
            shape = dict(items)
            spent = costs(shape, k, self.widths)
            self.clock = tuple(at + cost for at, cost in zip(self.clock, spent, strict=True))
            for trial in trials:
                if shape_of(trial.params) == shape:
                    value = float(self.task.curve(trial.params).max())
                    self.study.tell(trial, value)
                    self.values.append(value)
                    self.times.append(self.clock)


def regrets(task: Task, name: str, *, seed: int, widths: Widths) -> dict[str, float]:
    """Run one search; return the regret at each number of trials and at each wall time."""
    run = Run(task, POLICIES[name], seed=seed, widths=widths)
    while len(run.values) < _MAX_TRIALS and (
        len(run.values) < max(BUDGETS) or min(run.clock) < max(WALL_BUDGETS)
    ):
        run.go_on()
    best = task.regret(np.maximum.accumulate(run.values))
    found = {f"trials {budget}": float(best[budget - 1]) for budget in BUDGETS}
    times = np.array(run.times)
    for c, clock in enumerate(CLOCKS):
        for budget in WALL_BUDGETS:
            done = int(np.searchsorted(times[:, c], budget, side="right"))
            found[f"{clock} {budget}"] = float(best[done - 1]) if done else 1.0
    return found
