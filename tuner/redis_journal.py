"""Studies in Redis, without the part of Optuna's journal there that would run code."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalRedisBackend


class RedisJournal(JournalRedisBackend):
    """Optuna's journal in Redis, read from its lines alone.

    Optuna also keeps a pickle of the whole journal there now and then, and loads it on opening:
    whoever may write to that Redis could run code in every process that opens the study.
    """

    def save_snapshot(self, snapshot: bytes) -> None:
        """Keep none."""

    def load_snapshot(self) -> bytes | None:
        """Say that there is none, whatever lies there."""
        return None


def open_redis(url: str) -> JournalStorage:
    """Return the storage behind a ``redis://`` or ``rediss://`` URL.

    Raises:
        ImportError: if the package redis is not installed.
    """
    with warnings.catch_warnings():
        # Optuna may still change its interface, which this package then follows.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return JournalStorage(RedisJournal(url))
