"""carvelwright verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress
from carvelwright.errors import ExitCode, UsageError
from carvelwright.reference import Reference
from carvelwright.uses import remote, verification

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.cli.options import Context
    from carvelwright.uses.verification import Asked
    from carvelwright.uses.verify import Verified


@options.command("verify")
@click.argument("subject", metavar="REFERENCE|ARCHIVE")
@click.argument("wanted", metavar="[REFNAME[/VERSION]]...", nargs=-1)
@options.option(
    "--key",
    "key_files",
    metavar="FILE",
    multiple=True,
    type=options.existing_file,
    help="A public key (PEM, ECDSA P-256) that may have signed; may be repeated. Without one no signature is verified.",
)
@options.option(
    "--rebuild",
    metavar="VERSION",
    help="Verify only this version, and build it again from its git tag, in a clone of the project: digests have to be "
    "equal.",
)
@options.package_repository
@click.pass_obj
def command(
    context: Context,
    subject: str,
    wanted: tuple[str, ...],
    key_files: tuple[Path, ...],
    rebuild: str | None,
    registry_timeout: float,
    *,
    single: bool,
    form: str,
) -> int:
    """Verify what is published, or what an archive holds: digests, signatures, and what is attested.

    REFERENCE is REGISTRY/PATH, to which packages were published, or one bundle or image as REGISTRY/PATH:TAG or
    REGISTRY/PATH@DIGEST. ARCHIVE is a file that `carvelwright archive` made. REFNAME and VERSION name packages of it.
    Every digest is read down to the layers. Each bundle, and each image that the package's build made, has to be signed
    and attested, its SBOMs have to name what its binaries hold, the licenses in it have to cover that, and each Package
    has to be the one that was attested. What is attested of known vulnerabilities is shown. With --rebuild the clone of
    the project that you are in has to have the version's tag; nothing is pushed anywhere.

    One line for each thing that is wrong; the exit code is 12 then.
    """
    from carvelwright.supply import keys  # noqa: PLC0415 - nothing else of the command line needs it

    reporter = progress.reporter(context)
    around = remote.Surroundings(context.root, context.environment, reporter)
    asked = verification.Asked(around, tuple(map(keys.read_public, key_files)), registry_timeout, rebuild)
    found = _verify(asked, subject, wanted, single=single)
    if form == "json":
        known, rebuilt = ([each.document() for each in part] for part in (found.known, found.rebuilt))
        by = [key.key_id for key in asked.keys]
        document = {**found.document(), "vulnerabilities": known, "rebuilt": rebuilt, "keys": by}
        click.echo(json.dumps(document, indent=2))
    else:
        for finding in found.findings:
            click.echo(str(finding))
        if not context.quiet:
            for each in (*found.known, *found.rebuilt):
                click.echo(str(each))
            click.echo(_summary(found, asked))
    return int(ExitCode.UNVERIFIED if found.findings else ExitCode.OK)


def _verify(asked: Asked, subject: str, wanted: Sequence[str], *, single: bool) -> Verified:
    path = Path(subject)
    if path.is_file():
        return verification.of_archive(asked, path, wanted)
    try:
        reference = Reference.parse(subject)
    except ValueError as error:
        raise UsageError(
            f"nothing to verify: there is no file {subject}, and it is {error}",
            hint="name REGISTRY/PATH, REGISTRY/PATH:TAG, REGISTRY/PATH@DIGEST or an archive",
        ) from None
    if reference.tag is None and reference.digest is None:
        return verification.of_repository(asked, Places(reference.repository, single), wanted)
    if wanted or asked.rebuild:
        raise UsageError(
            f"{reference} is one bundle or image, which has no versions in it", hint="name REGISTRY/PATH without a tag"
        )
    return verification.of_reference(asked, reference)


def _summary(found: Verified, asked: Asked) -> str:
    by = f"keys {', '.join(key.key_id for key in asked.keys)}" if asked.keys else "no key: no signature was verified"
    wrong = len(found.findings)
    return f"{found.versions} versions, {found.images} bundles and images read, {by}: {wrong or 'nothing'} wrong"
