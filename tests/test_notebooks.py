"""Every notebook runs from top to bottom in a process of its own, and shows what it gives."""

from itertools import pairwise

import nbformat
import pytest
from sklearn.datasets import load_breast_cancer

from tests.notebooks import NOTEBOOKS, code_cells, is_widget, run_notebook, shown
from tests.pages import ROOT
from tuner import tune_mlp


def name(path):
    return path.name


def test_the_notebooks_are_in_their_order_and_each_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    assert [path.name for path in NOTEBOOKS if f"(notebooks/{path.name})" not in readme] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_notebook_ends_with_what_to_try_next(path):
    last = nbformat.read(path, as_version=4).cells[-1]

    assert last.cell_type == "markdown"
    assert "## What to try next\n" in last.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebooks_are_stored_with_outputs_and_a_figure_in_little_space(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)

    kinds = {kind for cell in cells for kinds, _ in shown(cell) for kind in kinds}
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "image/png" in kinds
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_step_of_a_notebook_is_introduced_in_words(path):
    cells = nbformat.read(path, as_version=4).cells

    bare = [b.source for a, b in pairwise(cells) if a.cell_type == b.cell_type]

    assert cells[0].cell_type == "markdown"
    assert bare == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_run_from_top_to_bottom_gives_the_outputs_that_are_stored(path, tmp_path):
    cells = code_cells(run_notebook(path, tmp_path))

    kept = code_cells(nbformat.read(path, as_version=4))
    assert [shown(cell) for cell in cells] == [shown(cell) for cell in kept]
    printed = [output.text for cell in cells for output in cell.outputs if "text" in output]
    assert [text for text in printed if "Warning" in text or "trials |" in text] == []
    assert max(sum(map(is_widget, cell.outputs)) for cell in cells) <= 1  # a line of progress


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(5))
def test_what_the_first_notebook_tells_holds_for_five_seeds(seed):
    table = load_breast_cancer(as_frame=True).frame
    result = tune_mlp(
        table, target="target", metric="log_loss", n_trials=20, seed=seed, show_progress_bar=False
    )

    default = result.model_of(0)

    assert result.study.user_attrs["fusetune"]["folds"] == 5
    assert result.best_value <= result.trials_dataframe()["value"].iloc[0]
    assert "worse than the default" not in result.comparison()
    score, untuned = result.test_score(), result.test_score(default)
    assert score.value < untuned.high  # no worse than the default, as far as the test rows tell
