"""The pages of docs/ keep their promises: programs run, and what is generated is up to date."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from tests.pages import (
    DOCS,
    GENERATED,
    PAGES,
    ROOT,
    between,
    blocks_of,
    documented_outputs,
    first_words,
    generated_in,
    run_program,
)
from tests.picture import IMAGES, WORDS, figures, words_of
from tests.tuner.commands import run
from tuner import tune_mlp
from tuner.cli import app
from tuner.plots.figures import FIGURES

NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
PROGRAMS = [
    page
    for page in PAGES
    if any(block.language == "python" for block in blocks_of(page.read_text(encoding="utf-8")))
]
SCRIPTS = [
    pytest.param(block, id=f"{page.name}-{block.title}")
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"))
    if block.language == "python" and block.title
]


SESSIONS = {
    page.name: [
        line
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language == "sh" and "people.csv" in block.text
        for line in block.text.splitlines()
    ]
    for page in (ROOT / "README.md", DOCS / "command-line.md")
}
CONFIG = next(
    block for block in blocks_of((DOCS / "command-line.md").read_text()) if block.language == "toml"
)


def name(page):
    return page.name


@pytest.fixture
def people(in_folder):
    """Make the files that pages speak of in an empty folder."""
    rows = [
        {"age": 20 + i % 7, "job": "rgb"[i % 3], "income": "high" if i % 4 else "low"}
        for i in range(90)
    ]
    pd.DataFrame(rows).to_csv("people.csv", index=False)
    pd.DataFrame(rows).drop(columns="income").to_csv("new.csv", index=False)
    Path(CONFIG.title).write_text(CONFIG.text, encoding="utf-8")
    return in_folder


def on_a_small_budget(line):
    """Return what is typed, with fewer trials and epochs."""
    n_trials = "3" if line.startswith("tuner resume") else "2"
    line = re.sub(r"(?<=--n-trials )\d+", n_trials, line)
    return f"{line} --epochs 2 --n-trials 2" if line.startswith("tuner mlp") else line


def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tables_are_those_of_the_code(page):
    text = page.read_text(encoding="utf-8")

    for generated in generated_in(text):
        assert between(generated).search(text)[1] == GENERATED[generated]()


def test_every_documented_table_stands_on_the_page_of_hyperparameters():
    assert generated_in((DOCS / "hyperparameters.md").read_text(encoding="utf-8")) == list(
        GENERATED
    )


def test_every_page_is_in_the_navigation():
    listed = [next(iter(entry.values())) for entry in NAV]

    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_pages_and_headings_that_are_there(page):
    text = page.read_text(encoding="utf-8")

    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), anchor


def test_every_picture_is_on_a_page_and_all_are_small():
    shown = {
        path.name
        for page in PAGES
        for path in map(
            Path, re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        )
    }

    assert shown == {path.name for path in IMAGES.iterdir()}
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 1_500_000


@pytest.fixture(scope="module")
def small():
    def study(dataset):
        return tune_mlp(dataset, n_trials=5, epochs=2, seed=0, show_progress_bar=False)

    return figures(study("diabetes"), study("iris"))


@pytest.mark.parametrize("name", [*FIGURES, "confusion"])
def test_the_gallery_has_each_figure_as_it_is_drawn_now(name, small):
    result, kind = small[name]

    with Image.open(IMAGES / f"{name}.png") as image:
        assert json.loads(image.text[WORDS]) == words_of(result.plot(kind))
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert f'`"{kind}"`' in gallery
    assert f"(images/{name}.png)" in gallery


def anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_of_prose_fit_beside_code(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)

    assert [n for n in prose.splitlines() if len(n) > 120 and not n.startswith("|")] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=name)
def test_the_program_of_a_page_runs_in_an_empty_folder(page, in_folder):
    outputs = run_program(page)

    documented = documented_outputs(page.read_text(encoding="utf-8"))
    assert list(map(first_words, outputs)) == list(map(first_words, documented))


@pytest.mark.slow
@pytest.mark.parametrize("block", SCRIPTS)
def test_a_script_of_a_page_runs_by_itself(block, people):
    (people / block.title).write_text(block.text, encoding="utf-8")

    done = subprocess.run([sys.executable, block.title], cwd=people, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("page", SESSIONS)
def test_the_commands_of_a_page_can_be_typed_one_after_another(page, people):
    for line in SESSIONS[page]:
        done = run(*shlex.split(on_a_small_budget(line))[1:])

        assert done.exit_code == 0, f"{line}\n{done.output}"
    promised = set(re.findall(r"(?:--out|--save-model) (\S+)", "\n".join(SESSIONS[page])))
    assert promised <= {path.name for path in people.iterdir()}


def test_the_reference_names_every_command_and_its_options():
    reference = hooks().commands()

    for command in app.registered_commands:
        assert f"### `tuner {command.name or command.callback.__name__}`" in reference
    assert {"`--n-trials N`", "`--json`", "`--quiet`", "`STUDY`"} <= set(
        re.findall("`[^`]+`", reference)
    )


@pytest.mark.parametrize("package", ["tuner", "tuner.sklearn", "objectives"])
def test_the_api_describes_every_public_name(package):
    written = hooks().on_page_markdown(f"# API\n\n<!-- api of {package} -->\n")

    public = importlib.import_module(package).__all__
    assert [n for n in public if f"\n### `{n}`\n" not in written] == []
    assert "**Args**" in written
    assert "<!--" not in written


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="needs the extra docs")
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )

    assert done.returncode == 0, done.stderr[-4000:]
