"""One hyperparameter: its range, grid levels, default, legal values, help and source.

Everything that names a hyperparameter (search spaces, help texts, the README's table) is made from
such rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from objectives._messages import hint

Value: TypeAlias = bool | int | float | str
Kind: TypeAlias = Literal["float", "int", "choice"]
Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution
Params: TypeAlias = Mapping[str, Value]  # a configuration
UserSpace: TypeAlias = Mapping[str, object]  # as written: values, lists, ranges, distributions
Described: TypeAlias = Mapping[str, Any]  # an entry of the space that a study records
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
    def _stores_exponent(self) -> bool:
        return self.powers_of_two and isinstance(self.distribution, IntDistribution)

    @property
    def stored_name(self) -> str:
        """The parameter's name inside the Optuna study."""
        return f"log2_{self.name}" if self._stores_exponent else self.name

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
        if self._stores_exponent:
            if isinstance(value, str) or not math.log2(value).is_integer():
                raise ValueError(
                    f"{self.name} must be a power of two in this search space, got {value!r}; "
                    "give space a list of choices"
                )
            return int(math.log2(value))
        if self.distribution is not None and not _survives(self.distribution, value):
            raise ValueError(
                f"{self.name} must be a number that Optuna can store as {self.distribution}, got "
                f"{value!r}; give space a list of choices"
            )
        return value

    def from_stored(self, value: Value) -> Value:
        """Return the value that a stored parameter stands for.

        >>> from objectives import MLP_TABLE
        >>> MLP_TABLE["batch_size"].from_stored(6)
        64
        """
        return 2 ** int(value) if self._stores_exponent else value

    def check(self, value: object) -> Value:
        """Return ``value`` if it is legal, as a float where the hyperparameter is one.

        Raises:
            ValueError: if it is not; the message names the hyperparameter, the value and what is
                legal.
        """
        value = plain(value)
        if isinstance(value, bool) and value in self.flags:
            return value
        if isinstance(value, str) and value in self.words:
            return value
        return self._number(value)

    def _number(self, value: object) -> float:
        number = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool) and self.kind != "choice":
            number = value
        if not math.isfinite(number) or self._beyond(number):
            meant = hint(value, self.words) if isinstance(value, str) else ""
            raise ValueError(f"{self.name} must be {self._rule()}, got {value!r}{meant}")
        if self.kind == "int" and number != int(number):
            raise ValueError(f"{self.name} must be a whole number, got {value!r}")
        return int(number) if self.kind == "int" else float(number)

    def _beyond(self, value: float) -> bool:
        on_an_end = self.open_ends and value in (self.minimum, self.maximum)
        return on_an_end or not self.minimum <= value <= self.maximum

    def _rule(self) -> str:
        words = ", ".join(map(str, (*self.words, *self.flags)))
        if self.kind == "choice":
            return f"one of {words}"
        above, below = ("above", "below") if self.open_ends else ("at least", "at most")
        rule = "a whole number " if self.kind == "int" else ""
        rule += f"{above} {self.minimum:g}"
        rule += "" if math.isinf(self.maximum) else f" and {below} {self.maximum:g}"
        return rule + (f" or {words}" if words else "")

    def ranged(self, low: object, high: object) -> Hyperparameter:
        """Return the row searched from ``low`` to ``high`` inclusive, on a log scale where the
        table is. Between ends with fewer than two powers of two, all whole numbers are searched.
        """
        if isinstance(low, str) or isinstance(high, str):
            raise ValueError(
                f"{self.name} must have numbers as low and high, got {low!r} and {high!r}; "
                "give a list of choices"
            )
        low, high = self._number(plain(low)), self._number(plain(high))
        if not low < high:
            raise ValueError(f"{self.name} must have low < high, got low={low}, high={high}")
        if self.powers_of_two:
            first, last = math.ceil(math.log2(low)), max(math.floor(math.log2(high)), 0)
            if first < last:
                return dataclasses.replace(self, distribution=IntDistribution(first, last))
        if self.log and low <= 0:
            raise ValueError(
                f"{self.name} must have low above 0 on a log scale, got low={low}; "
                "pass an optuna FloatDistribution for a linear scale"
            )
        distribution: Distribution = FloatDistribution(low, high, log=self.log)
        if self.kind == "int":
            distribution = IntDistribution(int(low), int(high), log=self.log)
        return dataclasses.replace(self, distribution=distribution, powers_of_two=False)


def plain(value: object) -> object:
    """Return a number of NumPy's as Python's own, which a study can store; others as they are."""
    return value.item() if isinstance(value, np.generic) else value


def _survives(distribution: FloatDistribution | IntDistribution, value: Any) -> bool:
    """Whether a study that stores ``value``, inside the range or not, gives it back."""
    try:
        return bool(distribution.to_external_repr(distribution.to_internal_repr(value)) == value)
    except (TypeError, ValueError):  # a word, or 0 where the scale is logarithmic
        return False
