import json
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
import typer
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tests.tuner.commands import run
from tuner.cli import app, as_typed
from tuner.storage.backends import open_storage

HEAVY = {"torch", "sklearn", "matplotlib"}


def fill(path, name="mlp", n_trials=3):
    study = optuna.create_study(storage=open_storage(path), study_name=name, direction="maximize")
    study.set_user_attr("fusetune", {"metric": "accuracy", "params": ["dropout"]})
    for number in range(n_trials):
        params = {"dropout": number / 10}
        study.add_trial(
            create_trial(
                value=0.5 + params["dropout"],
                params=params,
                distributions={"dropout": FloatDistribution(0, 1)},
                intermediate_values={0: 0.25, 1: 0.5 + params["dropout"]},
            )
        )
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.1))
    return study


@pytest.fixture
def journal(tmp_path):
    fill(tmp_path / "study.journal")
    return tmp_path / "study.journal"


@pytest.fixture
def csv(tmp_path):
    rows = [{"size": i % 7, "colour": "rg"[i % 2], "kind": "ab"[i // 3 % 2]} for i in range(60)]
    pd.DataFrame(rows).to_csv(tmp_path / "things.csv", index=False)
    return tmp_path / "things.csv"


# --- export and show ---


@pytest.mark.parametrize("ending", [".journal", ".db"])
def test_export_writes_the_trials_of_a_stored_study(ending, tmp_path):
    fill(tmp_path / f"study{ending}")

    done = run("export", tmp_path / f"study{ending}", "--out", tmp_path / "trials.csv")

    assert done.exit_code == 0, done.output
    assert done.stdout == f"4 rows: {tmp_path / 'trials.csv'}\n"
    assert pd.read_csv(tmp_path / "trials.csv")["params_dropout"].tolist()[:3] == [0.0, 0.1, 0.2]


def test_export_reads_a_storage_url(tmp_path):
    fill(tmp_path / "study.db")

    done = run("export", f"sqlite:///{tmp_path}/study.db", "--out", tmp_path / "trials.json")

    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "trials.json").read_text())) == 4


def test_export_of_curves_has_one_row_a_trial_and_epoch(journal, tmp_path):
    done = run("export", journal, "--curves", "--out", tmp_path / "curves.csv")

    assert done.exit_code == 0, done.output
    assert pd.read_csv(tmp_path / "curves.csv")["epoch"].tolist() == [0, 1] * 3


def test_name_is_needed_only_where_there_are_several_studies(journal, tmp_path):
    fill(journal, name="other", n_trials=1)
    out = tmp_path / "trials.csv"

    unnamed = run("export", journal, "--out", out)
    named = run("export", journal, "--out", out, "--study-name", "other")

    assert unnamed.exit_code == 2
    assert "mlp, other" in unnamed.stderr
    assert named.exit_code == 0
    assert len(pd.read_csv(out)) == 2


def test_show_prints_the_counts_and_the_best_trial_first(journal):
    done = run("show", journal)

    assert done.exit_code == 0, done.output
    lines = [line.split("│") for line in done.stdout.splitlines()]
    rows = [[cell.strip() for cell in line[1:5]] for line in lines if len(line) > 1]
    assert lines[0] == ["study mlp: 4 trials: 3 complete, 1 pruned"]
    assert "valid accuracy (maximize)" in done.stdout
    assert rows == [
        ["2", "0.7", "", "dropout=0.2"],
        ["1", "0.6", "", "dropout=0.1"],
        ["0", "0.5", "", "dropout=0"],
    ]


def test_show_gives_a_script_the_counts_and_the_best(journal):
    found = json.loads(run("show", journal, "--json").stdout)

    assert found["states"] == {"COMPLETE": 3, "PRUNED": 1}
    assert (found["metric"], found["direction"]) == ("accuracy", "maximize")
    assert [(trial["number"], trial["params"]) for trial in found["best"]] == [
        (2, {"dropout": 0.2}),
        (1, {"dropout": 0.1}),
        (0, {"dropout": 0.0}),
    ]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["export", "--out", "t.csv"], {"rows": 4, "file": "t.csv"}),
        (["plot", "--kind", "history"], {"kind": "history", "file": "history.png"}),
    ],
    ids=["export", "plot"],
)
def test_what_was_written_is_said_to_a_script(command, found, journal, in_folder):
    done = run(command[0], journal, *command[1:], "--json")

    assert json.loads(done.stdout) == found
    assert (in_folder / found["file"]).exists()


def test_a_figure_for_a_paper_is_a_pdf_of_its_width_with_letters(journal, in_folder):
    done = run("plot", journal, "--kind", "history", "--width", "column", "--out", "f.pdf")

    assert done.exit_code == 0, done.output
    content = (in_folder / "f.pdf").read_bytes()
    assert b"/MediaBox [ 0 0 234 " in content  # 3.25 inches of 72 points
    assert b"/Subtype /Type3" not in content


def test_show_of_a_study_without_trials_says_so(tmp_path):
    optuna.create_study(storage=open_storage(tmp_path / "s.journal"), study_name="empty")

    assert run("show", tmp_path / "s.journal").stdout == "study empty: no trials yet\n"


def test_diagnose_prints_findings_and_the_next_space(journal):
    done = run("diagnose", journal)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("study mlp, 4 trials: 3 complete, 1 pruned: 1 finding\n")
    assert "1. too few trials for the space" in done.stdout
    assert done.stdout.endswith("next space: --space dropout=0.0..1.0\n")
    assert done.stderr == f"next: tuner confirm {journal} --study-name mlp\n"


def test_diagnose_gives_a_script_what_it_can_pass_on(journal):
    done = run("diagnose", journal, "--json")

    found = json.loads(done.stdout)
    assert [finding["code"] for finding in found["findings"]] == ["too_few_trials"]
    assert found["space"] == {"dropout": {"low": 0.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnose", "none.journal"], "none.journal"),
        (["export", "none.journal", "--out", "t.csv"], "none.journal"),
        (["export", "study.txt", "--out", "t.csv"], "study.txt"),
        (["export", "study.journal", "--out", "t.doc"], "path must end in one of .csv"),
        (["export", "study.journal", "--out", "no/t.csv"], "path must be in a folder that exists"),
        (
            ["export", "study.journal", "--study-name", "x", "--out", "t.csv"],
            "--study-name must be",
        ),
        (["show", "text.db"], "error:"),
        (["plot", "study.journal", "--kind", "curvs"], "did you mean 'curves'?"),
        (["plot", "study.journal", "--out", "no/f.png"], "--out must be in a folder that exists"),
        (["mlp"], "DATA must be given"),
        (["mlp", "iris", "--metric", "acuracy"], "metric must be one of accuracy"),
        (["mlp", "things.csv", "--target", "kin"], "did you mean 'kind'?"),
        (["mlp", "things.csv"], "target must name the column to predict"),
        (["mlp", "iris", "--storage", "s.txt"], "storage must end in .journal or .db"),
        (["mlp", "iris", "--fix", "dropout"], "--fix must be name=value"),
        (["mlp", "iris", "--fix", "dropuot=1"], "did you mean 'dropout'?"),
        (["mlp", "none.csv", "--target", "y"], "none.csv"),
        (["mlp", "iris", "--sampler", "tpee"], "tpe"),
        (["mlp", "iris", "--n-trials", "0"], "--n-trials must be"),
        (["mlp", "iris", "--space", "{"], "--space must be JSON"),
        (["mlp", "iris", "--space", "[1]"], "--space must be an object"),
        (
            ["mlp", "iris", "--space", "none.json"],
            "--space must be name=low..high,",
        ),
        (["mlp", "iris", "--space", '{"dropout": {"low": 0}}'], "low and high"),
        (["mlp", "iris", "--space", '{"learning_rat": 0.1}'], "learning_rate"),
        (["mlp", "iris", "--trials", "{}"], "--trials must be a list"),
        (["mlp", "iris", "--out", "t.doc"], "path must end in one of .csv"),
        (["mlp", "iris", "--save-model", "no/m.zip"], "--save-model must be in a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line_on_stderr_with_exit_code_2(
    arguments, message, journal, csv, in_folder
):
    (in_folder / "study.txt").write_text("")
    (in_folder / "text.db").write_text("this is no database, but long enough to look at" * 10)
    before = sorted(path.name for path in in_folder.iterdir())

    done = run(*arguments)

    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in in_folder.iterdir()) == before


# --- what starting costs ---


@pytest.mark.parametrize("command", ["help", "export", "show", "diagnose", "show --json"])
def test_commands_that_train_nothing_do_not_import_torch(command, journal, tmp_path):
    arguments = {
        "help": ["--help"],
        "export": ["export", str(journal), "--out", str(tmp_path / "trials.csv")],
        "show": ["show", str(journal)],
        "diagnose": ["diagnose", str(journal)],
        "show --json": ["show", str(journal), "--json"],
    }[command]
    code = (
        "import sys\nfrom tuner.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )

    loaded = set(done.stderr.split())
    assert loaded.isdisjoint(HEAVY)
    assert command != "help" or loaded.isdisjoint({"optuna", "pandas"})


def test_show_prints_text_in_brackets_as_it_is(in_folder):
    study = optuna.create_study(storage=open_storage("s.journal"), study_name="[/x]")
    study.set_user_attr("fusetune", {"metric": "[/m]"})
    study.optimize(lambda trial: len(trial.suggest_categorical("c", ["[/b]", "[red]"])), n_trials=9)

    shown = run("show", "s.journal")

    assert shown.exit_code == 0, shown.output
    assert all(text in shown.output for text in ("study [/x]", "valid [/m]", "[/b]", "[red]"))


def test_control_characters_of_a_study_do_not_reach_the_terminal(in_folder):
    evil = "x\x1b[31m\x07\u202ey"
    study = optuna.create_study(storage=open_storage("s.journal"), study_name=evil)
    study.set_user_attr("fusetune", {"metric": evil})
    study.optimize(lambda trial: len(trial.suggest_categorical(evil, [evil, "b"])), n_trials=9)

    outputs = [
        run(command, "s.journal", *rest).output
        for command, *rest in (["show"], ["diagnose"], ["show", "--study-name", "\x1b[2J"])
    ]

    assert all("\\x1b[31m" in output for output in outputs)
    assert not any(c in output for output in outputs for c in "\x1b\x07\u202e")


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        (
            "got encoding='a b'; give encoding='cp1252'",
            "got --encoding 'a b'; give --encoding cp1252",
        ),
        ("give folds=None, or n_repeats=1", "give --folds none, or --n-repeats 1"),
        (
            "categorical must be columns, got categorical=['a', 'b']",
            "--categorical must be columns, got --categorical a --categorical b",
        ),
        (
            "give checkpoint=False and include_default=False",
            "give --no-checkpoint and --no-include-default",
        ),
        ("dataset must be a file, got dataset='x.csv'", "DATA must be a file, got 'x.csv'"),
        ("a larger valid_size or threshold=None", "a larger --valid-size or threshold=None"),
        ("column 'seed=1' of y.encoding='x' has test_size='", None),
        ("seed must be a whole number, got seed = 'x' in c.toml", None),
    ],
)
def test_a_message_about_arguments_of_python_is_said_in_the_commands_options(said, typed):
    parameters = {p.name: p for p in typer.main.get_command(app).commands["mlp"].params}

    assert as_typed(said, parameters | {"dataset": parameters["data"]}) == (typed or said)


def test_what_is_said_of_a_data_file_names_options_but_in_a_configuration_its_words(in_folder):
    Path("t.csv").write_bytes("a,b\n1,é\n2,y\n".encode("latin-1"))
    Path("c.toml").write_text('data = "t.csv"\ntarget = "b"\n')

    assert "give --encoding latin-1, or what" in run("mlp", "t.csv", "--target", "b").stderr
    assert "give encoding='latin-1', or what" in run("mlp", "--config", "c.toml").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch.csv"], "DATA must be a file that exists, got 'nosuch.csv'"),
        (["irsi"], "did you mean 'iris'?"),
        (["iris", "--sampler", "tpee"], "did you mean 'tpe'?"),
        (["iris", "--n-trials", "0"], "--n-trials must be a whole number of at least 1"),
        (["iris", "--config", "c.toml"], "did you mean 'n_trials'?"),
    ],
)
def test_a_mistake_is_reported_before_optuna_is_loaded(arguments, message, in_folder):
    (in_folder / "c.toml").write_text("n_trails = 3\n[space]\n")
    code = (
        "import sys\nfrom tuner.cli import app\n"
        f"try:\n    app({['mlp', *arguments]!r})\nexcept SystemExit as stop:\n"
        "    assert stop.code == 2\n"
        "assert not {'torch', 'pandas'} & set(sys.modules), 'heavy'\n"
        f"assert {arguments[1:2] == ['--config']} or 'optuna' not in sys.modules, 'optuna'"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert message in done.stderr
