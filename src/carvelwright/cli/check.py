"""carvelwright check."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.errors import ConfigError, ExitCode
from carvelwright.report import StreamReporter
from carvelwright.steps import bundle
from carvelwright.uses.check import check

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("check")
@options.output_format
@click.pass_obj
def command(context: Context, form: str) -> int:
    """Check project, releases, metadata and values schema; report every problem with its place.

    The rules are those of the project's files, of the server that takes the package, and of the client that shows it.
    """
    if not context.quiet:
        bundle.note_left_out(context.root, StreamReporter(sys.stderr))
    problems = check(context.root, context.environment, progress.reporter(context, quiet=True))
    failure = failures.explain(ConfigError(problems)) if problems else None
    if form == "json":
        click.echo(json.dumps([failures.problem_document(problem) for problem in problems], indent=2))
    elif failure is None and not context.quiet:
        click.echo("ok: no problems found")
    return failures.report(failure) if failure else ExitCode.OK
