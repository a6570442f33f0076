"""carvelwright vendor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from carvelwright.cli import options, progress
from carvelwright.uses.vendor import vendor

if TYPE_CHECKING:
    from carvelwright.cli.options import Context
    from carvelwright.uses.vendor import RefChange


@options.command("vendor")
@options.package
@options.option(
    "--locked", is_flag=True, help="Fetch what vendir.lock.yml says, and fail if it is not what is recorded."
)
@options.option(
    "--timeout",
    type=options.Parsed("SECONDS", options.seconds),
    default=900.0,
    show_default=True,
    help="Fail if vendir takes longer.",
)
@options.registry_ca_cert
@options.output_format
@click.pass_obj
def command(context: Context, package: str | None, timeout: float, form: str, *, locked: bool) -> None:
    """Fetch what the package's vendir.yml names, with vendir, and list what changed.

    The digest of every file is written to package/vendored.lock.yaml. Builds fetch nothing, and fail if the files
    differ from it. Commit it with vendir.lock.yml and the files. After a failure nothing is changed.
    """
    done = vendor(
        context.root,
        context.environment,
        progress.reporter(context),
        package=package,
        locked=locked,
        timeout=timeout,
    )
    if form == "json":
        click.echo(json.dumps(asdict(done), indent=2))
        return
    for change in done.refs:
        click.echo(_line(change))
    changes = asdict(done.files)
    for state, names in changes.items():
        for name in names:
            click.echo(f"{state:<8} {name}")
    if not context.quiet:
        counts = ", ".join(f"{len(names)} {state}" for state, names in changes.items())
        click.echo(f"files: {counts}; versions: {len(done.refs)} changed")


def _line(change: RefChange) -> str:
    if change.old is None:
        return f"{change.path}: {change.new}"
    return f"{change.path}: {change.old} -> {change.new or 'dropped'}"
