"""The ready-made objectives: one list of them and, for each, the arguments that it takes.

Whatever names an objective or shows an argument (entry points, completion, ``help()``, the command
line, configuration files, model files) reads it here. Reading it loads neither torch nor Optuna;
what an entry names is imported when it is asked for.
"""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict, get_args

from objectives._messages import check_choice

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Space

Options: TypeAlias = dict[str, Any]  # arguments of an entry point, by name
Kind = Literal[
    "a text",
    "a whole number",
    "auto, none or a whole number",
    "a number",
    "true or false",
    "a list",
    "a list of tables",
    "a table",
    "any value",
    "an object",
]
"""What a configuration file may hold for an argument; ``"an object"`` exists only in Python."""

TABLES = ("digits", "breast_cancer", "wine", "iris", "diabetes")
IMAGES = ("digits",)
METRICS = (
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "log_loss",
    "f1_macro",
    "rmse",
    "mae",
    "r2",
)
RECIPES = ("modern", "plain")
Task = Literal["binary", "multiclass", "regression"]
TASKS = get_args(Task)
Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS = get_args(Precision)
# Common backbones; torchvision has many more.
BACKBONES = (
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "convnext_tiny",
    "vit_b_16",
)


@dataclass(frozen=True)
class Argument:
    """One argument of an entry point.

    Args:
        default: what it is when it is left out.
        kind: what a configuration file may hold for it.
        choices: names that a text may be.
        open_choices: whether other names are legal as well.
        typed: what the command line reads; by default it follows from ``kind``.
        on_command_line: whether the command line has an option of this name.
        help: what it does, as the docstring of its definition says. The command line shows the
            first sentence.
    """

    default: object
    kind: Kind = "any value"
    choices: tuple[str, ...] = ()
    open_choices: bool = False
    typed: type | None = None
    on_command_line: bool = True
    help: str = ""

    def check(self, name: str, value: object) -> None:
        """Raise ValueError if ``value`` is a text that none of the choices is."""
        if isinstance(value, str) and self.choices and not self.open_choices:
            check_choice(name, value, self.choices)


class DataArguments(TypedDict, total=False):
    """How any data is split and weighted.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``; by default inferred from the target.
        valid_size: Share of the rows for validation. Where folders of images give a split, it
            stays.
        test_size: Share of the rows for the test; 0 keeps none for it.
        groups: Column whose rows of one value stay in one split; it is no feature. In Python also a
            value for each row. For a folder of images: a function of the path.
        class_weight: ``balanced``, which is inverse to the frequency in the training split. In
            Python also a weight for each label; labels not named weigh 1.
    """

    task: Annotated[Task | None, Argument(None, "a text", TASKS)]
    valid_size: Annotated[float, Argument(0.2, "a number")]
    test_size: Annotated[float, Argument(0.2, "a number")]
    groups: Annotated[object, Argument(None, typed=str)]
    class_weight: Annotated[str | Mapping[Any, float] | None, Argument(None, typed=str)]


class TableArguments(DataArguments, total=False):
    """How a table is read.

    Args:
        target: Column to predict.
        time: Column by which the earliest rows train and the latest test; it is no feature. In
            Python also a value for each row.
        categorical: Columns to treat as categories besides text, such as few-valued integers.
        sample_weight: Column with the weight of each row; it is no feature. In Python also a weight
            for each row.
        encoding: Of a file of text, such as ``cp1252``; by default UTF-8, or what its first bytes
            say.
        drop_missing_target: Whether to leave out rows without a target.
        rare_classes: ``drop`` to leave out classes of fewer than 3 rows; by default they are
            refused.
    """

    target: Annotated[str | None, Argument(None, "a text")]
    time: Annotated[object, Argument(None, typed=str)]
    categorical: Annotated[Sequence[str] | None, Argument(None, "a list")]
    sample_weight: Annotated[object, Argument(None, typed=str)]
    encoding: Annotated[str | None, Argument(None, "a text")]
    drop_missing_target: Annotated[bool, Argument(False, "true or false")]
    rare_classes: Annotated[str | None, Argument(None, "a text")]


class ImageArguments(DataArguments, total=False):
    """How images are read.

    Args:
        image_size: Height and width that images are stretched to. In Python also a pair of them. By
            default the size they have, or the median height and width if they differ; a pretrained
            backbone takes what its weights were trained with.
        skip_corrupt: Whether to leave out images that cannot be read, with a warning.
        max_bytes: Images that need more memory than this are read from disk when they are needed.
        n_workers: Processes that read streamed images; by default one for each core, 4 at most. By
            default none on macOS, Windows and from Python 3.14 on, where your script needs a main
            guard.
    """

    image_size: Annotated[int | tuple[int, int] | None, Argument(None, typed=int)]
    skip_corrupt: Annotated[bool, Argument(False, "true or false")]
    max_bytes: Annotated[int, Argument(2 * 2**30, "a whole number")]
    n_workers: Annotated[int | None, Argument(None, "a whole number")]


class ChoiceArguments(TypedDict, total=False):
    """What the result's ``model`` is, of the trials that a search has run.

    Args:
        ensemble: Whether the result's ``model`` is an ensemble of trials. With ``auto`` it is where
            that beats the best trial on held-out rows; a number gives the votes at most; False or
            none is the best trial. The best 25 trials of this process, or of the workers of an
            executor, are kept for it, up to 256 MB. Fine-tuned networks are slow to predict, so for
            them ``auto`` is the best trial.
        threshold: ``tune`` to choose the probability from which on ``predict`` of the result's
            ``model`` names the second of two classes, for a metric of labels such as ``f1_macro``;
            by default 0.5. It is chosen on held-out rows, and kept where it helps on rows that did
            not choose it.
    """

    ensemble: Annotated[
        Literal["auto"] | bool | int | None, Argument("auto", "auto, none or a whole number")
    ]
    threshold: Annotated[Literal["tune"] | None, Argument(None, "a text", ("tune",))]


class MLPArguments(TableArguments, ChoiceArguments, total=False):
    """What `objectives.mlp.MLPObjective` takes besides the search space.

    Args:
        n_repeats: Networks a trial, alike but for their seeds; their mean is the trial's value. The
            fitted model predicts by all of them.
        folds: Cross-validate each trial on so many folds of the training and validation rows. With
            ``auto`` there are 5 where these are at most 1,000 and not split by time, else none. A
            stored study keeps its own. The folds train side by side, and a trial's value is their
            mean. The result's ``model`` predicts by the mean of the folds' networks; ``refit()``
            trains one network on all those rows instead.
        confirm: How many of the best trials are trained again, beside the default configuration, on
            5 folds of the training and validation rows and from fresh seeds; the mean decides which
            is best, and the result's ``model`` predicts by these networks. ``auto`` is one in ten
            trials, 2 at most, where up to 6,000 such rows are judged by one split, else none. Of a
            ``timeout`` it takes up to a third.
        recipe: What surrounds the tuned hyperparameters: ``modern``, or ``plain`` for the
            textbook's network.
        precision: Of the matrix products of training: ``float32``, or ``bfloat16`` for those of
            large networks, which then train about 1.5 times as fast on processors that have it;
            weights, loss and metric stay float32. ``auto`` is bfloat16 on such a processor, else
            float32, so another kind of processor may give another table. A stored study keeps its
            own.
    """

    n_repeats: Annotated[int, Argument(1, "a whole number")]
    folds: Annotated[Literal["auto"] | int | None, Argument("auto", "auto, none or a whole number")]
    confirm: Annotated[
        Literal["auto"] | bool | int | None, Argument("auto", "auto, none or a whole number")
    ]
    recipe: Annotated[str, Argument("modern", "a text", RECIPES)]
    precision: Annotated[Precision, Argument("auto", "a text", PRECISIONS)]


class CNNArguments(ImageArguments, ChoiceArguments, total=False):
    """What `objectives.cnn.CNNObjective` takes besides the search space."""


class FinetuneArguments(CNNArguments, total=False):
    """What `objectives.finetune.FinetuneObjective` takes besides the search space.

    Args:
        backbone: A classification network of torchvision, such as {choices}. A new head replaces
            its last linear layer.
        weights: ``DEFAULT`` or another name of torchvision's weights, downloaded once; a .pth or
            .safetensors file of weights, loaded without running code; or none for random
            weights.
    """

    backbone: Annotated[str, Argument("resnet18", "a text", BACKBONES, open_choices=True)]
    weights: Annotated[str | os.PathLike[str] | None, Argument("DEFAULT", "a text")]


class ModuleArguments(TableArguments, CNNArguments, total=False):
    """What `objectives.module.ModuleObjective` takes besides the search space.

    Args:
        loss: ``cross_entropy``, ``mse``, ``mae``, ``huber``, or a function of outputs and targets.
        optimizer: ``sgd``, ``adam``, ``adamw``, or a function of parameters and hyperparameters
            that returns a torch optimizer.
        schedule: ``none``, ``cosine``, ``one_cycle``, or a function of progress (0 to 1) that
            returns the factor on the learning rate.
        clip: A function of the module's parameters that changes their gradients before each step,
            in place of the hyperparameter ``clip_norm``.
    """

    loss: Annotated[str | Callable[..., Any] | None, Argument(None)]
    optimizer: Annotated[str | Callable[..., Any] | None, Argument(None)]
    schedule: Annotated[str | Callable[[float], float] | None, Argument(None)]
    clip: Annotated[Callable[..., object] | None, Argument(None)]


def listing(names: Sequence[str]) -> str:
    """Write names as a sentence has them.

    Example:
        >>> listing(("history", "curves", "rank"))
        'history, curves or rank'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def arguments_of(*definitions: type) -> dict[str, Argument]:
    """Return the arguments that TypedDicts define and explain, by name.

    Example:
        >>> arguments_of(MLPArguments)["n_repeats"].default
        1
    """
    known: dict[str, Argument] = {}
    for definition in definitions:
        entries = dict(_ENTRY.findall(inspect.getdoc(definition) or ""))  # python -OO leaves none
        for name, annotation in definition.__annotations__.items():
            argument = known.get(name, get_args(annotation)[1])
            if name in entries:
                text = " ".join(entries[name].split())
                text = text.replace("{choices}", listing(argument.choices))
                argument = replace(argument, help=text)
            known[name] = argument
    return known


_ENTRY = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class ReadyMade:
    """One ready-made objective.

    Args:
        kind: the name its studies and model files record.
        class_name: of the objective, in the module ``objectives.<kind>``.
        table_name: of its documented hyperparameters, in `objectives.space.tables`.
        definitions: TypedDicts of what it takes besides the search space.
        data: what it trains on.
        patience: epochs without improvement after which a trial ends, by default.
        command: what its command says of itself; empty if the command line cannot begin a search.
        grid: the hyperparameters of a grid search without a space.
        rebuilds: whether ``build`` in its module makes the network of a saved model again.
    """

    kind: str
    class_name: str
    table_name: str
    definitions: tuple[type, ...]
    data: Literal["table", "images", "any"]
    patience: int
    command: str = ""
    grid: tuple[str, ...] = ("learning_rate",)
    rebuilds: bool = False

    @property
    def function(self) -> str:
        """Name of its entry point, ``tune_mlp`` for kind ``mlp``."""
        return f"tune_{self.kind}"

    @property
    def table(self) -> "Space":
        """Its documented hyperparameters."""
        table: Space = getattr(import_module("objectives.space.tables"), self.table_name)
        return table

    @property
    def objective(self) -> Any:
        """The class of the objective."""
        return getattr(import_module(f"objectives.{self.kind}"), self.class_name)

    @property
    def build(self) -> Any:
        """What makes its network from a saved model's arguments, if it ``rebuilds``."""
        return import_module(f"objectives.{self.kind}").build

    @property
    def own_arguments(self) -> frozenset[str]:
        """Names of what the objective takes besides the search space, its data's included."""
        return frozenset(arguments_of(*self.definitions))


_OF_TABLES = (DataArguments, TableArguments, ChoiceArguments)
_OF_IMAGES = (DataArguments, ImageArguments, ChoiceArguments)
_ALL = (
    ReadyMade(
        kind="mlp",
        class_name="MLPObjective",
        table_name="MLP_TABLE",
        definitions=(*_OF_TABLES, MLPArguments),
        data="table",
        patience=20,
        command="Tune a multilayer perceptron on a table and print the best configuration.",
        # The product of all grid levels is out of reach: 115,200 cells without epochs.
        grid=("learning_rate", "dropout", "activation"),
    ),
    ReadyMade(
        kind="cnn",
        class_name="CNNObjective",
        table_name="CNN_TABLE",
        definitions=_OF_IMAGES,
        data="images",
        patience=10,
        command="Tune a small residual network on images and print the best configuration.",
        rebuilds=True,
    ),
    ReadyMade(
        kind="finetune",
        class_name="FinetuneObjective",
        table_name="FINETUNE_TABLE",
        definitions=(*_OF_IMAGES, FinetuneArguments),
        data="images",
        patience=5,
        command="Fine-tune a pretrained network of torchvision on images and print the best "
        "configuration.",
        rebuilds=True,
    ),
    ReadyMade(
        kind="module",
        class_name="ModuleObjective",
        table_name="TRAINING_TABLE",
        definitions=(*_OF_TABLES, ImageArguments, ModuleArguments),
        data="any",
        patience=10,
    ),
)

READY_MADE: Mapping[str, ReadyMade] = {entry.kind: entry for entry in _ALL}
"""The ready-made objectives by kind."""
