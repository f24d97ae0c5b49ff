"""Optimizers, schedules, clipping, losses and metrics, by name or as functions of one's own."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from objectives.metrics import Metric
from objectives.module import ModuleObjective
from tests.objectives.networks import (
    KINDS,
    SIGNALS,
    build_flat,
    line,
    regressor,
    share_of_hits,
    trained,
)

VALUES = SIGNALS.mean((1, 2)).astype(float)


def test_optimizer_and_schedule_may_be_functions():
    seen = []

    def optimizer(parameters, params):
        seen.append(params["learning_rate"])
        return torch.optim.RMSprop(parameters, lr=params["learning_rate"])

    objective = ModuleObjective(
        build_flat, (SIGNALS, KINDS), optimizer=optimizer, schedule=lambda progress: 0.5
    )

    results, _ = trained(objective, learning_rate=0.01)

    assert seen == [0.01]
    assert results[0].learning_rate == 0.005


def test_optimizer_and_schedule_may_be_names():
    objective = ModuleObjective(
        build_flat, (SIGNALS, KINDS), optimizer="sgd", schedule="none", space={"optimizer": "sgd"}
    )

    results, cohort = trained(objective)

    assert isinstance(cohort._trials[0].optimizer, torch.optim.SGD)
    assert [r.learning_rate for r in results] == [0.001, 0.001]


def test_gradients_may_be_clipped_by_a_function():
    seen = []

    def clip(parameters):
        nn.utils.clip_grad_value_(parameters, 0.01)
        seen.append(max(float(p.grad.abs().max()) for p in parameters))

    losses = [
        trained(ModuleObjective(build_flat, (SIGNALS, KINDS), optimizer="sgd", clip=c))[0][1]
        for c in (clip, None)
    ]

    assert max(seen) == pytest.approx(0.01)
    assert losses[0].train_loss != losses[1].train_loss


def worst(y_true, prediction, weight):
    return float(np.abs(y_true - prediction).max())


@pytest.mark.parametrize("y", [KINDS, KINDS > 0], ids=["three classes", "two classes"])
def test_a_metric_may_be_a_function_of_classes(y):
    own = Metric.from_function(share_of_hits, direction="maximize")

    curves = [
        [r.value for r in trained(ModuleObjective(build_flat, (SIGNALS, y), metric=m, **o))[0]]
        for m in (own, "accuracy")
        for o in [{"space": {"n_outputs": int(np.max(y)) + 1, "learning_rate": 0.03}}]
    ]

    assert curves[0] == pytest.approx(curves[1])
    assert own.name == "share_of_hits"


def test_a_metric_may_be_a_function_of_values():
    own = Metric.from_function(worst, direction="minimize", tasks=("regression",), name="gap")
    objective = ModuleObjective(regressor, (SIGNALS, KINDS), metric=own)

    results, cohort = trained(objective)

    valid = objective.data.valid
    model = cohort.model(0)
    assert model.score(valid.X, valid.y) == pytest.approx(min(r.value for r in results), rel=1e-4)
    with pytest.raises(ValueError, match="tasks must be of classes or of values"):
        Metric.from_function(worst, direction="minimize", tasks=("regression", "binary"))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_by_name_know_the_weights_of_rows(loss):
    frame = pd.DataFrame({"x": VALUES, "y": VALUES**2})
    losses = [
        trained(ModuleObjective(line, frame, target="y", loss=loss, sample_weight=weight))[0]
        for weight in (None, np.where(VALUES > 0, 9.0, 1.0))
    ]

    assert losses[0][0].train_loss != losses[1][0].train_loss
