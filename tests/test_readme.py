"""The README keeps its promises. ``python -m tests.test_readme`` renews what is generated in it."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer

from objectives.space.hyperparameter import Hyperparameter
from objectives.space.tables import CNN_TABLE, FINETUNE_TABLE, HEADER, MLP_TABLE, cells
from tuner.cli import app

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
IMAGE_TABLES = {"cnn hyperparameters": CNN_TABLE, "finetune hyperparameters": FINETUNE_TABLE}
COMMANDS = typer.main.get_command(app).commands


def generated(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end {name} -->)", re.DOTALL)


def python_program(text: str) -> str:
    """Return the Python blocks as one program, each line at the number it has in the README."""
    lines, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        inside = (line == "```python") if fence else inside
        lines.append(line if inside and not fence else "")
    return "\n".join(lines)


def shell_commands(text: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


def hyperparameter_table(table: Mapping[str, Hyperparameter] = MLP_TABLE) -> str:
    rows = [HEADER, ("---",) * len(HEADER), *map(table_cells, table.values())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def table_cells(row: Hyperparameter) -> tuple[str, ...]:
    name, *others = cells(row)
    return f"`{name}`", *others


def test_the_hyperparameter_table_is_the_one_in_the_code():
    assert generated("hyperparameters").search(TEXT).group() == hyperparameter_table()
    for name, table in IMAGE_TABLES.items():
        assert generated(name).search(TEXT).group() == hyperparameter_table(table)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_in_the_readme(name):
    assert COMMANDS[name].help
    assert f"tuner {name}" in TEXT


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT))),
)
def test_what_the_readme_links_to_exists(path):
    assert (README.parent / path).exists()


def test_set_up_is_two_commands():
    set_up = [line for line in shell_commands(TEXT) if line.startswith("pip install .")]
    tests = [line for line in shell_commands(TEXT) if "&& pytest" in line]

    assert set_up == ["pip install . && tuner mlp digits"]
    assert len(tests) == 1


@pytest.mark.slow
def test_the_python_of_the_readme_runs_from_top_to_bottom_in_an_empty_folder(tmp_path):
    done = run_python(python_program(TEXT), tmp_path)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "Warning" not in done.stderr
    shown = first_words(documented_output())
    assert first_words(done.stdout)[: len(shown)] == shown


def run_python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=600
    )


def first_words(output: str) -> list[str]:
    """Return the first word of each line without its numbers, which differ between machines."""
    return [re.sub(r"\d[\d.e-]*", "0", line.split()[0]) for line in output.splitlines() if line]


def documented_output() -> str:
    return re.search(r"^```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE).group(1)


def renewed() -> str:
    first_block = python_program(TEXT[: TEXT.index("<!-- output -->")])
    with tempfile.TemporaryDirectory() as folder:
        output = run_python(first_block, Path(folder)).stdout
    text = generated("output").sub(lambda _: f"\n```text\n{output}```\n\n", TEXT)
    text = generated("hyperparameters").sub(lambda _: hyperparameter_table(), text)
    for name, table in IMAGE_TABLES.items():
        text = generated(name).sub(hyperparameter_table(table).replace("\\", r"\\"), text)
    return text


if __name__ == "__main__":
    README.write_text(renewed(), encoding="utf-8")
