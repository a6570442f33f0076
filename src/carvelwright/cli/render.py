"""carvelwright render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from carvelwright.cli import options, progress
from carvelwright.session import at_work
from carvelwright.steps.render import render

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.cli.options import Context


@options.command("render")
@options.package
@options.values_files
@options.release
@click.pass_obj
def command(context: Context, package: str | None, files: tuple[Path, ...], release: str | None) -> None:
    """Print the manifests that the package gives with these data values.

    They are what the server renders, but for images: those stay names until `build` locks them by digest.
    """
    with at_work(context.root, context.environment, progress.reporter(context, quiet=True), package) as session:
        rendered = render(session, session.tools(), files, release)
    sys.stdout.buffer.write(rendered)
