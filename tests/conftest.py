import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# One sequence of examples on every machine, and no failure because a machine was busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")

# Processes that tests start find this checkout, whatever folder they run in, and open no windows.
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part
)
os.environ["MPLBACKEND"] = "Agg"


# Their processes are killed, and their signs of life waited for, at moments that a test chooses: of
# these tests one runs at a time, and servers that a file's tests share start once.
ONE_BY_ONE = {
    "test_crash.py",
    "test_crash_signals.py",
    "test_signals.py",
    "test_simultaneous.py",
    "test_heartbeat.py",
    "test_join.py",
    "test_servers.py",
    "test_start_from_crash.py",
    "test_terminal.py",
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.path.name in ONE_BY_ONE:
                item.add_marker(pytest.mark.xdist_group("one by one"))
    skip_without_gpu(items)


def skip_without_gpu(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path
