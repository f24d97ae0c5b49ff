"""``python -m tests.notebooks`` runs the notebooks and stores what they give in them.

Names of notebooks after it choose some of them: ``python -m tests.notebooks 01 07``.
"""

import io
import os
import sys
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from tests.pages import ROOT, first_words

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLOURS = 64
WIDGET = "application/vnd.jupyter.widget-view+json"
VARIES = "varies"
"""A cell with this tag prints what depends on the machine's speed."""


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder, in a process of its own."""
    notebook = nbformat.read(path, as_version=4)
    backend = os.environ.pop("MPLBACKEND", None)  # the notebook's own draws into its cells
    try:
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_widget(output: nbformat.NotebookNode) -> bool:
    return WIDGET in output.get("data", {})


def text_of(output: nbformat.NotebookNode) -> str:
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def shown(cell: nbformat.NotebookNode) -> list[tuple[list[str], list[str]]]:
    """Return what a reader sees below a cell: kinds of output, and the word that each begins with.

    Which trial is the best, and so how many lines or columns a table has, differs from machine to
    machine.
    """
    varies = VARIES in cell.metadata.get("tags", [])
    return [
        (sorted(output.get("data", {"stream": None})), [] if varies else beginning(output))
        for output in cell.outputs
        if not is_widget(output)
    ]


def beginning(output: nbformat.NotebookNode) -> list[str]:
    return first_words(text_of(output))[:1]


def stored(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook as it is kept: small pictures, no progress lines, no times of this run."""
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)  # of the progress lines
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.outputs if not is_widget(output)]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def smaller(png: str) -> str:
    image = Image.open(io.BytesIO(b64decode(png))).convert("RGB")
    image = image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    image.save(content, format="png", optimize=True)
    return b64encode(content.getvalue()).decode("ascii")


def main() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)  # the kernels' folders are elsewhere
    chosen = [p for p in NOTEBOOKS if not sys.argv[1:] or p.name.startswith(tuple(sys.argv[1:]))]
    for path in chosen:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(stored(run_notebook(path, Path(folder))), path)
        print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
