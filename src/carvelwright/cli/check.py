"""carvelwright check."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.errors import ConfigError, ExitCode, errors_among, warnings_among
from carvelwright.project import paths
from carvelwright.report import StreamReporter
from carvelwright.uses.check import check

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("check")
@options.packages
@options.output_format
@click.pass_obj
def command(context: Context, names: tuple[str, ...], form: str) -> int:
    """Check project, releases, metadata and values schema; report every problem with its place.

    PACKAGE names packages of a workspace; without any, all are checked.

    The rules are those of the project's files, of the server that takes the package, and of the client that shows it.
    Warnings are reported and leave the exit code 0.
    """
    if not context.quiet:
        for directory in paths.directories(context.root):
            paths.note_left_out(directory, StreamReporter(sys.stderr))
    problems = check(context.root, context.environment, progress.reporter(context, quiet=True), names)
    errors, warnings = errors_among(problems), warnings_among(problems)
    failure = failures.explain(ConfigError(errors)) if errors else None
    if form == "json":
        click.echo(json.dumps([failures.problem_document(problem) for problem in problems], indent=2))
    elif failure is None and not context.quiet:
        click.echo("ok: no errors, see the warnings" if warnings else "ok: no problems found")
    for warning in [] if context.quiet else warnings:
        click.echo("warning: " + "\n".join(warning.lines()), err=True)
    return failures.report(failure) if failure else ExitCode.OK
