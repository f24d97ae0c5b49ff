"""`ModuleCohort`: any module trained epoch by epoch, with its best weights kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn

from objectives.data.encoders import TargetScaler
from objectives.data.targets import Task
from objectives.metrics import Metric
from objectives.objective import BestEpoch, EpochResult, Model, trial_seed
from objectives.space.hyperparameter import Params
from objectives.training.cohort import ResumableCohort
from objectives.training.device import (
    RandomState,
    in_double,
    is_out_of_memory,
    own_random_numbers,
    random_state,
    set_random_state,
)
from objectives.training.feeds import FedSplit, Inputs, Rows, call
from objectives.training.recipe import (
    Clip,
    LossFunction,
    ValueLoss,
    columns,
    default_loss,
    schedule_factor,
)

_EVALUATED_ROWS = 512  # a batch: few enough for the memory of a large network's activations


@dataclass(kw_only=True)
class _Trial:
    """A trial under way: its module and optimizer, random streams and best epoch so far."""

    params: Params
    module: nn.Module
    optimizer: torch.optim.Optimizer
    rates: list[float]
    order: torch.Generator
    noise: RandomState
    best: BestEpoch
    epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)


class ModuleCohort(ResumableCohort, Generic[Model]):
    """Trials of any module, one at a time.

    Args:
        training: what all of them share.
        fitted: makes a fitted model of a module and hyperparameters.
    """

    def __init__(
        self, training: ModuleTraining, fitted: Callable[[nn.Module, Params], Model]
    ) -> None:
        self._training, self._fitted = training, fitted
        self._trials: dict[int, _Trial] = {}
        self._too_large: set[int] = set()

    def has_room(self, params: Params) -> bool:
        """Say whether none trains: modules of a user's own do not train faster side by side."""
        return not self._trials and not self._too_large

    def batch_key(self, params: Params) -> Hashable:
        """Return what trials have in common that train as one: nothing but being the same."""
        return tuple(sorted((name, str(value)) for name, value in params.items()))

    def add(self, number: int, params: Params) -> None:
        """Build a trial's module; its weights, order and noise follow from its own seed."""
        shared = self._training
        seeds = np.random.SeedSequence(trial_seed(shared.seed, number)).generate_state(3)
        weights, order, noise = map(int, seeds)
        try:
            with own_random_numbers(shared.device):
                torch.manual_seed(weights)
                module = shared.build(params).to(shared.device)
                torch.manual_seed(noise)
                state = random_state(shared.device)
        except Exception as error:  # torch has no one type for a failed allocation
            if not is_out_of_memory(error):
                raise
            self._too_large.add(number)
            return
        optimizer = shared.optimizer(module, params)
        self._trials[number] = _Trial(
            params=params,
            module=module,
            optimizer=optimizer,
            rates=[float(group["lr"]) for group in optimizer.param_groups],
            order=torch.Generator().manual_seed(order),
            noise=state,
            best=BestEpoch(direction=shared.metric.direction, patience=shared.patience),
        )

    def train_epoch(self) -> dict[int, EpochResult]:
        """Move every trial on by one epoch and return their results by trial number."""
        results = {number: EpochResult.out_of_memory(0) for number in self._too_large}
        for number, trial in self._trials.items():
            try:
                results[number] = self._epoch(trial)
            except Exception as error:  # as above; the loop sees anything else
                if not is_out_of_memory(error):
                    raise
                results[number] = EpochResult.out_of_memory(trial.epoch)
        return results

    def drop(self, number: int) -> None:
        """Let a trial go and free its memory; a number that is not here is no error."""
        self._too_large.discard(number)
        self._trials.pop(number, None)

    def model(self, number: int) -> Model:
        """Return the fitted model of a trial, with the weights of its best epoch so far."""
        return self._model(self._trials[number], self._trials[number].best_state)

    def last_model(self, number: int) -> Model:
        """Return the fitted model of a trial with its weights as they are now."""
        return self._model(self._trials[number], {})

    def _model(self, trial: _Trial, state: Mapping[str, Tensor]) -> Model:
        # on the CPU, in the plain layout that files hold
        module = copy.deepcopy(trial.module).cpu().to(memory_format=torch.contiguous_format)
        if state:
            module.load_state_dict(state)
        return self._fitted(module, trial.params)

    def _state(self, number: int) -> dict[str, object]:
        trial = self._trials[number]
        return {
            "module": trial.module.state_dict(),
            "optimizer": trial.optimizer.state_dict(),
            "order": trial.order.get_state(),
            "noise": trial.noise,
            "epoch": trial.epoch,
            "best": trial.best.state(),
            "best_state": trial.best_state,
        }

    def _load_state(self, number: int, state: Mapping[str, Any]) -> None:
        if number in self._too_large:
            return
        trial = self._trials[number]
        trial.module.load_state_dict(state["module"])
        trial.optimizer.load_state_dict(state["optimizer"])
        # torch's fused optimizers rely on moments that lie in memory as their parameters do
        for parameter, moments in trial.optimizer.state.items():
            for name, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        trial.order.set_state(state["order"])
        trial.noise, trial.best_state = state["noise"], state["best_state"]
        trial.best.load_state(state["best"])
        trial.epoch = int(state["epoch"])

    def _epoch(self, trial: _Trial) -> EpochResult:
        start, epoch, shared = time.perf_counter(), trial.epoch, self._training
        shared.before_epoch(trial.module, trial.params, epoch)
        with own_random_numbers(shared.device):
            set_random_state(trial.noise, shared.device)
            train_loss, rate = self._train(trial)
            trial.noise = random_state(shared.device)
        value, valid_loss = self._evaluate(trial)
        trial.epoch += 1
        if trial.best.update(epoch, value):
            state = trial.module.state_dict()
            trial.best_state = {name: t.detach().cpu().clone() for name, t in state.items()}
        return EpochResult(
            epoch=epoch,
            value=value,
            valid_loss=valid_loss,
            train_loss=train_loss,
            learning_rate=rate,
            duration_s=time.perf_counter() - start,
            stopped=trial.best.stopped(epoch, trial.params, (value, valid_loss, train_loss)),
        )

    def _train(self, trial: _Trial) -> tuple[float, float]:
        """Make one epoch's steps; return the mean loss and the last step's learning rate."""
        shared, params = self._training, trial.params
        trial.module.train()
        order = torch.randperm(len(shared.train.rows), generator=trial.order)
        size = len(order) if params["batch_size"] == "full" else int(params["batch_size"])
        if len(order) % size == 1 and len(order) > 1:
            order = order[:-1]  # batch norm needs two rows; another one is left out each epoch
        n_steps = math.ceil(len(order) / size)
        rows = order.to(shared.device)
        total = torch.zeros((), device=shared.device)
        factor = 0.0
        for step, inputs in enumerate(shared.train.rows.stream(order, size)):
            index = rows[step * size : (step + 1) * size]
            inputs = shared.change(inputs, params, trial.order)
            progress = (trial.epoch + step / n_steps) / int(params["epochs"])
            factor = schedule_factor(shared.schedule or str(params["schedule"]), progress)
            for group, rate in zip(trial.optimizer.param_groups, trial.rates, strict=True):
                group["lr"] = rate * factor
            trial.optimizer.zero_grad(set_to_none=True)
            loss = self._loss(call(trial.module, inputs), shared.train, index, params)
            torch.autograd.backward(loss)
            longest = float(params.get("clip_norm", 0.0))
            if shared.clip is not None:
                shared.clip(list(trial.module.parameters()))
            elif longest:
                nn.utils.clip_grad_norm_(trial.module.parameters(), longest)
            trial.optimizer.step()
            total += loss.detach() * len(index)
        return float(total) / len(order), float(params["learning_rate"]) * factor

    def _loss(self, outputs: Any, split: FedSplit, index: Tensor | slice, params: Params) -> Tensor:
        shared = self._training
        weight = None if split.weight is None else split.weight[index]
        if shared.loss is not None:
            if shared.task == "regression" and isinstance(outputs, Tensor) and outputs.dim() == 2:
                outputs = columns(outputs, shared.task, shared.n_classes)[:, 0]
            if isinstance(shared.loss, ValueLoss):
                return shared.loss(outputs, split.targets[index], weight)
            return shared.loss(outputs, split.targets[index])
        return default_loss(
            columns(outputs, shared.task, shared.n_classes),
            split.targets[index],
            shared.task,
            smoothing=float(params.get("label_smoothing", 0.0)),
            weight=weight,
        )

    def _evaluate(self, trial: _Trial) -> tuple[float, float]:
        """Return the metric and the mean loss on the validation rows."""
        shared, split = self._training, self._training.valid
        outputs, total = [], torch.zeros((), device=shared.device)
        plain = {"label_smoothing": 0.0}
        for rows, batch in predictions(trial.module, split.rows):
            outputs.append(columns(batch, shared.task, shared.n_classes))
            total += self._loss(batch, split, rows, plain) * len(outputs[-1])
        joined = torch.cat(outputs)
        own_units = joined if shared.scaler is None else shared.scaler.inverse(in_double(joined))
        value = shared.metric.batched(own_units[None], split.y, split.metric_weight)
        return float(value[0]), float(total) / len(split.rows)


def predictions(module: nn.Module, rows: Rows) -> Iterator[tuple[slice, object]]:
    """Yield which rows, and what the module gives for them, in order and without gradients."""
    module.eval()
    order = torch.arange(len(rows))
    with torch.inference_mode():
        for batch, inputs in enumerate(rows.stream(order, _EVALUATED_ROWS)):
            start = batch * _EVALUATED_ROWS
            yield slice(start, start + _EVALUATED_ROWS), call(module, inputs)


@dataclass(frozen=True, kw_only=True)
class ModuleTraining:
    """What all trials of a cohort share: data, metric, functions, and where to train.

    Args:
        n_classes: 1 for regression.
        build: makes a module for hyperparameters.
        optimizer: makes the optimizer of a module for hyperparameters.
        loss: of outputs and targets; None for the task's own.
        schedule: factor on the learning rate by progress; None for the hyperparameter ``schedule``.
        clip: changes the gradients of parameters before a step; None for ``clip_norm``.
        change: random changes of a batch of training inputs.
        before_epoch: called with module, hyperparameters and epoch before each.
        scaler: takes outputs to the units of a regression target; None for classes.
        patience: epochs without improvement after which a trial ends; None never ends it.
        seed: a trial's seed follows from it and the trial's number.
    """

    train: FedSplit
    valid: FedSplit
    task: Task
    n_classes: int
    metric: Metric
    build: Callable[[Params], nn.Module]
    optimizer: Callable[[nn.Module, Params], torch.optim.Optimizer]
    loss: LossFunction | None
    schedule: Callable[[float], float] | None
    clip: Clip | None
    change: Callable[[Inputs, Params, torch.Generator], Inputs]
    before_epoch: Callable[[nn.Module, Params, int], None]
    scaler: TargetScaler | None
    patience: int | None
    seed: int
    device: torch.device
