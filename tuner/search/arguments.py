"""The arguments that the entry points share, and what checks and documents all of them.

Reading it loads neither torch nor Optuna, see `objectives.space.registry`.
"""

import difflib
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, TypeVar, get_args

from objectives._messages import check_count, choices, nearest
from objectives.space.registry import (
    IMAGES,
    METRICS,
    TABLES,
    Argument,
    ReadyMade,
    arguments_of,
)

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

    from objectives.scorers import AnyMetric
    from tuner.search.loop import Callback
    from tuner.search.plan import Params
    from tuner.search.samplers import PrunerName, SamplerName
    from tuner.search.start_from import HasStudy
    from tuner.storage.artifacts import ArtifactStore
    from tuner.tracking import Tracker

SAMPLERS = ("tpe", "random", "grid", "manual", "gp", "cmaes", "qmc", "auto")
PRUNERS = ("median", "asha", "hyperband", "none")
TRACKERS = ("mlflow", "wandb", "tensorboard")


class StudyArguments(TypedDict, total=False):
    """What every search takes.

    Args:
        space: What to search, by name: a fixed value, a list of choices, a ``(low, high)`` range,
            an Optuna distribution or a `Hyperparameter`. Random and TPE search the documented
            ranges of the others as well; a grid searches only what is named, or learning_rate (with
            dropout and activation for `tune_mlp`) if nothing is.
        sampler: ``tpe``, ``random``, ``grid`` or ``manual``; Optuna's ``gp`` (Gaussian process),
            ``cmaes`` (CMA-ES, needs the package cmaes) or ``qmc`` (Sobol points); ``auto`` for gp
            where up to 250 trials search numbers alone, else tpe. In Python also an Optuna sampler.
        pruner: Stops trials against others: ``median``, ``asha``, ``hyperband`` or ``none``. In
            Python also an Optuna pruner.
        n_trials: Finished trials in the study at the end; by default 30, or all of a grid or a
            manual search. Trials of earlier calls count, so repeating a call is a no-op.
        timeout: Seconds that the search may take. No trial starts afterwards; running ones of a
            ready-made objective end at their best epoch so far and count.
        stop_after: Trials without a better one after which no further trial starts; by default
            there is no such limit. It counts from the study's first trial, so repeating a call is a
            no-op here, too.
        n_jobs: Processes that train; with TPE each has a trial of its own. By default all physical
            cores for a table searched by TPE, where trials times epochs make the search long enough
            (about half a minute if none ended early), else one; a study continues with what it was
            begun with. They take about two seconds to start, while this one trains. The same seed
            and ``n_jobs`` give the same table under TPE, whichever trial ends first.
        enqueue: Configurations to try first, under any sampler. What they leave out is at its
            default.
        trials: The configurations of a manual search.
        seed: Of everything: the same seed gives the same table.
        storage: Where the study is kept: a .journal or .db file or a URL; by default in memory. If
            the study exists, the search continues it.
        study_name: Name of the study in the storage.
        start_from: A study in the same storage whose trials to begin with, as far as they fit. In
            Python also an `optuna.Study` or a `TuningResult`. Complete and pruned trials whose
            hyperparameters all lie in the new space are copied and count as trials of this study:
            where 12 fit, ``n_trials=30`` trains 18 more, and by default 30 follow them. Data,
            split, metric, recipe, patience, repeats and folds must be the same.
        callbacks: Called with study and trial after each trial, as in `optuna.Study.optimize`.
        show_progress_bar: Whether to show trials done, pruned, best value and time left.
        executor: Trains in ``n_jobs`` workers of a `concurrent.futures` executor, a Dask
            ``client.get_executor()`` or a submitit executor. They share the study through a
            ``storage`` that all of them reach, and take over the trials of one that dies.
        track: Logs the study as a run and each trial as a run below it: {choices}. In Python also
            one of `tuner.tracking` with settings, or a `Tracker` of your own. A trial is logged
            when it has ended, wherever it was trained, and once: the same call later logs only what
            is missing.
    """

    space: Annotated["Params | None", Argument(None, "a table")]
    sampler: Annotated["SamplerName | BaseSampler", Argument("tpe", "a text", SAMPLERS)]
    pruner: Annotated["PrunerName | BasePruner", Argument("median", "a text", PRUNERS)]
    n_trials: Annotated[int | None, Argument(None, "a whole number")]
    timeout: Annotated[float | None, Argument(None, "a number")]
    stop_after: Annotated[int | None, Argument(None, "a whole number")]
    n_jobs: Annotated[int | None, Argument(None, "a whole number")]
    enqueue: Annotated["Sequence[Params]", Argument((), "a list of tables")]
    trials: Annotated["Sequence[Params] | None", Argument(None, "a list of tables")]
    seed: Annotated[int, Argument(0, "a whole number")]
    storage: Annotated["str | os.PathLike[str] | BaseStorage | None", Argument(None, "a text")]
    study_name: Annotated[str, Argument("tune", "a text")]
    start_from: Annotated["str | optuna.Study | HasStudy | None", Argument(None, "a text")]
    callbacks: Annotated["Sequence[Callback]", Argument((), "an object")]
    show_progress_bar: Annotated[bool, Argument(True, "true or false", on_command_line=False)]
    executor: Annotated[Any, Argument(None, "an object")]
    track: Annotated["str | Tracker | None", Argument(None, "a text", TRACKERS)]


class SearchArguments(StudyArguments, total=False):
    """What every search with a ready-made objective takes.

    Args:
        metric: What is tuned: {choices}, or the name of a scorer of scikit-learn such as f1; by
            default accuracy, or rmse for regression. In Python also a scorer of ``make_scorer``, a
            function of y_true and y_pred (or y_proba), which is better the greater it is unless its
            name ends in _loss or _error, or a `Metric`. Selection, patience and pruning all use it,
            on the validation split.
        epochs: Passes over the training split at most; the default stands among the
            hyperparameters. Short for ``space={"epochs": ...}``.
        patience: Epochs without improvement after which a trial ends, judged against itself. None
            for never.
        include_default: Whether random and TPE searches begin with the default configuration. It is
            trial 0; those of ``enqueue`` follow. `tune_mlp` then tries, unless the sampler is
            random, configurations that did well on other tables, as far as they lie in the space.
        checkpoint: Whether running trials are saved beside the study; by default those that last
            longer than a minute, each minute. True saves each five epochs, False never. After a
            crash a saved trial continues where it was and comes out the same.
        artifact_store: Folder for checkpoints and the best model; by default the one beside the
            study's file. All workers must reach it. In Python also an artifact store of
            `optuna.artifacts`. With a database or no storage, nothing is kept by default.
        device: Where to train, such as cpu; by default CUDA or MPS where there is one.
        dry_run: Whether only to estimate what the search would take: a few epochs are timed, the
            estimate is printed and is the result's user attribute ``fusetune:estimate``, and
            nothing is stored.
    """

    metric: Annotated["AnyMetric | None", Argument(None, "a text", METRICS, open_choices=True)]
    epochs: Annotated[int | None, Argument(None, "a whole number")]
    patience: Annotated[int | None, Argument(10, "a whole number")]
    include_default: Annotated[bool, Argument(True, "true or false")]
    checkpoint: Annotated[bool | None, Argument(None, "true or false")]
    artifact_store: Annotated[
        "str | os.PathLike[str] | ArtifactStore | None", Argument(None, "a text")
    ]
    device: Annotated[str | None, Argument(None, "a text")]
    dry_run: Annotated[bool, Argument(False, "true or false")]


class FunctionArguments(StudyArguments, total=False):
    """What `tuner.tune` takes besides.

    Args:
        direction: ``minimize`` or ``maximize``. A ready-made objective brings its own.
        max_steps: The last step that the function reports; the pruner's settings follow it.
    """

    direction: Annotated[
        Literal["minimize", "maximize"], Argument("minimize", choices=("minimize", "maximize"))
    ]
    max_steps: Annotated[int, Argument(100)]


def definitions_for(entry: ReadyMade | None) -> tuple[type, ...]:
    """Return the TypedDicts of an entry point's arguments; None stands for `tuner.tune`."""
    if entry is None:
        return (StudyArguments, FunctionArguments)
    return (StudyArguments, SearchArguments, *entry.definitions)


def arguments_for(entry: ReadyMade | None) -> dict[str, Argument]:
    """Return the arguments of an entry point, the data itself excepted.

    Example:
        >>> from objectives.space.registry import READY_MADE
        >>> arguments_for(READY_MADE["cnn"])["study_name"].default
        'cnn'
    """
    known = arguments_of(*definitions_for(entry))
    if entry is not None:
        known["study_name"] = replace(known["study_name"], default=entry.kind)
        known["patience"] = replace(known["patience"], default=entry.patience)
    return known


def check_arguments(entry: ReadyMade | None, options: Mapping[str, object]) -> None:
    """Check what can be checked without torch: names, choices and counts.

    Raises:
        TypeError: for an unknown argument; offers the nearest one.
        ValueError: for a name that is none of its choices, or a count below 1.
    """
    known = arguments_for(entry)
    for name, value in options.items():
        if name not in known:
            function = "tune" if entry is None else entry.function
            raise TypeError(
                f"{function}() got an unexpected argument {name!r}; {cure(entry, name, value)}"
            )
        known[name].check(name, value)
    for name in ("n_trials", "stop_after", "n_jobs", "n_repeats"):
        if options.get(name) is not None:
            check_count(name, options[name])
    seed = options.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed=}")
    if "patience" in options:
        check_count("patience", options["patience"], or_none=True)


# What other libraries call a hyperparameter.
_ALIASES = {"lr": "learning_rate", "max_epochs": "epochs", "hidden_size": "hidden_units"}


def cure(entry: ReadyMade | None, name: str, value: object) -> str:
    """Say what a user who gave an unknown argument probably meant.

    Example:
        >>> from objectives.space.registry import READY_MADE
        >>> cure(READY_MADE["mlp"], "n_trails", 5), cure(READY_MADE["mlp"], "lr", 0.1)
        ("did you mean 'n_trials'?", "did you mean space={'learning_rate': 0.1}?")
    """
    table = () if entry is None else tuple(entry.table)
    known = arguments_for(entry)
    meant = _ALIASES.get(name, name)
    near = difflib.get_close_matches(meant.casefold(), [*known, *table], n=1)
    if not near:
        return choices(known)
    match = near[0]
    return (
        f"did you mean {match!r}?" if match in known else f"did you mean space={ {match: value} }?"
    )


def check_data(entry: ReadyMade, dataset: object) -> None:
    """Raise ValueError if ``dataset`` is a path or a name of nothing, before torch is loaded."""
    folder = entry.data == "images"
    builtins, what = (IMAGES, "folder") if folder else (TABLES, "file")
    if not isinstance(dataset, str | os.PathLike) or str(dataset) in builtins:
        return
    if str(dataset).lower().startswith(("http://", "https://")) and not folder:
        return
    path, name = Path(dataset).expanduser(), os.fspath(dataset)
    if path.is_dir() if folder else path.exists():
        return
    if path.suffix or len(path.parts) > 1 or path.exists():
        raise ValueError(
            f"dataset must be a {what} that exists, got dataset={name!r}; check the path"
        )
    cure = nearest(name, builtins) if len(builtins) > 1 else "check the name"
    raise ValueError(
        f"dataset must be a {what} that exists or a built-in name ({', '.join(builtins)}), got "
        f"dataset={name!r}; {cure}"
    )


Function = TypeVar("Function", bound=Callable[..., Any])


def documented(
    entry: ReadyMade | None, arguments: Mapping[str, Argument] | None = None
) -> Callable[[Function], Function]:
    """Give an entry point's ``**options`` the signature and docstring of its defined arguments.

    The docstring's line ``{options}`` becomes one entry an argument, and the hyperparameters of
    the objective become its last section. Of a class only the docstring is filled in.

    Args:
        entry: whose arguments they are, see `definitions_for`.
        arguments: those that it takes; by default all of `arguments_for`.
    """
    known = arguments_for(entry) if arguments is None else arguments
    annotations = {n: a for d in definitions_for(entry) for n, a in d.__annotations__.items()}

    def decorate(function: Function) -> Function:
        from objectives.space.tables import search_range

        own = inspect.signature(function)
        shown = (p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD)
        parameters = [p for p in shown if p.name not in known]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=argument.default,
                annotation=_type(annotations[name]),
            )
            for name, argument in known.items()
        ]
        if not inspect.isclass(function):
            vars(function)["__signature__"] = own.replace(parameters=parameters)
        if function.__doc__ is None:  # python -OO leaves none
            return function
        before, indent, after = re.split(r"^( *)\{options\}$", function.__doc__, flags=re.M)
        filled = textwrap.TextWrapper(
            100,
            initial_indent=indent,
            subsequent_indent=indent + " " * 4,
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines = "\n".join(filled.fill(f"{name}: {known[name].help}") for name in known)
        text = before + lines + after
        if entry is not None:
            rows = "\n".join(
                filled.fill(f"{row.name}: {row.help}; {search_range(row)}, default {row.default}.")
                for row in entry.table.values()
            )
            heading = indent[4:]  # none from Python 3.13 on, which takes off what all lines share
            text = f"{text.rstrip()}\n\n{heading}Hyperparameters:\n{rows}\n"
        function.__doc__ = text
        return function

    return decorate


def _type(annotation: object) -> object:
    shown = get_args(annotation)[0]
    return getattr(shown, "__forward_arg__", shown)
