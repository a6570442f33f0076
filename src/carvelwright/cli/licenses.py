"""carvelwright licenses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from carvelwright.cli import options, progress
from carvelwright.uses import licences

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.cli.options import Context
    from carvelwright.supply.licences import Entry
    from carvelwright.uses.licences import ImageLicences

_UNKNOWN = "NOT RECOGNIZED"


@options.command("licenses")
@options.packages
@options.release
@options.output_format
@click.pass_obj
def command(context: Context, names: tuple[str, ...], release: str | None, form: str) -> None:
    """List the licenses of the Go modules in each image.

    PACKAGE names packages of a workspace; without any, the images of all are listed. The modules are those that the
    binaries are linked from, for all platforms. Each image carries the texts below /usr/share/licenses/.
    """
    reporter = progress.reporter(context, quiet=True)
    found = licences.listed(context.root, context.environment, reporter, names, release)
    if form == "json":
        click.echo(json.dumps([_document(image) for image in found], indent=2))
        return
    for number, image in enumerate(found):
        click.echo(("\n" if number else "") + "\n".join(_lines(image)))


def _document(image: ImageLicences) -> dict[str, object]:
    entries = None if image.entries is None else [entry.document() for entry in image.entries]
    return {"package": image.package, "image": image.image, "modules": entries}


def _lines(image: ImageLicences) -> Iterator[str]:
    if image.entries is None:
        yield f"{image.image}, an existing image of {image.package}: its licenses are not known"
        return
    yield f"{image.image} of {image.package}"
    rows = [(str(entry.module), entry.expression or _UNKNOWN, _note(entry)) for entry in image.entries]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for module, expression, note in rows:
        yield f"  {module:<{widths[0]}}  {expression:<{widths[1]}}  {note}".rstrip()


def _note(entry: Entry) -> str:
    if entry.reason:
        return f"({entry.reason})"
    return f"({', '.join(entry.unrecognised)})" if entry.unrecognised else ""
