"""The files around the code that other programs read: hosted checks, issue forms, citation."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FORMS = sorted(
    path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"
)
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_names_the_version_and_licence_of_the_package():
    citation = read("CITATION.cff")

    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_hosted_checks_are_the_script_that_everyone_runs():
    jobs = read(".github/workflows/checks.yml")["jobs"]

    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == ["bash .ci/run", "bash .ci/run --lowest"]
    pythons = jobs["all"]["strategy"]["matrix"]["python"]
    promised = {line.rpartition(" ")[2] for line in PROJECT["classifiers"]}
    assert set(pythons) <= promised
    assert f">={pythons[0]}" == PROJECT["requires-python"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_asks_for_what_helps(path):
    form = read(path)

    assert form["name"]
    assert form["description"]
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_container_copies_what_it_is_built_from():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert {f"!{name}" for name in copied} == {line for line in let_in if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("page", PAGES)
def test_lines_of_prose_fit_beside_code(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    code = "".join(text.split("```")[1::2])

    long = [line for line in text.splitlines() if len(line) > 120 and line not in code]
    assert [line for line in long if not line.startswith("|")] == []
