"""The hyperparameters of training that any network has: what the loop of `objectives.module` knows.

Names, ranges and sources are those of `MLP_TABLE`, less what belongs to a perceptron's shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from objectives.hyperparameters import MLP_TABLE, Hyperparameter

AUGMENTATIONS = ("none", "crop", "flip_crop", "trivial")  # see `objectives.augment`
SCHEDULES = ("none", "cosine", "one_cycle")

_SCHEDULE = Hyperparameter(
    name="schedule",
    kind="choice",
    default="cosine",
    words=SCHEDULES,
    grid=SCHEDULES,
    help="course of the learning rate over a trial's epochs: constant, falling as a cosine, or "
    "rising over the first three tenths and falling after",
    source="Loshchilov & Hutter 2017; Smith & Topin 2018",
)
_CLIP = Hyperparameter(
    name="clip_norm",
    kind="float",
    default=0.0,
    minimum=0.0,
    grid=(0.0, 1.0),
    help="longest gradient allowed, all parameters together; 0 for no limit",
    source="Pascanu et al. 2013",
)
_SMOOTHING = Hyperparameter(
    name="label_smoothing",
    kind="float",
    default=0.0,
    minimum=0.0,
    maximum=0.5,
    grid=(0.0, 0.1),
    help="share of each class label given to all classes alike while training",
    source="Szegedy et al. 2016",
)
_AUGMENTATION = Hyperparameter(
    name="augmentation",
    kind="choice",
    default="crop",
    words=AUGMENTATIONS,
    distribution=CategoricalDistribution(AUGMENTATIONS),
    grid=AUGMENTATIONS,
    help="random changes of training images: none, a shift, a shift and mirror, or TrivialAugment",
    source="Mueller & Hutter 2021",
)


def _fixed(name: str, default: object = None) -> Hyperparameter:
    row = MLP_TABLE[name]
    value = row.default if default is None else row.check(default)
    return dataclasses.replace(row, distribution=None, default=value)


def _by_name(*rows: Hyperparameter) -> dict[str, Hyperparameter]:
    return {row.name: row for row in rows}


TRAINING_TABLE: Mapping[str, Hyperparameter] = _by_name(
    MLP_TABLE["learning_rate"],
    _fixed("epochs", 50),
    _fixed("batch_size"),
    _fixed("optimizer"),
    _fixed("momentum"),
    _fixed("weight_decay"),
    _SCHEDULE,
    _CLIP,
    _SMOOTHING,
)

CNN_TABLE: Mapping[str, Hyperparameter] = _by_name(
    dataclasses.replace(
        MLP_TABLE["learning_rate"], default=0.003, grid=(0.03, 0.01, 0.003, 0.001),
        distribution=FloatDistribution(3e-4, 3e-2, log=True),
        source="a decade to either side of the default, see benchmarks/images.py",
    ),
    _fixed("epochs", 20),
    dataclasses.replace(MLP_TABLE["batch_size"], distribution=IntDistribution(5, 8)),
    dataclasses.replace(
        MLP_TABLE["n_layers"], default=1, distribution=IntDistribution(1, 2), grid=(1, 2),
        help="residual blocks in each of the three stages",
        source="He et al. 2016: three stages of n blocks for small images",
    ),
    dataclasses.replace(
        MLP_TABLE["hidden_units"], default=24, distribution=IntDistribution(16, 48, log=True),
        grid=(16, 32, 48), help="channels of the first stage; each further stage has twice as many",
        source="He et al. 2016: 16; Zagoruyko & Komodakis 2016: wider is better",
    ),
    dataclasses.replace(
        MLP_TABLE["activation"], words=("relu", "gelu", "silu"), distribution=None,
        grid=("relu", "silu"), help="function between layers",
    ),
    dataclasses.replace(
        MLP_TABLE["dropout"], default=0.0, distribution=FloatDistribution(0.0, 0.4),
        help="share of features silenced before the last layer at each training step",
    ),
    dataclasses.replace(
        MLP_TABLE["optimizer"], default="adamw",
        distribution=CategoricalDistribution(["sgd", "adamw"]), grid=("sgd", "adamw"),
    ),
    _fixed("momentum"),
    dataclasses.replace(
        MLP_TABLE["weight_decay"], default=0.01,
        distribution=FloatDistribution(1e-5, 1e-1, log=True),
    ),
    dataclasses.replace(_SMOOTHING, distribution=FloatDistribution(0.0, 0.2), default=0.1),
    _AUGMENTATION,
    dataclasses.replace(_SCHEDULE, default="one_cycle"),
    _CLIP,
)  # fmt: skip

FINETUNE_TABLE: Mapping[str, Hyperparameter] = _by_name(
    dataclasses.replace(
        MLP_TABLE["learning_rate"],
        distribution=FloatDistribution(1e-4, 1e-2, log=True),
        help="step size of the new head",
    ),
    Hyperparameter(
        name="backbone_rate",
        kind="float",
        default=0.1,
        log=True,
        minimum=0.0,
        maximum=1.0,
        distribution=FloatDistribution(0.01, 1.0, log=True),
        grid=(0.0, 0.01, 0.1, 1.0),
        help="step size of the backbone as a share of the head's; 0 leaves it as it is",
        source="Howard & Ruder 2018: discriminative fine-tuning",
    ),
    Hyperparameter(
        name="frozen_epochs",
        kind="int",
        default=1,
        minimum=0,
        distribution=IntDistribution(0, 3),
        grid=(0, 1, 3),
        help="epochs at first in which only the head is trained",
        source="Howard & Ruder 2018: gradual unfreezing",
    ),
    _fixed("epochs", 10),
    dataclasses.replace(MLP_TABLE["batch_size"], default=32, distribution=IntDistribution(4, 6)),
    dataclasses.replace(
        MLP_TABLE["dropout"],
        default=0.0,
        distribution=None,
        help="share of features silenced before the head at each training step",
    ),
    _fixed("optimizer", "adamw"),
    _fixed("momentum"),
    dataclasses.replace(
        MLP_TABLE["weight_decay"],
        default=0.01,
        distribution=FloatDistribution(1e-5, 1e-1, log=True),
    ),
    dataclasses.replace(_SMOOTHING, default=0.1),
    dataclasses.replace(_AUGMENTATION, default="flip_crop"),
    _SCHEDULE,
    _CLIP,
)
