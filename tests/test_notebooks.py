"""Every notebook runs from top to bottom in a process of its own, and is stored without outputs."""

from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


def name(path: Path) -> str:
    return path.name


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_widget(output: nbformat.NotebookNode) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def test_the_notebooks_are_in_their_order_and_each_is_in_the_readme():
    readme = (NOTEBOOKS[0].parents[1] / "README.md").read_text(encoding="utf-8")

    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    assert [path.name for path in NOTEBOOKS if f"(notebooks/{path.name})" not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_notebook_ends_with_what_to_try_next(path):
    last = nbformat.read(path, as_version=4).cells[-1]

    assert last.cell_type == "markdown"
    assert "## What to try next\n" in last.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks_are_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)

    assert [cell.source for cell in code_cells(notebook) if cell.outputs] == []
    assert {cell.execution_count for cell in code_cells(notebook)} == {None}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_step_of_a_notebook_is_introduced_in_words(path):
    cells = nbformat.read(path, as_version=4).cells

    bare = [b.source for a, b in pairwise(cells) if a.cell_type == b.cell_type]

    assert cells[0].cell_type == "markdown"
    assert bare == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks_run_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSETUNE_N_TRIALS", "3")
    monkeypatch.delenv("MPLBACKEND")  # the notebook's own draws into its cells
    notebook = nbformat.read(path, as_version=4)

    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()

    by_cell = [cell.outputs for cell in code_cells(notebook)]
    outputs = [output for of_cell in by_cell for output in of_cell]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [o.text for o in outputs if o.output_type == "stream" and "Warning" in o.text] == []
    assert max(sum(map(is_widget, of_cell)) for of_cell in by_cell) <= 1  # a line of progress
    assert [o.text for o in outputs if o.output_type == "stream" and "trials |" in o.text] == []
