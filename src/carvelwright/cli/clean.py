"""carvelwright clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from carvelwright.cli import options
from carvelwright.uses.clean import clean

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("clean")
@click.pass_obj
def command(context: Context) -> None:
    """Remove what builds made in build/ and dist/.

    Files that no build made, or that were changed since, stay and are listed. The tools in the user's cache stay.
    """
    kept = clean(context.root)
    for line in kept:
        click.echo(f"kept {line}")
    if not kept and not context.quiet:
        click.echo("removed build/ and dist/")
