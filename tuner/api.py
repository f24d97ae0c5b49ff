"""Entry points beside `tune_mlp`: `tune_module` for your own network, `tune_cnn` for images."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from objectives._messages import check_count, name_of
from objectives.space.hyperparameter import Hyperparameter
from objectives.space.space import complete, defaults, fit_into, free_space, make_space
from objectives.space.tables import (
    CNN_TABLE,
    FINETUNE_TABLE,
    MLP_TABLE,
    STARTER_GRID,
    TRAINING_TABLE,
    documents,
)
from tuner.result import TuningResult
from tuner.search.loop import Callback
from tuner.search.optimize import Outcome, optimize
from tuner.search.plan import Params, Plan, given
from tuner.search.pruners import PrunerName
from tuner.search.samplers import LISTED, SamplerName, check_sampler
from tuner.storage.call import describe_call

if TYPE_CHECKING:
    from objectives.metrics import Metric


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
        build,
        dataset,
        target=target,
        loss=loss,
        metric=metric,
        optimizer=optimizer,
        schedule=schedule,
        clip=clip,
        patience=patience,
        seed=seed,
        device=device,
        space=_wishes(space, epochs, TRAINING_TABLE, search),
        **rest,
    )
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
            map-style Dataset, or ``"digits"``; see `objectives.load_images`.
        space: as in `tune_mlp`, over `objectives.space.tables.CNN_TABLE`.
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
        dataset,
        metric=metric,
        patience=patience,
        seed=seed,
        device=device,
        space=_wishes(space, epochs, CNN_TABLE, search),
        **rest,
    )
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
        space: as in `tune_mlp`, over `objectives.space.tables.FINETUNE_TABLE`: the head's
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
        dataset,
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        metric=metric,
        patience=patience,
        seed=seed,
        device=device,
        space=_wishes(space, epochs, FINETUNE_TABLE, search),
        **rest,
    )
    return _search(objective, search, seed=seed, study_name=study_name, call=call)


# What a search takes, with its defaults; options of other names go to the loader of the data.
SEARCH_OPTIONS: dict[str, Any] = {
    "sampler": "tpe",
    "pruner": "median",
    "n_trials": None,
    "timeout": None,
    "n_jobs": 1,
    "enqueue": (),
    "trials": None,
    "include_default": True,
    "storage": None,
    "callbacks": (),
    "show_progress_bar": True,
    "executor": None,
    "start_from": None,
    "checkpoint": None,
    "artifact_store": None,
}


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
        space=rows,
        direction=objective.metric.direction,
        sampler=sampler,
        pruner=pruner,
        n_trials=search["n_trials"],
        timeout=search["timeout"],
        firsts=firsts,
        trials=search["trials"],
        seed=seed,
        max_steps=int(rows["epochs"].default),
        n_jobs=n_jobs,
        record=objective.record,
        call=call,
        checkpoint=search["checkpoint"],
        artifact_store=search["artifact_store"],
    )
    outcome = optimize(
        plan,
        objective,
        storage,
        study_name,
        callbacks,
        search["show_progress_bar"],
        search["executor"],
        search["start_from"],
    )
    return _result(outcome)


def _result(outcome: Outcome) -> TuningResult:
    return TuningResult(
        study=outcome.study,
        objective=outcome.objective,
        model=outcome.model,
        continue_search=outcome.try_params,
        artifacts=outcome.artifacts,
    )


def _check_sendable(objective: Any) -> None:
    """Raise ValueError unless the user's own functions can be sent to other processes."""
    try:
        pickle.dumps(objective.functions)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "n_jobs must be 1 for functions that cannot be sent to other processes, got "
            f"n_jobs > 1 ({error}); define build and the like at the top of an importable file"
        ) from error


@documents(MLP_TABLE)
def tune_mlp(
    dataset: Any,
    *,
    target: str | None = None,
    metric: str | None = None,
    space: Params | None = None,
    sampler: SamplerName | BaseSampler = "tpe",
    pruner: PrunerName | BasePruner = "median",
    n_trials: int | None = None,
    timeout: float | None = None,
    epochs: int | None = None,
    patience: int | None = 20,
    n_jobs: int = 1,
    n_repeats: int = 1,
    folds: int | None = None,
    recipe: str = "modern",
    precision: Literal["float32", "auto"] = "float32",
    enqueue: Sequence[Params] = (),
    trials: Sequence[Params] | None = None,
    include_default: bool = True,
    seed: int = 0,
    storage: str | os.PathLike[str] | BaseStorage | None = None,
    study_name: str = "mlp",
    start_from: str | optuna.Study | TuningResult | None = None,
    callbacks: Sequence[Callback] = (),
    show_progress_bar: bool = True,
    executor: Any = None,
    checkpoint: bool | None = None,
    artifact_store: Any = None,
    device: str | None = None,
    **data_options: Any,
) -> TuningResult:
    """Find the best multilayer perceptron for a table: one call, from data to fitted model.

    Args:
        dataset: ``(X, y)`` arrays, tensors or DataFrames; a DataFrame or a CSV or Parquet path with
            ``target``; a map-style torch Dataset; or the name of a built-in dataset (digits,
            breast_cancer, wine, iris, diabetes).
        target: the column to predict.
        metric: accuracy, balanced_accuracy, roc_auc, log_loss, f1_macro, rmse, mae or r2. By
            default accuracy for classes and rmse for values. Selection, patience and pruning all
            use it, on the validation split.
        space: what to search, by name: a fixed value, a list of choices, a ``(low, high)`` range,
            an Optuna distribution or a `Hyperparameter`. Random and TPE search the documented
            ranges of the others as well; a grid searches only what is named, or learning_rate x
            dropout x activation if nothing is.
        sampler: ``"tpe"``, ``"random"``, ``"grid"``, ``"manual"`` or an Optuna sampler.
        pruner: ``"median"``, ``"asha"``, ``"hyperband"``, ``"none"`` or an Optuna pruner: stops
            trials against others.
        n_trials: the study's total of finished trials after the call, so that the same call made
            twice does nothing the second time. By default 30, or all trials of a grid or a manual
            search.
        timeout: seconds after which the search ends; trials under way end at their best epoch so
            far and count.
        epochs: passes over the training split at most, short for ``space={"epochs": ...}``; by
            default 100.
        patience: epochs without improvement after which a trial ends, against itself; None for
            never.
        n_jobs: processes that train trials. Each takes about two seconds to start, while this one
            trains; several are faster where there are as many cores, but with TPE or pruning the
            table then depends on which trial ends first.
        n_repeats: networks a trial, alike but for their seeds; a trial's value is their mean, and
            the fitted model predicts by all of them.
        folds: cross-validates each trial on so many folds of the training and validation rows (the
            test split stays out), trained side by side; a trial's value is their mean. The result's
            ``model`` predicts by the mean of the folds' networks; ``refit()`` trains one on all
            those rows instead.
        recipe: ``"modern"`` or the textbook's ``"plain"``: what surrounds the tuned
            hyperparameters.
        precision: of the matrix products of training. ``"auto"`` makes those of large networks in
            bfloat16 where the processor does so natively, about 1.5 times as fast; weights, loss
            and metric stay float32. A study then comes out otherwise on another kind of processor.
        enqueue: configurations to try first, under any sampler; what they leave out is at its
            default.
        trials: the configurations of a manual search.
        include_default: whether random and TPE searches begin with the default configuration, as
            trial 0, and with the recipe's own good one, as trial 1.
        seed: of everything; the same seed gives the same table.
        storage: None (memory), a ``.journal`` or ``.db`` file, or a URL. A study that is there is
            gone on with.
        study_name: of the study in the storage.
        start_from: a study to begin with, after the space was narrowed or widened: its name in the
            same storage, an `optuna.Study` or a `TuningResult`. Its complete and pruned trials
            whose hyperparameters all lie in the new space are copied and count as trials of this
            study: where 12 fit, ``n_trials=30`` trains 18 more, and by default 30 follow them.
            Data, split, metric, recipe, patience, repeats and folds must be the same.
        callbacks: called with study and trial after each trial, as in `optuna.Study.optimize`.
        show_progress_bar: whether to show trials done, pruned, best value and time left.
        executor: trains in ``n_jobs`` workers of a `concurrent.futures` executor, a Dask
            ``client.get_executor()`` or a submitit executor, which share the study through a
            ``storage`` that all of them reach, and take over the trials of one that dies.
        checkpoint: whether trials under way are saved beside the study, so that after a crash they
            go on where they were and come out the same: True each five epochs, None (the default)
            those that last longer than a minute, each minute, False none.
        artifact_store: where checkpoints and the best trial's model are kept: a folder that all
            workers reach or an artifact store of `optuna.artifacts`. By default the folder beside
            a study's file, ``study.journal.artifacts``; with a database or no storage, nowhere.
        device: where to train, such as ``"cpu"``; by default CUDA or MPS where there is one.
        data_options: further arguments of `objectives.load_tabular`: ``task``, ``valid_size``,
            ``test_size``, ``groups``, ``time``, ``categorical``, ``sample_weight``,
            ``class_weight``.

    Returns:
        A `TuningResult`. Ctrl-C returns the result so far.

    Raises:
        ValueError: for bad data or a bad argument, before any training; `StudyMismatchError` if the
            storage holds another study of that name.

    Example:
        >>> result = tune_mlp("iris", n_trials=3, epochs=2, show_progress_bar=False)
        >>> len(result.trials_dataframe())
        3
        >>> narrow = {"learning_rate": (1e-3, 1e-2)}  # holds the first trial, the default
        >>> second = tune_mlp("iris", space=narrow, start_from=result, study_name="second",
        ...     n_trials=4, epochs=2, show_progress_bar=False)
        >>> second.study.trials[0].user_attrs["origin"]["number"], len(second.study.trials)
        (0, 4)
    """
    call = describe_call(tune_mlp, locals())
    from objectives.mlp import MLPObjective

    check_sampler(sampler)
    wishes = dict(space or {}) | ({} if epochs is None else {"epochs": epochs})
    if sampler == "grid" and not space:
        wishes = {name: list(MLP_TABLE[name].grid) for name in STARTER_GRID} | wishes
    rows = make_space(MLP_TABLE, wishes, only_named=sampler in LISTED)
    firsts = [complete(rows, params) for params in enqueue]
    objective = MLPObjective(
        dataset,
        target=target,
        metric=metric,
        space=rows,
        recipe=recipe,
        patience=patience,
        n_repeats=n_repeats,
        folds=folds,
        precision=precision,
        seed=seed,
        device=device,
        **data_options,
    )
    if include_default and sampler not in LISTED:
        good = [] if objective.good is None else [fit_into(rows, objective.good)]
        firsts = [defaults(rows), *good, *firsts]
    plan = Plan(
        space=rows,
        direction=objective.metric.direction,
        sampler=sampler,
        pruner=pruner,
        n_trials=n_trials,
        timeout=timeout,
        firsts=firsts,
        trials=trials,
        seed=seed,
        max_steps=int(rows["epochs"].default),
        n_jobs=check_count("n_jobs", n_jobs),
        record=objective.record,
        call=call,
        checkpoint=checkpoint,
        artifact_store=artifact_store,
    )
    outcome = optimize(
        plan, objective, storage, study_name, callbacks, show_progress_bar, executor, start_from
    )
    return _result(outcome)


def tune(
    objective: Callable[[optuna.Trial], float],
    *,
    space: Params | None = None,
    direction: str = "minimize",
    sampler: SamplerName | BaseSampler = "tpe",
    pruner: PrunerName | BasePruner = "median",
    n_trials: int | None = None,
    timeout: float | None = None,
    max_steps: int = 100,
    enqueue: Sequence[Params] = (),
    trials: Sequence[Params] | None = None,
    seed: int = 0,
    storage: str | os.PathLike[str] | BaseStorage | None = None,
    study_name: str = "tune",
    start_from: str | optuna.Study | TuningResult | None = None,
    callbacks: Sequence[Callback] = (),
    show_progress_bar: bool = True,
    n_jobs: int = 1,
    executor: Any = None,
) -> TuningResult:
    """Run your own ``objective(trial)`` with the same samplers, pruners, tables and storage as
    `tune_mlp`.

    Args:
        objective: a function of an `optuna.Trial` that returns a number, or a ready-made objective.
        space: name -> list of choices, ``(low, high)`` or Optuna distribution. The function finds
            the values in ``trial.params``; without a space it calls ``trial.suggest_float`` and the
            like itself.
        direction: ``"minimize"`` or ``"maximize"``; a ready-made objective brings its own.
        sampler: as in `tune_mlp`; a grid needs a space.
        pruner: as in `tune_mlp`; the function calls ``trial.report`` and ``trial.should_prune``.
        n_trials: as in `tune_mlp`.
        timeout: seconds after which no further trial starts.
        max_steps: the last step that the function reports, which the pruner's settings follow.
        enqueue: as in `tune_mlp`.
        trials: as in `tune_mlp`.
        seed: of the sampler.
        storage: as in `tune_mlp`.
        study_name: as in `tune_mlp`.
        start_from: as in `tune_mlp`; a study made by Optuna alone will do, too.
        callbacks: as in `tune_mlp`.
        show_progress_bar: as in `tune_mlp`.
        n_jobs: workers of the executor.
        executor: as in `tune_mlp`.

    Example:
        >>> def square(trial):
        ...     return trial.params["x"] ** 2
        >>> result = tune(square, space={"x": (-1.0, 1.0)}, n_trials=12, show_progress_bar=False)
        >>> abs(result.best_params["x"]) < 1
        True
    """
    call = describe_call(tune, locals())
    check_sampler(sampler)
    if check_count("n_jobs", n_jobs) > 1 and executor is None:
        raise ValueError(
            f"n_jobs must be 1 for a function without an executor, got n_jobs={n_jobs}; give "
            "executor=concurrent.futures.ProcessPoolExecutor() and a storage"
        )
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction must be minimize or maximize, got direction={direction!r}")
    ready = hasattr(objective, "cohort")
    rows = dict(objective.space) if ready else free_space(space or {})  # type: ignore[attr-defined]
    if sampler == "grid" and not rows:
        raise ValueError(
            "space must be given for sampler='grid', got none; give space={name: [levels]}"
        )
    metric = objective.metric if ready else None  # type: ignore[attr-defined]
    plan = Plan(
        space=rows,
        direction=direction if metric is None else metric.direction,
        sampler=sampler,
        pruner=pruner,
        n_trials=n_trials,
        timeout=timeout,
        firsts=[given(rows, params) for params in enqueue],
        trials=trials,
        seed=seed,
        max_steps=int(rows["epochs"].default) if ready and "epochs" in rows else max_steps,
        n_jobs=n_jobs,
        record=_own_record(objective, metric),
        call=call,
    )
    outcome = optimize(
        plan, objective, storage, study_name, callbacks, show_progress_bar, executor, start_from
    )
    return _result(outcome)


def _own_record(objective: Any, metric: Metric | None) -> dict[str, Any]:
    """Return what `tune` records of a ready-made objective or of a function."""
    name = None if metric is None else metric.name
    own = {"objective": "own", "metric": name, "function": name_of(objective)}
    return dict(getattr(objective, "record", own))
