"""carvelwright publish."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.tags import LATEST
from carvelwright.cli import options, progress, publishing, signing
from carvelwright.uses.publish import PublishOptions, publish

if TYPE_CHECKING:
    from carvelwright.cli.options import Context
    from carvelwright.reference import Repository
    from carvelwright.uses.commit import Published


@options.command("publish")
@options.target
@options.packages
@signing.key
@options.option("--dry-run", is_flag=True, help="Print every name and tag that would be pushed, without pushing.")
@options.package_repository
@click.pass_obj
def command(
    context: Context,
    target: Repository,
    names: tuple[str, ...],
    registry_timeout: float,
    *,
    single: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Publish what `build` made to a package repository: the content of dist/, digest for digest.

    REGISTRY/PATH is where the bundles, the images and the package repository go. PACKAGE names packages of dist/;
    without any, all are published. A version that is published is never changed: publishing it again with the same
    content changes nothing, with other content is refused. Several publishers may work at once. With --sign-key
    bundles, images and the package repository are signed, in the form that cosign verifies.
    """
    reporter = progress.reporter(context)
    asked = PublishOptions(target, single, registry_timeout, context.sign_key)
    result = publish(context.root, asked, context.environment, reporter, names=names, dry_run=dry_run)
    if form == "json":
        click.echo(json.dumps(result.document(), indent=2))
    elif dry_run:
        click.echo(_dry_run(result))
    elif not context.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\n".join(publishing.summary(result, width)))


def _dry_run(result: Published) -> str:
    lines = []
    for package in result.packages:
        lines.append(f"{package.ref_name} {package.version}: {'would be added' if package.added else 'already there'}")
        lines += [
            f"  {'bundle' if number == 0 else 'image'} {reference}"
            for number, reference in enumerate([package.bundle, *package.images])
        ]
    lines += [f"record {result.repository.repository}:{tag}" for tag in result.records]
    lines += [f"signature {reference}" for reference in result.signed]
    if result.changed:
        lines += [f"revision {result.repository}", f"tag {result.repository.repository}:{LATEST}"]
    else:
        lines.append(f"unchanged: {result.repository}")
    return "\n".join(lines)
