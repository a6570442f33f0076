"""The command line: parse, call, report. One module for each group of commands, imported only when it is used."""

from __future__ import annotations

import sys

from carvelwright.cli.main import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))
