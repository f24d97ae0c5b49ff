"""The layout of the two packages, counted: ``python -m tests.layout [FOLDER]`` prints it.

Only Python's own parser is asked, so any checkout can be counted, an old one too. Imports inside
functions and those for type checkers count like all others.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

PACKAGES = ("objectives", "tuner")
ROOT = Path(__file__).resolve().parents[1]

Arrows = Mapping[str, set[str]]


class Package:
    """The files of one package and what each of them imports from it.

    Args:
        folder: the package's folder, which carries its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.files = {self._module(path): path for path in sorted(folder.rglob("*.py"))}

    def _module(self, path: Path) -> str:
        parts = path.relative_to(self.folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The text of each file."""
        return {name: path.read_text(encoding="utf-8") for name, path in self.files.items()}

    @cached_property
    def trees(self) -> Mapping[str, ast.Module]:
        """The syntax tree of each file."""
        return {name: ast.parse(text) for name, text in self.texts.items()}

    @cached_property
    def imports(self) -> Arrows:
        """The files of the package that each file imports, by module name."""
        return {name: set(self._imports_of(name)) - {name} for name in self.files}

    def _imports_of(self, name: str) -> Iterator[str]:
        for wanted in imported_names(self.trees[name], self._package_of(name)):
            while wanted and wanted not in self.files:
                wanted = wanted.rpartition(".")[0]  # a name that a module defines
            if wanted:
                yield wanted

    def _package_of(self, name: str) -> str:
        return name if self.files[name].stem == "__init__" else name.rpartition(".")[0]

    def thing(self, name: str) -> str:
        """Return the room or file of the package's top level that a module belongs to."""
        return name.split(".")[1] if "." in name else "__init__"

    @cached_property
    def circles(self) -> list[list[str]]:
        """Groups of files that import one another; the package's own `__init__` aside."""
        return circles({name: wanted for name, wanted in self.imports.items() if "." in name})

    @cached_property
    def arrows(self) -> Arrows:
        """The imports between the things of the top level, the face `__init__` aside."""
        arrows: dict[str, set[str]] = {self.thing(n): set() for n in self.files if "." in n}
        for name, wanted in self.imports.items():
            if "." in name:
                arrows[self.thing(name)] |= {self.thing(other) for other in wanted}
        return {name: wanted - {name} for name, wanted in arrows.items()}


def imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the full name of everything that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def circles(arrows: Arrows) -> list[list[str]]:
    """Return the groups of more than one thing in which each reaches every other."""
    reached = {name: reachable(name, arrows) for name in arrows}
    groups = {
        tuple(sorted({name, *(other for other in seen if name in reached.get(other, ()))}))
        for name, seen in reached.items()
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def reachable(name: str, arrows: Arrows) -> set[str]:
    """Return everything that ``name`` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def longest_chain(arrows: Arrows) -> list[str]:
    """Return the longest chain of imports, from the top to the ground; circles count as one."""
    joined = {name: "+".join(group) for group in circles(arrows) for name in group}
    merged: dict[str, set[str]] = {}
    for name, wanted in arrows.items():
        own = joined.get(name, name)
        merged.setdefault(own, set()).update(joined.get(other, other) for other in wanted)
        merged[own].discard(own)
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            below = max(map(chain, sorted(merged.get(name, ()))), key=len, default=[])
            chains[name] = [name, *below]
        return chains[name]

    return max(map(chain, sorted(merged)), key=len, default=[])


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has below its signature and docstring."""
    statements = function.body
    if ast.get_docstring(function, clean=False) is not None:
        statements = statements[1:]
    if not statements:
        return 0
    return (statements[-1].end_lineno or 0) - statements[0].lineno + 1


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def entries(folder: Path) -> list[str]:
    """Return the things that someone sees in a folder, what every package has aside."""
    usual = {"__init__.py", "__pycache__", "py.typed"}
    return sorted(path.name for path in folder.iterdir() if path.name not in usual)


def count(pattern: str, texts: Iterable[str]) -> int:
    """Return how often a regular expression matches in all the texts together."""
    return sum(len(re.findall(pattern, text)) for text in texts)


def n_lines(text: str) -> int:
    """Return the number of lines of a text."""
    return len(text.splitlines())


def describe(package: Package) -> Iterator[str]:
    """Yield the lines that tell how a package is laid out."""
    texts = package.texts.values()
    faces = sum(path.stem == "__init__" for path in package.files.values())
    lines = sum(map(n_lines, texts))
    yield f"{package.name}"
    yield f"  files {len(package.files)} ({faces} of them __init__), lines {lines}"
    chain = longest_chain(package.arrows)
    n_arrows = sum(map(len, package.arrows.values()))
    yield f"  things {len(package.arrows)}, floors {len(chain)}, arrows {n_arrows}"
    yield f"    {' > '.join(chain)}"
    for room in sorted({package.thing(name) for name in package.files if name.count(".") > 1}):
        inside = {
            name: {other for other in wanted if package.thing(other) == room}
            for name, wanted in package.imports.items()
            if package.thing(name) == room and package.files[name].stem != "__init__"
        }
        n_inside = sum(map(len, inside.values()))
        yield (
            f"    {room}/: {len(entries(package.folder / room))} things, "
            f"floors {len(longest_chain(inside))}, arrows {n_inside}"
        )
    yield f"  circles of files {package.circles or 'none'}"
    yield f"  circles of rooms {circles(package.arrows) or 'none'}"
    marks = {"Any": r"\bAny\b", "type: ignore": "type: ignore", "fmt: skip": "fmt: skip"}
    yield "  " + ", ".join(f"{mark} {count(mark_in, texts)}" for mark, mark_in in marks.items())
    longest = max(package.texts, key=lambda name: n_lines(package.texts[name]))
    yield f"  longest file {longest}, {n_lines(package.texts[longest])} lines"
    bodies = {
        f"{name}.{function.name}": body_lines(function)
        for name, tree in package.trees.items()
        for function in functions(tree)
    }
    name = max(bodies, key=bodies.__getitem__)
    yield f"  longest function {name}, {bodies[name]} lines"


def main(root: Path) -> None:
    """Print the layout of the packages in a checkout."""
    packages = [Package(root / name) for name in PACKAGES]
    for package in packages:
        print("\n".join(describe(package)))
    texts = [text for package in packages for text in package.texts.values()]
    print(f"together\n  files {len(texts)}, lines {sum(map(n_lines, texts))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
