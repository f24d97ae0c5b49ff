"""The documented hyperparameters of each ready-made objective, as tables of rows by name.

Names, ranges and sources are those of `MLP_TABLE`; the other tables change what differs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from objectives.space.hyperparameter import ACTIVATIONS, OPTIMIZERS, Hyperparameter, Space

AUGMENTATIONS = ("none", "crop", "flip_crop", "trivial")  # see `objectives.images.augment`
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


def _like(
    row: str | Hyperparameter,
    searched: tuple[float, float] | list[str] | None = None,
    **changes: Any,
) -> Hyperparameter:
    """Return a row with changes; None as what search draws from fixes it at its default."""
    row = MLP_TABLE[row] if isinstance(row, str) else row
    row = dataclasses.replace(row, distribution=None, **changes)
    if searched is None:
        return row
    if isinstance(searched, tuple):
        return row.ranged(*searched)
    return dataclasses.replace(row, distribution=CategoricalDistribution(searched))


def _table(*rows: Hyperparameter) -> Space:
    return {row.name: row for row in rows}


_PLAYBOOK = "Deep Learning Tuning Playbook"

MLP_TABLE: Space = _table(
    Hyperparameter(
        name="learning_rate",
        kind="float",
        default=0.001,
        log=True,
        minimum=0.0,
        open_ends=True,
        distribution=FloatDistribution(1e-4, 1e-1, log=True),
        grid=(0.1, 0.01, 0.001, 0.0001),
        help="step size of the optimizer; the first thing to tune",
        source="range: LCBench (Zimmer et al. 2021); default: Adam (Kingma & Ba 2015)",
    ),
    Hyperparameter(
        name="epochs",
        kind="int",
        default=100,
        log=True,
        minimum=1,
        grid=(10, 100, 500, 1000),
        help="passes over the training split at most; patience usually ends a trial earlier. "
        "If searched, trials are compared at equal epochs although their learning-rate schedules "
        "differ",
        source=f"{_PLAYBOOK}: train to a cap, keep the best checkpoint",
    ),
    Hyperparameter(
        name="batch_size",
        kind="int",
        default=64,
        powers_of_two=True,
        minimum=1,
        words=("full",),
        distribution=IntDistribution(4, 8),
        grid=(16, 32, 64, 128, 256),
        help="rows per step, a power of two from 16 to 256; 1 is classic SGD, "
        '"full" is batch descent',
        source=f"{_PLAYBOOK}: a matter of speed more than of quality",
    ),
    Hyperparameter(
        name="n_layers",
        kind="int",
        default=2,
        minimum=1,
        maximum=64,
        distribution=IntDistribution(1, 4),
        grid=(1, 2, 3),
        help="hidden layers",
        source="LCBench 1-5; RealMLP 3 (Holzmueller et al. 2024)",
    ),
    Hyperparameter(
        name="hidden_units",
        kind="int",
        default=128,
        log=True,
        minimum=1,
        maximum=65536,
        distribution=IntDistribution(16, 512, log=True),
        grid=(32, 64, 128, 256),
        help="units in each hidden layer, one width for all",
        source="LCBench 64-1024; RealMLP 256",
    ),
    Hyperparameter(
        name="activation",
        kind="choice",
        default="relu",
        words=ACTIVATIONS,
        distribution=CategoricalDistribution(["relu", "tanh", "sigmoid"]),
        grid=("relu", "sigmoid", "tanh"),
        help="function between layers (gelu and silu on request)",
        source="Goodfellow et al. 2016, chapter 6.3",
    ),
    Hyperparameter(
        name="dropout",
        kind="float",
        default=0.2,
        minimum=0.0,
        maximum=0.95,
        distribution=FloatDistribution(0.0, 0.5),
        grid=(0.0, 0.2, 0.3, 0.4, 0.5),
        help="share of hidden units silenced at each training step",
        source="Srivastava et al. 2014",
    ),
    Hyperparameter(
        name="optimizer",
        kind="choice",
        default="adam",
        words=OPTIMIZERS,
        distribution=CategoricalDistribution(["sgd", "adam"]),
        grid=("sgd", "adam"),
        help="SGD with momentum, or Adam (adamw on request)",
        source="Kingma & Ba 2015; Loshchilov & Hutter 2019",
    ),
    Hyperparameter(
        name="momentum",
        kind="float",
        default=0.9,
        minimum=0.0,
        maximum=0.9999,
        grid=(0.0, 0.9, 0.99),
        help="momentum of SGD; Adam does not use it",
        source="Sutskever et al. 2013",
    ),
    Hyperparameter(
        name="weight_decay",
        kind="float",
        default=0.0,
        log=True,
        minimum=0.0,
        distribution=FloatDistribution(0.0, 0.01),  # not log, as it holds the default
        grid=(0.0, 1e-4, 1e-3, 1e-2),
        help="pull of the weights towards zero: as torch.optim's argument of that name",
        source="Loshchilov & Hutter 2019; range: benchmarks/portfolio.py",
    ),
)

TRAINING_TABLE: Space = _table(
    MLP_TABLE["learning_rate"],
    _like("epochs", default=50),
    *map(_like, ("batch_size", "optimizer", "momentum", "weight_decay")),
    _SCHEDULE,
    _CLIP,
    _SMOOTHING,
)

_IMAGE_DECAY = _like("weight_decay", (1e-5, 1e-1), default=0.01)

CNN_TABLE: Space = _table(
    _like(
        "learning_rate",
        (3e-4, 3e-2),
        default=0.003,
        grid=(0.03, 0.01, 0.003, 0.001),
        source="a decade to either side of the default, see benchmarks/images.py",
    ),
    _like("epochs", default=20),
    _like("batch_size", (32, 256)),
    _like(
        "n_layers",
        (1, 2),
        default=1,
        grid=(1, 2),
        help="residual blocks in each of the three stages",
        source="He et al. 2016: three stages of n blocks for small images",
    ),
    _like(
        "hidden_units",
        (16, 48),
        default=24,
        grid=(16, 32, 48),
        help="channels of the first stage; each further stage has twice as many",
        source="He et al. 2016: 16; Zagoruyko & Komodakis 2016: wider is better",
    ),
    _like(
        "activation",
        words=("relu", "gelu", "silu"),
        grid=("relu", "silu"),
        help="function between layers",
    ),
    _like(
        "dropout",
        (0.0, 0.4),
        default=0.0,
        help="share of features silenced before the last layer at each training step",
    ),
    _like("optimizer", ["sgd", "adamw"], default="adamw", grid=("sgd", "adamw")),
    _like("momentum"),
    _IMAGE_DECAY,
    _like(_SMOOTHING, (0.0, 0.2), default=0.1),
    _AUGMENTATION,
    _like(_SCHEDULE, default="one_cycle"),
    _CLIP,
)

FINETUNE_TABLE: Space = _table(
    _like("learning_rate", (1e-4, 1e-2), help="step size of the new head"),
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
    _like("epochs", default=10),
    _like("batch_size", (16, 64), default=32),
    _like(
        "dropout",
        default=0.0,
        help="share of features silenced before the head at each training step",
    ),
    _like("optimizer", default="adamw"),
    _like("momentum"),
    _IMAGE_DECAY,
    _like(_SMOOTHING, default=0.1),
    _like(_AUGMENTATION, list(AUGMENTATIONS), default="flip_crop"),
    _SCHEDULE,
    _CLIP,
)

HEADER = ("name", "range", "grid levels", "default", "meaning", "source")


def search_range(row: Hyperparameter) -> str:
    """Say what random and TPE search draw a hyperparameter from.

    Example:
        >>> from objectives.space.tables import MLP_TABLE
        >>> [search_range(MLP_TABLE[name]) for name in ("learning_rate", "batch_size", "momentum")]
        ['0.0001 to 0.1, log', '16 to 256, powers of two', 'fixed']
    """
    match row.distribution:
        case None:
            return "fixed"
        case CategoricalDistribution(choices=choices):
            return ", ".join(map(str, choices))
        case FloatDistribution() | IntDistribution() as numbers:
            low, high = row.from_stored(numbers.low), row.from_stored(numbers.high)
            steps = ", powers of two" if row.powers_of_two else ", log" if numbers.log else ""
            return f"{low:g} to {high:g}{steps}"


def cells(row: Hyperparameter) -> tuple[str, ...]:
    """Return a row of the table, in the order of `HEADER`."""
    levels = ", ".join(map(str, row.grid))
    return row.name, search_range(row), levels, str(row.default), row.help, row.source
