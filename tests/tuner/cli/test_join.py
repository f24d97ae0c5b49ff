"""The commands that go on with a study: resume, worker, plot."""

import json
import os
import signal
import time

import pandas as pd
import pytest

from tests.tuner.cli.test_search import start
from tests.tuner.commands import run
from tuner import load_study, tune, tune_mlp
from tuner.tables import trials_dataframe

SPACE = json.dumps({"hidden_units": 8, "n_layers": 1, "batch_size": 32})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table():
    return trials_dataframe(load_study("s.journal"))


def begin(n_trials, dataset="iris", epochs=3):
    """Make a study whose test split stays sealed, as `tuner mlp` does not leave it."""
    space = json.loads(SPACE)
    tune_mlp(
        dataset,
        n_trials=n_trials,
        epochs=epochs,
        space=space,
        seed=2,
        storage="s.journal",
        show_progress_bar=False,
    )


def want(n_trials):
    """Change the total in the call that the study records."""
    study = load_study("s.journal")
    call = study.user_attrs["fusetune:call"]
    study.set_user_attr(
        "fusetune:call", call | {"options": call["options"] | {"n_trials": n_trials}}
    )


def test_resume_goes_on_to_a_larger_total_as_the_study_was_begun():
    begin(3)

    done = run("resume", "s.journal", "--n-trials", "5", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_trials"] == 5
    assert len(pd.read_csv("mlp-trials.csv")) == 5
    assert set(table()["params_hidden_units"]) == {8}
    assert load_study("s.journal").user_attrs["fusetune"]["seed"] == 2


def test_a_study_that_cannot_be_repeated_by_command_says_so():
    tune(lambda t: 0.0, space={"x": (0, 1)}, n_trials=1, storage="s.db", show_progress_bar=False)

    done = run("resume", "s.db")

    assert done.exit_code == 2
    assert "make the same call of tune in Python" in " ".join(done.output.split())


def test_workers_share_a_study_and_outlive_one_that_is_killed(tmp_path):
    begin(2, dataset="digits", epochs=8)
    want(100)
    workers = [start("worker", "--storage", "s.journal", cwd=tmp_path) for _ in range(2)]
    end = time.monotonic() + 100
    while table()["worker"].nunique() < 2 and time.monotonic() < end:
        time.sleep(0.1)
    workers[0].kill()
    ends = [process.communicate(timeout=120) for process in workers]

    assert workers[1].returncode == 0, ends
    assert "trials ended here; study mlp: 100 trials" in ends[1][0]
    frame = table()
    assert frame["number"].tolist() == list(range(100))
    assert set(frame["state"]) <= {"COMPLETE", "PRUNED"}
    assert frame["worker"].nunique() == 2


def test_a_worker_that_is_told_to_end_puts_its_trial_back(tmp_path):
    begin(2)
    want(100_000)
    worker = start("worker", "--storage", "s.journal", cwd=tmp_path)
    end = time.monotonic() + 300
    while len(table()) < 5 and time.monotonic() < end:
        time.sleep(0.1)
    worker.send_signal(signal.SIGTERM)
    output, errors = worker.communicate(timeout=60)

    assert worker.returncode == 143, errors
    assert "Traceback" not in errors
    assert "trials ended here" in output, errors
    assert "to go on: tuner resume s.journal --study-name mlp\n" in errors
    assert "RUNNING" not in set(table()["state"])


def test_a_worker_waits_for_a_study_only_so_long():
    done = run("worker", "--storage", "none.journal", "--wait", "0")

    assert done.exit_code == 2
    assert "none.journal" in done.output


@pytest.mark.parametrize("kind", ["overview", "curves"])
def test_plot_writes_an_image(kind):
    begin(3)

    done = run("plot", "s.journal", "--kind", kind, "--out", "f.png")

    assert done.exit_code == 0, done.output
    with open("f.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_figure_that_a_study_alone_cannot_give_is_refused():
    begin(2)

    done = run("plot", "s.journal", "--kind", "predictions")

    assert done.exit_code == 2
    assert "for a study alone" in " ".join(done.output.split())
    assert not os.path.exists("predictions.png")
