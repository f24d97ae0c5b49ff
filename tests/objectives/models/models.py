"""Fitted models with random weights, made without training."""

import numpy as np
import pandas as pd
import torch

from objectives.data.encoders import TabularEncoder, TargetScaler
from objectives.metrics import METRICS
from objectives.models.mlp import FittedModel
from objectives.training.stacked_mlp import StackedMLP

TABLE = pd.DataFrame(
    {
        "size": [1.0, 2.0, None, 4.0, 8.0, 3.0],
        "colour": ["red", "blue", "red", None, "blue", "red"],
        "new": [True, False, True, True, False, False],
    }
)
THREE = np.array(["cat", "cow", "dog"], dtype=object)
SCALER = TargetScaler(mean=100.0, scale=7.5)


def network(encoder, *, n_outputs=1, n_members=1):
    net = StackedMLP(
        activations=["relu", "tanh", "gelu"][:n_members],
        n_inputs=encoder.n_outputs,
        n_outputs=n_outputs,
        n_layers=2,
        hidden_units=5,
    )
    net.flat.normal_(generator=torch.Generator().manual_seed(0))
    return net


def classifier(classes=THREE, *, n_members=1, metric=METRICS["accuracy"], **options):
    encoder = TabularEncoder.fit(TABLE)
    n_outputs = len(classes) if len(classes) > 2 else 1
    return FittedModel(
        network=network(encoder, n_outputs=n_outputs, n_members=n_members),
        encoders=[encoder],
        task="multiclass" if len(classes) > 2 else "binary",
        metric=metric,
        feature_names=list(TABLE.columns),
        classes=classes,
        params={"learning_rate": 0.001, "batch_size": 64, "activation": "relu"},
        **options,
    )


def regressor(*, n_members=1):
    encoder = TabularEncoder.fit(TABLE, numeric="piecewise")
    return FittedModel(
        network=network(encoder, n_members=n_members),
        encoders=[encoder],
        task="regression",
        metric=METRICS["rmse"],
        feature_names=list(TABLE.columns),
        target_scaler=SCALER,
    )
