"""carvelwright serve."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from carvelwright import serving
from carvelwright.report import StreamReporter

if TYPE_CHECKING:
    from carvelwright.cli.main import Context


@click.command("serve")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where to listen.  [default: `registry` of package/build.yaml, as every reference in dist/ says]",
)
@click.pass_obj
def command(context: Context, address: str | None) -> None:
    """Serve what lies in dist/ from the embedded registry until Ctrl-C."""
    with serving.serve(context.root, address, context.environment, StreamReporter(sys.stderr)) as repository:
        click.echo(f"package repository: {repository}")
        click.echo("serving; Ctrl-C ends it")
        signal.pause()
