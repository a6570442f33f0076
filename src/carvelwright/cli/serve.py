"""carvelwright serve."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING, NoReturn

import click

from carvelwright.cli import options, progress
from carvelwright.reference import Repository
from carvelwright.uses import serve

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


def _host_and_port(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return Repository.parse(f"{value}/x").registry if re.fullmatch(r"[^/]+:[0-9]+", value) else _refuse(value)
    except ValueError:
        return _refuse(value)


def _refuse(value: str) -> NoReturn:
    raise click.BadParameter(f"not an address: {value!r} (expected HOST:PORT such as 127.0.0.1:5055)")


@options.command("serve")
@options.option(
    "--address",
    metavar="HOST:PORT",
    callback=_host_and_port,
    help="Address to listen on.  [default: `registry` of carvelwright.yaml or package/build.yaml, which all references "
    "in dist/ name]",
)
@click.pass_obj
def command(context: Context, address: str | None) -> None:
    """Serve what lies in dist/ from the embedded registry until Ctrl-C."""
    with serve.serve(context.root, address, context.environment, progress.reporter(context)) as repository:
        click.echo(f"package repository: {repository}")
        if not context.quiet:
            click.echo("serving; press Ctrl-C to stop")
        # An interrupt is how this command ends, not a failure of it.
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
