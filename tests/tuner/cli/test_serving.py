"""The command that hands a storage to optuna-dashboard."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest

from tests.tuner.cli.test_commands import fill
from tests.tuner.commands import run
from tests.tuner.servers import free_port


@pytest.mark.parametrize("name", ["s.journal", "s.db", "sqlite:///s.db"])
def test_dashboard_serves_the_studies_of_a_storage(name, tmp_path):
    pytest.importorskip("optuna_dashboard", reason="needs the extra dashboard")
    fill(tmp_path / name.removeprefix("sqlite:///"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "dashboard", name, "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://localhost:\d+", line)
        assert found, process.stderr.read()
        with urllib.request.urlopen(f"{found.group()}/api/studies", timeout=60) as answer:
            studies = json.load(answer)["study_summaries"]
    finally:
        process.terminate()
        process.communicate(timeout=60)

    assert line.startswith(f"{name}: ")
    assert [study["study_name"] for study in studies] == ["mlp"]


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("none.journal", "STORAGE must be a file that exists, got 'none.journal'"),
        ("s.txt", "STORAGE must"),
        ("postgresql://me:geheim@localhost:{port}/db?connect_timeout=1", "me:***@"),
    ],
)
def test_a_storage_that_is_not_there_is_one_sentence(storage, message, in_folder, monkeypatch):
    monkeypatch.setattr("tuner.storage.backends._PATIENCE_S", 0)
    pytest.importorskip("optuna_dashboard", reason="needs the extra dashboard")

    done = run("dashboard", storage.format(port=free_port()))

    assert done.exit_code == 2
    assert message in done.stderr
    assert "geheim" not in done.output
    assert done.stderr.count("\n") == 1
    assert list(in_folder.iterdir()) == []


def test_without_optuna_dashboard_the_command_says_how_to_install_it(in_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)  # as Python has an absent module
    fill(in_folder / "s.journal")

    done = run("dashboard", "s.journal")

    assert done.exit_code == 2
    assert "pip install 'fusetune[dashboard]'" in done.stderr
