"""carvelwright sign."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress, signing
from carvelwright.errors import UsageError
from carvelwright.reference import Reference
from carvelwright.uses import remote
from carvelwright.uses import signing as uses

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("sign")
@click.argument(
    "references",
    metavar="REFERENCE...",
    nargs=-1,
    required=True,
    type=options.Parsed("REFERENCE", Reference.parse),
)
@signing.key
@options.registry_timeout
@options.registry_ca_cert
@options.output_format
@click.pass_obj
def command(context: Context, references: tuple[Reference, ...], registry_timeout: float, *, form: str) -> None:
    """Sign images and bundles that are published, each by its digest, in the form that cosign verifies.

    REFERENCE is REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST. What a bundle names is not signed with it: its lock pins
    that by digest. What is signed with this key already stays as it is.
    """
    if context.sign_key is None:
        raise UsageError("nothing says with which key", hint="name a private key with --sign-key FILE")
    for reference in references:
        if reference.tag is None and reference.digest is None:
            raise UsageError(
                f"{reference} names neither a tag nor a digest", hint="name REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST"
            )
    around = remote.Surroundings(context.root, context.environment, progress.reporter(context))
    with remote.opened(around, Places(references[0].repository, single=True), registry_timeout, "sign") as opened:
        signed = uses.sign(references, context.sign_key, opened)
    if form == "json":
        click.echo(json.dumps({"signed": [each.document() for each in signed]}, indent=2))
        return
    for each in signed:
        click.echo(f"{each.reference}  {'signed' if each.added else 'signed already'}")
