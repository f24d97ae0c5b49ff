"""Small modules and data for the tests of objectives that train any module."""

import numpy as np
import torch
from torch import nn

from objectives.space.space import defaults

rng = np.random.default_rng(0)
SIGNALS = rng.normal(size=(80, 2, 5)).astype(np.float32)
KINDS = (SIGNALS.mean((1, 2)) > 0).astype(int) + (SIGNALS.mean((1, 2)) > 0.3)
PICTURES = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
PICTURES[::2, :4] //= 4  # every other one is dark above
SHADES = np.array(["dark", "light"] * 30)


def build_flat(width=8, dropout=0.1, n_outputs=3):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(10, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, n_outputs),
    )


class TwoInputs(nn.Module):
    """A module of a number and a category."""

    def __init__(self, width=4):
        super().__init__()
        self.level = nn.Embedding(3, width)
        self.out = nn.Linear(width + 2, 1)

    def forward(self, x, level):
        return self.out(torch.cat([x, self.level(level)], dim=1))[:, 0]


def trained(objective, n_epochs=2, **params):
    cohort = objective.cohort(seed=0)
    cohort.add(0, defaults(objective.space) | params)
    results = [cohort.train_epoch()[0] for _ in range(n_epochs)]
    return results, cohort


def line(n_inputs, n_outputs):
    return nn.Linear(n_inputs, n_outputs)


def regressor():
    return build_flat(n_outputs=1)


def share_of_hits(y_true, prediction, weight):
    return float(np.average(prediction.argmax(1) == y_true, weights=weight))
