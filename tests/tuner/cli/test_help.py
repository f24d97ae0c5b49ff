"""What the command line says of itself: help, the names it completes, and its exit codes."""

import inspect
import os
import re
import subprocess
import sys
from typing import get_args

import pytest

from objectives import metrics
from objectives.data import files, targets
from objectives.images import load as image_readers
from objectives.space import registry as choices
from objectives.space.tables import CNN_TABLE, FINETUNE_TABLE, MLP_TABLE, TRAINING_TABLE
from objectives.training import device as precision
from objectives.training import recipe
from tests.tuner.commands import run
from tuner import tune_cnn, tune_finetune, tune_mlp, tune_module
from tuner.cli import options
from tuner.plots import figures
from tuner.search import arguments, samplers

TABLES = {"mlp": MLP_TABLE, "cnn": CNN_TABLE, "finetune": FINETUNE_TABLE}


@pytest.mark.parametrize("command", TABLES)
def test_help_lists_every_hyperparameter_with_its_default(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    done = run(command, "--help")

    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    for name, row in TABLES[command].items():
        assert f" {row.default} " in rows[name]
        assert row.help.split(";")[0][:40] in rows[name]


@pytest.mark.parametrize(
    ("function", "table"),
    [
        (tune_mlp, MLP_TABLE),
        (tune_cnn, CNN_TABLE),
        (tune_finetune, FINETUNE_TABLE),
        (tune_module, TRAINING_TABLE),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_docstrings_list_every_hyperparameter(function, table):
    section = inspect.getdoc(function).split("\nHyperparameters:\n")[1]

    listed = [line.split(":")[0].strip() for line in section.splitlines() if line[4] != " "]
    assert listed == list(table)


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        (arguments.SAMPLERS, get_args(samplers.SamplerName)),
        (arguments.PRUNERS, get_args(samplers.PrunerName)),
        (choices.METRICS, metrics.METRICS),
        (choices.TASKS, get_args(targets.Task)),
        (choices.RECIPES, recipe.RECIPES),
        (choices.PRECISIONS, get_args(precision.Precision)),
        (choices.TABLES, files.BUILTINS),
        (choices.IMAGES, image_readers.BUILTINS),
        (options.FIGURES, figures.OF_A_STUDY),
    ],
    ids=[
        "sampler",
        "pruner",
        "metric",
        "task",
        "recipe",
        "precision",
        "tables",
        "images",
        "figures",
    ],
)
def test_names_that_are_offered_are_those_that_are_taken(offered, known):
    assert sorted(offered) == sorted(known)


def test_backbones_that_are_offered_are_of_torchvision():
    from torchvision.models import list_models

    assert set(choices.BACKBONES) <= set(list_models())


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tuner mlp --sampler ra", ["random"]),
        ("tuner cnn --pruner h", ["hyperband"]),
        ("tuner mlp --metric r", ["roc_auc", "rmse", "r2"]),
        ("tuner plot s.journal --kind hi", ["history"]),
        ("tuner mlp d", ["digits", "diabetes"]),
        ("tuner finetune --backbone eff", ["efficientnet_b0"]),
        ("tuner pre", ["predict"]),
    ],
)
def test_the_shell_completes_names(typed, completed):
    asked = {
        "_TUNER_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }

    done = subprocess.run(
        [sys.executable, "-m", "tuner"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.split() == completed, done.stderr


def test_help_says_what_the_exit_codes_mean():
    text = " ".join(run("--help").stdout.split())

    assert "0 done; 1 a search ended without a complete trial; 2 bad input" in text
    assert "130 interrupted" in text


def test_the_version_is_printed():
    assert run("--version").stdout.startswith("fusetune")


def test_short_help_is_the_long_one():
    assert run("-h").stdout == run("--help").stdout
    assert "Usage: " in run("show", "-h").stdout


@pytest.mark.parametrize("command", TABLES)
def test_help_of_a_search_explains_every_argument_that_can_be_typed(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    text = run(command, "--help").stdout

    for name, known in arguments.arguments_for(choices.READY_MADE[command]).items():
        if name == "groups" and command != "mlp":  # of images: a function
            continue
        typed = known.typed or known.kind in ("a text", "a number", "a whole number")
        if typed and known.on_command_line:
            assert f"--{name.replace('_', '-')}" in text
            assert known.help.replace("``", "")[:20] in text


@pytest.mark.parametrize("command", [*TABLES, "resume", "confirm", "compare", "predict", "init"])
def test_help_speaks_to_readers_without_python(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    text = run(command, "--help").stdout.partition("Hyperparameters, for")[0]
    options = text.partition("─ Arguments ─")[2].partition("╯")[2]

    words = r"\b(list|dict|tuple|None|True|TypedDict|Python|callable|optuna|int|float|str)\b"
    assert re.findall(words, options) == []
    assert max(map(len, text.splitlines())) <= 80


def test_a_switch_is_typed_by_the_word_that_changes_it():
    text = run("mlp", "--help").stdout

    assert "--no-include-default" in text
    assert "--drop-missing-target" in text
    assert "--no-drop-missing-target" not in text
