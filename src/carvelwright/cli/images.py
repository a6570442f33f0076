"""carvelwright images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from carvelwright.cli import options, progress
from carvelwright.project.images import LOCK_FILE
from carvelwright.uses import images

if TYPE_CHECKING:
    from carvelwright.cli.options import Context
    from carvelwright.project.images import LockedImage
    from carvelwright.uses.images import Change, Listed


@options.group("images")
def command() -> None:
    """List the package's images, and update the lock of those that exist already."""


@command.command("list")
@options.package
@options.output_format
@click.pass_obj
def listing(context: Context, package: str | None, form: str) -> None:
    """List the package's images: built or existing, what uses each, and the digest that is locked.

    An image counts as used if a manifest names it with the default values or with a values file of package/renders,
    or if package/build.yaml declares it.
    """
    found = images.listed(context.root, context.environment, progress.reporter(context, quiet=True), package)
    if form == "json":
        click.echo(json.dumps([_listed_document(image) for image in found], indent=2))
        return
    for image in found:
        click.echo(_listed_line(image))


@command.command("update")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@options.package
@options.of_registry
@click.pass_obj
def update(context: Context, names: tuple[str, ...], package: str | None, registry_timeout: float, form: str) -> None:
    """Look up existing images in their registries and write their digests to package/images.lock.yaml.

    NAME is an image as the manifests write it. Without names, all are looked up, and entries that nothing uses are
    dropped. Builds take the digests from this file and never look up a tag. Commit the file.
    """
    reporter = progress.reporter(context)
    changes = images.update(
        context.root, names, context.environment, reporter, package=package, timeout=registry_timeout
    )
    if form == "json":
        click.echo(json.dumps([_change_document(change) for change in changes], indent=2))
        return
    for change in changes:
        click.echo(_change_line(change))
    if not context.quiet:
        moved = sum(change.old != change.new for change in changes)
        click.echo(f"{LOCK_FILE}: {moved} changed, {len(changes) - moved} as before")


def _listed_line(image: Listed) -> str:
    use = f"used with {image.brought_by}" if image.brought_by else "not used"
    if image.built:
        return f"{image.name}  built by the project, {use}"
    if image.locked is None:
        return f"{image.name}  NOT LOCKED, {use}"
    return f"{image.name}  {image.locked.reference}, {', '.join(image.locked.platforms)}, {use}"


def _change_line(change: Change) -> str:
    old, new = (image.reference if image else None for image in (change.old, change.new))
    if new is None:
        return f"{change.name}  dropped: {old}"
    if old is None:
        return f"{change.name}  added: {new}"
    return f"{change.name}  unchanged: {new}" if old == new else f"{change.name}  {old} -> {new}"


def _listed_document(image: Listed) -> dict[str, Any]:
    return {"name": image.name, "built": image.built, "usedWith": image.brought_by, "locked": _locked(image.locked)}


def _change_document(change: Change) -> dict[str, Any]:
    return {"name": change.name, "old": _locked(change.old), "new": _locked(change.new)}


def _locked(image: LockedImage | None) -> dict[str, Any] | None:
    return {key: value for key, value in image.document().items() if key != "name"} if image else None
