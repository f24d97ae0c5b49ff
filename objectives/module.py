"""`ModuleObjective`: any module that a ``build`` function returns, on any dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from objectives._messages import check_count, hint, warn_caller
from objectives.data.encoders import TabularEncoder, TargetScaler
from objectives.data.table import TabularData
from objectives.images.data import ImageData
from objectives.metrics import Metric
from objectives.models.ensemble import check_ensemble, check_threshold
from objectives.models.module import FittedModule, ImageSpec, TableInputs, accepted
from objectives.objective import Ensemble, Floats, HeldOut, NetworkObjective, describe_data
from objectives.scorers import AnyMetric, get_metric, task_of
from objectives.space.hyperparameter import Params, Space, UserSpace
from objectives.space.space import defaults, free_space, make_space
from objectives.space.tables import TRAINING_TABLE
from objectives.training.device import is_out_of_memory, pick_device
from objectives.training.feeds import (
    AnySplit,
    FedSplit,
    Inputs,
    ModuleData,
    call,
    feed,
    load_module_data,
)
from objectives.training.module_cohort import ModuleCohort, ModuleTraining
from objectives.training.recipe import (
    Clip,
    LossFunction,
    OptimizerMaker,
    check_weighable,
    columns,
    make_loss,
    make_optimizer,
)


class ModuleObjective(NetworkObjective[FittedModule]):
    """Train a module of your own and report the tuned metric on the validation split.

    Hyperparameters that training knows (`objectives.space.tables.TRAINING_TABLE`: learning_rate,
    epochs, batch_size, optimizer, momentum, weight_decay, schedule, clip_norm, label_smoothing)
    steer the training loop; all others go to ``build``, and so does any of the former that it has
    an argument for. Where ``build`` has arguments of these names it is told of the data:
    ``n_inputs`` (columns of a table or of arrays (n, I)), ``n_outputs`` (1 for values and two
    classes, else the number of classes), ``n_channels`` and ``image_size`` of images.

    Args:
        build: ``build(**hyperparameters)`` returns an `nn.Module`. Its outputs have one column for
            values, one or two for two classes, else one a class: logits, without softmax. Images
            come as uint8 (B, C, H, W), values of a regression are standardised.
        dataset: see `objectives.training.feeds.load_module_data`.
        target: column to predict, in a table.
        space: hyperparameters by name, see `objectives.space.make_space`; those of ``build`` take
            a fixed value, a list, a ``(low, high)`` range or an Optuna distribution. Unless named,
            learning_rate is searched and the rest of the training loop's stay at their defaults.
        loss: ``"cross_entropy"``; ``"mse"``, ``"mae"`` or ``"huber"`` for values; or a function of
            the module's outputs and the targets: class codes (B,), or standardised values (B,).
            By default cross-entropy or squared error.
        metric: what is tuned, see `objectives.scorers.get_metric`.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``, short for ``space={"optimizer": ...}``; or
            a function of parameters and hyperparameters that returns a torch optimizer.
        schedule: ``"none"``, ``"cosine"`` or ``"one_cycle"`` (with warm-up), short for
            ``space={"schedule": ...}``; or a function of progress (0 to 1) that returns the factor
            on the learning rate.
        clip: a function of the module's parameters that changes their gradients before each step,
            in place of the hyperparameter ``clip_norm``.
        patience: epochs without improvement after which a trial ends; None never ends it.
        ensemble: what the result of a search predicts with, as of `objectives.mlp.MLPObjective`.
        threshold: likewise.
        seed: of splits, weights, data order and noise.
        device: where to train; by default CUDA or MPS where there is one, else the CPU.
        data_options: of the loader: ``task``, ``valid_size``, ``test_size``, ``groups``, ...

    Raises:
        TypeError: if ``build`` is a module itself.
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
    table: Space = TRAINING_TABLE

    def __init__(
        self,
        build: Callable[..., nn.Module],
        dataset: Any,
        *,
        target: str | None = None,
        space: UserSpace | None = None,
        loss: str | LossFunction | None = None,
        metric: AnyMetric | None = None,
        optimizer: str | OptimizerMaker | None = None,
        schedule: str | Callable[[float], float] | None = None,
        clip: Clip | None = None,
        patience: int | None = 10,
        ensemble: Ensemble = "auto",
        threshold: Literal["tune"] | None = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        **data_options: Any,
    ) -> None:
        check_count("patience", patience, or_none=True)
        self.ensemble = check_ensemble(ensemble)
        if isinstance(build, nn.Module):
            raise TypeError(
                "build must be a function that returns a new torch.nn.Module, as each trial trains "
                f"one of its own, got a module itself ({type(build).__name__}); give "
                "lambda: copy.deepcopy(module), or a function of hyperparameters"
            )
        self.build = build
        user_space = self._with_names(space or {}, optimizer=optimizer, schedule=schedule)
        self.space: Space = self._space(user_space)
        task = task_of(metric)
        options = data_options if task is None else {"task": task, **data_options}
        self.data: ModuleData = self._load(dataset, target=target, seed=seed, **options)
        self.metric: Metric = get_metric(metric, self.data.task, self.data.classes)
        self.threshold = check_threshold(threshold, self.data.task)
        self.loss = make_loss(loss, self.data.task)
        self.patience, self.seed = patience, seed
        self._optimizer = None if isinstance(optimizer, str) else optimizer
        self._schedule = None if isinstance(schedule, str) else schedule
        self._clip = clip
        self._leave_out_idle(user_space)
        self.device = pick_device(device)
        self.n_classes = 1 if self.data.classes is None else len(self.data.classes)
        self._fit_preprocessing()
        self._train, self._valid = self._fed(self.data.train), self._fed(self.data.valid)
        self.held_out_rows = HeldOut.of([self.data.valid])
        check_weighable(self.loss, self._train.weight)
        self._check_build()

    def _load(self, dataset: Any, **options: Any) -> ModuleData:
        return load_module_data(dataset, **options)

    def _with_names(self, space: UserSpace, **arguments: object) -> UserSpace:
        """Return the space with those arguments that are names, such as ``optimizer="sgd"``."""
        names = {name: value for name, value in arguments.items() if isinstance(value, str)}
        for name, value in names.items():
            if self._asks_for(name, space) and space[name] != value:
                raise ValueError(
                    f"{name} must be given once, got {name}={value!r} and {space[name]!r} in "
                    "space; leave one out"
                )
        return {**space, **names}

    def _asks_for(self, name: str, space: UserSpace) -> bool:
        """Return whether the space asks for anything but a hyperparameter's default."""
        return name in space and bool(space[name] != self.table[name].default)

    def _space(self, space: UserSpace) -> Space:
        """Return the loop's own hyperparameters and those of ``build``."""
        known = {name: entry for name, entry in space.items() if name in self.table}
        rest = {name: entry for name, entry in space.items() if name not in self.table}
        arguments = inspect.signature(self.build).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
        for name in rest:
            if name not in arguments and not takes_any:
                raise ValueError(
                    f"space must name hyperparameters of training ({', '.join(self.table)}) or "
                    f"arguments of build ({', '.join(arguments)}), got {name!r}"
                    f"{hint(name, [*self.table, *arguments])}"
                )
        return make_space(self.table, known) | free_space(rest)

    def _leave_out_idle(self, space: UserSpace) -> None:
        """Take out of the space what changes nothing for this task, loss, and functions given."""
        reasons = {
            "optimizer": "with a function as optimizer" if self._optimizer else None,
            "schedule": "with a function as schedule" if self._schedule else None,
            "clip_norm": "with a function as clip" if self._clip else None,
            "label_smoothing": "with a function as loss" if self.loss else None,
        }
        if self.data.task == "regression":
            reasons["label_smoothing"] = "for task='regression'"
        idle = {name: reason for name, reason in reasons.items() if reason is not None}
        for name, reason in idle.items():
            if name in self.table and self._asks_for(name, space):
                raise ValueError(
                    f"space must leave out {name!r} {reason}, where it changes nothing, got "
                    f"{space[name]!r}; remove it"
                )
        self.space = {name: row for name, row in self.space.items() if name not in idle}

    def _fit_preprocessing(self) -> None:
        """Fit encoder and target scaler on the training split alone."""
        data, train = self.data, self.data.train
        self.encoder: TabularEncoder | None = None
        if isinstance(data, TabularData):
            self.encoder = TabularEncoder.fit(
                data.train.X,
                categorical=data.categorical,
                numeric="standard",
                decimal_comma=data.decimal_comma,
            )
        self.scaler = TargetScaler.fit(train.y) if data.task == "regression" else None

    def _check_build(self) -> None:
        """Build the default configuration and look at two rows' outputs, before any training."""
        params = defaults(self.space)
        given = accepted(self.build, params, self.hints)
        try:
            inspect.signature(self.build).bind(**given)
        except TypeError as error:
            taken = inspect.signature(self.build).parameters.values()
            missing = [p.name for p in taken if p.default is p.empty and p.name not in given]
            raise ValueError(
                "build must take what the space names and what is told of the data "
                f"({', '.join(self.hints)}), each by its name, got {', '.join(missing)} ({error}); "
                f"give space={{{missing[0] if missing else 'name'!r}: ...}}, or a default to it"
            ) from error
        sample = self._train.rows.stream(torch.arange(2), 2)
        try:
            with torch.random.fork_rng(devices=[]), torch.inference_mode():
                module = self._build(params)
                if not isinstance(module, nn.Module):
                    raise TypeError(
                        f"build must return a torch.nn.Module, got {type(module).__name__}"
                    )
                outputs = call(module.to(self.device).eval(), next(iter(sample)))
                _trainable(module)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return  # the trial will say so, and smaller ones may fit
            raise
        if self.loss is None or self.data.task != "regression":
            self._warn_of_probabilities(columns(outputs, self.data.task, self.n_classes))

    def _warn_of_probabilities(self, outputs: Tensor) -> None:
        """Warn where the module ends in a softmax, and the loss takes another one of it."""
        sums, is_own = outputs.sum(dim=1), self.loss is None and outputs.shape[1] > 1
        if is_own and bool((outputs >= 0).all() and ((sums - 1).abs() < 1e-4).all()):
            warn_caller(
                "build returns a module whose outputs are probabilities, of which cross-entropy "
                "takes the softmax once more, so it learns slowly; leave out its own softmax"
            )

    @property
    def functions(self) -> tuple[object, ...]:
        """The user's own functions, which other processes must be able to import."""
        return self.build, self.loss, self._optimizer, self._schedule, self._clip

    @property
    def record(self) -> dict[str, object]:
        """What trials depend on beside their hyperparameters and seeds, in plain JSON types.

        Of the user's own functions, and the loss, that is their names.
        """
        given = {
            "build": self.build if self.kind == "module" else None,
            "loss": self.loss,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "clip": self._clip,
        }
        names = {
            argument: str(getattr(value, "__qualname__", None) or getattr(value, "name", value))
            for argument, value in given.items()
            if value is not None
        }
        return {
            "objective": self.kind,
            "metric": self.metric.name,
            "patience": self.patience,
            **dict.fromkeys(given),
            **names,
            **describe_data(self.data),
        }

    @property
    def hints(self) -> dict[str, object]:
        """What ``build`` is told of the data, where it has arguments of these names."""
        hints: dict[str, object] = {"n_outputs": self.n_classes if self.n_classes > 2 else 1}
        data = self.data
        if isinstance(data, ImageData):
            return hints | {"n_channels": data.n_channels, "image_size": list(data.image_size)}
        if self.encoder is not None:
            return hints | {"n_inputs": self.encoder.n_outputs}
        X = data.train.X
        return hints | ({"n_inputs": X.shape[1]} if isinstance(X, Tensor) and X.dim() == 2 else {})

    def _build(self, params: Params) -> nn.Module:
        return self.build(**accepted(self.build, params, self.hints))

    def _make_optimizer(self, module: nn.Module, params: Params) -> torch.optim.Optimizer:
        trained = _trainable(module)
        if self._optimizer is not None:
            return self._optimizer(trained, params)
        return make_optimizer(trained, params)

    def _change(self, inputs: Inputs, params: Params, generator: torch.Generator) -> Inputs:
        """Return a batch of training inputs after random changes; none here."""
        return inputs

    def _before_epoch(self, module: nn.Module, params: Params, epoch: int) -> None:
        """Prepare the module for an epoch; nothing to do here."""

    def _fed(self, split: AnySplit) -> FedSplit:
        return feed(self.data, split, encoder=self.encoder, scaler=self.scaler, device=self.device)

    def _cohort(self, *, seed: int, refit: bool = False) -> ModuleCohort[FittedModule]:
        training = ModuleTraining(
            train=self._fed(self.data.train_and_valid()) if refit else self._train,
            valid=self._valid,
            task=self.data.task,
            n_classes=self.n_classes,
            metric=self.metric,
            build=self._build,
            optimizer=self._make_optimizer,
            loss=self.loss,
            schedule=self._schedule,
            clip=self._clip,
            change=self._change,
            before_epoch=self._before_epoch,
            scaler=self.scaler,
            patience=None if refit else self.patience,
            seed=seed,
            device=self.device,
        )
        return ModuleCohort(training, self._fitted)

    def _held_out(self, model: FittedModule) -> Floats:
        model.module.to(self.device)
        try:
            average = model.average_of(self._valid.rows)
        finally:
            model.module.cpu()
        own_units = average if self.scaler is None else self.scaler.inverse(average)
        return own_units.astype(np.float32)

    def _fitted(self, module: nn.Module, params: Params) -> FittedModule:
        data, X = self.data, self.data.train.X
        table = images = None
        example = X[:1].clone() if isinstance(X, Tensor) else None
        if isinstance(data, ImageData):
            images = ImageSpec(n_channels=data.n_channels, size=data.image_size)
        if isinstance(data, TabularData) and self.encoder is not None:
            names, every = tuple(data.train.X.columns), tuple(data.input_columns)
            table = TableInputs(columns=names, input_columns=every, encoder=self.encoder)
            example = torch.zeros(1, self.encoder.n_outputs)
        return FittedModule(
            module=module,
            task=data.task,
            metric=self.metric,
            classes=data.classes,
            target_scaler=self.scaler,
            params=params,
            hints=self.hints,
            images=images,
            table=table,
            kind=self.kind,
            example=example,
        )


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(
            "build must return a module with parameters to train, got "
            f"{type(module).__name__} in which none has requires_grad; add a layer or unfreeze one"
        )
    return trainable
