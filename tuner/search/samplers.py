"""Samplers by name: ``"manual"``, ``"grid"``, ``"random"``, ``"tpe"``, or any Optuna sampler."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives._messages import check_choice

SamplerName: TypeAlias = Literal["manual", "grid", "random", "tpe"]

# Both lists of trials are made by us and queued in the study, where Optuna hands each out once,
# whatever is killed, added by hand or running elsewhere (its own GridSampler repeats or drops cells
# then). Nothing is left to sample.
LISTED: tuple[str, ...] = ("manual", "grid")


def check_sampler(sampler: SamplerName | BaseSampler) -> None:
    """Raise ValueError or TypeError unless ``sampler`` is a known name or an Optuna sampler."""
    if isinstance(sampler, str):
        check_choice("sampler", sampler, get_args(SamplerName))
    elif not isinstance(sampler, BaseSampler):
        raise TypeError(
            f"sampler must be a name or an optuna sampler, got {type(sampler).__name__}"
        )


class KnownSpaceSampler(TPESampler):
    """Optuna's multivariate TPE for a search space that is known and does not change.

    Optuna's own infers the space from all finished trials at each ask, which at 200 trials takes as
    long as the rest.

    Args:
        distributions: the space, by the names that the study stores.
        seed: of the sampler.
        alone: whether no other trial is under way, which would count as a bad one. It makes no
            difference then but that `draw` needs no trial.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], *, seed: int, alone: bool = False
    ) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=not alone)
        self._in_order = dict(distributions)
        self._distributions = dict(sorted(distributions.items()))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the known space: a copy, which `optuna.samplers.PartialFixedSampler` changes."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a whole configuration, also while TPE has too few trials to learn from.

        Optuna then draws one hyperparameter after the other, as they are asked for. A trial that
        was cut off amid that would find some in the storage and draw other values for the rest.
        """
        if drawn := super().sample_relative(study, trial, search_space):
            return drawn
        return {
            name: self.sample_independent(study, trial, name, distribution)
            for name, distribution in self._in_order.items()
            if name in search_space and not distribution.single()
        }

    def draw(self, study: Study) -> dict[str, Any]:
        """Draw a configuration for a trial that is yet to be made, while no other is under way."""
        none = create_trial(state=TrialState.WAITING)
        return self.sample_relative(study, none, dict(self._distributions))


class _SeedByName:
    """Mixed into a sampler, gives each value a seed of its own: for a space that is not known.

    A function's trial that was cut off and runs again so draws for each name what it drew before,
    whatever it finds in the storage already.

    Args:
        seed: of the sampler.
    """

    _plain: type[RandomSampler | TPESampler]

    def __init__(self, *, seed: int) -> None:
        super().__init__(seed=seed)  # type: ignore[call-arg]  # the sampler's
        self._base = seed

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one value by a sampler whose seed follows from the name."""
        sampler = self._plain(seed=_seed_of(self._base, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


class _TPEByName(_SeedByName, TPESampler):
    _plain = TPESampler


class _RandomByName(_SeedByName, RandomSampler):
    _plain = RandomSampler


def _seed_of(*parts: int | str) -> int:
    seeds = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in parts]
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def sampler_source(
    sampler: SamplerName | BaseSampler,
    *,
    seed: int,
    worker: int = 0,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> Callable[..., BaseSampler]:
    """Return a function that gives the sampler for the next trial, from the number already there.

    Optuna stores trials but not a sampler's random state, so a resumed study that reused its seed
    would draw its first points again, and so would every worker. Here each trial has a seed of its
    own, from (seed, worker, trials there): a study that was cut off draws what it would have drawn.
    A sampler object of the user's is used as it is.

    The function's keyword ``alone`` is that of `KnownSpaceSampler`.

    Args:
        sampler: a name, or an Optuna sampler.
        seed: of the study.
        worker: number of the process.
        distributions: the search space where it is known, by the names that the study stores.

    Raises:
        ValueError: for an unknown name.
    """
    check_sampler(sampler)
    if isinstance(sampler, BaseSampler):
        return lambda n_existing, *, alone=False: sampler

    def source(n_existing: int, *, alone: bool = False) -> BaseSampler:
        derived = _seed_of(seed, worker, n_existing)
        if sampler == "tpe":
            if distributions:
                return KnownSpaceSampler(distributions, seed=derived, alone=alone)
            return _TPEByName(seed=derived)
        return RandomSampler(seed=derived) if distributions else _RandomByName(seed=derived)

    return source
