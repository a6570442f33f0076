"""carvelwright check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from carvelwright.check import check
from carvelwright.errors import ConfigError
from carvelwright.report import Recorder

if TYPE_CHECKING:
    from carvelwright.cli.main import Context
    from carvelwright.errors import Problem


@click.command("check")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to report problems.")
@click.pass_obj
def command(context: Context, form: str) -> None:
    """Check project, releases, metadata and values schema; report every problem with its place.

    The rules are those of the project's files, of the server that takes the package, and of the client that shows it.
    """
    problems = check(context.root, context.environment, Recorder())
    if form == "json":
        click.echo(json.dumps([_document(problem) for problem in problems], indent=2))
    if problems:
        raise ConfigError(problems)
    if form == "text":
        click.echo("ok: nothing to complain about")


def _document(problem: Problem) -> dict[str, str | int | None]:
    location = problem.location
    return {
        "message": problem.message,
        "file": str(location.file) if location else None,
        "line": location.line if location else None,
        "column": location.column if location else None,
        "found": problem.found,
        "expected": problem.expected,
        "hint": problem.hint,
    }
