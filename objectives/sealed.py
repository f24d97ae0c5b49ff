"""The test split, out of reach of a search."""

from __future__ import annotations

from collections.abc import Sized
from typing import Generic, TypeVar

S = TypeVar("S", bound=Sized)


class Sealed(Generic[S]):
    """Data whose test split is no attribute, so that a search does not meet it by accident."""

    _test: S

    @property
    def n_test(self) -> int:
        """Rows in the test split."""
        return len(self._test)

    def open_test(self) -> S:
        """Give the test split; once its score has steered a choice, it is no test any more."""
        return self._test
