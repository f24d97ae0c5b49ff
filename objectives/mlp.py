"""`MLPObjective`: a multilayer perceptron on a table, its hyperparameters tuned over `MLP_TABLE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objectives.data import Split, TabularData, load_tabular
from objectives.engine import Stack, TensorData
from objectives.hyperparameters import MLP_TABLE, Value
from objectives.losses import Loss
from objectives.member import Member, RowOptimizer
from objectives.metrics import Metric, get_metric
from objectives.model import FittedModel
from objectives.objective import BestEpoch, EpochResult, run_trial, trial_seed
from objectives.preprocessing import TabularEncoder, TargetScaler
from objectives.recipe import get_recipe
from objectives.space import make_space
from objectives.stacked import StackedMLP

# Label smoothing helps where only the most likely class counts, and harms where probabilities or ranks do.
_SMOOTHED_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")

# Measured on two cores: from about 8 members on, a further one makes the others hardly any cheaper (see benchmarks/).
_MAX_MEMBERS = 16


class MLPObjective:
    """Train multilayer perceptrons on a table and report the tuned metric on its validation split.

    Works under plain Optuna, ``study.optimize(MLPObjective(data), n_trials=20)``, and side by side through `cohort`.

    Args:
        dataset: whatever `objectives.data.load_tabular` takes.
        target: column to predict, where ``dataset`` is a DataFrame or a file.
        metric: name of the metric; by default accuracy for classes and rmse for values.
        space: search space; by default the ranges of `MLP_TABLE`. See `objectives.space.make_space`.
        recipe: ``"modern"`` or ``"plain"``, see `objectives.recipe`.
        patience: epochs without improvement of the metric after which a trial ends; None never ends it.
        seed: of splits, weights, data order and dropout.
        device: where to train; by default CUDA or MPS where there is one, else the CPU.
        data_options: further arguments of `load_tabular`, such as ``groups`` or ``class_weight``.

    Raises:
        ValueError: for bad data, an unknown metric or recipe, or an impossible space; before any training.

    Example:
        >>> import optuna
        >>> objective = MLPObjective("iris", space={"epochs": 2, "hidden_units": 8}, metric="log_loss")
        >>> study = optuna.create_study(direction=objective.metric.direction)
        >>> study.optimize(objective, n_trials=2)
        >>> len(study.trials)
        2
    """

    def __init__(
        self, dataset: Any, *, target: str | None = None, metric: str | Metric | None = None,
        space: Mapping[str, Any] | None = None, recipe: str = "modern", patience: int | None = 20, seed: int = 0,
        device: str | torch.device | None = None, **data_options: Any,
    ) -> None:  # fmt: skip
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1 epoch or None, got patience={patience}")
        self.recipe = get_recipe(recipe)
        self.space = make_space(MLP_TABLE, space)
        self.data: TabularData = load_tabular(dataset, target=target, seed=seed, **data_options)
        self.metric: Metric = get_metric(metric, self.data.task)
        self.patience, self.seed = patience, seed
        self.device = torch.device(device) if device is not None else _best_device()
        smoothing = self.recipe.label_smoothing if self.metric.name in _SMOOTHED_METRICS else 0.0
        self.loss = Loss(self.data.task, smoothing)
        self.encoder = self._fit_encoder(self.data.train)
        self.scaler = TargetScaler.fit(self.data.train.y) if self.data.task == "regression" else None
        self.tensors = self._tensors(self.data.train, self.encoder)

    def cohort(self, *, seed: int) -> MLPCohort:
        """Return an empty cohort; a member's seed follows from ``seed`` and its trial number alone."""
        return MLPCohort(self, self.tensors, seed=seed, patience=self.patience)

    def __call__(self, trial: Any) -> float:
        """Train one trial of a plain Optuna study and return its best epoch's validation metric."""
        return run_trial(self, trial, seed=self.seed)

    def refit(self, params: Mapping[str, Value], *, epochs: int, seed: int, number: int = 0) -> FittedModel:
        """Train on the training and validation rows together, for ``epochs`` epochs, and return the model.

        Args:
            params: a configuration; its own ``epochs`` still sets the pace of the learning-rate schedule.
            epochs: how many epochs to train: the best epoch's number plus one.
            seed: as for `cohort`.
            number: trial number whose random streams are used.
        """
        both = _joined(self.data.train, self.data.valid)
        encoder = self._fit_encoder(both)
        cohort = MLPCohort(self, self._tensors(both, encoder), seed=seed, patience=None)
        cohort.add(number, params)
        for _ in range(epochs):
            cohort.train_epoch()
        return self.fitted(cohort.member(number).row.clone(), params, encoder)

    def fitted(self, row: Tensor, params: Mapping[str, Value], encoder: TabularEncoder | None = None) -> FittedModel:
        """Return the model with parameters ``row`` (n_parameters,)."""
        encoder = encoder or self.encoder
        network = StackedMLP(activations=[str(params["activation"])], **self.shape(params, encoder))
        network.flat = row.detach().cpu().unsqueeze(0)
        return FittedModel(
            network=network, encoder=encoder, target_scaler=self.scaler, task=self.data.task,
            classes=self.data.classes, metric=self.metric, params=dict(params),
            feature_names=list(self.data.train.X.columns),
        )  # fmt: skip

    def shape(self, params: Mapping[str, Value], encoder: TabularEncoder) -> dict[str, Any]:
        """Return the layer arguments of the `StackedMLP` that ``params`` ask for."""
        n_classes = 1 if self.data.classes is None else len(self.data.classes)
        return {
            "n_inputs": encoder.n_outputs, "n_outputs": 1 if n_classes <= 2 else n_classes,
            "n_layers": params["n_layers"], "hidden_units": params["hidden_units"],
            "reference_width": self.recipe.reference_width,
        }  # fmt: skip

    def _fit_encoder(self, split: Split) -> TabularEncoder:
        return TabularEncoder.fit(split.X, categorical=self.data.categorical, numeric=self.recipe.numeric)

    def _tensors(self, train: Split, encoder: TabularEncoder) -> TensorData:
        valid = self.data.valid
        x, valid_x = (torch.from_numpy(encoder.transform(part.X)) for part in (train, valid))
        weight = _training_weight(train, self.data.class_weight)
        tensors = {
            "x": x, "targets": self._targets(train.y), "weight": weight, "valid_x": valid_x,
            "valid_targets": self._targets(valid.y), "valid_y": torch.as_tensor(valid.y),
            "valid_weight": None if valid.weight is None else torch.as_tensor(valid.weight),
        }  # fmt: skip
        moved = {name: _move(tensor, self.device) for name, tensor in tensors.items()}
        scaler = {} if self.scaler is None else {"y_mean": self.scaler.mean, "y_scale": self.scaler.scale}
        return TensorData(**moved, **scaler)  # type: ignore[arg-type]

    def _targets(self, y: np.ndarray) -> Tensor:
        if self.scaler is not None:
            return torch.as_tensor(self.scaler.transform(y), dtype=torch.float32).unsqueeze(1)
        if self.data.task == "binary":
            return torch.as_tensor(y, dtype=torch.float32).unsqueeze(1)
        assert self.data.classes is not None, "classification has classes"
        return torch.nn.functional.one_hot(torch.as_tensor(y), len(self.data.classes)).float()


class MLPCohort:
    """Multilayer perceptrons trained side by side: those of one shape and batch size as one stack.

    Args:
        objective: brings recipe, loss, metric and shapes.
        tensors: the rows to train and validate on.
        seed: a member's seed is `trial_seed` of it and the trial's number.
        patience: see `MLPObjective`.
    """

    def __init__(self, objective: MLPObjective, tensors: TensorData, *, seed: int, patience: int | None) -> None:
        self._objective, self._tensors, self._seed, self._patience = objective, tensors, seed, patience
        self._stacks: dict[tuple[Any, ...], Stack] = {}

    def room(self, params: Mapping[str, Any]) -> bool:
        """Say whether the trial fits into the stack that is training: same shape and batch size, places left."""
        if not self._stacks:
            return True
        stack = self._stacks.get(self._key(params))
        return stack is not None and len(stack.members) < _MAX_MEMBERS

    def add(self, number: int, params: Mapping[str, Any]) -> None:
        """Take in a trial; its weights, data order and dropout follow from its own seed."""
        key = self._key(params)
        if key not in self._stacks:
            self._stacks[key] = self._new_stack(params)
        stack = self._stacks[key]
        weights, order, noise = np.random.SeedSequence(trial_seed(self._seed, number)).generate_state(3)
        network = stack.network([str(params["activation"])])
        row = self._objective.recipe.init(network, torch.Generator().manual_seed(int(weights)))
        row = row.to(self._tensors.x.device)
        stack.add(
            Member(
                number=number, params=params, row=row,
                optimizer=RowOptimizer(params, self._objective.recipe, row),
                best=BestEpoch(direction=self._objective.metric.direction, patience=self._patience),
                order=torch.Generator().manual_seed(int(order)),
                noise=torch.Generator(row.device).manual_seed(int(noise)),
            )
        )  # fmt: skip

    def train_epoch(self) -> dict[int, EpochResult]:
        """Move every member on by one epoch and return their results by trial number."""
        results: dict[int, EpochResult] = {}
        for stack in self._stacks.values():
            results |= stack.train_epoch()
        return results

    def drop(self, number: int) -> None:
        """Let a trial go and free its memory; a number that is not here is no error."""
        for stack in self._stacks.values():
            stack.drop(number)
        self._stacks = {key: stack for key, stack in self._stacks.items() if stack.members}

    def member(self, number: int) -> Member:
        """Return the member of trial ``number``."""
        return next(m for stack in self._stacks.values() for m in stack.members if m.number == number)

    def model(self, number: int) -> FittedModel:
        """Return the fitted model of a member, with the weights of its best epoch so far."""
        member = self.member(number)
        return self._objective.fitted(member.best_row, member.params)

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return (params["n_layers"], params["hidden_units"], self._rows_a_step(params))

    def _rows_a_step(self, params: Mapping[str, Any]) -> int:
        n_rows = len(self._tensors.x)
        return n_rows if params["batch_size"] == "full" else min(int(params["batch_size"]), n_rows)

    def _new_stack(self, params: Mapping[str, Any]) -> Stack:
        objective = self._objective
        shape = objective.shape(params, objective.encoder) | {"n_inputs": self._tensors.x.shape[1]}
        return Stack(
            data=self._tensors, recipe=objective.recipe, loss=objective.loss, metric=objective.metric,
            batch_size=self._rows_a_step(params), shape=shape,
        )  # fmt: skip


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _move(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    if tensor is None:
        return None
    # Metrics compare in double precision, which Apple's devices lack.
    single = tensor.float() if device.type == "mps" and tensor.dtype == torch.float64 else tensor
    return single.to(device)


def _joined(a: Split, b: Split) -> Split:
    import pandas as pd

    weight = None if a.weight is None or b.weight is None else np.concatenate([a.weight, b.weight])
    return Split(X=pd.concat([a.X, b.X], ignore_index=True), y=np.concatenate([a.y, b.y]), weight=weight)


def _training_weight(split: Split, class_weight: Mapping[int, float] | None) -> Tensor | None:
    """Return the rows' weights (n, 1) with mean 1: sample weight times class weight."""
    if split.weight is None and class_weight is None:
        return None
    weight = np.ones(len(split.y)) if split.weight is None else split.weight.astype(float)
    if class_weight is not None:
        weight = weight * np.array([class_weight[code] for code in split.y.tolist()])
    return torch.as_tensor(weight / weight.mean(), dtype=torch.float32).unsqueeze(1)
