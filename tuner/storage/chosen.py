"""The model that a search's result predicts with, kept with its study, and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from objectives._messages import short
from tuner.storage.artifacts import Artifacts
from tuner.storage.trial_attrs import CHOSEN, study_attr

if TYPE_CHECKING:
    from objectives.models.ensemble import Choice, Library
    from objectives.models.mlp import FittedModel
    from objectives.objective import NetworkObjective


class Recorded(NamedTuple):
    """What a study tells of the model that its result predicts with.

    ``comparison`` is what `objectives.models.ensemble.Comparison` holds; None if it is not known.
    """

    weights: Mapping[int, float]
    comparison: Sequence[float] | None
    n_complete: int

    @property
    def heaviest_first(self) -> list[tuple[int, float]]:
        """Numbers and weights of the trials."""
        return sorted(self.weights.items(), key=lambda item: (-item[1], item[0]))


class StoredChoice(NamedTuple):
    """What an earlier call chose, and among how many complete trials."""

    choice: Choice
    n_complete: int

    @property
    def members(self) -> dict[int, FittedModel]:
        """The models of the trials that predict together, by number."""
        model = self.choice.model
        models = getattr(model, "members", (model.plain(),))
        return dict(zip(self.choice.weights, models, strict=True))


def n_complete(study: optuna.Study) -> int:
    """Count the trials that a choice is made among."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def choose(
    study: optuna.Study,
    library: Library,
    objective: NetworkObjective[FittedModel],
    members: Mapping[int, FittedModel],
    best: int,
) -> Choice:
    """Choose from the library, once it has the models of further trials; ``best`` is the best."""
    for number in sorted(members.keys() - library.numbers):
        value = study.get_trials(deepcopy=False)[number].value
        assert value is not None, "a complete trial has a value"
        predictions = objective.held_out(members[number])
        library.add(number, value, members[number], predictions, stays=number == best)
    return library.choose(
        objective.metric,
        objective.held_out_rows,
        best=best,
        ensemble=objective.ensemble,
        threshold=objective.threshold,
        seed=objective.seed,
    )


def record_choice(study: optuna.Study, choice: Choice) -> None:
    """Write into the study which trials its result predicts with, for `recorded_choice`."""
    weights = [[number, weight] for number, weight in choice.weights.items()]
    comparison = None if choice.comparison is None else list(choice.comparison)
    about = {"n_complete": n_complete(study), "weights": weights, "comparison": comparison}
    if study.user_attrs.get(CHOSEN) != about:
        study.set_user_attr(CHOSEN, about)


def recorded_choice(attributes: Mapping[str, Any]) -> Recorded | None:
    """Return what the user attributes of a study tell; None if they tell nothing."""
    about = study_attr(attributes, CHOSEN)
    if about is None:
        return None
    weights = {int(number): float(weight) for number, weight in about["weights"]}
    return Recorded(weights, about["comparison"], int(about["n_complete"]))


def stored_choice(
    study: optuna.Study, artifacts: Artifacts, load: Callable[[Path], Any]
) -> StoredChoice | None:
    """Return the choice that is kept with a study; None if there is none."""
    from objectives.models.ensemble import Choice, Comparison

    about = recorded_choice(study.user_attrs)
    model = None if about is None else artifacts.model(study, load)
    if model is None or about is None:
        return None
    comparison = None if about.comparison is None else Comparison(*about.comparison)
    return StoredChoice(Choice(model, about.weights, comparison), about.n_complete)


def alone(study: optuna.Study, number: int, model: FittedModel) -> Choice:
    """The best trial by itself, with what the study tells of how it compares."""
    from objectives.models.ensemble import Choice, Comparison

    about, weights = recorded_choice(study.user_attrs), {number: 1.0}
    is_it = about is not None and (about.n_complete, about.weights) == (n_complete(study), weights)
    values = about.comparison if about is not None and is_it else None
    return Choice(model, weights, None if values is None else Comparison(*values))


def in_words(
    choice: Choice | Recorded,
    metric: str,
    direction: str,
    default_trial: FrozenTrial | None = None,
) -> str:
    """Say how the chosen model does beside the default configuration; empty if it is not known."""
    if choice.comparison is None:
        return ""
    default, value, low, high = choice.comparison
    numbers = list(choice.weights)
    what = f"ensemble of {len(numbers)} trials" if len(numbers) > 1 else f"trial {numbers[0]}"
    is_default = default_trial is not None and numbers == [default_trial.number]
    # It is the very same, but that its probabilities may have been calibrated since.
    if low == high == 0 or (is_default and value == default):
        return (
            f"model: {what}, the default configuration, as no other is surely better: "
            f"held-out {metric} {short(value)}"
        )
    words = "no better than the default configuration, as far as the held-out rows can tell"
    if low > 0 or high < 0:
        is_better = (low > 0) == (direction == "maximize")
        words = f"{'better' if is_better else 'worse'} than the default configuration"
    return (
        f"model: {what}, {words}: held-out {metric} {short(value)} beside {short(default)}, "
        f"difference {short(value - default)} (95% interval {short(low)} to {short(high)})"
    )
