"""The ready-made objectives: one list, read wherever one of them is meant by its kind.

Reading it loads neither torch nor Optuna; what an entry names is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from objectives.space.hyperparameter import Space


@dataclass(frozen=True, kw_only=True)
class ReadyMade:
    """One ready-made objective.

    Args:
        kind: the name its studies and model files record.
        module: where its class stands.
        class_name: of the objective.
        table_name: of its documented hyperparameters, in `objectives.space.tables`.
        command: whether the command line can begin a search of it: its data are files.
        rebuilds: whether ``build`` in its module makes the network of a saved model again.
    """

    kind: str
    module: str
    class_name: str
    table_name: str
    command: bool = True
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
        return getattr(import_module(self.module), self.class_name)

    @property
    def build(self) -> Any:
        """What makes its network from a saved model's arguments, if it ``rebuilds``."""
        return import_module(self.module).build


_ALL = (
    ReadyMade(
        kind="mlp", module="objectives.mlp", class_name="MLPObjective", table_name="MLP_TABLE"
    ),
    ReadyMade(
        kind="cnn",
        module="objectives.cnn",
        class_name="CNNObjective",
        table_name="CNN_TABLE",
        rebuilds=True,
    ),
    ReadyMade(
        kind="finetune",
        module="objectives.finetune",
        class_name="FinetuneObjective",
        table_name="FINETUNE_TABLE",
        rebuilds=True,
    ),
    ReadyMade(
        kind="module",
        module="objectives.module",
        class_name="ModuleObjective",
        table_name="TRAINING_TABLE",
        command=False,
    ),
)

READY_MADE: Mapping[str, ReadyMade] = {entry.kind: entry for entry in _ALL}
"""The ready-made objectives by kind."""
