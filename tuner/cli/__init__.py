"""The ``tuner`` command: search, continue, look, predict.

Only what trains or predicts needs torch, and the rest Optuna and pandas alone, so each command
imports what it uses when it runs.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from objectives.space.registry import READY_MADE
from tuner.cli.console import EXIT_CODES, one_line_errors
from tuner.cli.options import SearchCommand, search_command
from tuner.cli.search import begin, resume, try_params, worker
from tuner.cli.studies import (
    compare,
    confirm,
    dashboard,
    diagnose,
    export,
    init,
    plot,
    predict,
    proxy,
    report,
    show,
)

app = typer.Typer(
    name="tuner",
    help="Tune deep-learning models; every trial ends up in a table.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What Python takes as None and the command line as a word.
_NONE_TYPED = ("folds", "ensemble", "storage", "weights", "track")

_TEXT, _NUMBER = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_GIVEN = re.compile(
    rf"(?<![\w.'\"])([a-z_]+)=({_TEXT}|{_NUMBER}|True|False|None|\[[^\[\]]*\])(?![\w=])"
)

_NAMED = re.compile(r"(?<![\w.'\"=-])[a-z]+(?:_[a-z]+)+(?![\w'\"=(])")


def as_typed(text: str, parameters: Mapping[str, Any]) -> str:
    """Say in a command's options what a message of the library says in Python's arguments.

    Args:
        text: the message.
        parameters: of the command, as typer has them, by the arguments' names.
    """

    def typed(match: re.Match[str]) -> str:
        with contextlib.suppress(ValueError, SyntaxError):  # of what is no literal after all
            value = ast.literal_eval(match[2])
            return _as_typed(parameters.get(match[1]), match[1], value) or match[0]
        return match[0]

    name, must, rest = text.partition(" must ")
    if must and f"{name} = " not in rest:  # which is of a file
        text = f"{_flag(parameters.get(name)) or name} must {rest}"
    text = _GIVEN.sub(typed, text)
    return _NAMED.sub(lambda match: _flag(parameters.get(match[0])) or match[0], text)


def _flag(parameter: Any) -> str | None:
    """Return what a parameter is called where it is typed; None if there is none."""
    if parameter is None or parameter.param_type_name != "option":
        return getattr(parameter, "metavar", None)
    return str([*parameter.opts, *parameter.secondary_opts][0])


def _as_typed(parameter: Any, name: str, value: object) -> str | None:
    """Return what is typed for an argument's value; None if nothing is."""
    if parameter is None:
        return None
    if parameter.param_type_name != "option":
        return repr(value)
    if parameter.is_flag:
        flags = parameter.opts if value is True else parameter.secondary_opts
        return flags[0] if flags and isinstance(value, bool) else None
    values = value if isinstance(value, list) and parameter.multiple else [value]
    if value is None and name in _NONE_TYPED:
        values = ["none"]
    if not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
        return None
    return " ".join(f"{parameter.opts[0]} {shlex.quote(str(v))}" for v in values) or None


class _Command(TyperCommand):
    """A command whose errors are one line, in its own options."""

    def invoke(self, ctx: Any) -> Any:
        known = {str(p.name): p for p in self.params}
        if ctx.params.get("config"):  # whose words are those of Python
            sources = {name: ctx.get_parameter_source(name) for name in known}
            known = {
                n: p for n, p in known.items() if getattr(sources[n], "name", "") == "COMMANDLINE"
            }
        if "data" in known:
            known["dataset"] = known["data"]
        with one_line_errors(lambda text: as_typed(text, known)):
            return super().invoke(ctx)


class _SearchCommand(_Command, SearchCommand):
    pass


for _entry in READY_MADE.values():
    if _entry.command:
        app.command(cls=_SearchCommand)(search_command(_entry, begin))
app.command("try", cls=_Command)(try_params)
for _command in (
    *(init, resume, worker, show, export, plot, diagnose, confirm),
    *(compare, report, predict, dashboard, proxy),
):
    app.command(cls=_Command)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"fusetune {version('fusetune')}")
        except PackageNotFoundError:
            typer.echo("fusetune, a checkout that is not installed")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
