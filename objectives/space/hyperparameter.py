"""One hyperparameter: its range, grid levels, default, legal values, help and source.

Everything that names a hyperparameter (search spaces, help texts, the README's table) is made from
such rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from objectives._messages import hint

Value: TypeAlias = bool | int | float | str
Kind: TypeAlias = Literal["float", "int", "choice"]
Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution
Params: TypeAlias = Mapping[str, Value]  # a configuration
UserSpace: TypeAlias = Mapping[str, Any]  # as written: values, lists, ranges, distributions
Space: TypeAlias = "Mapping[str, Hyperparameter]"

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "silu")
OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One hyperparameter: what may be tried, what a grid visits, and what is used when nothing is
    said.

    Args:
        name: as the user writes it and as tables show it.
        kind: ``"float"``, ``"int"`` or ``"choice"``.
        default: the value of the default configuration, and the value used while it is not
            searched.
        distribution: what random and TPE search draw from; None keeps it fixed at ``default``.
        grid: the levels a grid search visits; other searches ignore them.
        log: whether a ``(low, high)`` range is searched on a log scale.
        powers_of_two: whether a range holds the powers of two between its ends. The study then
            stores the exponent, as ``log2_<name>``, because a sampler knows the order of integers
            but not of categories.
        minimum: smallest legal number.
        maximum: largest legal number.
        open_ends: whether ``minimum`` and ``maximum`` themselves are illegal.
        words: legal words (all legal values of a choice; ``"full"`` for the batch size).
        flags: legal ones of True and False, for a hyperparameter of a user's own.
        help: one line for people.
        source: where the numbers come from.
    """

    name: str
    kind: Kind
    default: Value
    distribution: Distribution | None = None
    grid: tuple[Value, ...] = ()
    log: bool = False
    powers_of_two: bool = False
    minimum: float = -math.inf
    maximum: float = math.inf
    open_ends: bool = False
    words: tuple[str, ...] = ()
    flags: tuple[bool, ...] = ()
    help: str = ""
    source: str = ""

    @property
    def stored_name(self) -> str:
        """The parameter's name inside the Optuna study."""
        return f"log2_{self.name}" if self._stores_exponent else self.name

    @property
    def _stores_exponent(self) -> bool:
        return self.powers_of_two and isinstance(self.distribution, IntDistribution)

    def to_stored(self, value: Value) -> Value:
        """Return ``value`` as the study stores it; the exponent for powers of two.

        Raises:
            ValueError: if the value cannot be expressed, such as 100 where only powers of two are
                searched.
        """
        if isinstance(self.distribution, CategoricalDistribution):
            if value not in self.distribution.choices:
                choices = ", ".join(map(str, self.distribution.choices))
                raise ValueError(
                    f"{self.name} must be one of {choices} in this search space, got {value!r}; "
                    "put the value into space"
                )
            return value
        if not self._stores_exponent:
            return value
        if isinstance(value, str) or not math.log2(value).is_integer():
            raise ValueError(
                f"{self.name} must be a power of two in this search space, got {value!r}; "
                "give space a list of choices"
            )
        return int(math.log2(value))

    def from_stored(self, value: Any) -> Value:
        """Return the value that a stored parameter stands for.

        >>> from objectives import MLP_TABLE
        >>> MLP_TABLE["batch_size"].from_stored(6)
        64
        """
        stored: Value = 2**value if self._stores_exponent else value
        return stored

    def check(self, value: Any) -> Value:
        """Return ``value`` if it is legal, as a float where the hyperparameter is one.

        Raises:
            ValueError: if it is not; the message names the hyperparameter, the value and what is
                legal.
        """
        if isinstance(value, bool) and value in self.flags:
            return value
        if isinstance(value, str):
            if value in self.words:
                return value
            raise ValueError(
                f"{self.name} must be {self._rule()}, got {value!r}{hint(value, self.words)}"
            )
        number_ok = (
            isinstance(value, int | float) and not isinstance(value, bool) and self.kind != "choice"
        )
        if not number_ok or not math.isfinite(value) or not self._in_range(value):
            raise ValueError(f"{self.name} must be {self._rule()}, got {value!r}")
        if self.kind == "int" and value != int(value):
            raise ValueError(f"{self.name} must be a whole number, got {value!r}")
        return int(value) if self.kind == "int" else float(value)

    def _in_range(self, value: float) -> bool:
        if self.open_ends:
            return self.minimum < value < self.maximum
        return self.minimum <= value <= self.maximum

    def _rule(self) -> str:
        words = ", ".join(map(str, (*self.words, *self.flags)))
        if self.kind == "choice":
            return f"one of {words}"
        above = f"above {self.minimum:g}" if self.open_ends else f"at least {self.minimum:g}"
        below = (
            ""
            if math.isinf(self.maximum)
            else f" and {'below' if self.open_ends else 'at most'} {self.maximum:g}"
        )
        whole = "a whole number " if self.kind == "int" else ""
        return f"{whole}{above}{below}" + (f" or {words}" if words else "")

    def range(self, low: float, high: float) -> FloatDistribution | IntDistribution:
        """Return the distribution from ``low`` to ``high`` inclusive, log where the table is."""
        low, high = self.check(low), self.check(high)  # type: ignore[assignment]
        if not low < high:
            raise ValueError(f"{self.name} must have low < high, got low={low}, high={high}")
        if self.powers_of_two:
            exponents = IntDistribution(
                math.ceil(math.log2(low)), max(math.floor(math.log2(high)), 0)
            )
            if exponents.low < exponents.high:
                return exponents
        if self.log and low <= 0:
            raise ValueError(
                f"{self.name} must have low above 0 on a log scale, got low={low}; "
                "pass an optuna FloatDistribution for a linear scale"
            )
        if self.kind == "int":
            return IntDistribution(int(low), int(high), log=self.log)
        return FloatDistribution(low, high, log=self.log)
