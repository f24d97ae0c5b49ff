"""What a search on the command line keeps by itself: its study, its table, the test split."""

import json
import shlex
import sys

import pandas as pd
import pytest
import typer

from tests.tuner.commands import SMALL, run
from tuner import load_study
from tuner.cli.console import one_line_errors


def names():
    import optuna

    from tuner.storage.backends import open_storage

    return optuna.get_all_study_names(open_storage("fusetune.journal"))


def things(n_rows=60):
    rows = [{"size": i % 7, "colour": "rg"[i % 2], "kind": "ab"[i // 3 % 2]} for i in range(n_rows)]
    pd.DataFrame(rows).to_csv("things.csv", index=False)
    return ["things.csv", "--target", "kind"]


def next_command(done):
    assert done.exit_code == 0, done.output
    last = done.stderr.splitlines()[-1]
    assert last.startswith("next: tuner ")
    return shlex.split(last.removeprefix("next: tuner "))


def test_the_same_call_again_goes_on_or_says_that_it_is_finished(in_folder):
    run("mlp", "iris", "--epochs", "2", "--n-trials", "1", "--quiet")

    more = run("mlp", "iris", *SMALL)
    again = run("mlp", "iris", *SMALL)

    assert "study mlp-iris went on by 1 trial\n" in more.stderr
    assert "study mlp-iris was finished before; a larger --n-trials adds trials\n" in again.stderr
    assert names() == ["mlp-iris"]
    assert len(load_study("fusetune.journal").trials) == 2
    assert [path.name for path in in_folder.glob("*.csv")] == ["mlp-iris-trials.csv"]


def test_another_dataset_or_another_space_is_another_study(in_folder):
    for arguments in (
        ["iris"],
        things(),
        ["iris", "--seed", "1"],
        ["iris"],
        ["iris", "--seed", "1"],
    ):
        done = run("mlp", *arguments, *SMALL)
        assert done.exit_code == 0, done.output

    assert names() == ["mlp-iris", "mlp-things", "mlp-iris-2"]
    assert {path.name for path in in_folder.glob("*.csv")} == {
        "things.csv",
        "mlp-iris-trials.csv",
        "mlp-things-trials.csv",
        "mlp-iris-2-trials.csv",
    }


def test_a_file_that_has_changed_since_is_another_study_and_that_is_said(in_folder):
    run("mlp", *things(60), *SMALL)

    changed = run("mlp", *things(66), *SMALL)
    again = run("mlp", *things(66), *SMALL)

    assert changed.exit_code == 0, changed.output
    assert "study 'mlp-things' was tuned on other data (the fingerprints differ)" in changed.stderr
    assert next_command(changed) == ["report", "mlp-things-2"]
    assert "study mlp-things-2 was finished before" in again.stderr
    assert names() == ["mlp-things", "mlp-things-2"]


def test_a_study_that_the_functions_began_goes_on(in_folder):
    from tuner import tune_mlp

    tune_mlp("iris", n_trials=1, epochs=2, storage="s.journal", show_progress_bar=False)

    done = run("mlp", "iris", *SMALL, "--storage", "s.journal")

    assert done.exit_code == 0, done.output
    assert len(load_study("s.journal", "mlp").trials) == 2


def test_a_name_that_is_given_is_not_changed(in_folder):
    run("mlp", "iris", *SMALL, "--study-name", "mine")

    done = run("mlp", "iris", *SMALL, "--study-name", "mine", "--seed", "1")

    assert done.exit_code == 2
    assert "study 'mine' was tuned with split seed 0, now 1; give another" in done.stderr
    assert done.stderr.count("\n") == 1
    assert names() == ["mine"]


def test_without_storage_nothing_is_kept_but_the_table(in_folder):
    done = run("mlp", "iris", *SMALL, "--storage", "none")

    assert done.exit_code == 0, done.output
    assert "study mlp-iris in memory alone" in done.stdout
    assert [path.name for path in in_folder.iterdir()] == ["mlp-iris-trials.csv"]


def test_a_table_of_another_study_is_not_overwritten(in_folder):
    (in_folder / "mlp-iris-trials.csv").write_text("precious")

    done = run("mlp", "iris", *SMALL)

    assert done.exit_code == 0, done.output
    assert "table mlp-iris-trials-2.csv" in done.stdout
    assert (in_folder / "mlp-iris-trials.csv").read_text() == "precious"


@pytest.mark.parametrize("option", ["--out", "--save-model"])
def test_a_file_that_is_named_is_overwritten_only_by_force_or_its_own_study(option, in_folder):
    (in_folder / "f.csv").write_text("precious")

    refused = run("mlp", "iris", *SMALL, option, "f.csv")
    kept = (in_folder / "f.csv").read_text()
    forced = run("mlp", "iris", *SMALL, option, "f.csv", "--force")
    again = run("mlp", "iris", "--epochs", "2", "--n-trials", "3", "--quiet", option, "f.csv")

    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: {option} must be a new file, got f.csv, which is there; add --force to overwrite "
        "it\n"
    )
    assert kept == "precious"
    assert (forced.exit_code, again.exit_code) == (0, 0), forced.output + again.output


def test_the_test_split_stays_shut_until_it_is_asked_for(in_folder):
    shut = run("mlp", "iris", *SMALL, "--json")
    more = run("resume", "mlp-iris", "--n-trials", "3", "--quiet")
    openings = load_study("fusetune.journal").user_attrs.get("fusetune:test_openings", [])
    opened = run("resume", "mlp-iris", "--n-trials", "3", "--test", "--json")

    assert json.loads(shut.stdout)["test"] is None
    assert "the test split stays shut" in more.stdout
    assert "warning" not in more.stderr
    assert openings == []
    assert json.loads(opened.stdout)["test"]["n"] == 30
    assert len(load_study("fusetune.journal").user_attrs["fusetune:test_openings"]) == 1


@pytest.mark.slow
def test_each_command_ends_with_one_that_can_be_typed_next(in_folder):
    command, typed = ["mlp", *things(), *SMALL, "--fix", "n_layers=1"], []
    while command[0] not in typed:
        typed.append(command[0])
        command = next_command(run(*command))

    assert typed == ["mlp", "report", "diagnose", "confirm", "resume"]
    saved = run("resume", "mlp-things", "--test", "--save-model", "m.zip", "--quiet")
    assert run(*next_command(saved)).exit_code == 0
    assert next_command(run("export", "mlp-things", "--out", "t.csv"))[0] == "plot"
    assert next_command(run("try", "mlp-things", "dropout=0"))[0] == "show"


def test_show_lists_the_studies_of_a_file_with_several(in_folder):
    for seed in ("0", "1"):
        run("mlp", "iris", *SMALL, "--seed", seed)

    done = run("show")

    assert done.stdout == (
        "study mlp-iris: 2 trials: 2 complete\nstudy mlp-iris-2: 2 trials: 2 complete\n"
    )
    assert next_command(done) == ["show", "mlp-iris-2"]


@pytest.mark.parametrize("written", [True, False], ids=["other-study", "no-file"])
def test_a_study_that_is_not_there_is_named(written, in_folder):
    if written:
        run("mlp", "iris", *SMALL)

    done = run("show", "mlp-wine")

    assert done.exit_code == 2
    assert "'mlp-wine'" in done.stderr
    assert "fusetune.journal" in done.stderr or "(mlp-iris)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "params"),
    [
        (["--space", "dropout=.1..0.3", "--space", "activation=tanh,"], {"activation": {"tanh"}}),
        (["--space", '{"n_layers": 1, "dropout": 0}', "--space", "n_layers=2"], {"n_layers": {2}}),
        (["--space", "batch_size=16,32", "--space", "n_layers=1"], {"batch_size": {16, 32}}),
    ],
)
def test_a_space_is_typed_a_hyperparameter_at_a_time(typed, params, in_folder):
    done = run("mlp", "iris", *SMALL, "--sampler", "random", "--no-include-default", *typed)

    assert done.exit_code == 0, done.output
    table = pd.read_csv("mlp-iris-trials.csv")
    assert all(set(table[f"params_{name}"]) <= values for name, values in params.items())
    assert table["params_dropout"].max() <= 0.5


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "dropout=0..",
            "--space must give a range as low..high in numbers, such as dropout=0..0.5",
        ),
        ("dropout=a..b", "got 'dropout=a..b'"),
        ("dropuot=0..1", "did you mean 'dropout'?"),
        ("dropout=0.5..0.1", "dropout"),
        ("activation=relu,tan", "did you mean 'tanh'?"),
        ("dropout", "--space must be name=low..high, name=value, JSON or a file that exists"),
    ],
)
def test_a_space_that_cannot_be_read_is_one_sentence(typed, message, in_folder):
    done = run("mlp", "iris", "--space", typed)

    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_in_any_command_is_one_line(capsys):
    with pytest.raises(typer.Exit) as stop, one_line_errors():
        raise KeyboardInterrupt

    assert stop.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_while_the_command_line_is_loaded_is_one_line():
    import subprocess

    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tuner.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from tuner.__main__ import main\n"
        "main()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
