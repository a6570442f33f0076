"""carvelwright rbac."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright import yamldoc
from carvelwright.carvel import app, rbac
from carvelwright.cli import options, progress
from carvelwright.session import at_work
from carvelwright.steps.package import static_part
from carvelwright.steps.render import render
from carvelwright.steps.templating import Install

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("rbac")
@options.package
@options.values_files
@options.release
@options.namespace
@options.option("--name", metavar="NAME", help="The service account's name.  [default: the package's, with -installer]")
@options.option(
    "--replacing",
    multiple=True,
    type=options.existing_file,
    help="A data values file of the existing install; also grants what an update from it must delete.",
)
@click.pass_obj
def command(
    context: Context,
    package: str | None,
    files: tuple[Path, ...],
    release: str | None,
    namespace: str,
    name: str | None,
    replacing: tuple[Path, ...],
) -> None:
    """Print the least ServiceAccount, Roles and ClusterRole that install the package with these data values."""
    with at_work(context.root, context.environment, progress.reporter(context, quiet=True), package) as session:
        install = Install(session.project.short_name, namespace)

        def rendered(values: tuple[Path, ...]) -> list[rbac.Manifest]:
            text = render(session, session.tools(), values, release, install).decode()
            return [document for document in yamldoc.load_all_text(text, Path("rendered manifests")) if document]

        installer = rbac.Installer(name or f"{session.project.short_name}-installer", namespace)
        replaced = rendered(replacing) if replacing else []
        placement = app.placement(static_part(session.project, session.project.release(release)), namespace)
        rights = rbac.manifests(rendered(files), installer, replaced, placement)
    sys.stdout.write(yamldoc.dump_all(rights))
