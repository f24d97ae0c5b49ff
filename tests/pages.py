"""The README and the pages of docs/: what is generated in them, and their programs.

``python -m tests.pages`` renews what is generated, ``python -m tests.pages --outputs`` also the
outputs that stand below programs.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from objectives.space.hyperparameter import Hyperparameter
from objectives.space.registry import READY_MADE
from objectives.space.tables import HEADER, cells

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))

BLOCK = re.compile(r"^```(\w+)(?: title=\"([\w.]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"<!-- output -->\n(.*?)<!-- end output -->", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page; `title` names the file that it stands for."""

    language: str
    title: str | None
    text: str
    line: int
    has_output: bool


def blocks_of(text: str) -> list[Block]:
    return [
        Block(
            language=found[1],
            title=found[2],
            text=found[3],
            line=text.count("\n", 0, found.start()) + 1,
            has_output=text[found.end() :].lstrip().startswith("<!-- output -->"),
        )
        for found in BLOCK.finditer(text)
    ]


def documented_outputs(text: str) -> list[str]:
    return [found[1].strip().removeprefix("```text\n")[:-3] for found in OUTPUT.finditer(text)]


def run_program(page: Path) -> list[str]:
    """Run the Python of a page in this folder, and return what the blocks with an output print."""
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs: list[str] = []
    for block in blocks_of(text):
        if block.language != "python" or block.title:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = compile("\n" * block.line + block.text, page.name, "exec")
            exec(code, namespace)
        if block.has_output:
            outputs.append(printed.getvalue())
    return outputs


def first_words(output: str) -> list[str]:
    """Return the first word of each line without its numbers, which differ between machines."""
    lines = filter(str.strip, output.splitlines())
    return [re.sub(r"\d[\d.e-]*", "0", line.split()[0]) for line in lines]


def hyperparameter_table(table: Mapping[str, Hyperparameter]) -> str:
    rows = [HEADER, ("---",) * len(HEADER)]
    for row in table.values():
        name, *others = cells(row)
        rows.append((f"`{name}`", *others))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


GENERATED: Mapping[str, Callable[[], str]] = {
    f"{kind} hyperparameters": partial(hyperparameter_table, entry.table)
    for kind, entry in READY_MADE.items()
}


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {name} -->\n(.*?)<!-- end {name} -->", re.DOTALL)


def generated_in(text: str) -> list[str]:
    return [name for name in GENERATED if between(name).search(text)]


def renewed(page: Path, *, outputs: bool = False) -> str:
    text = page.read_text(encoding="utf-8")
    for name in generated_in(text):
        part = f"<!-- {name} -->\n{GENERATED[name]()}<!-- end {name} -->"
        text = between(name).sub(lambda _, part=part: part, text)
    if outputs and OUTPUT.search(text):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            printed = run_program(page)
        parts = (
            f"<!-- output -->\n\n```text\n{text}```\n\n<!-- end output -->" for text in printed
        )
        text = OUTPUT.sub(lambda _: next(parts), text)
    return text


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    for page in PAGES:
        page.write_text(renewed(page, outputs="--outputs" in sys.argv), encoding="utf-8")
