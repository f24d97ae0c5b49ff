"""The contract between what is tuned and how it is tuned: `Objective`, `Cohort`, `EpochResult`."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

import numpy as np
import numpy.typing as npt
from optuna.exceptions import TrialPruned

from objectives.space.hyperparameter import Params, Space
from objectives.space.space import suggest

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from objectives.data.splits import Sealed
    from objectives.metrics import Metric

Model = TypeVar("Model", covariant=True)

Floats: TypeAlias = npt.NDArray[np.float32]

Ensemble: TypeAlias = Literal["auto"] | bool | int | None

PREFIX = "fusetune:"
"""How the name of every user attribute begins that this package writes; others are the user's."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch of one trial reports.

    Args:
        epoch: counted from 0.
        value: the tuned metric on the validation split; may be NaN where training diverged.
        valid_loss: the loss on the validation split.
        train_loss: the mean loss over the epoch's training batches.
        learning_rate: the step size at the end of the epoch, schedule included.
        duration_s: seconds that this trial's share of the epoch took.
        stopped: None while the trial continues, otherwise why it ended: ``"epochs"``,
            ``"patience"``, ``"diverged at epoch k"`` or ``"out of memory"``.
        value_std: where ``value`` is the mean over folds or repeats, their standard deviation.
    """

    epoch: int
    value: float
    valid_loss: float
    train_loss: float
    learning_rate: float
    duration_s: float
    stopped: str | None = None
    value_std: float | None = None

    @classmethod
    def out_of_memory(cls, epoch: int) -> Self:
        """Return the result of an epoch for which memory did not suffice."""
        unknown = dict.fromkeys(("value", "valid_loss", "train_loss", "learning_rate"), math.nan)
        return cls(epoch=epoch, **unknown, duration_s=0.0, stopped="out of memory")

    @property
    def failed(self) -> bool:
        """Whether the trial broke down (diverged or ran out of memory) rather than ended."""
        return self.stopped is not None and self.stopped not in ("epochs", "patience")


class Cohort(Protocol):
    """Trials trained side by side; each is known by its trial number."""

    def has_room(self, params: Params) -> bool:
        """Say whether such a trial would train efficiently beside those that are here."""

    def batch_key(self, params: Params) -> Hashable:
        """Return what trials that train as one have in common; None for one that trains alone."""

    def add(self, number: int, params: Params) -> None:
        """Take in a trial; it starts with the next epoch."""

    def train_epoch(self) -> Mapping[int, EpochResult]:
        """Move every member on by one epoch and return their results by trial number."""

    def drop(self, number: int) -> None:
        """Let a trial go and free its memory."""

    def model(self, number: int) -> Any:
        """Return the fitted model of a member, with the weights of its best epoch so far."""


@runtime_checkable
class SavableCohort(Cohort, Protocol):
    """A cohort whose trials can be cut off and continue in another process."""

    def state(self, number: int) -> bytes:
        """Return what determines a member's next epochs, see `objectives.training.cohort`."""

    def restore(self, number: int, params: Params, state: bytes) -> None:
        """Take in a trial where `state` left it, in place of `add`.

        Raises:
            ValueError: if ``state`` is damaged or of another trial, which is then not taken in.
        """


class Objective(Protocol):
    """What is tuned: a search space, a metric, and cohorts that train trials."""

    space: Space
    metric: Metric

    def cohort(self, *, seed: int) -> Cohort:
        """Return an empty cohort; a trial's seed follows from ``seed`` and its number alone."""

    def __call__(self, trial: BaseTrial) -> float:
        """Train one trial alone, as `optuna.Study.optimize` calls it."""


class RefitCohort(Cohort, Protocol[Model]):
    """A cohort that also gives the model of a trial as it is after its last epoch."""

    def last_model(self, number: int) -> Model:
        """Return the fitted model of a trial with its weights as they are now."""


class HeldOut(NamedTuple):
    """The rows that judge trials: of validation, or of all folds one after another.

    ``y`` are class codes or values; ``weight`` and ``group`` are None where rows count the same and
    come alone.
    """

    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None
    group: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, splits: Sequence[Any]) -> HeldOut:
        """Join the validation rows of one split or of several folds."""
        weights = [split.weight for split in splits if split.weight is not None]
        # Images and arrays have no group.
        groups = [group for s in splits if (group := getattr(s, "group", None)) is not None]
        return cls(
            np.concatenate([split.y for split in splits]),
            np.concatenate(weights) if weights else None,
            np.concatenate(groups) if groups else None,
        )


class NetworkObjective(ABC, Generic[Model]):
    """What objectives that train networks share: a trial of plain Optuna, a refitted model, and
    what models predict for the rows that judge them.

    Attributes:
        ensemble: what a search predicts with, see `objectives.space.registry.ChoiceArguments`.
        threshold: likewise.
        held_out_rows: that judge trials.
    """

    seed: int
    space: Space
    metric: Metric
    ensemble: Ensemble
    threshold: Literal["tune"] | None
    held_out_rows: HeldOut

    def held_out(self, model: Any) -> Floats:
        """Return what a model predicts for ``held_out_rows``, by networks that have not seen them:
        the probabilities of classes, or values in the target's units.
        """
        if not hasattr(model, "members"):
            return self._held_out(model)
        of_members = [self.held_out(member) for member in model.members]
        return np.tensordot(model.weights, of_members, axes=1).astype(np.float32)

    @abstractmethod
    def _held_out(self, model: Any) -> Floats:
        """Return the same of a trial's own model."""

    @abstractmethod
    def _cohort(self, *, seed: int, refit: bool = False) -> RefitCohort[Model]:
        """Return an empty cohort; to refit, one without patience on all but the test rows."""

    def cohort(self, *, seed: int) -> RefitCohort[Model]:
        """Return an empty cohort; a trial's seed follows from ``seed`` and its number alone."""
        return self._cohort(seed=seed)

    def __call__(self, trial: BaseTrial) -> float:
        """Train one trial of a plain Optuna study and return its best epoch's validation metric."""
        return run_trial(self, trial, seed=self.seed)

    def refit(self, params: Params, *, epochs: int, seed: int, number: int = 0) -> Model:
        """Train on training and validation rows together, and return the model.

        Args:
            params: a configuration; its own ``epochs`` still sets the pace of the learning-rate
                schedule.
            epochs: how many epochs to train: the best epoch's number plus one.
            seed: as for `cohort`.
            number: trial number whose random streams are used.
        """
        cohort = self._cohort(seed=seed, refit=True)
        cohort.add(number, params)
        for _ in range(epochs):
            cohort.train_epoch()
        return cohort.last_model(number)


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of trial ``number`` in a study with ``seed``."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def describe_data(data: Sealed[Any]) -> dict[str, object]:
    """Return what a study records of its data, in plain JSON types: content, split, weights."""
    weights = data.class_weight
    return {
        "task": data.task,
        "fingerprint": data.fingerprint,
        "split": data.split,
        "class_weight": None if weights is None else {str(k): w for k, w in weights.items()},
        "categorical": list(getattr(data, "categorical", ())),
    }


@dataclass(kw_only=True)
class BestEpoch:
    """The best epoch so far, and whether ``patience`` epochs have passed without a better one.

    Args:
        direction: ``"minimize"`` or ``"maximize"``.
        patience: epochs without improvement after which a trial ends; None never ends it.
    """

    direction: str
    patience: int | None
    value: float | None = None
    epoch: int = -1

    def update(self, epoch: int, value: float) -> bool:
        """Take in an epoch's value; return whether it is the best so far (a tie or NaN is not)."""
        better = operator.lt if self.direction == "minimize" else operator.gt
        improved = math.isfinite(value) and (self.value is None or better(value, self.value))
        if improved:
            self.value, self.epoch = value, epoch
        return improved

    def state(self) -> dict[str, float | None]:
        """Return value and epoch, for `load_state`."""
        return {"value": self.value, "epoch": self.epoch}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.value, self.epoch = state["value"], int(state["epoch"])

    def exhausted(self, epoch: int) -> bool:
        """Return whether patience has run out at ``epoch``."""
        return self.patience is not None and epoch - self.epoch >= self.patience

    def stopped(self, epoch: int, params: Params, numbers: Iterable[float]) -> str | None:
        """Return why a trial ends with ``epoch``, which gave ``numbers``; None if it does not."""
        if not all(map(math.isfinite, numbers)):
            return f"diverged at epoch {epoch}"
        if epoch + 1 >= int(params["epochs"]):
            return "epochs"
        return "patience" if self.exhausted(epoch) else None


@dataclass(kw_only=True)
class TrialRecord:
    """A trial's learning curve and what follows from it, as plain JSON types.

    Args:
        direction: of the metric.
        params: the whole configuration, fixed values included.
        seed: the trial's own seed.
        worker: number of the process that trains it.
        has_params: whether the study holds ``params`` already, as it does of a queued trial.
    """

    direction: str
    params: Params
    seed: int
    worker: int = 0
    has_params: bool = False
    results: list[EpochResult] = field(default_factory=list)

    def add(self, result: EpochResult) -> None:
        """Append one epoch."""
        self.results.append(result)

    @property
    def best(self) -> BestEpoch:
        """The best epoch of the curve."""
        best = BestEpoch(direction=self.direction, patience=None)
        for result in self.results:
            best.update(result.epoch, result.value)
        return best

    def attributes(self, stopped: str, *, duration_s: float | None = None) -> dict[str, Any]:
        """Return the trial's user attributes; those a trial has no value for are left out.

        They are few, as each is a write to the storage: what only tables need is one of them.

        Args:
            stopped: why the trial ended.
            duration_s: seconds that it took; by default what its epochs took.
        """
        best = self.best
        record: dict[str, object] = {
            "seed": self.seed,
            "worker": self.worker,
            "stopped": stopped,
            "epochs_run": len(self.results),
            "duration_s": sum(r.duration_s for r in self.results)
            if duration_s is None
            else duration_s,
        }
        if best.value is not None:
            record |= {"best_value": best.value, "best_epoch": best.epoch}
            spread = self.results[best.epoch].value_std
            record |= {} if spread is None else {"value_std": spread}
        finite = [result.value for result in self.results if math.isfinite(result.value)]
        record |= {"value_last": finite[-1]} if finite else {}
        params = {} if self.has_params else {"params": dict(self.params)}
        curve = {"curve": self._curve()} if self.results else {}
        written = {**curve, "record": record, **params}
        return {f"{PREFIX}{name}": value for name, value in written.items()}

    def _curve(self) -> dict[str, list[float | None]]:
        columns = ["value", "valid_loss", "train_loss", "learning_rate", "duration_s"]
        if any(result.value_std is not None for result in self.results):
            columns.append("value_std")
        return {c: [_finite(getattr(row, c)) for row in self.results] for c in columns}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def run_trial(objective: Objective, trial: BaseTrial, *, seed: int) -> float:
    """Train ``trial`` alone under plain Optuna, with reports and pruning, and return its best
    epoch's value.

    Raises:
        optuna.TrialPruned: if the study's pruner says so, or if training diverged.
    """
    params = suggest(objective.space, trial)
    record = TrialRecord(
        direction=objective.metric.direction, params=params, seed=trial_seed(seed, trial.number)
    )
    cohort = objective.cohort(seed=seed)
    cohort.add(trial.number, params)
    stopped = None
    try:
        while stopped is None:
            result = cohort.train_epoch()[trial.number]
            record.add(result)
            stopped = result.stopped
            if not result.failed:
                trial.report(result.value, step=result.epoch)
                if stopped is None and trial.should_prune():
                    stopped = "pruned"
    finally:
        cohort.drop(trial.number)
    for name, value in record.attributes(stopped).items():
        trial.set_user_attr(name, value)
    if stopped not in ("epochs", "patience"):
        raise TrialPruned(stopped)
    assert record.best.value is not None, "a trial that did not diverge has a finite value"
    return record.best.value
