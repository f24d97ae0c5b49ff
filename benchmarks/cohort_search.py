"""Simulated searches that ask for several trials at once: regret against trials and wall time.

A policy gives the trials that train next. Those of one shape (layers, width, batch size) train as
one stack, which is cheaper a member; other shapes train one after the other. TPE learns from all of
them only when they are done.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from lcbench import BUCKETS, EPOCHS, SPACE, Task, decoded, suggest
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler

from tuner.samplers import KnownSpaceSampler, sampler_source

BUDGETS = (32, 64, 96)
# In the mean time of a random trial that trains alone.
WALL_BUDGETS = (16, 32, 64)
_MAX_TRIALS = 256
# The mean over the space's batch sizes: the unit of time.
_MEAN_STEPS = float(np.mean([EPOCHS / 2**power for power in range(4, 10)]))
BASELINE = "one by one"

# How many times cheaper a member is in a stack than alone, by members and width; measured with
# benchmarks/roofline.py and benchmarks/throughput.py on one thread. Wider networks train alone.
_MEMBERS = (1, 4, 8, 16)
_SPEEDUP = {64: (1.0, 2.5, 3.5, 4.0), 128: (1.0, 1.5, 1.8, 2.0)}

# Drawn at once where followers are those candidates that happen to have the leader's shape.
_N_CANDIDATES = 24

_SHAPE = ("num_layers", "max_units", "log2_max_units", "log2_batch_size")

Params = Mapping[str, Any]
Shapes = Literal["free", "leader", "match", "good", "best"]
Widths = Literal["product", "narrow"]
# What a trial alone costs: its steps, or the same whatever its batch size.
CLOCKS = ("steps", "equal")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How trials are asked for.

    Args:
        size: trials at once, from the number of trials there are.
        shapes: ``"free"``: each trial has its own; ``"leader"``: all have that of the first;
            ``"match"``: those out of many candidates that have that of the first; ``"good"``: the
            first trains alone and is followed only if it is in the best quarter; ``"best"``: the
            first is free and all others have the shape of the best trial so far.
        sampler: ``"tpe"`` or ``"random"``.
        liar: whether TPE takes the trials under way for bad ones.
        space: the search space.
        light_only: no followers for shapes that gain nothing as a stack.
    """

    size: Callable[[int], int] = lambda n: 1
    shapes: Shapes = "free"
    sampler: Literal["tpe", "random"] = "tpe"
    liar: bool = True
    space: Mapping[str, BaseDistribution] = field(default_factory=lambda: SPACE)
    light_only: bool = False


def _fixed(k: int) -> Callable[[int], int]:
    return lambda n: k


def _shrinking(n: int) -> int:
    return 8 if n < 16 else 4 if n < 48 else 1


def _start(n: int) -> int:
    return 8 if n < 16 else 1


def _late(n: int) -> int:
    return 1 if n < 32 else 8


POLICIES: dict[str, Policy] = {
    "random": Policy(sampler="random"),
    "one by one": Policy(),
    "one by one, buckets": Policy(space=BUCKETS),
    "4, free": Policy(size=_fixed(4)),
    "8, free": Policy(size=_fixed(8)),
    "8, free, no liar": Policy(size=_fixed(8), liar=False),
    "8, free, buckets": Policy(size=_fixed(8), space=BUCKETS),
    "4, leader's": Policy(size=_fixed(4), shapes="leader"),
    "8, leader's": Policy(size=_fixed(8), shapes="leader"),
    "8, leader's, no liar": Policy(size=_fixed(8), shapes="leader", liar=False),
    "4, leader's if light": Policy(size=_fixed(4), shapes="leader", light_only=True),
    "8, leader's if light": Policy(size=_fixed(8), shapes="leader", light_only=True),
    "2, leader's if light": Policy(size=_fixed(2), shapes="leader", light_only=True),
    "8, leader's, shrinking": Policy(size=_shrinking, shapes="leader", light_only=True),
    "8, leader's, first 16": Policy(size=_start, shapes="leader", light_only=True),
    "8, leader's, from 32 on": Policy(size=_late, shapes="leader", light_only=True),
    "8, match, buckets": Policy(size=_fixed(8), shapes="match", space=BUCKETS, light_only=True),
    "2, good leader's": Policy(size=_fixed(2), shapes="good", light_only=True),
    "4, good leader's": Policy(size=_fixed(4), shapes="good", light_only=True),
    "8, good leader's": Policy(size=_fixed(8), shapes="good", light_only=True),
    "4, best trial's": Policy(size=_fixed(4), shapes="best", light_only=True),
    "8, best trial's": Policy(size=_fixed(8), shapes="best", light_only=True),
}


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
        shape = _shape(leader.params)
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
        return not self.policy.light_only or width(shape, self.widths) <= max(_SPEEDUP)

    def _followed(self, shape: Params) -> Params | None:
        """Return the shape that is to be tried again, if any."""
        if self.policy.shapes == "best":
            return _shape(self.study.best_trial.params)
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
        for params in itertools.islice((p for p in drawn if _shape(p) == shape), n):
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
        sizes = Counter(tuple(_shape(trial.params).items()) for trial in trials)
        for items, k in sizes.items():
            shape = dict(items)
            spent = costs(shape, k, self.widths)
            self.clock = tuple(at + cost for at, cost in zip(self.clock, spent, strict=True))
            for trial in trials:
                if _shape(trial.params) == shape:
                    value = float(self.task.curve(trial.params).max())
                    self.study.tell(trial, value)
                    self.values.append(value)
                    self.times.append(self.clock)


def _shape(params: Params) -> dict[str, Any]:
    return {name: params[name] for name in _SHAPE if name in params}


def width(shape: Params, widths: Widths) -> float:
    """Return the width at the same place in this project's range, 16 to 512, as in LCBench's."""
    if widths == "narrow":
        return float(min(_SPEEDUP))
    return float(2 ** (4 + (math.log2(decoded(shape)["max_units"]) - 6) * 5 / 4))


def speedup(k: int, units: float) -> float:
    """Return how many times cheaper a member is in a stack of ``k`` than alone."""
    for limit, row in _SPEEDUP.items():
        if units <= limit:
            return float(np.interp(math.log2(k), np.log2(_MEMBERS), row))
    return 1.0


def costs(shape: Params, k: int, widths: Widths) -> tuple[float, ...]:
    """Return the time of ``k`` trials of one shape by each clock."""
    each = 1 / speedup(k, width(shape, widths))
    steps = EPOCHS / float(decoded(shape)["batch_size"])
    return k * each * steps / _MEAN_STEPS, k * each


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
