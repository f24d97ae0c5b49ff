"""Write the pages of commands and of the API from the code while MkDocs builds the site."""

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

import typer

_SECTION = re.compile(r"(?:Args|Attributes|Returns|Raises|Example):$")
_ENTRY = re.compile(r"(?:\*{0,2}\w+|`\w+`): ")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what the code says of itself; MkDocs calls this for each page."""
    markdown = re.sub(r"^<!-- api of ([\w.]+) -->$", lambda m: api_of(m[1]), markdown, flags=re.M)
    return re.sub(r"^<!-- commands -->$", lambda _: commands(), markdown, flags=re.M)


def commands() -> str:
    """Return each command with its arguments and options, as they are declared."""
    from tuner.cli import app

    return "\n".join(map(describe_command, app.registered_commands))


def describe_command(command: Any) -> str:
    """Return a command's heading, purpose and table of options."""
    function = command.callback
    rows = ["| argument or option | meaning |", "|---|---|"]
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.annotation is not typer.Context:
            rows.append(f"| {' | '.join(describe_option(parameter))} |")
    name = command.name or function.__name__.replace("_", "-")
    purpose = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
    return f"### `tuner {name}`\n\n{purpose}\n\n" + "\n".join(rows) + "\n"


def describe_option(parameter: inspect.Parameter) -> tuple[str, str]:
    """Return how an argument or option is typed, and what it means."""
    kind, info = get_args(parameter.annotation)[:2]
    meaning, default = escaped(info.help or ""), parameter.default
    if isinstance(info, typer.models.ArgumentInfo):
        return f"`{info.metavar or parameter.name.upper()}`", meaning
    flag = parameter.name.replace("_", "-")
    declared = [text for text in (info.default, *(info.param_decls or ())) if is_flag(text)]
    if declared:
        typed = ", ".join(declared)
    else:
        typed = f"--{flag}, --no-{flag}" if kind is bool else f"--{flag} {info.metavar or ''}"
    if default is None or default is False or default is parameter.empty:
        return f"`{typed.strip()}`", meaning
    return f"`{typed.strip()}`", f"{meaning} Default: `{str(default).lower()}`."


def is_flag(text: object) -> bool:
    """Tell a declaration such as ``--json`` from a default."""
    return isinstance(text, str) and text.startswith("-")


def escaped(text: str) -> str:
    """Return a text that stands in a cell of a table as it is."""
    return text.replace("|", "\\|").replace("{", "&#123;").replace("<", "&lt;")


def api_of(package: str) -> str:
    """Return a description of each public name of a package."""
    module = importlib.import_module(package)
    described = [part for name in module.__all__ for part in describe(name, getattr(module, name))]
    return "\n\n".join(described)


def describe(name: str, value: Any, level: int = 3) -> Iterator[str]:
    """Yield heading, signature and docstring of a name, and of a class's public members."""
    yield f"{'#' * level} `{name}`"
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    if callable(value) and not is_error:
        yield f"```text\n{signature(name, value)}\n```"
    if callable(value) or isinstance(value, property):
        yield docstring(value)
    else:
        yield f"A `{type(value).__name__}` of {', '.join(f'`{key}`' for key in value)}."
    if inspect.isclass(value) and not is_error:
        for member, attribute in vars(value).items():
            if not isinstance(attribute, property):
                attribute = getattr(value, member)
            is_shown = isinstance(attribute, property) or inspect.isroutine(attribute)
            if is_shown and not member.startswith("_") and inspect.getdoc(attribute):
                yield from describe(f"{name}.{member}", attribute, level + 1)


def signature(name: str, value: Any) -> str:
    """Return how a function is called: names and defaults, a line for each if there are many."""
    names, has_star = [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not has_star:
            names.append("*")
        has_star |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        bare = str(parameter.replace(annotation=parameter.empty))
        names.append(re.sub(r"<[^>]*>", "...", bare))
    line = f"{name}({', '.join(names)})"
    return line if len(line) < 80 else f"{name}(\n    " + ",\n    ".join(names) + ",\n)"


def docstring(value: Any) -> str:
    """Return a docstring of Google's style as Markdown."""
    parts = []
    lines = (inspect.getdoc(value) or "").splitlines()
    while lines:
        line = lines.pop(0)
        if not _SECTION.match(line):
            parts.append(line)
            continue
        body = []
        while lines and (not lines[0] or lines[0].startswith(" ")):
            body.append(lines.pop(0))
        parts.append(section(line.rstrip(":"), textwrap.dedent("\n".join(body)).strip("\n")))
    return re.sub(r"(?<!`)``(?!`)", "`", "\n".join(parts))


def section(title: str, body: str) -> str:
    """Return one section: examples as code, arguments and the like as a list."""
    if title == "Example":
        return f"```pycon\n{body}\n```\n"
    if title in ("Args", "Attributes", "Raises"):
        entries = []
        for line in body.splitlines():
            if _ENTRY.match(line):
                head, _, rest = line.partition(": ")
                entries.append(f"- `{head.strip('`')}`: {rest}")
            else:
                entries.append(f"  {line.strip()}" if line else "")
        body = "\n".join(entries)
    return f"**{title}**\n\n{body}\n"
