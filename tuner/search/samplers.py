"""Samplers and pruners by name, or any of Optuna's.

A pruner stops a trial against *other* trials (state PRUNED); `patience` stops it against itself
(state COMPLETE).
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives._messages import check_choice, hint
from tuner.storage.trial_attrs import PRUNED

SamplerName: TypeAlias = Literal["tpe", "random", "grid", "manual", "gp", "cmaes", "qmc", "auto"]

# Both lists of trials are made by us and queued in the study, where Optuna hands each out once,
# whatever is killed, added by hand or running elsewhere (its own GridSampler repeats or drops cells
# then). Nothing is left to sample.
LISTED: tuple[str, ...] = ("manual", "grid")

INDEPENDENT: tuple[str, ...] = (*LISTED, "random", "qmc")
"""Samplers that draw each trial whatever the others have given."""

# Optuna's advice, as its AutoSampler has it: Gaussian processes for up to 250 trials of numbers.
_MAX_GP_TRIALS = 250


def check_sampler(sampler: SamplerName | BaseSampler) -> None:
    """Raise ValueError or TypeError unless ``sampler`` is a known name or an Optuna sampler, and
    ImportError if it needs a package that is not there.
    """
    if isinstance(sampler, str):
        check_choice("sampler", sampler, get_args(SamplerName))
        if sampler == "cmaes":
            try:
                import cmaes  # noqa: F401  # Optuna imports it at the first trial
            except ImportError as error:
                raise ImportError(
                    "sampler='cmaes' needs the package cmaes; pip install 'fusetune[cmaes]'"
                ) from error
    elif not isinstance(sampler, BaseSampler):
        raise TypeError(
            f"sampler must be a name or an optuna sampler, got {type(sampler).__name__}"
        )


def choose_sampler(
    sampler: SamplerName | BaseSampler,
    distributions: Mapping[str, BaseDistribution],
    n_trials: int | None,
) -> SamplerName | BaseSampler:
    """Return what ``"auto"`` stands for; any other sampler as it is.

    That is ``"gp"`` for up to 250 trials of a known space of numbers, else ``"tpe"``: the rule of
    Optuna's own AutoSampler, which goes on by CMA-ES after that.

    >>> from optuna.distributions import FloatDistribution
    >>> choose_sampler("auto", {"x": FloatDistribution(0, 1)}, 100)
    'gp'
    """
    if sampler != "auto":
        return sampler
    ranges = [d for d in distributions.values() if not d.single()]
    of_numbers = ranges and not any(isinstance(d, CategoricalDistribution) for d in ranges)
    return "gp" if of_numbers and (n_trials or 0) <= _MAX_GP_TRIALS else "tpe"


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


class _SobolByNumber(QMCSampler):
    """Optuna's scrambled Sobol points, of which a trial has the one of its number.

    Optuna counts draws in the study instead, so a trial that was cut off would get another point.

    Args:
        seed: of the scrambling; the same for all trials.
        number: of the trial.
        distributions: the space where it is known.
        others: draws what is not in the space.
    """

    def __init__(
        self,
        *,
        seed: int,
        number: int,
        distributions: Mapping[str, BaseDistribution],
        others: BaseSampler,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(
                scramble=True,
                seed=seed,
                independent_sampler=others,
                warn_independent_sampling=False,
            )
        self._number = number
        self._distributions = {n: d for n, d in distributions.items() if not d.single()}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the known space, or that of the first trial."""
        return self._distributions or super().infer_relative_search_space(study, trial)

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


def _seed_of(*parts: int | str) -> int:
    seeds = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in parts]
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])


def sampler_source(
    sampler: SamplerName | BaseSampler,
    *,
    seed: int,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> Callable[..., BaseSampler]:
    """Return a function that gives the sampler for the next trial, from the number already there.

    Optuna stores trials but not a sampler's random state, so a resumed study that reused its seed
    would draw its first points again, and so would every worker. Here each trial has a seed of its
    own, from (seed, worker, trials there): a study that was cut off draws what it would have drawn.
    A sampler object of the user's is used as it is.

    The function's keyword ``alone`` is that of `KnownSpaceSampler`, and ``worker`` the number of
    the process where several may draw at the same number of trials.

    Args:
        sampler: a name, or an Optuna sampler.
        seed: of the study.
        distributions: the search space where it is known, by the names that the study stores.

    Raises:
        ValueError: for an unknown name.
    """
    check_sampler(sampler)
    if isinstance(sampler, BaseSampler):
        return lambda n_existing, *, alone=False, worker=0: sampler

    def source(n_existing: int, *, alone: bool = False, worker: int = 0) -> BaseSampler:
        derived = _seed_of(seed, worker, n_existing)
        others = _RandomByName(seed=derived)
        if sampler == "tpe":
            if distributions:
                return KnownSpaceSampler(distributions, seed=derived, alone=alone)
            return _TPEByName(seed=derived)
        if sampler == "gp":
            return GPSampler(
                seed=derived, independent_sampler=others, warn_independent_sampling=False
            )
        if sampler == "cmaes":
            return CmaEsSampler(
                seed=derived, independent_sampler=others, warn_independent_sampling=False
            )
        if sampler == "qmc":
            known = distributions or {}
            return _SobolByNumber(seed=seed, number=n_existing, distributions=known, others=others)
        return RandomSampler(seed=derived) if distributions else _RandomByName(seed=derived)

    return source


PrunerName: TypeAlias = Literal["none", "median", "asha", "hyperband"]

_REPORTS = 20

# Trials that must be complete before a median means something; Optuna's own default.
_STARTUP_TRIALS = 5


def make_pruner(pruner: PrunerName | BasePruner, *, epochs: int) -> BasePruner:
    """Return the pruner called ``pruner``, its steps fitted to trials of at most ``epochs`` epochs.

    The first tenth of the epochs is never judged, since a learning curve says little there. ASHA
    and Hyperband keep a third at each rung, Hyperband with several first rungs.

    Raises:
        ValueError: for an unknown name.
        TypeError: for something that is no pruner.
    """
    names = get_args(PrunerName)
    if isinstance(pruner, BasePruner):
        return pruner
    if not isinstance(pruner, str):
        raise TypeError(f"pruner must be a name or an optuna pruner, got {type(pruner).__name__}")
    first = max(1, epochs // 10)
    if pruner == "none":
        return NopPruner()
    if pruner == "median":
        return MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=first)
    if pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    if pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
    raise ValueError(
        f"pruner must be one of {', '.join(names)}, got {pruner!r}{hint(pruner, names)}"
    )


def report_interval(pruner: PrunerName | BasePruner, *, epochs: int) -> int:
    """Return how many epochs lie between two reports to the pruner.

    Each report is a write to the storage, of 3 ms and more in a database, so a pruner of ours gets
    twenty or so a trial. An Optuna pruner may count steps, and gets all of them.
    """
    return max(1, epochs // _REPORTS) if isinstance(pruner, str) else 1


def why_pruned(study: optuna.Study, trial: FrozenTrial, *, step: str = "epoch") -> str:
    """Say when a trial was pruned, at what value, and what that was compared with.

    Median and percentile pruners compare the trial's best value so far with what the complete
    trials reported at the same step. Of others the class is named.

    Args:
        study: with its pruner.
        trial: as the pruner saw it, see `tuner.storage.optuna_internals.judged`.
        step: what a step is called.
    """
    last = trial.last_step
    if last is None:
        return PRUNED
    is_max = study.direction is StudyDirection.MAXIMIZE
    reports = np.array(list(trial.intermediate_values.values()), dtype=float)
    best = float(np.fmax.reduce(reports) if is_max else np.fmin.reduce(reports))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    reported = [t.intermediate_values.get(last, math.nan) for t in complete]
    others = [value for value in reported if not math.isnan(value)]
    share, bound = _percentile(study.pruner), math.nan
    if share is not None and others:
        bound = float(np.percentile(others, 100 - share if is_max else share))
    if best < bound if is_max else best > bound:
        name = "the median" if share == 50 else f"the limit of the best {share:g}%"
        digits = next(d for d in (4, 8, 17) if f"{best:.{d}g}" != f"{bound:.{d}g}")
        return (
            f"{PRUNED} at {step} {last}: {best:.{digits}g} {'below' if is_max else 'above'} "
            f"{bound:.{digits}g}, {name} of {len(others)} trials"
        )
    rung = "" if (reached := _last_rung(trial)) is None else f" at rung {reached}"
    value = trial.intermediate_values[last]
    return f"{PRUNED} at {step} {last} (value {value:.4g}) by {type(study.pruner).__name__}{rung}"


def _percentile(pruner: BasePruner) -> float | None:
    """Return the share of trials, in percent, that a percentile or median pruner lets pass; None
    for another pruner.
    """
    share = getattr(pruner, "_percentile", None)
    return share if isinstance(pruner, optuna.pruners.PercentilePruner) else None


def _last_rung(trial: FrozenTrial) -> int | None:
    """Return the last rung of successive halving that a trial has reached; None if none."""
    prefix = "completed_rung_"
    rungs = [int(k.removeprefix(prefix)) for k in trial.system_attrs if k.startswith(prefix)]
    return max(rungs, default=None)
