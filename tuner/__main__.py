"""``python -m tuner`` is the ``tuner`` command."""

import sys


def main() -> None:
    """Run the command line, which Ctrl-C also ends while it is being loaded."""
    try:
        from tuner.cli import app
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    app(prog_name="tuner")


if __name__ == "__main__":
    main()
