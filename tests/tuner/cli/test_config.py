"""Configuration files: the arguments of a search in TOML."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from objectives.space.registry import READY_MADE
from tests.tuner.commands import run
from tuner import load_study
from tuner.cli.options import read_config

PAGE = Path(__file__).resolve().parents[3] / "docs" / "command-line.md"


@pytest.fixture
def folder(in_folder):
    """Make a folder beside the one that commands run in."""
    there = in_folder / "search"
    there.mkdir()
    rows = [{"size": i % 7, "colour": "rg"[i % 2], "income": "ab"[i // 3 % 2]} for i in range(60)]
    pd.DataFrame(rows).to_csv(there / "people.csv", index=False)
    return there


def write(folder, text):
    (folder / "search.toml").write_text(text)
    return folder / "search.toml"


def test_a_file_says_what_is_searched_and_options_win(folder, in_folder):
    config = write(
        folder,
        'data = "people.csv"\ntarget = "income"\nn_trials = 9\nepochs = 2\nvalid_size = 0.3\n'
        'storage = "s.journal"\nsave_model = "m.zip"\nenqueue = [{dropout = 0.125}]\n'
        "[space]\nn_layers = 1\nhidden_units = [8, 16]\ndropout = {low = 0.1, high = 0.3}\n",
    )

    done = run("mlp", "--config", config, "--n-trials", "3", "--fix", "n_layers=2", "--json")

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["n_trials"], found["model"]) == (3, str(folder / "m.zip"))
    study = load_study(folder / "s.journal")
    frame = pd.read_csv(in_folder / "mlp-people-trials.csv")
    assert set(frame["params_n_layers"]) == {2}
    assert set(frame["params_hidden_units"]) <= {8, 16}
    assert 0.125 in set(frame["params_dropout"])
    assert study.user_attrs["fusetune"]["split"]["valid_size"] == 0.3


def test_the_data_named_on_the_command_line_win_and_start_from_where_it_runs(folder, in_folder):
    config = write(folder, 'data = "people.csv"\nepochs = 1\nn_trials = 1\n')

    done = run("mlp", "iris", "--config", config, "--test", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["test"]["n"] == 30


def test_a_search_by_hand_stands_in_tables_of_its_own(folder, in_folder):
    config = write(
        folder,
        'data = "iris"\nsampler = "manual"\n[[trials]]\nepochs = 1\n'
        "[[trials]]\nepochs = 1\ndropout = 0.5\n",
    )

    done = run("mlp", "--config", config, "--quiet")

    assert done.exit_code == 0, done.output
    assert pd.read_csv("mlp-iris-trials.csv")["params_dropout"].tolist() == [0.2, 0.5]


def test_images_take_arguments_of_their_own(folder):
    config = write(folder, 'dataset = "digits"\nimage_size = [8, 10]\nmax_bytes = 1000\n')

    assert read_config(config, READY_MADE["cnn"]) == {
        "data": "digits",
        "image_size": [8, 10],
        "max_bytes": 1000,
    }


def test_the_documented_file_is_one(folder, in_folder):
    block = re.search(r"^```toml.*?\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    config = write(folder, block.group(1))

    done = run("mlp", "--config", config, "--n-trials", "2", "--epochs", "1", "--quiet")

    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n_trails = 3", "arguments of tune_mlp, got 'n_trails'; did you mean 'n_trials'?"),
        ("dropout = 0.1", "got 'dropout'; put it into [space]"),
        ('callbacks = ["f"]', "got 'callbacks'; choose from"),
        ("image_size = 8", "got 'image_size'"),
        ('n_trials = "3"', "n_trials must be a whole number, got n_trials = '3'"),
        ("seed = true", "seed must be a whole number"),
        ('timeout = "1h"', "timeout must be a number"),
        ("quiet = true", "got 'quiet'"),
        ("space = 3", "space must be a table"),
        ("trials = [3]", "trials must be a list of tables"),
        ("n_trials = ", "--config must be a file of TOML"),
        ("space = {dropout = {low = 1}}", "low and high"),
        ('data = "none.csv"', "none.csv"),
        ('data = "iri"', "did you mean 'iris'?"),
        ("epochs = 1", "DATA must be given"),
        ('data = "iris"\ndevice = "gpu9"', "device must be one that this machine has"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(line, message, folder):
    config = write(folder, line + "\n")

    done = run("mlp", "--config", config)

    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_named(in_folder):
    done = run("cnn", "digits", "--config", "none.toml")

    assert done.exit_code == 2
    assert "--config must be a file that exists, got 'none.toml'" in done.stderr
