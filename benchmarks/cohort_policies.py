"""The ways to ask for trials that `cohort_search` compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lcbench import BUCKETS, SPACE
from optuna.distributions import BaseDistribution

BASELINE = "one by one"

Shapes = Literal["free", "leader", "match", "good", "best"]


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


def _from(start: int, k: int) -> Callable[[int], int]:
    return lambda n: 1 if n < start else k


# "From 10 on": TPE's first ten trials are random, and one shape for all would cover too few.
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
    "8, leader's, from 32 on": Policy(size=_from(32, 8), shapes="leader", light_only=True),
    "2, leader's, from 10 on": Policy(size=_from(10, 2), shapes="leader", light_only=True),
    "4, leader's, from 10 on": Policy(size=_from(10, 4), shapes="leader", light_only=True),
    "8, leader's, from 10 on": Policy(size=_from(10, 8), shapes="leader", light_only=True),
    "8, match, buckets": Policy(size=_fixed(8), shapes="match", space=BUCKETS, light_only=True),
    "2, good leader's": Policy(size=_from(10, 2), shapes="good", light_only=True),
    "4, good leader's": Policy(size=_from(10, 4), shapes="good", light_only=True),
    "8, good leader's": Policy(size=_from(10, 8), shapes="good", light_only=True),
    "4, best trial's": Policy(size=_from(10, 4), shapes="best", light_only=True),
    "8, best trial's": Policy(size=_from(10, 8), shapes="best", light_only=True),
}
