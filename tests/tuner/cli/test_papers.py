"""The commands for what comes after a search: confirm, compare, init, and tables for papers."""

import functools
import http.server
import json
import threading
import tomllib

import pandas as pd
import pytest

from objectives.space.registry import READY_MADE
from tests.tuner.commands import SMALL, run
from tuner import load_study
from tuner.cli.options import read_config


@pytest.fixture
def two_studies(in_folder):
    for name in ("relu", "tanh"):
        done = run("mlp", "iris", *SMALL, "--space", f"activation={name}", "--study-name", name)
        assert done.exit_code == 0, done.output
    return in_folder


def test_compare_says_how_sure_the_difference_of_two_studies_is(two_studies):
    done = run("compare", "relu", "tanh", "--table", "c.tex")

    assert done.exit_code == 0, done.output
    assert "activation" in done.stdout
    text = " ".join(done.stdout.split())
    assert "(95% interval " in text
    assert "paired on the same 120 held-out rows, on which both were chosen" in text
    assert r"activation & relu & tanh \\" in (two_studies / "c.tex").read_text()
    assert done.stderr in ("next: tuner report relu\n", "next: tuner report tanh\n")


def test_compare_opens_the_test_split_only_if_asked(two_studies):
    shut = run("compare", "relu", "tanh", "--json")
    before = load_study("fusetune.journal", "relu").user_attrs.get("fusetune:test_openings")
    opened = run("compare", "relu", "tanh", "--storage", "fusetune.journal", "--test", "--json")

    assert "held-out" in json.loads(shut.stdout)["how"]
    assert before is None
    assert json.loads(opened.stdout)["how"] == "paired on the same 30 test rows"
    for name in ("relu", "tanh"):
        openings = load_study("fusetune.journal", name).user_attrs["fusetune:test_openings"]
        assert len(openings) == 1


def test_confirm_ranks_the_best_and_the_default_from_fresh_seeds(two_studies):
    done = run("confirm", "relu", "--k", "1", "--seeds", "2", "--table", "c.csv")

    assert done.exit_code == 0, done.output
    assert "valid accuracy from fresh seeds" in done.stdout
    assert set(pd.read_csv("c.csv")["n"]) == {2}
    assert "4/4 runs from fresh seeds" in done.stderr  # as a bar or a line
    assert done.stderr.endswith("next: tuner resume relu --test\n")


@pytest.mark.parametrize("command", [["export", "relu", "--out"], ["confirm", "relu", "--table"]])
def test_a_table_that_is_there_is_kept(command, two_studies):
    (two_studies / "t.csv").write_text("precious")

    done = run(*command, "t.csv")

    assert done.exit_code == 2
    assert "which is there; add --force" in done.stderr
    assert (two_studies / "t.csv").read_text() == "precious"
    assert run("export", "relu", "--out", "t.csv", "--force").exit_code == 0


def test_export_for_a_paper_marks_the_best_trial(two_studies):
    assert run("export", "relu", "--out", "t.tex").exit_code == 0

    best = load_study("fusetune.journal", "relu").best_trial.number
    text = (two_studies / "t.tex").read_text()
    assert rf"\bfseries {best} & \bfseries COMPLETE" in text
    assert text.count(r"\bfseries COMPLETE") == 1


# --- init ---


@pytest.mark.parametrize("kind", ["mlp", "cnn", "finetune"])
def test_init_writes_a_file_of_every_argument_that_the_command_reads(kind, in_folder):
    done = run("init", "--kind", kind)

    assert done.exit_code == 0, done.output
    assert done.stderr == f"next: tuner {kind} --config search.toml\n"
    text = (in_folder / "search.toml").read_text()
    (in_folder / "all.toml").write_text(
        "\n".join(
            line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
            for line in text.splitlines()
        )
    )
    entry = READY_MADE[kind]
    assert tomllib.loads(text)["space"] == {}
    every = read_config(in_folder / "all.toml", entry)
    assert every["space"].keys() == entry.table.keys()
    assert {"sampler", "n_trials", "timeout", "metric", "device", "valid_size"} <= every.keys()


def test_what_init_wrote_is_searched_as_if_it_was_typed(in_folder):
    assert run("init", "iris").exit_code == 0
    run("mlp", "iris", *SMALL)

    done = run("mlp", "--config", "search.toml", *SMALL)

    assert done.exit_code == 0, done.output
    assert "study mlp-iris was finished before" in done.stderr


def test_init_overwrites_nothing(in_folder):
    (in_folder / "search.toml").write_text("precious")

    done = run("init")

    assert done.exit_code == 2
    assert (in_folder / "search.toml").read_text() == "precious"
    assert run("init", "--kind", "mpl").exit_code == 2


# --- addresses ---


@pytest.fixture
def address(in_folder):
    """Serve this folder on this machine, without a word."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=in_folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_data_at_an_address_are_tuned_on_and_predicted(address, in_folder):
    rows = [{"size": i % 7, "colour": "rg"[i % 2], "kind": "ab"[i // 3 % 2]} for i in range(60)]
    pd.DataFrame(rows).to_csv("things.csv", index=False)

    tuned = run("mlp", f"{address}/things.csv", "--target", "kind", *SMALL, "--save-model", "m.zip")
    predicted = run("predict", "m.zip", f"{address}/things.csv")

    assert tuned.exit_code == 0, tuned.output
    assert "study mlp-things in" in tuned.stdout
    assert predicted.exit_code == 0, predicted.output
    assert len(predicted.stdout.splitlines()) == 61
