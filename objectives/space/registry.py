"""The ready-made objectives: one list, read wherever one of them is meant by its kind.

Reading it loads neither torch nor Optuna; what an entry names is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from objectives.arguments import (
    FinetuneArguments,
    ImageArguments,
    MLPArguments,
    ModuleArguments,
    arguments_of,
)

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Space


@dataclass(frozen=True, kw_only=True)
class ReadyMade:
    """One ready-made objective.

    Args:
        kind: the name its studies and model files record.
        class_name: of the objective, in the module ``objectives.<kind>``.
        table_name: of its documented hyperparameters, in `objectives.space.tables`.
        definition: TypedDict of what it takes besides the search space.
        data: what it trains on.
        patience: epochs without improvement after which a trial ends, by default.
        command: what its command says of itself; empty if the command line cannot begin a search.
        grid: the hyperparameters of a grid search without a space.
        rebuilds: whether ``build`` in its module makes the network of a saved model again.
    """

    kind: str
    class_name: str
    table_name: str
    definition: type
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
    def table(self) -> Space:
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
        return frozenset(arguments_of(self.definition))


_ALL = (
    ReadyMade(
        kind="mlp",
        class_name="MLPObjective",
        table_name="MLP_TABLE",
        definition=MLPArguments,
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
        definition=ImageArguments,
        data="images",
        patience=10,
        command="Tune a small residual network on images and print the best configuration.",
        rebuilds=True,
    ),
    ReadyMade(
        kind="finetune",
        class_name="FinetuneObjective",
        table_name="FINETUNE_TABLE",
        definition=FinetuneArguments,
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
        definition=ModuleArguments,
        data="any",
        patience=10,
    ),
)

READY_MADE: Mapping[str, ReadyMade] = {entry.kind: entry for entry in _ALL}
"""The ready-made objectives by kind."""
