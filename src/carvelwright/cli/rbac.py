"""carvelwright rbac."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright import pipeline, rbac, yamldoc
from carvelwright.cli import options
from carvelwright.report import StreamReporter

if TYPE_CHECKING:
    from carvelwright.cli.main import Context


@click.command("rbac")
@options.values_files
@options.release
@click.option("-n", "--namespace", default="my-packages", show_default=True, help="The PackageInstall's namespace.")
@click.option("--name", metavar="NAME", help="The service account's name.  [default: the package's, with -installer]")
@click.pass_obj
def command(context: Context, files: tuple[Path, ...], release: str | None, namespace: str, name: str | None) -> None:
    """Print the least ServiceAccount, Roles and ClusterRole that install the package with these data values."""
    session = pipeline.open_session(context.root, context.environment, StreamReporter(sys.stderr, quiet=True))
    rendered = pipeline.render(session, session.tools(), files, release).decode()
    documents = [document for document in yamldoc.load_all_text(rendered, Path("rendered manifests")) if document]
    installer = rbac.Installer(name or f"{session.project.short_name}-installer", namespace)
    sys.stdout.write(yamldoc.dump_all(rbac.manifests(documents, installer)))
