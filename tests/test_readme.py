"""The README keeps its promises; its program runs in tests/test_docs.py, with those of docs/."""

from tests.pages import ROOT, blocks_of

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def shell_commands():
    return [
        line
        for block in blocks_of(TEXT)
        if block.language == "sh"
        for line in block.text.splitlines()
    ]


def test_it_is_read_in_a_few_minutes():
    assert len(TEXT.splitlines()) <= 130


def test_set_up_is_two_commands():
    set_up = [line for line in shell_commands() if line.startswith("pip install .")]
    tests = [line for line in shell_commands() if "&& pytest" in line]

    assert set_up == ["pip install . && tuner mlp digits"]
    assert len(tests) == 1
