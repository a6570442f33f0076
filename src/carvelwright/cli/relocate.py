"""carvelwright relocate."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress, publishing, signing
from carvelwright.errors import ExitCode
from carvelwright.uses import relocate, remote

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.cli.options import Context
    from carvelwright.reference import Repository


@options.command("relocate")
@click.argument("source", metavar="ARCHIVE", type=options.existing_file)
@options.target
@signing.key
@options.package_repository
@click.pass_obj
def command(
    context: Context, source: Path, target: Repository, registry_timeout: float, *, single: bool, form: str
) -> int:
    """Publish what an archive holds to another registry, digest for digest, and verify it there.

    ARCHIVE is what `build` or `archive` made. It joins what is published there already, and what is there is not pushed
    again: repeat the command when it was interrupted.
    """
    around = remote.Surroundings(context.root, context.environment, progress.reporter(context))
    with remote.opened(around, Places(target, single), registry_timeout, "relocate", context.sign_key) as opened:
        published, verified = relocate.relocate(opened, source)
    if form == "json":
        click.echo(json.dumps({**published.document(), "verified": verified.document()}, indent=2))
    elif not context.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\n".join(publishing.summary(published, width)))
    if form != "json":
        for finding in verified.findings:
            click.echo(str(finding))
    return int(ExitCode.REGISTRY if verified.findings else ExitCode.OK)
