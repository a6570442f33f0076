"""carvelwright doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from carvelwright import config
from carvelwright.cli import progress
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from carvelwright.cli.main import Context


@click.command("doctor")
@click.option("--install", is_flag=True, help="Build the pinned tools that are missing.")
@click.pass_obj
def command(context: Context, *, install: bool) -> None:
    """List the tools and their versions, and what to do for each that is missing."""
    project = config.load_project(context.root)
    search = Search(project.root, project.tools, project.go, context.environment)
    if install:
        toolchain.install(search, progress.reporter(context))
    findings = [toolchain.look_for_go(search), *toolchain.look(search)]
    for finding in findings:
        state = f"{finding.tool.version:<10} {finding.tool.path}" if finding.tool else f"{finding.problem}"
        click.echo(f"{finding.name:<7} {'ok' if finding.tool else 'WRONG':<6} {state}  (expected {finding.wanted})")
    if any(finding.tool is None for finding in findings):
        raise toolchain.missing_error(search, findings)
