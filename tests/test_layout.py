"""Which way the imports point, what starting up costs, and how long a file may be."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import objectives
import tuner
from tests.layout import (
    PACKAGES,
    ROOT,
    Package,
    body_lines,
    entries,
    functions,
    imported_names,
    longest_chain,
    n_lines,
    reachable,
)
from tests.objectives.models.models import TABLE, classifier

FOLDERS = (*PACKAGES, "tests", "benchmarks")
MAX_LINES = 500
MAX_BODY = 60
MAX_ENTRIES = 14
MAX_FILES = 101  # each further one is to be weighed against a longer file
HEAVY = ("torch", "torchvision", "sklearn", "matplotlib")

# From the ground up. A room imports from the lines below its own, never from its own line or one
# above; the face of a package (its `__init__`) only names what the rooms hold.
ROOMS = {
    "objectives": [
        "_messages",
        "space data",
        "metrics images",
        "objective scorers",
        "training",
        "models",
        "mlp module",
        "cnn",
        "finetune",
    ],
    "tuner": [
        "storage",
        "tables",
        "tracking",
        "search",
        "diagnosis",
        "plots",
        "report",
        "result",
        "api",
        "sklearn cli",
        "__main__",
    ],
}
MAX_FLOORS = {"objectives": 9, "tuner": 11}

# Calls that no version of torch or Optuna promises, with a public way beside them, and how many
# files may have them: Optuna's storage in a database is a class of its own, whose methods we write.
BORROWED = {
    "fused optimizers and backward operators of torch": (r"torch\._\w|torch\.ops\.aten", 1),
    "trials of Optuna by number": (
        r"optuna\.Trial\(|create_new_trial|set_trial_|get_trial_id_",
        2,
    ),
    "tables of Optuna": (r"optuna\.storages\._rdb", 2),
    "what Optuna's journal files keep to themselves": (r"\b_file_path\b", 1),
}

LAYOUT = {name: Package(ROOT / name) for name in PACKAGES}
MODULES = sorted(path for package in LAYOUT.values() for path in package.files.values())
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded_modules(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


def run_of(*arguments: str, code: int = 0) -> str:
    """Return Python code that runs the command, which must end with that exit status."""
    return (
        f"import runpy\nsys.argv = {['tuner', *arguments]!r}\n"
        "try:\n    runpy.run_module('tuner', run_name='__main__')\n"
        f"except SystemExit as stop:\n    assert (stop.code or 0) == {code}, stop.code"
    )


@pytest.mark.parametrize("package", [objectives, tuner], ids=PACKAGES)
def test_tests_run_against_this_checkout(package):
    assert Path(package.__file__).parent == ROOT / package.__name__


def test_no_file_of_objectives_names_tuner_in_an_import():
    package = LAYOUT["objectives"]
    imports = {name: imported_names(tree, "objectives") for name, tree in package.trees.items()}

    assert [
        n for n, wanted in imports.items() if any(w.split(".")[0] == "tuner" for w in wanted)
    ] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_place_in_the_written_order(package):
    rooms = " ".join(ROOMS[package]).split()

    assert sorted(rooms) == sorted(LAYOUT[package].arrows)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_the_written_order_of_rooms(package):
    layout = LAYOUT[package]
    floor = {room: n for n, line in enumerate(ROOMS[package]) for room in line.split()}

    upward = [
        f"{name} imports {other}"
        for name, wanted in layout.imports.items()
        for other in sorted(wanted)
        if "." in name and "." in other
        if layout.thing(name) != layout.thing(other)
        if floor[layout.thing(name)] <= floor[layout.thing(other)]
    ]

    assert upward == []


def test_search_and_report_do_not_know_one_another():
    arrows = LAYOUT["tuner"].arrows

    assert "report" not in reachable("search", arrows)
    assert "search" not in reachable("report", arrows)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_one_another_in_a_circle(package):
    assert LAYOUT[package].circles == []


@pytest.mark.parametrize("package", PACKAGES)
def test_few_floors_lie_between_the_top_and_the_ground(package):
    chain = longest_chain(LAYOUT[package].arrows)

    assert len(chain) <= MAX_FLOORS[package], " > ".join(chain)


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES}), ids=lambda folder: relative(folder)
)
def test_no_folder_holds_more_than_can_be_taken_in_at_a_glance(folder):
    assert len(entries(folder)) <= MAX_ENTRIES, entries(folder)


def test_the_packages_have_few_files():
    assert len(MODULES) <= MAX_FILES


@pytest.mark.parametrize(("call", "n_files"), BORROWED.values(), ids=BORROWED)
def test_calls_without_a_promise_stand_in_few_files(call, n_files):
    users = [relative(path) for path in MODULES if re.search(call, path.read_text("utf-8"))]

    assert len(users) <= n_files, users


def test_importing_every_module_of_objectives_does_not_import_tuner():
    names = [
        relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in (ROOT / "objectives").rglob("*.py")
    ]

    assert "tuner" not in loaded_modules(f"import {', '.join(names)}")


@pytest.mark.parametrize(
    ("package", "promised"),
    [("objectives", ["FittedModel", "MLPObjective"]), ("tuner", ["tune", "tune_mlp"])],
)
def test_public_names_stay_what_they_are_once_every_module_is_loaded(package, promised):
    names = [
        f"{package}.{path.stem}"
        for path in (ROOT / package).glob("*.py")
        if not path.stem.startswith("__")
    ]
    code = (
        f"import inspect, {', '.join(names)}\n"
        f"public = {{name: getattr({package}, name) for name in {package}.__all__}}\n"
        f"assert set({promised}) <= set(public), sorted(public)\n"
        "hidden = [name for name, value in public.items() if inspect.ismodule(value)]\n"
        "assert not hidden, f'a module of the same name hides {hidden}'"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module", ["tuner", "tuner.cli", "tuner.storage.study", "tuner.tables", "tuner.search.samplers"]
)
def test_modules_that_train_nothing_import_nothing_heavy(module):
    assert loaded_modules(f"import {module}").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["mlp", "--help"], ["export", "--help"]], ids=" ".join
)
def test_help_is_shown_without_importing_torch(arguments, tmp_path):
    assert loaded_modules(run_of(*arguments)).isdisjoint(HEAVY)


WRONG = {
    "predict model.zip none.csv": "DATA must be files that exist, got 'none.csv'",
    "predict none.zip people.csv": "DATA must be files that exist, got 'people.csv'",
    "predict none.zip pyproject.toml": "path must be an existing file, got path='none.zip'",
    "report none.journal": "storage must be a file that exists, got 'none.journal'",
    "plot none.journal": "storage must be a file that exists, got 'none.journal'",
    "diagnose none.journal": "storage must be a file that exists, got 'none.journal'",
    "mlp none.csv --target y": "DATA must be a file that exists, got 'none.csv'",
    "mlp iris --storage none/s.db": "--storage must lie in a folder that exists, got 'none/s.db'",
    "mlp iris --storage s.txt": "--storage must end in .journal or .db, or be a URL, got 's.txt'",
    "mlp iris --sampler none": "--sampler must be one of",
    "mlp iris --space none=1": "--space must name hyperparameters out of",
    "mlp iris --epochs 0": "--epochs must be a whole number at least 1",
}


@pytest.mark.parametrize(("typed", "words"), WRONG.items(), ids=WRONG)
def test_a_wrong_argument_is_told_before_anything_heavy_is_imported(typed, words):
    code = "import sys\n" + run_of(*typed.split(), code=2)

    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, cwd=ROOT
    )

    assert words in done.stderr.replace("\n", " ")
    loaded = set(re.findall(r"\|\s+(\w+)$", done.stderr, re.MULTILINE))
    assert "tuner" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_predictions_for_a_table_are_made_without_scikit_learn_scipy_and_skops(tmp_path):
    classifier(temperature=2.0).save(tmp_path / "model.zip")
    TABLE.to_csv(tmp_path / "table.csv", index=False)

    loaded = loaded_modules(
        run_of("predict", str(tmp_path / "model.zip"), str(tmp_path / "table.csv"), "--proba")
    )

    assert {"torch", "pandas"} <= loaded
    assert loaded.isdisjoint({"sklearn", "scipy", "skops", "optuna", "matplotlib"})


def test_a_search_starts_without_what_only_saved_models_need():
    assert "skops" not in loaded_modules("import objectives.mlp")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_is_longer_than_one_subject_needs(path):
    length = n_lines(path.read_text(encoding="utf-8"))

    assert length <= MAX_LINES, f"{relative(path)} has {length} lines; split it by subject"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_function_is_longer_than_a_screen(path):
    bodies = {
        function.name: body_lines(function)
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
    }

    assert {name: length for name, length in bodies.items() if length > MAX_BODY} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_tell_type_checkers_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").is_file()


def test_requirements_are_open_ranges_with_a_floor():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]

    pinned = [line for line in requirements if "fusetune[" not in line and ">=" not in line]
    closed = [line for line in requirements if any(mark in line for mark in ("==", "<", "@", "+"))]

    assert pinned == []
    assert closed == []


def test_the_continuous_integration_script_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
