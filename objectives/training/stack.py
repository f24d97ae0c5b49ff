"""Training a stack: members of one shape train together, each at its own learning rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import TypeAlias, TypedDict

import torch
from torch import Tensor

from objectives.metrics import Metric
from objectives.objective import EpochResult
from objectives.space.hyperparameter import Params
from objectives.training.device import in_double, one_thread
from objectives.training.kernels import STEPS, Steps
from objectives.training.recipe import Loss, Recipe, schedule_factor
from objectives.training.stacked_mlp import Shape, StackedMLP, Tape
from objectives.training.tensors import Parts

# Inputs and dropout masks are made for several steps at a time, this many bytes a member: small
# enough for the processor's cache, large enough that their cost a step is small.
_CHUNK_BYTES = 1 << 20

Masks: TypeAlias = list[list[Tensor | None]]


class Stack:
    """Members of one shape and batch size, trained together epoch by epoch.

    Args:
        data: the rows, of one or more parts; each member trains on its own part's.
        batch_size: rows a step and member.
        n_rows: rows an epoch and member, the same for all; None for those of the first part.
        shape: of the networks.
        dtype: of the matrix products of training; parameters, loss and metric are float32.
    """

    def __init__(
        self,
        *,
        data: Parts,
        recipe: Recipe,
        loss: Loss,
        metric: Metric,
        batch_size: int,
        shape: Shape,
        n_rows: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.members: list[Member] = []
        self._data, self._recipe, self._loss, self._metric = data, recipe, loss, metric
        self._batch_size, self._shape = batch_size, shape
        self._n_rows = data.n_epoch_rows[0] if n_rows is None else n_rows
        self._dtype = dtype
        self._net: StackedMLP | None = None

    def add(self, member: Member) -> None:
        """Take in a member."""
        # Neighbours with the same activation share one call for it.
        self.members = sorted([*self.members, member], key=lambda m: str(m.params["activation"]))
        self._net = None

    def drop(self, member: Member) -> None:
        """Let a member go."""
        self.members = [other for other in self.members if other is not member]
        self._net = None

    def network(self, activations: list[str]) -> StackedMLP:
        """Return a network of this stack's shape, with zero weights, on the data's device."""
        return StackedMLP(activations=activations, **self._shape).to(self._data.device)

    def train_epoch(self) -> list[tuple[Member, EpochResult]]:
        """Train every member for one epoch and return the results."""
        start = time.perf_counter()
        with torch.inference_mode(), one_thread():
            net = self._packed()
            rates, train_losses = self._train(net)
            values, losses = self._evaluate(net)
        share = (time.perf_counter() - start) / len(self.members)
        results = []
        for member, value, valid_loss, train_loss, rate in zip(
            self.members, values, losses, train_losses, rates, strict=True
        ):
            result = EpochResult(
                epoch=member.epoch,
                value=value,
                valid_loss=valid_loss,
                train_loss=train_loss,
                learning_rate=rate,
                duration_s=share,
            )
            results.append((member, result))
            member.epoch += 1
        return results

    def snapshot(self) -> list[MemberState]:
        """Copy the members as they are, in case memory runs out before the epoch is over."""
        return [member.state() for member in self.members]

    def restore(self, states: list[MemberState]) -> None:
        """Put the members back to what `snapshot` remembered."""
        self._net = None
        for member, state in zip(self.members, states, strict=True):
            member.load_state(state)

    def _packed(self) -> StackedMLP:
        if self._net is None:
            self._net = self.network([str(m.params["activation"]) for m in self.members])
            self._net.flat = torch.stack([m.row for m in self.members])
            self._tape = Tape(self._net, self._dtype)
            self._noise = torch.empty(0)
            for member, row in zip(self.members, self._net.flat, strict=True):
                member.row = row
        return self._net

    def _train(self, net: StackedMLP) -> tuple[list[float], list[float]]:
        """Make one epoch's steps; return each member's last learning rate and mean loss."""
        n, size = self._n_rows, self._batch_size
        n_steps = math.ceil(n / size)
        total = torch.zeros(len(self.members), device=self._data.device)
        groups = self._groups()
        step = 0
        for x, targets, weight, masks in self._chunks():
            outputs = torch.empty_like(targets)
            # All views at once: made one by one, they are up to a tenth of a small network's step.
            aims = self._loss.smoothed(targets)
            batches = [torch.split(part, size, dim=2) for part in (aims, outputs)]
            weights = repeat(None) if weight is None else torch.split(weight, size, dim=2)
            for rows, aim, held, row_weight, mask in zip(
                torch.split(x, size, dim=1), *batches, weights, masks, strict=False
            ):
                out = self._tape.forward(rows, mask)
                held.copy_(out)
                self._tape.backward(self._loss.gradient(out, aim, row_weight))
                for group in groups:
                    group.step(step / n_steps)
                step += 1
            total += self._loss.total(outputs, targets, weight)
        rates = {number: group.rate for group in groups for number in group.places}
        return [rates[place] for place in range(len(self.members))], (total / n).tolist()

    def _groups(self) -> list[_Group]:
        """Return the members by what their steps follow from: folds and repeats of a trial, or
        trials that differ elsewhere, are one group.
        """
        names = ("optimizer", "learning_rate", "momentum", "weight_decay", "epochs")
        places: dict[Hashable, list[int]] = {}
        for place, member in enumerate(self.members):
            key = (member.epoch, *(member.params[name] for name in names))
            places.setdefault(key, []).append(place)
        grads = self._tape.grad.unbind()
        return [
            _Group(
                members=[self.members[place] for place in alike],
                grads=[grads[place] for place in alike],
                places=alike,
                schedule=self._recipe.schedule,
            )
            for alike in places.values()
        ]

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Masks]]:
        """Yield the epoch's rows, some steps at a time.

        They are x (K, r, I), targets (K, C, r), weights (K, 1, r) or None, and the dropout masks
        (K, B, H) of each step.
        """
        data, size, k = self._data, self._batch_size, len(self.members)
        order = torch.stack([data.draw(m.part, m.order) for m in self.members]).to(data.device)
        parts = [m.part for m in self.members]
        floats = size * (data.n_inputs + self._shape["n_layers"] * self._shape["hidden_units"])
        rows = size * max(1, _CHUNK_BYTES // (4 * floats))
        for index in torch.split(order[:, : self._n_rows], rows, dim=1):
            flat, n = index.flatten(), index.shape[1]
            weight = None if data.weight is None else data.weight[flat].view(k, 1, n)
            targets = data.targets[flat].view(k, n, -1).transpose(1, 2).contiguous()
            yield data.inputs(parts, index), targets, weight, self._masks(n)

    def _masks(self, n_rows: int) -> Masks:
        """Draw the dropout masks (K, B, H) for so many rows: for each step, one a hidden layer."""
        n_layers, width = self._shape["n_layers"], self._shape["hidden_units"]
        n_steps = math.ceil(n_rows / self._batch_size)
        if all(m.params["dropout"] == 0 for m in self.members):
            return [[None] * n_layers] * n_steps
        size = (len(self.members), n_steps, n_layers, self._batch_size, width)
        drawn = self._room_for_noise(size)
        for member, mask in zip(self.members, drawn, strict=True):
            fill_dropout_mask(mask, float(member.params["dropout"]), member.noise)
        masks: Masks = [list(step.unbind(1)) for step in drawn.unbind(1)]
        n_last = n_rows - (n_steps - 1) * self._batch_size
        masks[-1] = [mask[:, :n_last] for mask in drawn[:, -1].unbind(1)]
        return masks

    def _room_for_noise(self, size: tuple[int, ...]) -> Tensor:
        # Memory that comes anew from the system for each chunk is a tenth of a small stack's time.
        n = math.prod(size)
        if n > len(self._noise):
            self._noise = torch.empty(n, device=self._data.device, dtype=self._dtype)
        return self._noise[:n].view(size)

    def _evaluate(self, net: StackedMLP) -> tuple[list[float], list[float]]:
        """Return each member's metric and mean loss on its part's validation rows."""
        values, losses = [math.nan] * len(self.members), [math.nan] * len(self.members)
        for part in sorted({member.part for member in self.members}):
            data = self._data[part]
            members = [k for k, member in enumerate(self.members) if member.part == part]
            batches = [net.outputs(x, members) for x in self._data.valid_batches(part)]
            outputs = torch.cat(batches, dim=1)  # (k, m, C)
            targets = data.valid_targets.t().expand(len(outputs), -1, -1)
            weight = None if data.valid_loss_weight is None else data.valid_loss_weight.t()[None]
            columns = outputs.transpose(1, 2).contiguous()
            loss = self._loss.total(columns, targets, weight) / len(data.valid_y)
            own_units = outputs if data.scaler is None else data.scaler.inverse(in_double(outputs))
            value = self._metric.batched(own_units, data.valid_y, data.valid_weight)
            for k, one_value, one_loss in zip(members, value.tolist(), loss.tolist(), strict=True):
                values[k], losses[k] = one_value, one_loss
        return values, losses


class RowOptimizer:
    """The optimizer of one member: `torch.optim.SGD`, `Adam` or `AdamW` on its row of parameters.

    ``like`` is the row (n_parameters,) to be optimised. The recipe says how Adam averages, and
    whether momentum is Nesterov's.
    """

    def __init__(
        self, params: Params, recipe: Recipe, like: Tensor, *, steps: Steps = STEPS
    ) -> None:
        mean, square = torch.zeros_like(like), torch.zeros_like(like)
        count = torch.zeros((), device=like.device)
        self.moments = (mean, square, count)
        kind, momentum = str(params["optimizer"]), float(params["momentum"])
        self._step = getattr(steps, kind)
        decay = float(params["weight_decay"])
        self._options: dict[str, float | bool] = {"weight_decay": decay, "maximize": False}
        if kind == "sgd":
            self.buffers = [[mean] if momentum > 0 else []]
            nesterov = recipe.nesterov and momentum > 0
            self._options |= {"momentum": momentum, "dampening": 0.0, "nesterov": nesterov}
        else:
            self.buffers = [[mean], [square], [], [count]]
            betas = {"beta1": 0.9, "beta2": recipe.beta2}
            self._options |= {**betas, "eps": 1e-8, "amsgrad": False}

    def joined(
        self, others: Sequence[RowOptimizer], rows: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> Callable[..., None]:
        """Return a function ``step(lr=...)`` that changes ``rows`` (n_parameters,) in place along
        ``grads``, all in one call: the first is this optimizer's, the next those of ``others``,
        which are of the same hyperparameters.
        """
        buffers = zip(*(each.buffers for each in (self, *others)), strict=True)
        lists = [list(chain(*of_all)) for of_all in buffers]
        return partial(self._step, list(rows), list(grads), *lists, **self._options)


class MemberState(TypedDict):
    """What an epoch changes of a member: its count, parameters, moments and random states."""

    epoch: int
    tensors: list[Tensor]
    generators: list[Tensor]
    best_row: Tensor


@dataclass(kw_only=True)
class Member:
    """One trial in a stack: all that is its own.

    Args:
        number: of the trial it belongs to.
        params: its hyperparameters.
        row: its parameters (n_parameters,); a view into the stack's while it trains.
        optimizer: moves the row.
        order: draws the order of the training rows.
        noise: draws the dropout masks.
        part: of `objectives.training.tensors.Parts` whose rows it trains on.
    """

    number: int
    params: Params
    row: Tensor
    optimizer: RowOptimizer
    order: torch.Generator
    noise: torch.Generator
    part: int = 0
    epoch: int = 0  # that comes next
    best_row: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Start with the first weights as the best so far."""
        self.best_row = self.row.clone()

    def state(self) -> MemberState:
        """Return all that an epoch changes, copied, and the best weights."""
        return {
            "epoch": self.epoch,
            "tensors": [t.clone() for t in (self.row, *self.optimizer.moments)],
            "generators": [g.get_state() for g in (self.order, self.noise)],
            "best_row": self.best_row,
        }

    def load_state(self, state: MemberState) -> None:
        """Go back to what `state` returned.

        Raises:
            ValueError: if it is of a network of another shape.
        """
        device = self.row.device
        best = state["best_row"].to(device)
        row, *moments = [tensor.to(device) for tensor in state["tensors"]]
        if any(t.shape != self.row.shape for t in (best, row)):
            raise ValueError(
                f"state must be of {len(self.row)} parameters, got {len(best)}; start anew"
            )
        self.epoch, self.row, self.best_row = state["epoch"], row, best
        for mine, theirs in zip(self.optimizer.moments, moments, strict=True):
            mine.copy_(theirs)
        for generator, saved in zip((self.order, self.noise), state["generators"], strict=True):
            generator.set_state(saved)


class _Group:
    """Members of a stack whose optimizers are of the same hyperparameters: one call moves them.

    Attributes:
        places: of the members in the stack.
        rate: the learning rate of the last step.
    """

    def __init__(
        self,
        *,
        members: Sequence[Member],
        grads: Sequence[Tensor],
        places: Sequence[int],
        schedule: str,
    ) -> None:
        first = members[0]
        optimizers = [member.optimizer for member in members]
        rows = [member.row for member in members]
        self._move = optimizers[0].joined(optimizers[1:], rows, grads)
        self._epoch, self._epochs = first.epoch, int(first.params["epochs"])
        self._first_rate, self._schedule = float(first.params["learning_rate"]), schedule
        self.places, self.rate = places, 0.0

    def step(self, share: float) -> None:
        """Move the members after this share of their epoch."""
        progress = (self._epoch + share) / self._epochs
        self.rate = self._first_rate * schedule_factor(self._schedule, progress)
        self._move(lr=self.rate)


def fill_dropout_mask(mask: Tensor, p: float, generator: torch.Generator) -> None:
    """Fill ``mask`` (any shape) in place with 0, with probability ``p``, else with 1 / (1 - p).

    Sixteen random bits decide a unit, so ``p`` is rounded to multiples of 1 / 65536. On a CPU
    this is eight times faster than torch's Bernoulli numbers.

    The mask lies on the generator's device, and p in [0, 1).
    """
    if p == 0:
        mask.fill_(1.0)
        return
    n_units = mask.numel()
    words = torch.empty((n_units + 3) // 4, dtype=torch.int64, device=mask.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:n_units]
    torch.ge(bits.view(mask.shape), round(p * 65536) - 32768, out=mask).mul_(1 / (1 - p))
