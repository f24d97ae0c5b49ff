"""`MLPCohort`: perceptrons that train side by side, those of one shape and batch size as one."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

import numpy as np
import torch
from torch import Tensor

from objectives.metrics import Metric
from objectives.objective import BestEpoch, EpochResult, Model, trial_seed
from objectives.space.hyperparameter import Params
from objectives.training.cohort import ResumableCohort
from objectives.training.device import Products, is_out_of_memory, one_thread, product_dtype
from objectives.training.recipe import Loss, Recipe
from objectives.training.stack import Member, RowOptimizer, Stack
from objectives.training.stacked_mlp import Shape, StackedMLP
from objectives.training.tensors import Parts

# Measured on two cores: from about 8 members on, a further one makes the others hardly cheaper
# (benchmarks/roofline.py).
_MAX_MEMBERS = 16

# The same: above so many multiplications a step, a stack on a CPU takes as long as its members one
# by one, which are done earlier and so prune better.
_ALONE = 10e6

_Key: TypeAlias = tuple[Hashable, int]  # of trials that train as one, and the rows of an epoch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What all members of a cohort share.

    Args:
        tensors: the rows to train and validate on: one split, or several folds.
        patience: epochs without improvement after which a trial ends; None never ends it.
        n_repeats: members a trial and fold, alike but for their seeds; the trial's value is the
            mean of all.
        seed: a trial's seed follows from it and the trial's number.
        precision: of the matrix products, see `objectives.training.device`.
    """

    tensors: Parts
    recipe: Recipe
    loss: Loss
    metric: Metric
    patience: int | None
    n_repeats: int
    seed: int
    precision: Products = "float32"

    @property
    def n_members(self) -> int:
        """Members a trial: its repeats of each fold."""
        return self.n_repeats * len(self.tensors)

    def shape(self, params: Params) -> Shape:
        """Return the shape of the network that ``params`` ask for."""
        return {
            "n_inputs": self.tensors.n_inputs,
            "n_outputs": self.tensors.targets.shape[1],
            "n_layers": int(params["n_layers"]),
            "hidden_units": int(params["hidden_units"]),
            "reference_width": self.recipe.reference_width,
        }

    def network(self, rows: Tensor, params: Params) -> StackedMLP:
        """Return a network with parameters ``rows`` (K, n_parameters), on the CPU."""
        activations = [str(params["activation"])] * len(rows)
        network = StackedMLP(activations=activations, **self.shape(params))
        network.flat = rows.detach().cpu()
        return network


@dataclass(kw_only=True)
class _Trial:
    """A trial under way: its members, and its best epoch so far."""

    params: Params
    members: list[Member]
    best: BestEpoch


class MLPCohort(ResumableCohort, Generic[Model]):
    """Multilayer perceptrons trained side by side: those of one shape and batch size as one stack.

    Args:
        training: what all of them share.
        fitted: makes a fitted model of a trial's networks, as one, and hyperparameters.
    """

    def __init__(self, training: Training, fitted: Callable[[StackedMLP, Params], Model]) -> None:
        self._training, self._fitted = training, fitted
        self._trials: dict[int, _Trial] = {}
        self._stacks: list[tuple[_Key, Stack]] = []
        self._max_members = _MAX_MEMBERS

    def has_room(self, params: Params) -> bool:
        """Say whether the trial fits into a stack that is training: same shape, not full."""
        if not self._stacks:
            return True
        stacks = [self._find(key) for key in set(self._keys(params))]
        if not all(stacks) or self._is_heavy(params):
            return False
        n_here = sum(len(stack.members) for stack in stacks if stack is not None)
        return n_here + self._training.n_members <= self._max_members

    @one_thread()
    def add(self, number: int, params: Params) -> None:
        """Take in a trial; its weights, data order and dropout follow from its own seed."""
        members = []
        for k in range(self._training.n_members):
            part = k // self._training.n_repeats
            key = self._keys(params)[part]
            stack = self._find(key) or self._new_stack(key, params)
            members.append(self._member(stack, number, k, params))
            stack.add(members[-1])
        direction, patience = self._training.metric.direction, self._training.patience
        best = BestEpoch(direction=direction, patience=patience)
        self._trials[number] = _Trial(params=params, members=members, best=best)

    @one_thread()
    def train_epoch(self) -> dict[int, EpochResult]:
        """Move every trial on by one epoch and return their results by trial number."""
        by_trial: dict[int, list[EpochResult]] = {}
        for entry in list(self._stacks):
            for member, epoch in self._train(*entry):
                by_trial.setdefault(member.number, []).append(epoch)
        return {
            number: self._result(trial, by_trial[number])
            if number in by_trial
            else EpochResult.out_of_memory(trial.members[0].epoch)
            for number, trial in self._trials.items()
        }

    def drop(self, number: int) -> None:
        """Let a trial go and free its memory; a number that is not here is no error."""
        trial = self._trials.pop(number, None)
        for member in [] if trial is None else trial.members:
            for _, stack in self._stacks:
                stack.drop(member)
        self._stacks = [(key, stack) for key, stack in self._stacks if stack.members]

    @one_thread()
    def _state(self, number: int) -> dict[str, object]:
        trial = self._trials[number]
        members = [member.state() for member in trial.members]
        return {"members": members, "best": trial.best.state()}

    @one_thread()
    def _load_state(self, number: int, state: Mapping[str, Any]) -> None:
        trial = self._trials[number]
        for member, member_state in zip(trial.members, state["members"], strict=True):
            member.load_state(member_state)
        trial.best.load_state(state["best"])

    @one_thread()
    def model(self, number: int) -> Model:
        """Return the fitted model of a trial, with the weights of its best epoch so far.

        The models of several folds and repeats predict together, by their mean.
        """
        return self._model(number, [member.best_row for member in self._trials[number].members])

    def last_model(self, number: int) -> Model:
        """Return the fitted model of a trial with its weights as they are now."""
        return self._model(number, [member.row for member in self._trials[number].members])

    def _model(self, number: int, rows: list[Tensor]) -> Model:
        params = self._trials[number].params
        return self._fitted(self._training.network(torch.stack(rows), params), params)

    def _train(self, key: _Key, stack: Stack) -> list[tuple[Member, EpochResult]]:
        """Train a stack for an epoch; where memory runs out, in halves, and so on."""
        before = None
        try:
            before = stack.snapshot()
            return stack.train_epoch()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if before is not None:
            stack.restore(before)
            del before
        if len(stack.members) == 1:
            return []
        self._max_members = max(1, len(stack.members) // 2)
        _log.warning("out of memory: a stack of %d models is halved", len(stack.members))
        other = self._new_stack(key, stack.members[0].params)
        for member in stack.members[self._max_members :]:
            stack.drop(member)
            other.add(member)
        return [*self._train(key, stack), *self._train(key, other)]

    def _result(self, trial: _Trial, steps: list[EpochResult]) -> EpochResult:
        averaged = ("value", "valid_loss", "train_loss")
        mean = {name: float(np.mean([getattr(s, name) for s in steps])) for name in averaged}
        epoch = trial.members[0].epoch - 1
        if trial.best.update(epoch, mean["value"]):
            for member in trial.members:
                member.best_row = member.row.clone()
        values = [step.value for step in steps]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        stopped = trial.best.stopped(epoch, trial.params, mean.values())
        return EpochResult(
            epoch=epoch,
            **mean,
            value_std=spread,
            learning_rate=steps[0].learning_rate,
            duration_s=sum(step.duration_s for step in steps),
            stopped="out of memory" if len(steps) < len(trial.members) else stopped,
        )

    def _member(self, stack: Stack, number: int, k: int, params: Params) -> Member:
        seeds = np.random.SeedSequence((trial_seed(self._training.seed, number), k))
        weights, order, noise = (int(word) for word in seeds.generate_state(3))
        recipe, device = self._training.recipe, self._training.tensors.device
        network = stack.network([str(params["activation"])])
        row = recipe.init(network, torch.Generator().manual_seed(weights)).to(device)
        return Member(
            number=number,
            params=params,
            row=row,
            optimizer=RowOptimizer(params, recipe, row),
            order=torch.Generator().manual_seed(order),
            noise=torch.Generator(device).manual_seed(noise),
            part=k // self._training.n_repeats,
        )

    def batch_key(self, params: Params) -> Hashable:
        """Return what trials that train as one have in common: shape and batch size."""
        return None if self._is_heavy(params) else self._alike(params)

    def epoch_cost(self, params: Params) -> float:
        """Return about how many seconds an epoch of such a trial takes on one core.

        It follows from the configuration and the data's shape alone. Measured on 45 networks and
        five tables, where the true time was between 0.52 and 1.34 of it.
        """
        rows = self._training.n_repeats * sum(self._training.tensors.n_epoch_rows)
        width, n_steps = int(params["hidden_units"]), rows / self._training.n_members
        n_steps = math.ceil(n_steps / self._step_rows(params))
        products = rows * self._n_multiplications(params) / self._step_rows(params)
        elements = rows * width * int(params["n_layers"])
        return 2.4e-3 + 186e-6 * n_steps + 30e-12 * products + 11e-9 * elements

    def _alike(self, params: Params) -> Hashable:
        return params["n_layers"], params["hidden_units"], self._step_rows(params)

    def _keys(self, params: Params) -> list[_Key]:
        """Return for each part which stack its members train in: those of as many rows share."""
        group = self._alike(params)
        return [(group, n_rows) for n_rows in self._training.tensors.n_epoch_rows]

    def _is_heavy(self, params: Params) -> bool:
        on_cpu = self._training.tensors.device.type == "cpu"
        return on_cpu and self._n_multiplications(params) > _ALONE

    def _n_multiplications(self, params: Params) -> int:
        """Count those of one step of one member: forward, and backward for weights and inputs."""
        shape = self._training.shape(params)
        width, inner = shape["hidden_units"], shape["n_layers"] - 1
        weights = width * (shape["n_inputs"] + inner * width + shape["n_outputs"])
        return 3 * self._step_rows(params) * weights

    def _step_rows(self, params: Params, n_rows: int | None = None) -> int:
        """Return the rows of a step; by default of the largest part's."""
        most = max(self._training.tensors.n_epoch_rows) if n_rows is None else n_rows
        return most if params["batch_size"] == "full" else min(int(params["batch_size"]), most)

    def _find(self, key: _Key) -> Stack | None:
        return next((stack for other, stack in self._stacks if other == key), None)

    def _new_stack(self, key: _Key, params: Params) -> Stack:
        shared, (_, n_rows) = self._training, key
        stack = Stack(
            data=shared.tensors,
            recipe=shared.recipe,
            loss=shared.loss,
            metric=shared.metric,
            batch_size=self._step_rows(params, n_rows),
            n_rows=n_rows,
            shape=shared.shape(params),
            dtype=product_dtype(shared.precision, self._n_multiplications(params)),
        )
        self._stacks.append((key, stack))
        return stack
