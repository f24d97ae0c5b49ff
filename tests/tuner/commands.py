"""The command line, called in this process."""

from typer.testing import CliRunner

from tuner.cli import app

SMALL = ["--epochs", "2", "--n-trials", "2", "--quiet"]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
