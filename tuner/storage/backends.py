"""Where studies live: open a storage, survive what may happen to it, and keep its password."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import (
    BaseStorage,
    InMemoryStorage,
    JournalStorage,
    RDBStorage,
)
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
    JournalRedisBackend,
)

from tuner.storage.database import BatchedStorage
from tuner.storage.optuna_internals import ChangesProxy

# A process that is killed leaves its lock on a journal behind. A write takes milliseconds; Optuna
# waits 30 s by default before it takes a lock away, and warns below 3 s.
_LOCK_GRACE_S = 3
_LOCK_PAUSE_S = 0.01

# How long to wait for a database that is locked by another process, or away.
_PATIENCE_S = 60

# Connections that stay open: a proxy has ten threads, and to connect anew takes as long as a trial.
_POOL_SIZE = 12

_CHUNK = 1 << 16


class StorageError(OSError):
    """A storage that cannot be opened, read or written; what it holds is intact."""


def open_storage(storage: str | os.PathLike[str] | BaseStorage | None) -> BaseStorage:
    """Return the Optuna storage that ``storage`` names.

    Args:
        storage: None (in memory), a path ending in ``.journal`` or ``.db``, a URL, or a storage
            object.

    Raises:
        ValueError: for another ending, or a URL that is none.
        FileNotFoundError: if the file's folder does not exist.
        ImportError: if the driver for a URL's database is not installed.
        StorageError: if it cannot be reached or written.
    """
    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, BaseStorage):
        return storage
    if "://" in str(storage):
        return _open_url(str(storage))
    path = Path(storage).absolute()
    if path.suffix not in (".journal", ".db"):
        raise ValueError(f"storage must end in .journal or .db, or be a URL, got {str(storage)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"storage must lie in a folder that exists, got {str(storage)!r}; create the folder"
        )
    if path.suffix == ".journal":
        with storage_errors(path, OSError):
            return JournalStorage(_Journal(path))
    if wrong := set("?{}") & set(str(path)):
        raise ValueError(
            f"storage must be a .db file without {' '.join(sorted(wrong))} in its path, which "
            f"stand for something else in a URL, got {str(storage)!r}; rename it"
        )
    return _open_url(f"sqlite:///{path}")


def _open_url(url: str) -> BaseStorage:
    from sqlalchemy.exc import ArgumentError

    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": _POOL_SIZE}
    if is_sqlite:
        options = {"connect_args": {"timeout": _PATIENCE_S}}
    if not is_sqlite and {"@", "/"} & set(_password(url)):
        raise ValueError(
            f"storage must have @ and / in its password written as %40 and %2F, "
            f"got {redacted(url)!r}"
        )
    if url.startswith(("redis://", "rediss://")):
        with storage_errors(url):
            return open_redis(url)
    if url.startswith("grpc://"):
        return _open_proxy(url)
    try:
        with storage_errors(url, OSError):
            opened = _open_database(_with_driver(url), options)
    # From None, as the cause may show the password.
    except (ArgumentError, ValueError) as error:
        raise ValueError(
            f"storage must be a URL such as postgresql://user:password@host/database, got "
            f"{redacted(url)!r} ({_without(url, error)})"
        ) from None
    except ImportError as error:
        raise ImportError(
            f"storage {redacted(url)!r} must have its database driver installed, got "
            f"{_without(url, error.__cause__ or error)!r}; install it, such as psycopg[binary] "
            "for postgresql"
        ) from None
    _reconnect_patiently(opened)
    if not is_sqlite:  # to open it takes more connections than to use it, and a server allows few
        opened.engine.dispose()
    return BatchedStorage(opened)


def _open_database(url: str, options: dict[str, Any]) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    try:
        return RDBStorage(url, engine_kwargs=options)
    except (IntegrityError, OperationalError, ProgrammingError) as error:
        # What SQLite says of the race below; its other operational errors last.
        if isinstance(error, OperationalError) and "already exists" not in str(error.orig):
            raise
    # Another process was making the tables at the same moment.
    time.sleep(1.0)
    return RDBStorage(url, engine_kwargs=options)


def _with_driver(url: str) -> str:
    """Return the URL with psycopg, which is the present one, where no driver is named.

    SQLAlchemy itself stands by psycopg2, which is taken where it alone is installed.
    """
    scheme, _, rest = url.partition("://")
    has_new, has_old = (find_spec(name) is not None for name in ("psycopg", "psycopg2"))
    if scheme in ("postgresql", "postgres") and (has_new or not has_old):
        return f"postgresql+psycopg://{rest}"
    return url


def _open_proxy(url: str) -> BaseStorage:
    """Return a proxy to the storage that `optuna.storages.run_grpc_proxy_server` serves."""
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ValueError(f"storage must be a URL such as grpc://host:13000, got {redacted(url)!r}")
    with warnings.catch_warnings():
        # Optuna may still change its interface, which this package then follows.
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = ChangesProxy(host=parts.hostname, port=parts.port)
    try:
        proxy.wait_server_ready(timeout=_PATIENCE_S)
    except (TimeoutError, ConnectionError) as error:
        raise StorageError(
            f"storage {redacted(url)!r} must be a running gRPC proxy, got no answer in "
            f"{_PATIENCE_S} s; start tuner proxy there"
        ) from error
    return proxy


def _reconnect_patiently(storage: RDBStorage) -> None:
    """Let a study outlast a database server that goes away for a while."""
    from sqlalchemy import event
    from sqlalchemy.exc import DBAPIError

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, options: Any) -> Any:
        errors = (DBAPIError, dialect.loaded_dbapi.OperationalError)
        return _patiently(lambda: dialect.connect(*args, **options), errors)


def _patiently(connect: Callable[[], Any], errors: tuple[type[Exception], ...]) -> Any:
    pause, deadline = 0.1, time.monotonic() + _PATIENCE_S
    while True:
        try:
            return connect()
        except errors:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


class _Journal(JournalFileBackend):
    """Optuna's journal file, which mends itself before each write, and whose errors name a cure."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_MendingLock(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with storage_errors(self._path, OSError):
            super().append_logs(logs)


# What systems say that allow no symbolic links: Windows without that right, some file systems.
_NO_LINKS = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class _MendingLock(JournalFileSymlinkLock):
    """Optuna's lock on a journal, which mends the file before each write.

    The lock is a link to the journal, and Optuna asks the link when the journal last changed: by a
    relative path the link would lead nowhere, and a lock left behind would be waited for for ever.
    Where links are not allowed the lock is a file of the same name, so both kinds exclude each
    other.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), grace_period=_LOCK_GRACE_S)
        self._path = path
        self._by_file: JournalFileOpenLock | None = None

    def acquire(self) -> bool:
        try:
            taken = self._acquire()
        except OSError as error:
            if error.errno not in _NO_LINKS or self._by_file is not None:
                raise
            self._by_file = JournalFileOpenLock(str(self._path), _LOCK_GRACE_S)
            taken = self._acquire()
        try:
            cut_torn_line(self._path)
        except BaseException:
            self.release()
            raise
        return taken

    def _acquire(self) -> bool:
        deadline = time.monotonic() + _LOCK_GRACE_S
        while True:
            try:
                return super().acquire() if self._by_file is None else self._by_file.acquire()
            except PermissionError:
                # Windows says so, too, while another process is removing the lock.
                if sys.platform != "win32" or time.monotonic() > deadline:
                    raise
            time.sleep(_LOCK_PAUSE_S)

    def release(self) -> None:
        """Release the lock, if it is still this process's.

        Another one took it away if this one was stopped for long, and Optuna does so when Ctrl-C
        ends its waiting. What was to be written is written by now.
        """
        try:
            super().release() if self._by_file is None else self._by_file.release()
        except RuntimeError:
            return
        except FileNotFoundError as error:  # Ctrl-C came once it was gone, and it was removed again
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise


def cut_torn_line(path: Path) -> int:
    """Cut a half-written last line off a journal file and return how many bytes that took.

    A process killed in mid-write leaves one, and so does a full disk; the next write would be glued
    to it and make the whole file unreadable. Call this only while no other process can write.
    """
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start, keep = size, 0
        while start and not keep:
            end, start = start, max(0, start - _CHUNK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            keep = start + newline + 1 if newline >= 0 else 0
    if keep < size:
        os.truncate(path, keep)
    return size - keep


@contextmanager
def storage_errors(storage: object, *others: type[Exception]) -> Iterator[None]:
    """Re-raise storage errors with the storage's name and a remedy.

    Args:
        storage: path, URL or object.
        others: errors that come from the storage, besides those of databases.

    Raises:
        StorageError: in place of such an error.
    """
    try:
        yield
    except StorageError:
        raise
    except (*_errors(), *others) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        cause = getattr(cause, "orig", None) or cause or error
        raise StorageError(
            f"storage {_name(storage)!r} could not be read or written "
            f"({_without(str(storage), cause)}); make it available and writable and see to free "
            "space, then make the same call again: finished trials are kept"
        ) from None


def _errors() -> tuple[type[Exception], ...]:
    """Return the errors of those databases whose libraries are loaded."""
    names = {"sqlalchemy.exc": "DBAPIError", "redis": "RedisError", "grpc": "RpcError"}
    loaded = [getattr(sys.modules[m], name) for m, name in names.items() if m in sys.modules]
    return StorageInternalError, *loaded


def _name(storage: object) -> str:
    return type(storage).__name__ if isinstance(storage, BaseStorage) else redacted(storage)


def _without(url: str, error: BaseException) -> str:
    """Return an error's first line without the password of ``url``."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines() or [repr(error)]
    text = lines[0].replace(url, redacted(url))
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)([^&]*)", re.IGNORECASE)


def _password(url: str) -> str:
    """Return the password of a URL as it is written there, or as much as may be part of it."""
    return url.partition("://")[2].partition("?")[0].rpartition("@")[0].partition(":")[2]


def _secrets(url: str) -> set[str]:
    written = {_password(url), *(match[2] for match in _PARAMETER.finditer(url))}
    return {secret for text in written for secret in (text, unquote(text)) if secret}


def redacted(url: object) -> str:
    """Return a storage URL without its password.

    >>> redacted("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = str(url)
    scheme, mark, _ = text.partition("://")
    if not mark:
        return text
    if not scheme.startswith("sqlite") and {"@", "/"} & set(_password(text)):
        return f"{scheme}://***"  # SQLAlchemy would take a part of the password for the host
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        return f"{scheme}://***"
    shown = text if parsed.password is None else parsed.render_as_string(hide_password=True)
    return _PARAMETER.sub(r"\1***", shown)


def redacted_text(text: object) -> str:
    """Return a text without the names and passwords of the URLs in it.

    >>> redacted_text("no answer from http://me:secret@host/api?token=abc")
    'no answer from http://***@host/api?token=***'
    """
    return _PARAMETER.sub(r"\1***", re.sub(r"://[^/\s@]*@", "://***@", str(text)))


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
