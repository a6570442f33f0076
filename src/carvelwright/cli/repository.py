"""carvelwright repository."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from carvelwright.catalog.places import Places
from carvelwright.cli import options, progress, signing, tables
from carvelwright.errors import ExitCode, UsageError
from carvelwright.names import DNS_SUBDOMAIN, is_dns_subdomain
from carvelwright.uses import marks, remote, repository, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from carvelwright.cli.options import Context
    from carvelwright.reference import Repository
    from carvelwright.uses.converge import Settled
    from carvelwright.uses.remote import Opened
    from carvelwright.uses.repository import Claim, Listing

_reason = options.option("--reason", required=True, help="Why, for those who read it in the repository.")
_undo = options.option("--undo", is_flag=True, help="Take it back.")
_named = click.argument("named", metavar="REFNAME/VERSION")
_ref_names = click.argument("ref_names", metavar="[REFNAME]...", nargs=-1)


@options.group("repository")
def command() -> None:
    """Look at a published package repository, verify and repair it, and mark versions in it."""


def _about(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every one of these commands takes."""
    for add in (
        click.pass_obj,
        options.package_repository,
        options.target,
    ):
        function = add(function)
    return function


def _open(context: Context, target: Repository, timeout: float, *, single: bool) -> AbstractContextManager[Opened]:
    around = remote.Surroundings(context.root, context.environment, progress.reporter(context))
    return remote.opened(around, Places(target, single), timeout, "package repository", context.sign_key)


@command.command("list")
@_about
@_ref_names
def listing(
    context: Context,
    target: Repository,
    ref_names: tuple[str, ...],
    registry_timeout: float,
    *,
    single: bool,
    form: str,
) -> None:
    """List the versions in a package repository: their states, dates and digests."""
    with _open(context, target, registry_timeout, single=single) as opened:
        found = repository.listing(opened, ref_names)
    if form == "json":
        click.echo(json.dumps(found.document(), indent=2))
        return
    click.echo("\n".join([f"{found.revision or 'no revision yet'}", *_table(found), *_open_ends(found, target)]))


def _table(found: Listing) -> list[str]:
    rows = [
        (
            each.ref_name,
            each.version,
            each.state,
            each.released_at or "no date",
            (each.bundle or "not fetched by digest").rpartition("@")[2],
            # Why it was restored is for `show`.
            "" if each.state == "released" else each.reason,
        )
        for each in found.versions
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _open_ends(found: Listing, target: Repository) -> list[str]:
    command = f"carvelwright repository repair {target}"
    pending = [f"{name}  recorded, not in the revision yet: run `{command}`" for name in found.pending]
    return pending + [f"{_claim(claim)}: choose it with `{command} --keep {claim.record}`" for claim in found.contested]


def _claim(claim: Claim) -> str:
    bundle = claim.bundle or "no bundle by digest"
    return f"{claim.ref_name}/{claim.version}  contested by {bundle}, released at {claim.released_at or 'no date'}"


@command.command("show")
@_about
@_named
def show(context: Context, target: Repository, named: str, registry_timeout: float, *, single: bool, form: str) -> None:
    """Show one version: its state, its records, its bundle and the images that the bundle locks."""
    ref_name, version = _split(named)
    with _open(context, target, registry_timeout, single=single) as opened:
        found = repository.show(opened, ref_name, version)
    if form == "json":
        click.echo(json.dumps(found.document(), indent=2))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(tables.lay_out([(name, text, "") for name, text in found.rows()], width)))


@command.command("resource")
@options.target
@options.option("--name", default="package-repository", show_default=True, help="The resource's name.")
@options.option("--follow", is_flag=True, help="Follow the repository: take what is published later, too.")
@options.single
@options.registry_timeout
@options.registry_ca_cert
@click.pass_obj
def resource(
    context: Context, target: Repository, name: str, registry_timeout: float, *, follow: bool, single: bool
) -> None:
    """Print the PackageRepository resource for kubectl: at today's revision by digest, or one that follows."""
    if not is_dns_subdomain(name):
        raise UsageError(
            f"not a name of a resource: {name!r}",
            details=f"expected: {DNS_SUBDOMAIN}",
            hint="give another one with --name",
        )
    with _open(context, target, registry_timeout, single=single) as opened:
        click.echo(repository.resource(opened, name, follow=follow), nl=False)


@command.command("verify")
@_about
@_ref_names
def verification(
    context: Context,
    target: Repository,
    ref_names: tuple[str, ...],
    registry_timeout: float,
    *,
    single: bool,
    form: str,
) -> int:
    """Read every digest of a package repository down to the layers, and every Package against its bundle.

    One line for each thing that is wrong; the exit code is 6 then.
    """
    with _open(context, target, registry_timeout, single=single) as opened:
        found = verify.verify(opened, ref_names)
    if form == "json":
        click.echo(json.dumps(found.document(), indent=2))
    else:
        for finding in found.findings:
            click.echo(str(finding))
        if not context.quiet:
            click.echo(
                f"{found.versions} versions, {found.images} bundles and images read: {len(found.findings)} wrong"
            )
    return int(ExitCode.REGISTRY if found.findings else ExitCode.OK)


@command.command("repair")
@_about
@signing.key
@options.option("--keep", metavar="RECORD", help="Of records that contest one version, the one that is to stand.")
def repair(
    context: Context, target: Repository, keep: str | None, registry_timeout: float, *, single: bool, form: str
) -> None:
    """Finish what crashed publishers left: the highest revision holds every record, and `latest` names it."""
    with _open(context, target, registry_timeout, single=single) as opened:
        settled, contested = marks.repair(opened, keep)
    _report(settled, form, {"contested": [claim.document() for claim in contested]})
    if form != "json":
        for claim in contested:
            click.echo(f"{_claim(claim)}: choose it with --keep {claim.record}")


@command.command("deprecate")
@_about
@signing.key
@_named
@_reason
@_undo
def deprecate(
    context: Context,
    target: Repository,
    named: str,
    reason: str,
    registry_timeout: float,
    *,
    undo: bool,
    single: bool,
    form: str,
) -> None:
    """Mark a version as deprecated, in an annotation of its Package and in its release notes. It stays available."""
    ref_name, version = _split(named)
    act = marks.undeprecate if undo else marks.deprecate
    with _open(context, target, registry_timeout, single=single) as opened:
        _report(act(opened, ref_name, version, reason), form, {})


@command.command("withdraw")
@_about
@signing.key
@_named
@_reason
@_undo
@options.option("--yes", is_flag=True, help="Do it: what has the version installed stops being reconciled.")
def withdraw(  # noqa: PLR0913 - click hands over each option
    context: Context,
    target: Repository,
    named: str,
    reason: str,
    registry_timeout: float,
    *,
    undo: bool,
    yes: bool,
    single: bool,
    form: str,
) -> None:
    """Remove a version from the repository. Its content stays in the registry, and --undo brings it back.

    A PackageInstall that only this version satisfies has nothing to select then, and is not reconciled until its
    constraints admit another one.
    """
    ref_name, version = _split(named)
    if not yes and not undo:
        raise UsageError(
            f"withdrawing {named} needs --yes",
            details="it breaks every PackageInstall that only this version satisfies; list those of the package, with "
            f"their constraints, in each cluster that follows the repository:\n{_pinned(ref_name)}",
            hint="deprecate it instead, or repeat the command with --yes",
        )
    act = marks.restore if undo else marks.withdraw
    with _open(context, target, registry_timeout, single=single) as opened:
        _report(act(opened, ref_name, version, reason), form, {})


def _pinned(ref_name: str) -> str:
    path = f'{{range .items[?(@.spec.packageRef.refName=="{ref_name}")]}}'
    fields = '{.metadata.namespace}/{.metadata.name} {.spec.packageRef.versionSelection.constraints}{"\\n"}{end}'
    return f"kubectl get packageinstalls -A -o jsonpath='{path}{fields}'"


def _split(named: str) -> tuple[str, str]:
    ref_name, slash, version = named.partition("/")
    if not (ref_name and slash and version):
        raise UsageError(
            f"not a version of a package: {named!r}",
            details="expected: REFNAME/VERSION such as whereabouts.tanzu.vmware.com/0.9.4+vmware.1-tkg.1",
            hint="list the versions: carvelwright repository list REGISTRY/PATH",
        )
    return ref_name, version


def _report(settled: Settled, form: str, more: dict[str, Any]) -> None:
    if form == "json":
        document = {"repository": str(settled.repository), "changed": settled.changed, **more}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{'changed' if settled.changed else 'unchanged'}: {settled.repository}")
