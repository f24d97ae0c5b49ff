import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest
import typer
from optuna.distributions import FloatDistribution, IntDistribution

from tests.tuner.commands import SMALL, run
from tests.tuner.storage.test_storage_rights import without_rights
from tuner import load_study, tune_cnn, tune_finetune, tune_mlp
from tuner.cli import app
from tuner.cli.options import parse_space

COMMANDS = typer.main.get_command(app).commands


def heed_signals():
    """Undo that a shell which runs the tests in the background, or nohup, has them ignored."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )


@pytest.fixture
def csv(tmp_path):
    rows = [{"size": i % 7, "colour": "rg"[i % 2], "kind": "ab"[i // 3 % 2]} for i in range(60)]
    pd.DataFrame(rows).to_csv(tmp_path / "things.csv", index=False)
    return tmp_path / "things.csv"


def test_space_in_json_fixes_lists_and_ranges():
    text = json.dumps(
        {
            "dropout": 0,
            "activation": ["relu", "tanh"],
            "hidden_units": {"low": 16, "high": 64},
            "n_layers": {"low": 1, "high": 3, "step": 2},
            "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
        }
    )

    assert parse_space([text]) == {
        "dropout": 0,
        "activation": ["relu", "tanh"],
        "hidden_units": (16, 64),
        "n_layers": IntDistribution(1, 3, step=2),
        "learning_rate": FloatDistribution(0.001, 0.1, log=True),
    }


@pytest.mark.parametrize(
    ("command", "function"),
    [("mlp", tune_mlp), ("cnn", tune_cnn), ("finetune", tune_finetune)],
    ids=["mlp", "cnn", "finetune"],
)
def test_defaults_on_the_command_line_are_those_of_the_function(command, function):
    typed = {option.name: option.default for option in COMMANDS[command].params}
    taken = inspect.signature(function).parameters
    shared = set(typed) & set(taken) - {"space", "trials", "study_name"}

    assert {name: typed[name] for name in shared} == {name: taken[name].default for name in shared}
    expected = {"sampler", "pruner", "n_trials", "patience", "seed", "storage", "metric"}
    assert expected | {"device", "valid_size"} <= shared


def test_search_prints_the_best_beside_the_default_and_where_study_and_table_are(in_folder):
    done = run("mlp", "iris", *SMALL)

    assert done.exit_code == 0, done.output
    assert "default (trial 0)" in done.stdout
    assert "learning_rate" in done.stdout
    assert "valid_accuracy" in done.stdout
    assert "95% interval" in done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "2 trials: 2 complete",
        "kept: study mlp-iris in fusetune.journal, table mlp-iris-trials.csv",
    ]
    assert done.stderr == "next: tuner report mlp-iris\n"
    assert load_study("fusetune.journal").study_name == "mlp-iris"
    assert len(pd.read_csv(in_folder / "mlp-iris-trials.csv")) == 2


def test_search_of_a_file_gives_json_and_a_model_that_can_be_loaded(csv, in_folder):
    space = in_folder / "space.json"
    space.write_text('{"n_layers": 1, "hidden_units": [16, 32]}')

    done = run(
        "mlp",
        csv,
        "--target",
        "kind",
        "--sampler",
        "random",
        "--metric",
        "log_loss",
        *SMALL,
        "--space",
        space,
        "--out",
        "t.parquet",
        "--save-model",
        "model.zip",
        "--test",
        "--json",
    )

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["best_params"]["n_layers"] == 1
    assert found["metric"] == "log_loss"
    assert found["best_value"] <= found["default_value"]
    assert found["test"]["low"] <= found["test"]["value"] <= found["test"]["high"]
    assert (found["trials"], found["model"]) == ("t.parquet", "model.zip")
    from objectives import FittedModel

    rows = pd.read_csv(csv).drop(columns="kind")
    assert set(FittedModel.load(in_folder / "model.zip").predict(rows)) <= {"a", "b"}


def test_search_in_two_processes_from_two_seeds_each(in_folder):
    done = run("mlp", "iris", *SMALL, "--n-jobs", "2", "--n-repeats", "2")

    assert done.exit_code == 0, done.output
    assert len(pd.read_csv("mlp-iris-trials.csv")) == 2


def test_manual_search_runs_the_given_trials(in_folder):
    trials = '[{"dropout": 0.0, "epochs": 1}, {"dropout": 0.3, "epochs": 1}]'

    done = run("mlp", "iris", "--sampler", "manual", "--trials", trials, "--quiet")

    assert done.exit_code == 0, done.output
    assert pd.read_csv("mlp-iris-trials.csv")["params_dropout"].tolist() == [0.0, 0.3]
    assert "default" not in done.stdout


@pytest.mark.parametrize(
    "hopeless",
    [["--timeout", "0.000001"], ["--fix", "learning_rate=1e30", "--fix", "optimizer=sgd"]],
    ids=["no-time", "all-diverge"],
)
def test_search_without_a_complete_trial_ends_with_1_and_keeps_its_table(hopeless, in_folder):
    done = run("mlp", "iris", *SMALL, *hopeless)

    assert done.exit_code == 1, done.output
    assert "no trial is complete" in done.stderr
    assert done.stdout == ""
    assert (in_folder / "mlp-iris-trials.csv").exists()


@pytest.mark.parametrize("option", ["--out", "--save-model"])
def test_a_folder_that_cannot_be_written_is_found_out_before_the_search(option, in_folder):
    folder = in_folder / "fixed"
    folder.mkdir(mode=0o555)

    with without_rights():
        done = run("mlp", "iris", "--n-trials", "100000", option, folder / "t.csv")

    assert done.exit_code == 2
    assert f"{option} must be in a folder that can be written" in done.stderr


@pytest.mark.filterwarnings("default")
def test_stored_search_called_again_goes_on_to_the_total(in_folder):
    arguments = ["mlp", "iris", "--storage", "s.journal", "--epochs", "2", "--quiet"]

    first = run(*arguments, "--n-trials", "1", "--json")
    second = run("mlp", "iris", "--storage", "s.journal", *SMALL, "--out", "t.csv")

    assert first.exit_code == 0, first.output
    assert second.exit_code == 0, second.output
    assert second.stderr.startswith("study mlp-iris went on by 1 trial\n")
    assert len(pd.read_csv("t.csv")) == 2


@pytest.mark.skipif(os.name == "nt", reason="sends the signal of a POSIX terminal")
@pytest.mark.parametrize("storage", ["s.journal", "none"])
def test_interrupted_search_keeps_its_trials_and_says_how_to_go_on(storage, tmp_path):
    arguments = ["--n-trials", "100000", "--epochs", "1", "--storage", storage]
    process = start("mlp", "iris", *arguments, cwd=tmp_path)
    killer = threading.Timer(120, process.kill)
    killer.start()
    seen = ""
    while not re.search(r"[1-9]\d*/100000", seen):  # the progress line: some trials have ended
        letter = process.stderr.read(1)
        assert letter, f"the search ended by itself: {seen}"
        seen += letter
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    killer.cancel()

    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted: " in errors
    assert "mlp-iris-trials.csv" in errors
    resume = "to go on: tuner resume s.journal --study-name mlp-iris\n"
    assert (resume in errors) == (storage != "none")
    assert ("leave out --storage none" in errors) == (storage == "none")
    trials = pd.read_csv(tmp_path / "mlp-iris-trials.csv")
    assert len(trials) >= 1
    assert "RUNNING" not in set(trials["state"])
    assert output == ""
