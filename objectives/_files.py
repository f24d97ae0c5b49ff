"""Files written whole: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to write; raise ValueError if its folder is missing."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"path must be a file, got the folder path={str(path)!r}; add a file name")
    if not target.parent.is_dir():
        raise ValueError(
            f"path must lie in an existing folder, got path={str(path)!r}; "
            f"create {str(target.parent)!r} first"
        )
    return target


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file at once: a reader sees the old file or the new one, never half of one.

    Raises:
        ValueError: if the folder does not exist, or ``path`` is a folder.
    """
    target = check_target(path)
    # in the same folder, as os.replace cannot move between file systems
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
