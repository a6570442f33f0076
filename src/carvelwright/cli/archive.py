"""carvelwright archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress
from carvelwright.errors import UsageError
from carvelwright.report import readable_size
from carvelwright.uses import archive, remote

if TYPE_CHECKING:
    from carvelwright.cli.options import Context
    from carvelwright.reference import Repository


@options.command("archive")
@options.target
@click.argument("wanted", metavar="[REFNAME[/VERSION]]...", nargs=-1)
@options.option("--all", "everything", is_flag=True, help="The whole repository, with what others published in it.")
@options.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The file to write."
)
@options.package_repository
@click.pass_obj
def command(
    context: Context,
    target: Repository,
    wanted: tuple[str, ...],
    output: Path,
    registry_timeout: float,
    *,
    everything: bool,
    single: bool,
    form: str,
) -> None:
    """Write versions of a package repository, with all of their images, into one file for a site without a network.

    REFNAME stands for the highest version of a package. `carvelwright relocate` publishes the file there.
    """
    if everything == bool(wanted):
        raise UsageError(
            "nothing says which versions" if not wanted else "--all and versions exclude each other",
            hint="name REFNAME or REFNAME/VERSION, or take all of them with --all",
        )
    around = remote.Surroundings(context.root, context.environment, progress.reporter(context))
    with remote.opened(around, Places(target, single), registry_timeout, "archive") as opened:
        made = archive.archive(opened, wanted, output)
    if form == "json":
        document = {"file": str(made.file), "size": made.size, "versions": list(made.versions)}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{made.file}  {readable_size(made.size)}")
    for name in made.versions:
        click.echo(f"  {name}")
