"""Storages that may not be written: read all the same, or one clear error."""

import contextlib
import ctypes
import os
import sys

import pytest

from tests.tuner.storage.test_backends import CALL, square, table
from tuner import tune
from tuner.storage.backends import StorageError

_CAPABILITIES_V3 = 0x20080522  # linux/capability.h
_DAC_OVERRIDE = 1 << 1


@pytest.fixture(params=["journal", "db"])
def path(request, tmp_path):
    return tmp_path / f"s.{request.param}"


@contextlib.contextmanager
def without_rights():
    """Root may write anything; do without that right for a while.

    As another user, root could not import what lies in folders of its own. Without the capability
    that lets it write anything it still owns its files, and must keep to their permissions.
    """
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("root may write anything here")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, for 64 bits
    assert libc.capget(header, rights) == 0
    rights[0] &= ~_DAC_OVERRIDE
    assert libc.capset(header, rights) == 0
    try:
        yield
    finally:
        rights[0] |= rights[1] & _DAC_OVERRIDE
        assert libc.capset(header, rights) == 0


def test_a_study_in_a_read_only_folder_is_read_and_cannot_be_gone_on_with(path):
    tune(square, storage=path, **CALL)
    before = path.read_bytes()
    path.chmod(0o444)
    path.parent.chmod(0o555)

    try:
        with without_rights():
            assert len(table(path)) == 12
            with pytest.raises(StorageError, match=r"could not be read or written .*; make it"):
                tune(square, storage=path, **CALL | {"n_trials": 14})
    finally:
        path.parent.chmod(0o755)

    assert path.read_bytes() == before


def test_a_new_study_in_a_read_only_folder_is_one_sentence(path):
    path.parent.chmod(0o555)

    try:
        with without_rights(), pytest.raises(StorageError, match="could not be read or written"):
            tune(square, storage=path, **CALL)
    finally:
        path.parent.chmod(0o755)
