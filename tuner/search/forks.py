"""Processes that a user's code forks: they end where that code ends, and run nothing of ours."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_forks() -> Iterator[None]:
    """Run a user's code; a process that it has forked ends when it leaves this context.

    Such a copy has the study, the signs of life and the locks of this process, but none of its
    threads. If it went on, it would sign this process out, or wait for ever.
    """
    pid = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != pid:
            _end(error)
        raise
    if os.getpid() != pid:
        _end(None)


def _end(error: BaseException | None) -> None:
    """End this process with the exit code that Python would give it, and without exit handlers."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as under pythonw
            stream.flush()
    os._exit(code & 0xFF)
