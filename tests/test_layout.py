"""Which way the imports point, what starting up costs, and how long a file may be."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import objectives
import tuner

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("objectives", "tuner")
FOLDERS = (*PACKAGES, "tests", "benchmarks")
MAX_LINES = 500
MAX_BODY = 60
HEAVY = ("torch", "torchvision", "sklearn", "matplotlib")

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_modules(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{package}.{node.module or ''}" if node.level else node.module or ""


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    statements = function.body
    if ast.get_docstring(function, clean=False) is not None:
        statements = statements[1:]
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def loaded_modules(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", [objectives, tuner], ids=PACKAGES)
def test_tests_run_against_this_checkout(package):
    assert Path(package.__file__).parent == ROOT / package.__name__


@pytest.mark.parametrize("path", sorted((ROOT / "objectives").rglob("*.py")), ids=relative)
def test_no_file_of_objectives_names_tuner_in_an_import(path):
    imports = imported_modules(ast.parse(path.read_text(encoding="utf-8")), "objectives")

    assert [name for name in imports if name.split(".")[0] == "tuner"] == []


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
    run_tuner = (
        f"import runpy\nsys.argv = {['tuner', *arguments]!r}\n"
        "try:\n    runpy.run_module('tuner', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code"
    )

    assert loaded_modules(run_tuner).isdisjoint(HEAVY)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_is_longer_than_one_subject_needs(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())

    assert n_lines <= MAX_LINES, f"{relative(path)} has {n_lines} lines; split it by subject"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_function_is_longer_than_a_screen(path):
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert {f.name: body_lines(f) for f in functions if body_lines(f) > MAX_BODY} == {}


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
