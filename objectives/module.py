"""`ModuleObjective`: any module that a ``build`` function returns, on any dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from objectives.configurations import defaults
from objectives.data import frame_from
from objectives.feeds import ImageRows, Inputs, ModuleData, TensorRows, call, map_inputs
from objectives.hyperparameters import Hyperparameter, Value
from objectives.image_data import ImageData
from objectives.messages import hint
from objectives.metrics import Metric, get_metric
from objectives.mlp import check_count, task_of
from objectives.module_cohort import FedSplit, ModuleCohort, ModuleTraining
from objectives.module_data import load_module_data
from objectives.module_model import FittedModule, ImageSpec, accepted
from objectives.module_training import (
    LossFunction,
    OptimizerMaker,
    columns,
    make_loss,
    make_optimizer,
)
from objectives.objective import run_trial
from objectives.prepared import pick_device, training_weight
from objectives.preprocessing import TabularEncoder, TargetScaler
from objectives.space import free_space, make_space
from objectives.tabular import TabularData
from objectives.training_table import TRAINING_TABLE


class ModuleObjective:
    """Train a module of your own and report the tuned metric on the validation split.

    Hyperparameters that training knows (`objectives.training_table.TRAINING_TABLE`: learning_rate,
    epochs, batch_size, optimizer, momentum, weight_decay, schedule, clip_norm, label_smoothing)
    steer the training loop; all others go to ``build``, and so does any of the former that it has
    an argument for. Where ``build`` has arguments of these names it is told of the data:
    ``n_inputs`` (columns of a table or of arrays (n, I)), ``n_outputs`` (1 for values and two
    classes, else the number of classes), ``n_channels`` and ``image_size`` of images.

    Args:
        build: ``build(**hyperparameters)`` returns an `nn.Module`. Its outputs have one column for
            values, one or two for two classes, else one a class: logits, without softmax. Images
            come as uint8 (B, C, H, W), values of a regression are standardised.
        dataset: see `objectives.module_data.load_module_data`.
        target: column to predict, in a table.
        space: hyperparameters by name, see `objectives.space.make_space`; those of ``build`` take
            a fixed value, a list, a ``(low, high)`` range or an Optuna distribution. Unless named,
            learning_rate is searched and the rest of the training loop's stay at their defaults.
        loss: ``"cross_entropy"``; ``"mse"``, ``"mae"`` or ``"huber"`` for values; or a function of
            the module's outputs and the targets: class codes (B,), or standardised values (B,).
            By default cross-entropy or squared error.
        metric: name of the tuned metric, or a `Metric`.
        optimizer: a function of parameters and hyperparameters that returns a torch optimizer, in
            place of the hyperparameter ``optimizer``.
        schedule: a function of progress (0 to 1) that returns the factor on the learning rate, in
            place of the hyperparameter ``schedule``.
        patience: epochs without improvement after which a trial ends; None never ends it.
        seed: of splits, weights, data order and noise.
        device: where to train; by default CUDA or MPS where there is one, else the CPU.
        data_options: of the loader: ``task``, ``valid_size``, ``test_size``, ``groups``, ...

    Raises:
        ValueError: for bad data, a hyperparameter that neither training nor ``build`` takes, or a
            module whose outputs do not fit the task; before any training.

    Example:
        >>> import optuna
        >>> def build(n_inputs, n_outputs, width):
        ...     return nn.Sequential(
        ...         nn.Linear(n_inputs, width), nn.ReLU(), nn.Linear(width, n_outputs)
        ...     )
        >>> objective = ModuleObjective(build, "iris", space={"width": [8, 16], "epochs": 2})
        >>> study = optuna.create_study(direction=objective.metric.direction)
        >>> study.optimize(objective, n_trials=2)
        >>> len(study.trials)
        2
    """

    kind = "module"
    table: Mapping[str, Hyperparameter] = TRAINING_TABLE

    def __init__(
        self,
        build: Callable[..., nn.Module],
        dataset: Any,
        *,
        target: str | None = None,
        space: Mapping[str, Any] | None = None,
        loss: str | LossFunction | None = None,
        metric: str | Metric | None = None,
        optimizer: OptimizerMaker | None = None,
        schedule: Callable[[float], float] | None = None,
        patience: int | None = 10,
        seed: int = 0,
        device: str | torch.device | None = None,
        **data_options: Any,
    ) -> None:
        check_count("patience", patience)
        self.build = build
        self.space: Mapping[str, Hyperparameter] = self._space(space or {})
        options = (
            data_options if task_of(metric) is None else {"task": task_of(metric)} | data_options
        )
        self.data: ModuleData = self._load(dataset, target=target, seed=seed, **options)
        self.metric: Metric = get_metric(metric, self.data.task)
        self.loss = make_loss(loss, self.data.task)
        self.patience, self.seed = patience, seed
        self._optimizer, self._schedule = optimizer, schedule
        self.device = pick_device(device)
        self.n_classes = 1 if self.data.classes is None else len(self.data.classes)
        self._fit_preprocessing()
        self._train, self._valid = self._fed(self.data.train), self._fed(self.data.valid)
        self._check_build()

    def cohort(self, *, seed: int) -> ModuleCohort:
        """Return an empty cohort; a trial's seed follows from ``seed`` and its number alone."""
        return self._cohort(self._train, seed=seed, patience=self.patience)

    def __call__(self, trial: Any) -> float:
        """Train one trial of a plain Optuna study and return its best epoch's validation metric."""
        return run_trial(self, trial, seed=self.seed)

    def refit(
        self, params: Mapping[str, Value], *, epochs: int, seed: int, number: int = 0
    ) -> FittedModule:
        """Train on training and validation rows together, and return the model.

        Args:
            params: a configuration; its own ``epochs`` still sets the pace of the learning-rate
                schedule.
            epochs: how many epochs to train.
            seed: as for `cohort`.
            number: trial number whose random streams are used.
        """
        both = self._fed(self.data.train_and_valid())
        cohort = self._cohort(both, seed=seed, patience=None)
        cohort.add(number, params)
        for _ in range(epochs):
            cohort.train_epoch()
        return cohort.last_model(number)  # type: ignore[no-any-return]

    def _load(self, dataset: Any, **options: Any) -> ModuleData:
        return load_module_data(dataset, **options)

    def _space(self, space: Mapping[str, Any]) -> dict[str, Hyperparameter]:
        """Return the loop's own hyperparameters and those of ``build``."""
        known = {name: wish for name, wish in space.items() if name in self.table}
        rest = {name: wish for name, wish in space.items() if name not in self.table}
        arguments = inspect.signature(self.build).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
        for name in rest:
            if name not in arguments and not takes_any:
                names = [*self.table, *arguments]
                raise ValueError(
                    f"space must name hyperparameters of training ({', '.join(self.table)}) or "
                    f"arguments of build ({', '.join(arguments)}), got {name!r}{hint(name, names)}"
                )
        return make_space(self.table, known) | free_space(rest)

    def _fit_preprocessing(self) -> None:
        """Fit encoder and target scaler on the training split alone."""
        data, train = self.data, self.data.train
        self.encoder: TabularEncoder | None = None
        if isinstance(data, TabularData):
            self.encoder = TabularEncoder.fit(
                data.train.X, categorical=data.categorical, numeric="standard"
            )
        self.scaler = TargetScaler.fit(train.y) if data.task == "regression" else None

    def _check_build(self) -> None:
        """Build the default configuration and look at two rows' outputs, before any training."""
        sample = self._train.rows.stream(torch.arange(2), 2)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            module = self._build(defaults(self.space))
            if not isinstance(module, nn.Module):
                raise TypeError(f"build must return a torch.nn.Module, got {type(module).__name__}")
            outputs = call(module.to(self.device).eval(), next(iter(sample)))
        if self.loss is None or self.data.task != "regression":
            columns(outputs, self.data.task, self.n_classes)

    @property
    def functions(self) -> tuple[Any, ...]:
        """The user's own functions, which other processes must be able to import."""
        return self.build, self.loss, self._optimizer, self._schedule

    @property
    def hints(self) -> dict[str, Any]:
        """What ``build`` is told of the data, where it has arguments of these names."""
        found: dict[str, Any] = {"n_outputs": self.n_classes if self.n_classes > 2 else 1}
        data = self.data
        if isinstance(data, ImageData):
            return found | {"n_channels": data.n_channels, "image_size": list(data.image_size)}
        if self.encoder is not None:
            return found | {"n_inputs": self.encoder.n_outputs}
        X = data.train.X
        return found | ({"n_inputs": X.shape[1]} if isinstance(X, Tensor) and X.dim() == 2 else {})

    def _build(self, params: Mapping[str, Any]) -> nn.Module:
        return self.build(**accepted(self.build, params, self.hints))

    def _make_optimizer(
        self, module: nn.Module, params: Mapping[str, Any]
    ) -> torch.optim.Optimizer:
        trained = [p for p in module.parameters() if p.requires_grad]
        if self._optimizer is not None:
            return self._optimizer(trained, params)
        return make_optimizer(trained, params)

    def _change(self) -> Callable[[Inputs, Mapping[str, Any], torch.Generator], Inputs] | None:
        return None

    def _before_epoch(self) -> Callable[[nn.Module, Mapping[str, Any], int], None] | None:
        return None

    def _fed(self, split: Any) -> FedSplit:
        """Return a split as training takes it, on the device."""
        y = torch.as_tensor(split.y).to(self.device)
        targets = y if self.scaler is None else self.scaler.transform(y).float()
        weight = training_weight(split, self.data.class_weight)
        moved = None if weight is None else weight[:, 0].to(self.device)
        if isinstance(self.data, ImageData):
            held = split.images  # what fits in memory goes to the device once
            rows: Any = ImageRows(split, self.device)
            if held is not None:
                rows = TensorRows(held.to(self.device))
        else:
            X = split.X if self.encoder is None else self._encode(split.X)
            rows = TensorRows(map_inputs(X, lambda tensor: tensor.to(self.device)))
        return FedSplit(rows=rows, y=y, targets=targets, weight=moved)

    def _example(self) -> Tensor | None:
        if self.encoder is not None:
            return torch.zeros(1, self.encoder.n_outputs)
        X = self.data.train.X
        return X[:1].clone() if isinstance(X, Tensor) else None

    def _encode(self, frame: Any) -> Tensor:
        assert self.encoder is not None, "a table has an encoder"
        return torch.from_numpy(self.encoder.transform(frame))

    def _cohort(self, train: FedSplit, *, seed: int, patience: int | None) -> ModuleCohort:
        training = ModuleTraining(
            train=train, valid=self._valid, task=self.data.task,
            n_classes=self.n_classes, metric=self.metric, build=self._build,
            optimizer=self._make_optimizer, loss=self.loss, schedule=self._schedule,
            change=self._change(), before_epoch=self._before_epoch(), scaler=self.scaler,
            patience=patience, seed=seed, device=self.device,
        )  # fmt: skip
        return ModuleCohort(training, self._fitted)

    def _fitted(self, module: nn.Module, params: Mapping[str, Any]) -> FittedModule:
        data = self.data
        images = None
        if isinstance(data, ImageData):
            images = ImageSpec(n_channels=data.n_channels, size=data.image_size)
        return FittedModule(
            module=module, task=data.task, metric=self.metric, classes=data.classes,
            target_scaler=self.scaler, params=params, hints=self.hints, images=images,
            table=None if self.encoder is None else TableInputs(data, self.encoder),
            kind=self.kind, example=self._example(),
        )  # fmt: skip


class TableInputs:
    """Turns tables as they were handed in into a module's inputs (n, I).

    Args:
        data: the table that was trained on.
        encoder: fitted on its training split.
    """

    def __init__(self, data: Any, encoder: TabularEncoder) -> None:
        self.columns, self.input_columns = list(data.train.X.columns), data.input_columns
        self.encoder = encoder

    def __call__(self, X: Any) -> Tensor:
        """Return the inputs for ``X``, a table or an array of all columns."""
        frame = frame_from(X, self.columns, input_columns=self.input_columns)
        return torch.from_numpy(self.encoder.transform(frame))
