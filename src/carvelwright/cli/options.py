"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

values_files = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A data values file, as given to `tanzu package install --values-file`; later ones win.",
)
release = click.option("--release", metavar="VERSION", help="The release.  [default: the newest in package/releases]")
