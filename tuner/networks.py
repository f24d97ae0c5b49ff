"""Entry points beside `tune_mlp`: `tune_module` for your own network, `tune_cnn` for images."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from objectives.configurations import complete, defaults
from objectives.documented import documents
from objectives.hyperparameters import Hyperparameter
from objectives.training_table import CNN_TABLE, FINETUNE_TABLE, TRAINING_TABLE
from tuner.call import describe_call
from tuner.conduct import conduct
from objectives.messages import check_count
from tuner.plan import Params, Plan
from tuner.pruners import PrunerName
from tuner.result import TuningResult
from tuner.samplers import LISTED, SamplerName, check_sampler
from tuner.search import Callback


@documents(TRAINING_TABLE)
def tune_module(
    build: Callable[..., Any],
    dataset: Any,
    *,
    space: Params | None = None,
    target: str | None = None,
    metric: Any = None,
    loss: Any = None,
    optimizer: str | Callable[..., Any] | None = None,
    schedule: str | Callable[[float], float] | None = None,
    clip: Callable[..., Any] | None = None,
    epochs: int | None = None,
    patience: int | None = 10,
    seed: int = 0,
    device: str | None = None,
    study_name: str = "module",
    **options: Any,
) -> TuningResult:
    """Find the best hyperparameters of a network of your own: you bring ``build``, the rest is as
    in `tune_mlp`.

    Args:
        build: ``build(**hyperparameters)`` returns an `nn.Module`; see
            `objectives.module.ModuleObjective` for what it is told of the data.
        dataset: ``(X, y)`` of arrays of any shape (X may be a tuple or dict of several inputs), a
            map-style Dataset, a folder or Dataset of images or an `ImageData`, or a table as in
            `tune_mlp`.
        space: what to search. Names that training knows (learning_rate, epochs, batch_size,
            optimizer, momentum, weight_decay, schedule, clip_norm, label_smoothing) steer the
            training loop, others are arguments of ``build``.
        target: the column to predict, in a table.
        metric: as in `tune_mlp`, or a `Metric`; ``Metric.from_function`` makes one of a function.
        loss: ``"cross_entropy"``, ``"mse"``, ``"mae"``, ``"huber"``, or a function of outputs and
            targets.
        optimizer: ``"sgd"``, ``"adam"``, ``"adamw"``, or a function of parameters and
            hyperparameters that returns a torch optimizer.
        schedule: ``"none"``, ``"cosine"``, ``"one_cycle"``, or a function of progress (0 to 1) that
            gives the factor on the learning rate.
        clip: a function of the module's parameters that changes their gradients before each step,
            in place of the hyperparameter ``clip_norm``.
        epochs: passes over the training split at most; by default 50.
        patience: epochs without improvement after which a trial ends; None for never.
        seed: of everything.
        device: where to train.
        study_name: of the study in the storage.
        options: ``sampler``, ``pruner``, ``n_trials``, ``timeout``, ``n_jobs``, ``enqueue``,
            ``trials``, ``include_default``, ``storage``, ``start_from``, ``callbacks``,
            ``show_progress_bar``, ``executor``, ``checkpoint`` and ``artifact_store`` as in
            `tune_mlp`; others go to the loader of the data.

    Raises:
        ValueError: for bad data, a bad argument, or a hyperparameter that neither training nor
            ``build`` takes; before any training.

    Example:
        >>> from torch import nn
        >>> def build(n_inputs, n_outputs, width):
        ...     return nn.Sequential(
        ...         nn.Linear(n_inputs, width), nn.ReLU(), nn.Linear(width, n_outputs)
        ...     )
        >>> result = tune_module(
        ...     build, "iris", space={"width": (4, 32)}, epochs=2, n_trials=3,
        ...     show_progress_bar=False,
        ... )
        >>> sorted(result.best_params)[-1]
        'width'
    """
    call = describe_call(tune_module, locals())
    from objectives.module import ModuleObjective

    search, rest = _sorted(options)
    objective = ModuleObjective(
        build, dataset, target=target, loss=loss, metric=metric, optimizer=optimizer,
        schedule=schedule, clip=clip, patience=patience, seed=seed, device=device,
        space=_wishes(space, epochs, TRAINING_TABLE, search), **rest,
    )  # fmt: skip
    return _search(objective, search, seed=seed, study_name=study_name, call=call)


@documents(CNN_TABLE)
def tune_cnn(
    dataset: Any,
    *,
    space: Params | None = None,
    metric: Any = None,
    epochs: int | None = None,
    patience: int | None = 10,
    seed: int = 0,
    device: str | None = None,
    study_name: str = "cnn",
    **options: Any,
) -> TuningResult:
    """Find the best small residual network for images of 8 to 128 pixels.

    Args:
        dataset: ``(X, y)`` of images, a folder of class folders, a torchvision dataset or another
            map-style Dataset, or ``"digits"``; see `objectives.images.load_images`.
        space: as in `tune_mlp`, over `objectives.training_table.CNN_TABLE`.
        metric: as in `tune_mlp`.
        epochs: passes over the training split at most; by default 20.
        patience: epochs without improvement after which a trial ends; None for never.
        seed: of everything.
        device: where to train.
        study_name: of the study in the storage.
        options: as in `tune_module`; others go to `load_images`.

    Raises:
        ValueError: for bad data or a bad argument, before any training.

    Example:
        >>> space = {"hidden_units": 8, "epochs": 1}
        >>> result = tune_cnn("digits", space=space, n_trials=2, show_progress_bar=False)
        >>> len(result.trials_dataframe())
        2
    """
    call = describe_call(tune_cnn, locals())
    from objectives.cnn import CNNObjective

    search, rest = _sorted(options)
    objective = CNNObjective(
        dataset, metric=metric, patience=patience, seed=seed, device=device,
        space=_wishes(space, epochs, CNN_TABLE, search), **rest,
    )  # fmt: skip
    return _search(objective, search, seed=seed, study_name=study_name, call=call)


@documents(FINETUNE_TABLE)
def tune_finetune(
    dataset: Any,
    *,
    backbone: str = "resnet18",
    weights: str | os.PathLike[str] | None = "DEFAULT",
    image_size: int | tuple[int, int] | None = None,
    space: Params | None = None,
    metric: Any = None,
    epochs: int | None = None,
    patience: int | None = 5,
    seed: int = 0,
    device: str | None = None,
    study_name: str = "finetune",
    **options: Any,
) -> TuningResult:
    """Find out how best to fine-tune a pretrained network of torchvision on images.

    Args:
        dataset: as in `tune_cnn`.
        backbone: name of a classification model of `torchvision.models`; its last linear layer
            gives way to a new one.
        weights: ``"DEFAULT"`` or another name of torchvision's weights for it, downloaded once; a
            ``.pth`` or ``.safetensors`` file of a state dict, loaded without running code; or None
            for random weights.
        image_size: height and width that images are stretched to; by default what the weights were
            trained with.
        space: as in `tune_mlp`, over `objectives.training_table.FINETUNE_TABLE`: the head's
            learning rate, the backbone's as a share of it, how many epochs the backbone is frozen.
        metric: as in `tune_mlp`.
        epochs: passes over the training split at most; by default 10.
        patience: epochs without improvement after which a trial ends; None for never.
        seed: of everything.
        device: where to train.
        study_name: of the study in the storage.
        options: as in `tune_cnn`.

    Raises:
        ValueError: for bad data or a bad argument, before any training.
        ConnectionError: if the weights cannot be downloaded; says how to give a file.
    """
    call = describe_call(tune_finetune, locals())
    from objectives.finetune import FinetuneObjective

    search, rest = _sorted(options)
    objective = FinetuneObjective(
        dataset, backbone=backbone, weights=weights, image_size=image_size, metric=metric,
        patience=patience, seed=seed, device=device,
        space=_wishes(space, epochs, FINETUNE_TABLE, search), **rest,
    )  # fmt: skip
    return _search(objective, search, seed=seed, study_name=study_name, call=call)


# What a search takes, with its defaults; options of other names go to the loader of the data.
SEARCH_OPTIONS: dict[str, Any] = {
    "sampler": "tpe", "pruner": "median", "n_trials": None, "timeout": None, "n_jobs": 1,
    "enqueue": (), "trials": None, "include_default": True, "storage": None, "callbacks": (),
    "show_progress_bar": True, "executor": None, "start_from": None, "checkpoint": None,
    "artifact_store": None,
}  # fmt: skip


def _sorted(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the search, with their defaults, and those of the data."""
    search = {name: options.get(name, default) for name, default in SEARCH_OPTIONS.items()}
    check_sampler(search["sampler"])
    return search, {name: value for name, value in options.items() if name not in SEARCH_OPTIONS}


def _wishes(
    space: Params | None,
    epochs: int | None,
    table: Mapping[str, Hyperparameter],
    search: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the space as asked for; a grid or manual search varies only what is named."""
    wishes = dict(space or {}) | ({} if epochs is None else {"epochs": epochs})
    if search["sampler"] == "grid" and not space:
        wishes = {"learning_rate": list(table["learning_rate"].grid)} | wishes
    if search["sampler"] in LISTED:
        wishes = {name: row.default for name, row in table.items()} | wishes
    return wishes


def _search(
    objective: Any,
    search: Mapping[str, Any],
    *,
    seed: int,
    study_name: str,
    call: dict[str, Any],
) -> TuningResult:
    rows: Mapping[str, Hyperparameter] = objective.space
    sampler: SamplerName | BaseSampler = search["sampler"]
    pruner: PrunerName | BasePruner = search["pruner"]
    storage: str | os.PathLike[str] | BaseStorage | None = search["storage"]
    callbacks: Sequence[Callback] = search["callbacks"]
    n_jobs = check_count("n_jobs", search["n_jobs"])
    if n_jobs > 1:
        _check_sendable(objective)
    firsts = [complete(rows, params) for params in search["enqueue"]]
    if search["include_default"] and sampler not in LISTED:
        firsts = [defaults(rows), *firsts]
    plan = Plan(
        space=rows, direction=objective.metric.direction, sampler=sampler, pruner=pruner,
        n_trials=search["n_trials"], timeout=search["timeout"], firsts=firsts,
        trials=search["trials"], seed=seed, max_steps=int(rows["epochs"].default),
        n_jobs=n_jobs,
        record=objective.record,
        call=call, checkpoint=search["checkpoint"], artifact_store=search["artifact_store"],
    )  # fmt: skip
    return conduct(
        plan, objective, storage, study_name, callbacks, search["show_progress_bar"],
        search["executor"], search["start_from"],
    )  # fmt: skip


def _check_sendable(objective: Any) -> None:
    """Raise ValueError unless the user's own functions can be sent to other processes."""
    try:
        pickle.dumps(objective.functions)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "n_jobs must be 1 for functions that cannot be sent to other processes, got "
            f"n_jobs > 1 ({error}); define build and the like at the top of an importable file"
        ) from error
