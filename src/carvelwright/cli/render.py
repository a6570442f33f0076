"""carvelwright render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from carvelwright.cli import options, progress
from carvelwright.session import at_work
from carvelwright.steps.render import render
from carvelwright.steps.templating import Install

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.cli.options import Context


@options.command("render")
@options.package
@options.values_files
@options.release
@options.namespace
@options.option("--name", metavar="NAME", help="The PackageInstall's name.  [default: the package's]")
@click.pass_obj
def command(
    context: Context,
    package: str | None,
    files: tuple[Path, ...],
    release: str | None,
    namespace: str,
    name: str | None,
) -> None:
    """Print the manifests that the package gives with these data values.

    They are what the server renders, but for images: those stay names until `build` locks them by digest. Name and
    namespace of the PackageInstall are what Helm charts see. What steps read in the cluster is left out.
    """
    with at_work(context.root, context.environment, progress.reporter(context, quiet=True), package) as session:
        install = Install(name or session.project.short_name, namespace)
        rendered = render(session, session.tools(), files, release, install)
    sys.stdout.buffer.write(rendered)
