"""The model that a search's result predicts with, kept with its study, and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import TrialState

from objectives._messages import short
from objectives.objective import PREFIX
from tuner.storage.artifacts import Artifacts
from tuner.storage.trial_attrs import study_metric

if TYPE_CHECKING:
    from objectives.mlp import MLPObjective
    from objectives.models.ensemble import Choice, Library
    from objectives.models.mlp import FittedModel

_CHOSEN = f"{PREFIX}chosen_model"  # the user attribute of a study that tells of the model


class StoredChoice(NamedTuple):
    """What an earlier call chose, and among how many complete trials."""

    choice: Choice
    n_complete: int

    @property
    def members(self) -> dict[int, FittedModel]:
        """The models of the trials that predict together, by number."""
        model = self.choice.model
        models = getattr(model, "members", (model.at_temperature(1.0),))
        return dict(zip(self.choice.weights, models, strict=True))


def n_complete(study: optuna.Study) -> int:
    """Count the trials that a choice is made among."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def choose(
    study: optuna.Study,
    library: Library,
    objective: MLPObjective,
    members: Mapping[int, FittedModel],
    best: int,
) -> Choice:
    """Choose from the library, once it has the models of further trials; ``best`` is the best."""
    for number in sorted(members.keys() - library.numbers):
        value = study.get_trials(deepcopy=False)[number].value
        assert value is not None, "a complete trial has a value"
        library.add(number, value, members[number], objective.held_out(members[number]))
    return library.choose(
        objective.metric,
        objective.held_out_rows,
        best=best,
        ensemble=objective.ensemble,
        seed=objective.seed,
    )


def keep_choice(
    study: optuna.Study, artifacts: Artifacts, choice: Choice | None, *, n_complete: int
) -> None:
    """Keep a choice as an artifact of the study, in place of an earlier one; None keeps none."""
    if choice is not None:
        weights = [[number, weight] for number, weight in choice.weights.items()]
        about = {"n_complete": n_complete, "weights": weights, "comparison": choice.comparison}
        study.set_user_attr(_CHOSEN, about)
    artifacts.keep_chosen(study, None if choice is None else choice.model)


def stored_choice(
    study: optuna.Study, artifacts: Artifacts, load: Callable[[Path], Any]
) -> StoredChoice | None:
    """Return the choice that is kept with a study; None if there is none."""
    from objectives.models.ensemble import Choice, Comparison

    about = study.user_attrs.get(_CHOSEN)
    model = artifacts.model(study, load) if isinstance(about, dict) else None
    if model is None or not isinstance(about, dict):
        return None
    weights = {int(number): float(weight) for number, weight in about["weights"]}
    values = about["comparison"]
    comparison = None if values is None else Comparison(*values)
    return StoredChoice(Choice(model, weights, comparison), int(about["n_complete"]))


def in_words(choice: Choice, study: optuna.Study) -> str:
    """Say how the chosen model does beside the default configuration; empty if it is not known."""
    if choice.comparison is None:
        return ""
    metric, direction = study_metric(study)
    default, value, low, high = choice.comparison
    numbers = list(choice.weights)
    what = f"ensemble of {len(numbers)} trials" if len(numbers) > 1 else f"trial {numbers[0]}"
    words = "no better than the default configuration, as far as the held-out rows can tell"
    if low > 0 or high < 0:
        is_better = (low > 0) == (direction == "maximize")
        words = f"{'better' if is_better else 'worse'} than the default configuration"
    return (
        f"model: {what}, {words}: held-out {metric} {short(value)} beside {short(default)}, "
        f"difference {short(value - default)} (95% interval {short(low)} to {short(high)})"
    )
