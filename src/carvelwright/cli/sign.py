"""carvelwright sign."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress, signing
from carvelwright.errors import UsageError
from carvelwright.reference import Reference
from carvelwright.stepnames import SIGN
from carvelwright.tools import cosign
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
@options.option(
    "--signer",
    type=click.Choice(["key", "cosign"]),
    default="key",
    show_default=True,
    help="What signs: the key of --sign-key, or cosign, which has to be on PATH.",
)
@options.option(
    "--cosign-key",
    metavar="KEY",
    help="The key that cosign signs with, as its --key takes it: a file, or a key of a key management service such as "
    "awskms:///ALIAS. Without one cosign signs keyless.",
)
@options.of_registry
@click.pass_obj
def command(
    context: Context,
    references: tuple[Reference, ...],
    signer: str,
    cosign_key: str | None,
    registry_timeout: float,
    *,
    form: str,
) -> None:
    """Sign images and bundles that are published, each by its digest, in the form that cosign verifies.

    REFERENCE is REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST. What a bundle names is not signed with it: its lock pins
    that by digest. What is signed with the key of --sign-key already stays as it is; cosign adds one more signature.
    """
    _require_key(context, signer, cosign_key)
    for reference in references:
        if reference.tag is None and reference.digest is None:
            raise UsageError(
                f"{reference} names neither a tag nor a digest", hint="name REGISTRY/PATH:TAG or REGISTRY/PATH@DIGEST"
            )
    # Before any work: whether it is there at all.
    program = cosign.find(context.environment) if signer == "cosign" else None
    around = remote.Surroundings(context.root, context.environment, progress.reporter(context))
    places = Places(references[0].repository, single=True)
    with remote.opened(around, places, registry_timeout, SIGN, context.sign_key) as opened, around.reporter.step(SIGN):
        chosen = uses.CosignSigner(program, cosign_key, opened.attaching) if program else opened.signer
        if chosen is None:
            raise AssertionError("nothing to sign with")
        signed = uses.sign(references, chosen)
    if form == "json":
        click.echo(json.dumps({"signed": [each.document() for each in signed]}, indent=2))
        return
    for each in signed:
        click.echo(f"{each.reference}  {'signed' if each.added else 'signed already'}")


def _require_key(context: Context, signer: str, cosign_key: str | None) -> None:
    """Refuse what does not say with what to sign, or says it twice."""
    if signer == "cosign":
        if context.sign_key is not None:
            raise UsageError(
                "--sign-key and --signer cosign exclude each other",
                hint="name the key for cosign with --cosign-key KEY",
            )
    elif cosign_key is not None:
        raise UsageError("--cosign-key needs --signer cosign", hint="add --signer cosign, or sign with --sign-key FILE")
    elif context.sign_key is None:
        raise UsageError(
            "nothing says with which key", hint="name a private key with --sign-key FILE, or sign with --signer cosign"
        )
