"""`MLPObjective`: a multilayer perceptron on a table, tuned over `MLP_TABLE`."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import torch

from objectives._messages import check_choice, check_count, warn_caller
from objectives.data.table import DataWarning, Split, TabularData, load_tabular
from objectives.metrics import Metric
from objectives.models.ensemble import MAX_MEMBERS, check_ensemble, check_threshold
from objectives.models.mlp import FittedModel
from objectives.objective import Ensemble, Floats, HeldOut, NetworkObjective, describe_data
from objectives.scorers import AnyMetric, get_metric, task_of
from objectives.space.hyperparameter import Params, Space, UserSpace, Value
from objectives.space.space import complete, fits, holds, make_space
from objectives.space.tables import MLP_TABLE
from objectives.training.device import Precision, pick_device, products_of
from objectives.training.mlp_cohort import MLPCohort, Training
from objectives.training.recipe import RECIPES, Loss
from objectives.training.stacked_mlp import StackedMLP
from objectives.training.tensors import Parts, Prepared, common_scaler

# Label smoothing helps where only the most likely class counts, and harms where probabilities or
# ranks do.
_SMOOTHED_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")

# Batch sizes that did well below so many training rows, on the validation rows of eight tables.
_GOOD_BATCHES = ((64, 1500), (128, 5000), (256, math.inf))

# Measured at equal time, 60 s a search: five folds gained 4.3 and 1.6 points of test score on
# tables of 700 and 1,000 rows, none at 2,000, and lost 1.6 at 2,900, where too few trials are left.
# For a number of trials instead of seconds, they cost five times as long: they pay where they gain.
_N_FOLDS, _MAX_FOLD_ROWS = 5, 1000

# At 1,500 rows of phoneme, adult, california_housing and wine_quality, one seed, the best of 20
# trials trained again on folds had 9, 4, 7 and 1% less error on fresh rows than an ensemble of the
# trials, mostly as the networks of all folds predict together; with three of them it was 11, 5, 7
# and 2%. Each takes about five times as long as it did first (compare: benchmarks/folds_rule.py).
_N_FINALISTS, _TRIALS_PER_FINALIST, _MAX_FINAL_ROWS = 2, 10, 6000


Confirm: TypeAlias = Literal["auto"] | bool | int | None


class MLPObjective(NetworkObjective[FittedModel]):
    """Train multilayer perceptrons on a table and report the tuned metric on its validation split.

    Works under plain Optuna, ``study.optimize(MLPObjective(data), n_trials=20)``, and side by side
    through `cohort`.

    Args:
        dataset: whatever `objectives.load_tabular` takes.
        target: column to predict, where ``dataset`` is a DataFrame or a file.
        metric: what is tuned, see `objectives.scorers.get_metric`; by default accuracy for classes
            and rmse for values. A metric of values such as mae makes a target of few whole numbers
            a regression.
        space: search space; by default the ranges of `MLP_TABLE`. See
            `objectives.space.make_space`.
        recipe: ``"modern"`` or ``"plain"``, see `objectives.training.recipe`.
        patience: epochs without improvement of the metric after which a trial ends; None never ends
            it.
        n_repeats: networks a trial, alike but for their seeds and trained as one stack; the value
            of an epoch is their mean, and the fitted model predicts by all of them together.
        folds: cross-validation with so many folds of the training and validation rows, one network
            a fold (and repeat) trained as one stack; the value of an epoch is their mean, and the
            fitted model predicts by all of them. None validates on the validation split alone.
            ``"auto"`` gives 5 folds to up to 1,000 rows, unless they are split by time or cannot be
            divided so, and none to others. The attribute holds what was chosen.
        confirm: how many of a search's best trials are trained again on folds, see `on_folds`;
            False for none. ``"auto"`` is one in ten trials, 2 at most, for up to 6,000 rows that
            are judged by one split, save one by time; for others the attribute is False.
        ensemble: what the result of a search predicts with: ``"auto"`` for an ensemble of trials
            where it beats the best one on held-out rows; a number for an ensemble of so many votes
            at most; False for the best trial alone.
        threshold: ``"tune"`` for a result that names the second of two classes from another
            probability than 0.5 on, where that is better for the metric on held-out rows.
        precision: of the matrix products of training: ``"float32"``, ``"bfloat16"`` for those of
            large networks, or ``"auto"`` for bfloat16 on a CPU that has it. The attribute holds
            what was chosen, see `objectives.training.device`.
        seed: of splits, folds, weights, data order and dropout.
        device: where to train; by default CUDA or MPS where there is one, else the CPU.
        data_options: further arguments of `load_tabular`, such as ``groups`` or ``class_weight``.

    Raises:
        ValueError: for bad data, an unknown metric or recipe, or an impossible space; before any
            training.

    Example:
        >>> import optuna
        >>> space = {"epochs": 2, "hidden_units": 8}
        >>> objective = MLPObjective("iris", space=space, metric="log_loss")
        >>> study = optuna.create_study(direction=objective.metric.direction)
        >>> study.optimize(objective, n_trials=2)
        >>> len(study.trials)
        2
    """

    def __init__(
        self,
        dataset: Any,
        *,
        target: str | None = None,
        metric: AnyMetric | None = None,
        space: UserSpace | None = None,
        recipe: str = "modern",
        patience: int | None = 20,
        n_repeats: int = 1,
        folds: Literal["auto"] | int | None = None,
        confirm: Confirm = False,
        ensemble: Ensemble = "auto",
        threshold: Literal["tune"] | None = None,
        precision: Precision = "auto",
        seed: int = 0,
        device: str | torch.device | None = None,
        **data_options: Any,
    ) -> None:
        check_count("patience", patience, or_none=True)
        check_count("n_repeats", n_repeats)
        _check_folds(folds)
        check_choice("precision", precision, get_args(Precision))
        check_choice("recipe", recipe, RECIPES)
        self.recipe = RECIPES[recipe]
        self.ensemble = check_ensemble(ensemble)
        self.space: Space = make_space(MLP_TABLE, space)
        if isinstance(dataset, TabularData) and data_options:
            raise ValueError(
                f"{next(iter(data_options))} must be given to load_tabular where dataset is its "
                "result; pass the table itself, or leave the argument out"
            )
        options = {"task": task_of(metric), **data_options}
        self.data: TabularData = load_tabular(dataset, target=target, seed=seed, **options)
        self.metric: Metric = get_metric(metric, self.data.task, self.data.classes)
        self.threshold = check_threshold(threshold, self.data.task)
        self.patience, self.n_repeats, self.seed = patience, n_repeats, seed
        self.device = pick_device(device)
        self.precision = products_of(precision, self.device)
        smoothing = self.recipe.label_smoothing if self.metric.name in _SMOOTHED_METRICS else 0.0
        self.loss = Loss(self.data.task, smoothing)
        self._judge_by(self._pairs(folds))
        self.confirm = self._checked(confirm)

    @property
    def portfolio(self) -> list[dict[str, Value]]:
        """Configurations that did well on other tables, as far as they lie in the space: what a
        search begins with. Their batch size follows the number of training rows.
        """
        batches = self.space["batch_size"]
        n_rows = len(self.data.train)
        good = next(size for size, limit in _GOOD_BATCHES if n_rows < limit)
        batch_size = good if holds(batches, good) else batches.default
        given = ({"batch_size": batch_size, **params} for params in self.recipe.portfolio)
        return [complete(self.space, params) for params in given if fits(self.space, params)]

    @property
    def record(self) -> dict[str, object]:
        """What trials depend on beside their hyperparameters and seeds, in plain JSON types."""
        return {
            "objective": "mlp",
            "metric": self.metric.name,
            "recipe": self.recipe.name,
            "patience": self.patience,
            "n_repeats": self.n_repeats,
            "folds": self.folds,
            "precision": self.precision,
            **describe_data(self.data),
        }

    def _held_out(self, model: FittedModel) -> Floats:
        width, parts = model.network.config["n_inputs"], []
        for number, part in enumerate(self.prepared):
            members = range(number * self.n_repeats, (number + 1) * self.n_repeats)
            with torch.inference_mode():
                valid = part.tensors.valid_x.to(torch.device("cpu"))
                outputs = [model.network.outputs(x, members) for x in valid.batches(width)]
                parts.append(model.mean_of(torch.cat(outputs, dim=1).double()))
        return torch.cat(parts).numpy().astype(np.float32)

    @property
    def n_cells(self) -> int:
        """Cells of the table that a trial trains on, which each process holds for itself."""
        return len(self.data.train) * len(self.data.train.X.columns)

    @property
    def n_members(self) -> int:
        """Networks a trial: its repeats of each fold."""
        return self.n_repeats * len(self.prepared)

    def on_folds(self, *, seed: int) -> Self:
        """Return the same objective, judged by folds that ``seed`` divides: 5 if it has none."""
        again = copy.copy(self)
        again._judge_by(self.data.folds(self.folds or _N_FOLDS, seed=seed))
        return again

    def _judge_by(self, pairs: Sequence[tuple[Split, Split]]) -> None:
        self.folds = len(pairs) if len(pairs) > 1 else None
        self.prepared = self._prepare(pairs)
        self.held_out_rows = HeldOut.of([valid for _, valid in pairs])

    def n_finalists(self, n_trials: int) -> int:
        """Return how many of the best of so many trials are to be trained again on folds."""
        if self.confirm == "auto":
            return min(_N_FINALISTS, n_trials // _TRIALS_PER_FINALIST)
        return self.confirm or 0

    def _checked(self, confirm: Confirm) -> Confirm:
        """Return ``confirm``, or False where ``"auto"`` decides against it."""
        if not confirm:
            return False
        n_rows = len(self.data.train) + len(self.data.valid)
        by_time = self.data.split["kind"] == "time"
        if confirm == "auto" and (by_time or self.folds is not None or n_rows > _MAX_FINAL_ROWS):
            return False
        try:
            self.data.folds(self.folds or _N_FOLDS, seed=self.seed)
        except ValueError as error:
            if confirm != "auto":
                raise
            if n_rows > _MAX_FOLD_ROWS:  # of fewer rows `_pairs` has said it
                warn_caller(f"the best trials are not trained again on folds: {error}", DataWarning)
            return False
        is_count = isinstance(confirm, int) and 1 <= confirm < MAX_MEMBERS and confirm is not True
        if confirm != "auto" and not is_count:
            raise ValueError(
                f"confirm must be 'auto', False or a whole number of 1 to {MAX_MEMBERS - 1}, got "
                f"confirm={confirm!r}"
            )
        return confirm

    def _pairs(self, folds: Literal["auto"] | int | None) -> list[tuple[Split, Split]]:
        """Return training and validation rows: of each fold, or of the one split."""
        if isinstance(folds, int):
            return self.data.folds(folds, seed=self.seed)
        n_rows = len(self.data.train) + len(self.data.valid)
        by_time = self.data.split["kind"] == "time"  # whose early folds have few rows to train on
        if folds == "auto" and n_rows <= _MAX_FOLD_ROWS and not by_time:
            try:
                return self.data.folds(_N_FOLDS, seed=self.seed)
            except ValueError as error:  # a class or group may be too rare for them
                warn_caller(
                    "one validation split judges each trial, which on a small table chooses by "
                    f"luck, as {_N_FOLDS} folds cannot be made: {error}",
                    DataWarning,
                )
        return [(self.data.train, self.data.valid)]

    def _prepare(self, pairs: Sequence[tuple[Split, Split]]) -> list[Prepared]:
        return [
            Prepared.fit(self.data, train, valid, recipe=self.recipe, device=self.device)
            for train, valid in pairs
        ]

    def _cohort(self, *, seed: int, refit: bool = False) -> MLPCohort[FittedModel]:
        prepared = self.prepared
        if refit:
            prepared = self._prepare([(self.data.train_and_valid(), self.data.valid)])
        training = Training(
            tensors=Parts([part.tensors for part in prepared]),
            recipe=self.recipe,
            loss=self.loss,
            metric=self.metric,
            patience=None if refit else self.patience,
            n_repeats=self.n_repeats,
            seed=seed,
            precision=self.precision,
        )
        return MLPCohort(training, lambda network, params: self._fitted(prepared, network, params))

    def _fitted(
        self, prepared: Sequence[Prepared], network: StackedMLP, params: Params
    ) -> FittedModel:
        """Return the model of a trial's networks, those of a part together."""
        scaler = common_scaler(network, [part.scaler for part in prepared])
        return FittedModel(
            network=network,
            encoders=[part.encoder for part in prepared],
            target_scaler=scaler,
            task=self.data.task,
            classes=self.data.classes,
            metric=self.metric,
            params=dict(params),
            feature_names=list(self.data.train.X.columns),
            input_columns=self.data.input_columns,
        )


def _check_folds(folds: object) -> None:
    whole = isinstance(folds, int) and not isinstance(folds, bool) and folds >= 2
    if folds not in (None, "auto") and not whole:
        raise ValueError(
            f"folds must be a whole number of at least 2 or None, or 'auto', got folds={folds!r}"
        )
