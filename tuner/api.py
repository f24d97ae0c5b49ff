"""Entry points: `tune_mlp` and its like for ready-made objectives, `tune` for your own function."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, Unpack

from objectives._messages import name_of
from objectives.space.registry import (
    READY_MADE,
    CNNArguments,
    FinetuneArguments,
    MLPArguments,
    ModuleArguments,
    Options,
    ReadyMade,
)
from tuner.search.arguments import (
    FunctionArguments,
    SearchArguments,
    arguments_for,
    check_arguments,
    check_data,
    documented,
)

if TYPE_CHECKING:
    import optuna
    from torch import nn

    from objectives.mlp import MLPObjective
    from objectives.objective import Objective
    from objectives.space.hyperparameter import Space
    from tuner.diagnosis.confirm import Finals
    from tuner.result import TuningResult
    from tuner.search.loop import Tuned
    from tuner.search.optimize import Outcome
    from tuner.search.plan import Plan


class MLPSearch(SearchArguments, MLPArguments, total=False):
    """The arguments of `tune_mlp`."""


class CNNSearch(SearchArguments, CNNArguments, total=False):
    """The arguments of `tune_cnn`."""


class FinetuneSearch(SearchArguments, FinetuneArguments, total=False):
    """The arguments of `tune_finetune`."""


class ModuleSearch(SearchArguments, ModuleArguments, total=False):
    """The arguments of `tune_module`."""


@documented(READY_MADE["mlp"])
def tune_mlp(dataset: object, **options: Unpack[MLPSearch]) -> TuningResult:
    """Find the best multilayer perceptron for a table: one call, from data to fitted model.

    Args:
        dataset: ``(X, y)`` arrays, tensors or DataFrames; a DataFrame or a CSV or Parquet path with
            ``target``; a map-style torch Dataset; or the name of a built-in dataset (digits,
            breast_cancer, wine, iris, diabetes).
        {options}

    Returns:
        A `TuningResult`. Press Ctrl-C to stop early; you get the result so far.

    Raises:
        TypeError: for an unknown argument, before anything is loaded.
        ValueError: for bad data or a bad argument, before any training; `StudyMismatchError` if the
            storage holds another study of that name.

    Example:
        >>> result = tune_mlp("iris", n_trials=3, epochs=2, show_progress_bar=False)
        >>> len(result.trials_dataframe())
        3
        >>> narrow = {"learning_rate": (1e-3, 1e-2)}  # holds the first trial, the default
        >>> second = tune_mlp("iris", space=narrow, start_from=result, study_name="second",
        ...     n_trials=4, epochs=2, show_progress_bar=False)
        >>> second.study.trials[0].user_attrs["fusetune:origin"]["number"], len(second.study.trials)
        (0, 4)
    """
    return _tune(READY_MADE["mlp"], options, dataset=dataset)


@documented(READY_MADE["cnn"])
def tune_cnn(dataset: object, **options: Unpack[CNNSearch]) -> TuningResult:
    """Find the best small residual network for images of 8 to 128 pixels.

    Args:
        dataset: ``(X, y)`` of images, a folder with a folder for each class, a torchvision dataset
            or another map-style Dataset, or ``"digits"``; see `objectives.load_images`.
        {options}

    Returns:
        As `tune_mlp`, which also says what is raised.

    Example:
        >>> space = {"hidden_units": 8, "epochs": 1}
        >>> result = tune_cnn("digits", space=space, n_trials=2, show_progress_bar=False)
        >>> len(result.trials_dataframe())
        2
    """
    return _tune(READY_MADE["cnn"], options, dataset=dataset)


@documented(READY_MADE["finetune"])
def tune_finetune(dataset: object, **options: Unpack[FinetuneSearch]) -> TuningResult:
    """Find out how best to fine-tune a pretrained network of torchvision on images.

    The space holds the head's learning rate, the backbone's as a share of it, and how many epochs
    the backbone is frozen.

    Args:
        dataset: as in `tune_cnn`.
        {options}

    Returns:
        As `tune_mlp`, which also says what else is raised.

    Raises:
        ConnectionError: if the weights cannot be downloaded; says how to give a file.
    """
    return _tune(READY_MADE["finetune"], options, dataset=dataset)


@documented(READY_MADE["module"])
def tune_module(
    build: Callable[..., nn.Module], dataset: object, **options: Unpack[ModuleSearch]
) -> TuningResult:
    """Find the best hyperparameters of a network of your own: you bring ``build``, the rest is as
    in `tune_mlp`.

    Names in ``space`` that training knows (see below) steer the training loop; the others are
    arguments of ``build``.

    Args:
        build: ``build(**hyperparameters)`` returns an `nn.Module`; see
            `objectives.module.ModuleObjective` for what it is told of the data.
        dataset: ``(X, y)`` of arrays of any shape (X may be a tuple or dict of several inputs), a
            map-style Dataset, a folder or Dataset of images or an `ImageData`, or a table as in
            `tune_mlp`.
        {options}

    Returns:
        As `tune_mlp`, which also says what else is raised.

    Raises:
        ValueError: for a hyperparameter that neither training nor ``build`` takes.

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
    return _tune(READY_MADE["module"], options, build=build, dataset=dataset)


@documented(None)
def tune(
    objective: Callable[[optuna.Trial], float] | Objective, **options: Unpack[FunctionArguments]
) -> TuningResult:
    """Run your own ``objective(trial)`` with the same samplers, pruners, tables and storage as
    `tune_mlp`.

    The function finds the values of ``space`` in ``trial.params``, and gets them as well where it
    calls ``trial.suggest_float`` and the like, whatever range it names there. What ``space`` does
    not name is drawn from the ranges of the function. It calls ``trial.report`` and
    ``trial.should_prune`` if it wants to be pruned. Several workers need an executor.

    Args:
        objective: a function of an `optuna.Trial` that returns a number, or a ready-made objective.
        {options}

    Returns:
        As `tune_mlp`, which also says what is raised.

    Example:
        >>> def square(trial):
        ...     return trial.params["x"] ** 2
        >>> result = tune(square, space={"x": (-1.0, 1.0)}, n_trials=12, show_progress_bar=False)
        >>> abs(result.best_params["x"]) < 1
        True
    """
    arguments = _checked(None, options)
    n_jobs, sampler, space = (arguments[name] for name in ("n_jobs", "sampler", "space"))
    if (n_jobs or 1) > 1 and arguments["executor"] is None and not hasattr(objective, "cohort"):
        raise ValueError(
            f"n_jobs must be 1 for a function without an executor, got n_jobs={n_jobs}; give "
            "executor=concurrent.futures.ProcessPoolExecutor() and a storage"
        )
    from objectives.space.space import free_space
    from tuner.search.loop import has_cohorts
    from tuner.search.plan import given
    from tuner.storage.call import describe_call
    from tuner.storage.study import OWN

    ready = objective if has_cohorts(objective) else None
    rows = free_space(space or {}) if ready is None else dict(ready.space)
    _choose_sampler(arguments, rows)
    if sampler == "grid" and not rows:
        raise ValueError(
            "space must be given for sampler='grid', got none; give space={name: [levels]}"
        )
    own_record: dict[str, object] = {
        "objective": OWN,
        "metric": None,
        "function": name_of(objective),
    }
    if ready is not None:
        _check_left_out(ready, options)
        arguments["direction"] = ready.metric.direction
        own_record["metric"] = ready.metric.name
        if "epochs" in rows:
            arguments["max_steps"] = int(rows["epochs"].default)
    return _search(
        objective,
        arguments,
        space=rows,
        firsts=[given(rows, params) for params in arguments["enqueue"]],
        record=dict(getattr(objective, "record", own_record)),
        call=describe_call("tune", {"objective": objective, **options}, _defaults(None)),
    )


def _check_left_out(objective: Objective, options: Mapping[str, object]) -> None:
    """Raise ValueError for an argument in whose place an objective has another of its own."""
    from objectives.space.space import free_space

    given_space = options.get("space")
    own: dict[str, object] = {"direction": objective.metric.direction}
    if isinstance(given_space, Mapping) and free_space(given_space) == objective.space:
        own["space"] = given_space
    for name in ("space", "direction", "max_steps"):
        if options.get(name) is not None and options[name] != own.get(name):
            raise ValueError(
                f"{name} must be left out for an objective that brings its own, got "
                f"{name}={options[name]!r}; give it to {type(objective).__name__} if it takes one"
            )


def _tune(entry: ReadyMade, options: Mapping[str, object], **data: object) -> TuningResult:
    """Search with a ready-made objective of ``data``: the dataset and, before it, ``build``."""
    arguments = _checked(entry, options)
    check_data(entry, data["dataset"])
    from objectives.space.space import complete, defaults, make_space
    from tuner.search.plan import N_TRIALS
    from tuner.search.samplers import INDEPENDENT, LISTED
    from tuner.storage.call import describe_call
    from tuner.storage.study import would_continue

    space = _user_space(entry, arguments)
    if "build" not in data:  # whose own hyperparameters are known only with it
        rows = make_space(entry.table, space)
        for params in arguments["enqueue"]:
            complete(rows, params)
    passed = {"metric", "patience", "seed", "device"} | (entry.own_arguments & options.keys())
    passed |= {"folds", "confirm"} & arguments.keys()  # whose default is "auto" here alone
    given = {"space": space} | {name: arguments[name] for name in passed}
    objective = entry.objective(*data.values(), **given)
    automatic = [name for name in ("folds", "precision") if arguments.get(name) == "auto"]
    begun = _begun_study(arguments) if automatic else None
    if begun is not None and would_continue(begun, objective.record, with_its=automatic):
        own = {name: begun.get(name) for name in automatic}
        options = dict(options) | own
        objective = entry.objective(*data.values(), **given | own)
    rows = objective.space
    _choose_sampler(arguments, rows)
    firsts = [complete(rows, params) for params in arguments["enqueue"]]
    if arguments["include_default"] and arguments["sampler"] not in LISTED:
        firsts = [defaults(rows), *firsts]
        if (
            arguments["sampler"] not in INDEPENDENT
        ):  # whose trials are to be independent of one another
            n_left = (arguments["n_trials"] or N_TRIALS) - len(firsts)
            firsts += getattr(objective, "portfolio", [])[: max(0, n_left)]
    if (arguments["n_jobs"] or 1) > 1:
        _check_sendable(objective)
    arguments |= {
        "direction": objective.metric.direction,
        "max_steps": int(rows["epochs"].default),
    }
    return _search(
        objective,
        arguments,
        space=rows,
        firsts=firsts,
        record=objective.record,
        call=describe_call(entry.function, data | dict(options), _defaults(entry)),
    )


def _begun_study(arguments: Options) -> Mapping[str, Any] | None:
    """Return the record of the study that a call continues or starts from, if there is one."""
    from tuner.storage.study import stored_record
    from tuner.storage.trial_attrs import RECORD

    source, storage = arguments["start_from"], arguments["storage"]
    names = [arguments["study_name"], *([source] if isinstance(source, str) else [])]
    for name in names if storage is not None else []:
        if (record := stored_record(storage, name)) is not None:
            return record
    record = getattr(getattr(source, "study", source), "user_attrs", {}).get(RECORD)
    return record if isinstance(record, Mapping) else None


def _checked(entry: ReadyMade | None, options: Mapping[str, object]) -> Options:
    """Return all arguments, defaults included, after the checks that do not need torch."""
    check_arguments(entry, options)
    from tuner.search.samplers import check_sampler

    arguments = _defaults(entry) | dict(options)
    check_sampler(arguments["sampler"])
    if arguments["track"] is not None:
        from tuner.tracking import tracker_of

        arguments["track"] = tracker_of(arguments["track"])
    return arguments


def _user_space(entry: ReadyMade, arguments: Options) -> Options:
    """Return the space as asked for; a grid or manual search varies only what is named."""
    from tuner.search.samplers import LISTED

    table, sampler = entry.table, arguments["sampler"]
    space = dict(arguments["space"] or {})
    if sampler == "grid" and not space:
        space = {name: list(table[name].grid) for name in entry.grid}
    if arguments["epochs"] is not None:
        space["epochs"] = arguments["epochs"]
    fixed = {name: row.default for name, row in table.items()} if sampler in LISTED else {}
    return fixed | space


def _choose_sampler(arguments: Options, rows: Space) -> None:
    """Put the sampler that ``"auto"`` stands for in its place."""
    from objectives.space.space import stored_space
    from tuner.search.samplers import choose_sampler

    arguments["sampler"] = choose_sampler(
        arguments["sampler"], stored_space(rows), arguments["n_trials"]
    )


def _defaults(entry: ReadyMade | None) -> Options:
    return {name: argument.default for name, argument in arguments_for(entry).items()}


def _search(objective: Tuned, arguments: Options, **planned: Any) -> TuningResult:
    """Make a plan of the arguments, run it, and wrap what it leaves in a result."""
    from tuner.result import TuningResult
    from tuner.search.optimize import jobs_that_pay, optimize
    from tuner.search.plan import Plan, total_trials
    from tuner.search.progress import Tracking

    start = time.monotonic()
    budget = ("n_trials", "stop_after", "timeout", "trials", "n_jobs")
    names = ("direction", "sampler", "pruner", "seed", *budget)
    optional = {name: arguments.get(name) for name in ("checkpoint", "artifact_store")}
    planned |= {name: arguments[name] for name in (*names, "max_steps")} | optional
    n_jobs = arguments["n_jobs"]
    plan = Plan(**planned | {"n_jobs": n_jobs or 1})
    if n_jobs is None and arguments["executor"] is None:
        total = total_trials(plan.n_trials, plan.sampler, [], plan.timeout)
        begun = (_begun_study(arguments) or {}).get("n_jobs")
        plan = replace(plan, n_jobs=begun or jobs_that_pay(plan, objective, total))
    arguments |= {"n_jobs": plan.n_jobs}
    passed = ("storage", "study_name", "callbacks", "show_progress_bar", "executor", "start_from")
    if arguments.get("dry_run"):
        return _estimated(plan, objective, arguments)
    settings = {name: arguments[name] for name in passed}
    with Tracking(arguments["track"]) as tracking:
        watch = tracking.update if tracking else None
        outcome = optimize(plan, objective, **settings, watch=watch)
        finals = None
        with _may_be_left_out(outcome):
            finals = _finals(objective, arguments, outcome, start)
        result = TuningResult(
            study=outcome.study,
            objective=outcome.objective,
            model=outcome.model,
            library=outcome.library,
            finals=finals,
            continue_search=outcome.try_params,
            artifacts=outcome.artifacts,
        )
        with _may_be_left_out(outcome):
            result.keep_chosen()
            if tracking:
                has_model = _has_model(outcome, finals)
                tracking.end(outcome.session, result.model if has_model else None)
    return result


@contextmanager
def _may_be_left_out(outcome: Outcome) -> Iterator[None]:
    """Do what follows a search; Ctrl-C ends that, and leaves the result of the search."""
    from tuner.storage.optuna_internals import read_anew

    try:
        yield
    except KeyboardInterrupt:
        read_anew(outcome.session.storage)
        print("interrupted after the search, whose trials are all kept", file=sys.stderr)


def _estimated(plan: Plan, objective: Any, arguments: Options) -> TuningResult:
    """Say what the search would take; the result has a study in memory without trials."""
    import optuna

    from objectives.objective import PREFIX
    from tuner.result import TuningResult
    from tuner.search.optimize import estimate
    from tuner.storage.study import quiet_optuna

    found = estimate(plan, objective, arguments["storage"], arguments["study_name"])
    print(found, file=sys.stderr)
    with quiet_optuna():
        direction = optuna.study.StudyDirection[plan.direction.upper()]
        study = optuna.create_study(direction=direction, study_name=arguments["study_name"])
    study.set_user_attr(f"{PREFIX}estimate", vars(found))
    return TuningResult(study=study, objective=objective, model=None)


def _confirms(objective: object) -> TypeGuard[MLPObjective]:
    """Whether the best trials of the objective are to be trained again."""
    return bool(getattr(objective, "confirm", False))


def _finals(objective: Tuned, arguments: Options, outcome: Outcome, start: float) -> Finals | None:
    """Train the best trials again, where that is asked for and has not been done."""
    if not _confirms(objective) or outcome.interrupted:
        return None
    from tuner.diagnosis.confirm import Finals  # loading takes longer than a whole trial may
    from tuner.search.process_cohort import allowed_jobs, open_cohort
    from tuner.search.progress import show_runs

    study, timeout = outcome.study, arguments["timeout"]
    n_jobs = allowed_jobs(arguments["n_jobs"])
    finals = Finals(objective, opened=partial(open_cohort, n_jobs=n_jobs, alone=n_jobs > 1))
    if finals.are_of(study) or not objective.n_finalists(len(study.trials)):
        return finals
    metric, enabled = f"confirmed {objective.metric.name}", arguments["show_progress_bar"]
    with show_runs("trials again on folds", metric, enabled=enabled, timeout=timeout) as show:
        deadline = None if timeout is None else start + timeout
        finals.run(study, deadline=deadline, show=show)
    return finals


def _has_model(outcome: Outcome, finals: Finals | None) -> bool:
    """Say whether the result's model is at hand, so that nothing must be trained for it."""
    if finals is not None and finals.are_of(outcome.study):
        return finals.are_trained
    return outcome.has_model


def _check_sendable(objective: object) -> None:
    """Raise ValueError unless the user's own functions can be sent to other processes."""
    try:
        pickle.dumps((getattr(objective, "functions", ()), getattr(objective, "metric", None)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "n_jobs must be 1 for functions that cannot be sent to other processes, got "
            f"n_jobs > 1 ({error}); define build and the like at the top of an importable file"
        ) from error
