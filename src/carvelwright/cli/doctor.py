"""carvelwright doctor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options, progress
from carvelwright.errors import ExitCode
from carvelwright.project import config, paths
from carvelwright.session import search_of
from carvelwright.steps.package import needs_helm
from carvelwright.tools import toolchain

if TYPE_CHECKING:
    from carvelwright.cli.options import Context
    from carvelwright.tools.toolchain import Finding


@options.command("doctor")
@options.option("--install", is_flag=True, help="Build the pinned tools that are missing.")
@options.output_format
@click.pass_obj
def command(context: Context, form: str, *, install: bool) -> int:
    """List the tools and their versions, and what to do for each that is missing."""
    packages = config.load_packages(context.root)
    search = search_of(packages[0].workspace, context.environment)
    vendors = any((package.root / paths.VENDIR_FILE).is_file() for package in packages)
    seldom = {toolchain.HELM: any(map(needs_helm, packages)), toolchain.VENDIR: vendors}
    specs = [*toolchain.SPECS, *(spec for spec, needed in seldom.items() if needed)]
    if install:
        toolchain.install(search, progress.reporter(context), specs)
    findings = [toolchain.look_for_go(search), *toolchain.look(search, specs)]
    missing = any(finding.tool is None for finding in findings)
    failure = failures.explain(toolchain.missing_error(search, findings)) if missing else None
    if form == "json":
        listed = {"tools": [_document(finding) for finding in findings]}
        click.echo(json.dumps(listed | ({"error": failures.document(failure)} if failure else {}), indent=2))
    else:
        for finding in findings:
            if finding.tool is None or not context.quiet:
                click.echo(_line(finding))
    return failures.report(failure) if failure else ExitCode.OK


def _line(finding: Finding) -> str:
    state = f"{finding.tool.version:<10} {finding.tool.path}" if finding.tool else f"{finding.problem}"
    return f"{finding.name:<7} {'ok' if finding.tool else 'WRONG':<6} {state}  (expected {finding.wanted})"


def _document(finding: Finding) -> dict[str, str | bool | None]:
    return {
        "name": finding.name,
        "ok": finding.tool is not None,
        "version": finding.tool.version if finding.tool else None,
        "path": str(finding.tool.path) if finding.tool else None,
        "expected": finding.wanted,
        "problem": finding.problem,
    }
