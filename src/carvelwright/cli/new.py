"""carvelwright new."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright.cli import failures, options
from carvelwright.project import paths
from carvelwright.reference import Repository
from carvelwright.uses import new

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("new")
@click.argument("name", type=options.Parsed("NAME", new.ref_name))
@options.option(
    "--kind",
    type=click.Choice([str(kind) for kind in new.Kind]),
    default=str(new.Kind.YAML),
    show_default=True,
    help="What it is made of: yaml: manifests; go: an image from a Go module of its own as well; helm: a chart.",
)
@options.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where to.  [default: NAME, in a workspace packages/NAME]",
)
@options.option(
    "--registry",
    type=options.Parsed("HOST:PORT/PATH", Repository.parse),
    default=new.DEFAULT_REGISTRY,
    show_default=True,
    help="Where the embedded registry listens; in a workspace, carvelwright.yaml says it.",
)
@click.pass_obj
def command(context: Context, name: str, kind: str, directory: Path | None, registry: Repository | str) -> None:
    """Start a package: write files that pass check and build as they are.

    NAME is the first segment of its refName, or the whole.
    """
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT00:00:00Z")
    workspace = (context.root / paths.WORKSPACE_FILE).is_file()
    target = context.root / (directory or Path("packages" if workspace else "", name.partition(".")[0]))
    # Only what lies below it can be a member.
    workspace = workspace and target.resolve().is_relative_to(context.root.resolve())
    start = new.Start(name, new.Kind(kind), None if workspace else str(registry), today)
    written = new.new(target, start)
    for file in written:
        click.echo(f"wrote {target / file}")
    if context.quiet:
        return
    program = failures.program()
    if workspace:
        place = target.resolve().relative_to(context.root.resolve()).as_posix()
        click.echo(f"next: add {place} to `members` in {paths.WORKSPACE_FILE}, then {program} check")
    else:
        click.echo(f"next: {program} -C {target} check")
