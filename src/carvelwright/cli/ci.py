"""carvelwright ci."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from carvelwright import __version__
from carvelwright.cli import options
from carvelwright.uses import ci

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("ci")
@click.argument("service", type=click.Choice([str(service) for service in ci.Service]))
@click.pass_obj
def command(context: Context, service: str) -> None:
    """Write a CI configuration: check and compare on a pull request, build and publish on a tag.

    All that it does is in scripts/ci.sh, which runs on any machine.
    """
    install = f'python3 -m pip install "carvelwright[go]=={__version__}"'
    for written in ci.write(context.root, ci.Service(service), install):
        click.echo(f"{'wrote' if written.changed else 'unchanged'} {written.name}")
