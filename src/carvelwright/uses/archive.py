"""Writes versions of a published package repository into one file, for sites without a network."""

from __future__ import annotations

import contextlib
import itertools
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.carvel import locks
from carvelwright.catalog import foreign, survey
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.merge import version_order
from carvelwright.catalog.records import metadata_file, package_file
from carvelwright.errors import InputError, RegistryError, ToolError, UsageError, did_you_mean
from carvelwright.oci.bundle import write_bundle
from carvelwright.process import in_parallel
from carvelwright.reference import Reference, Repository
from carvelwright.stepnames import ARCHIVE, READ_PUBLISHED
from carvelwright.steps import airgap, attachments
from carvelwright.tools import crane
from carvelwright.uses import repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.digest import Digest
    from carvelwright.tools.tool import Tool
    from carvelwright.uses.remote import Opened

_ATTEMPTS = 3
_NAMING = "name REFNAME or REFNAME/VERSION: carvelwright repository list REGISTRY/PATH"


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that was made: the file, its size in bytes, and the versions in it as REFNAME/VERSION."""

    file: Path
    size: int
    versions: tuple[str, ...]


def archive(opened: Opened, wanted: Sequence[str], target: Path) -> Archived:
    """Write versions of a published repository, with all of their images, into one file.

    `wanted` are packages (REFNAME: the highest version) or versions (REFNAME/VERSION); without any, the whole
    repository as it is, with what others published in it. The file appears when it is complete and verified.
    RegistryError names what cannot be fetched.
    """
    _require_file_name(target)
    files.remove_leftovers(target.parent, target.name)
    with files.temporary_directory(target.parent, f".{target.name}.new.") as staging:
        with opened.reporter.step(READ_PUBLISHED):
            seen = opened.remote.look()
        # Without a revision that clients follow, a repository of others has what `latest` names.
        digest = seen.digest or seen.latest
        if digest is None:
            raise UsageError(
                f"{opened.remote.repository} holds no package repository",
                hint="publish one first: carvelwright publish REGISTRY/PATH",
            )
        base = seen.base if wanted else opened.remote.catalog_at(digest)
        catalog = survey.survey(base).catalog
        there = [held for held in catalog.versions.values() if held.file]
        chosen = _choose(there, wanted) if wanted else there
        half = staging / target.name
        if not wanted:
            _note_others(opened, chosen)
        bundles = in_parallel(*[lambda held=held: _bundle(opened, held) for held in chosen if held.bundle])
        attested = _attested(opened, bundles)
        if wanted:
            _copy_new(opened, _some(catalog, chosen), bundles, attested, half)
        elif attested:
            _copy_new(opened, _whole(opened, digest), _locked(opened, digest), attested, half)
        else:
            _copy(opened, opened.remote.repository.at(digest), half)
        with opened.reporter.step("verify the archive"):
            verified(half, target, "run the command again; if it fails again, verify the repository")
        size = half.stat().st_size
        with files.reporting_file_errors("write", target):
            half.chmod(0o644)
            half.replace(target)
    return Archived(target, size, tuple(f"{held.ref_name}/{held.version}" for held in chosen))


def _require_file_name(target: Path) -> None:
    """Refuse, before any work, what cannot become a file."""
    why = None
    if target.is_dir() or not target.name:
        why = "is a directory"
    elif target.exists() and not target.is_file():
        why = "is no regular file"
    elif not target.parent.is_dir():
        why = f"cannot be written: there is no directory {target.parent}"
    if why:
        raise UsageError(f"{target} {why}", hint="name a file in an existing directory with --output FILE")


def _note_others(opened: Opened, chosen: Sequence[Held]) -> None:
    for held in chosen:
        if held.bundle is None:
            opened.reporter.note(
                f"{held.ref_name} {held.version} fetches no bundle by digest: its content is not in the archive"
            )


def _choose(there: Sequence[Held], wanted: Sequence[str]) -> list[Held]:
    found: dict[tuple[str, str], Held] = {}
    for name in wanted:
        ref_name, slash, version = name.partition("/")
        if not ref_name or (slash and not version):
            raise UsageError(f"not a package, and not a version of one: {name!r}", hint=_NAMING)
        held = _find(there, ref_name, version, name)
        if held.bundle is None:
            raise UsageError(
                f"{ref_name} {held.version} fetches no bundle by digest: an archive cannot hold its content",
                hint="publish it with its bundle pinned by digest first",
            )
        found[held.ref_name, held.version] = held
    return list(found.values())


def _find(there: Sequence[Held], ref_name: str, version: str, name: str) -> Held:
    versions = [held for held in there if held.ref_name == ref_name]
    versions.sort(key=lambda held: version_order(held.version))
    chosen = versions[-1:] if not version else [held for held in versions if held.version == version]
    if chosen:
        return chosen[0]
    known = {held.ref_name for held in there} if not versions else {held.version for held in versions}
    raise UsageError(
        f"{name} is not in the repository{did_you_mean(version if versions else ref_name, known)}",
        details=f"found: {', '.join(sorted(known)) or 'none'}",
        hint=_NAMING,
    )


def _some(catalog: Catalog, chosen: Sequence[Held]) -> dict[str, bytes]:
    """Return the files of a repository of only these versions."""
    content: dict[str, bytes] = {}
    for held in chosen:
        content[package_file(held.ref_name, held.version)] = survey.package_text(catalog.files, held)
        if metadata := catalog.files.get(metadata_file(held.ref_name)):
            content[metadata_file(held.ref_name)] = metadata
    return content


def _whole(opened: Opened, digest: Digest) -> dict[str, bytes]:
    """Return the files of a revision, but for its lock."""
    content = dict(opened.remote.pull(digest) or {})
    content.pop(locks.IMAGES_LOCK, None)
    return content


def _locked(opened: Opened, digest: Digest) -> list[Reference]:
    """Return what a revision locks, where it lies."""
    content = opened.remote.pull(digest) or {}
    entries = foreign.lock_of(content[locks.IMAGES_LOCK])
    return [repository.place_of(opened, Reference.of_image(entry["image"])) for entry in entries]


def _attested(opened: Opened, bundles: Sequence[Reference]) -> dict[str, Reference]:
    """Return what is attested of some bundles and of their images, by tag."""
    attested = attachments.Attested(opened.attaching)
    known = [bundle for bundle in bundles if attested.may_be_in(bundle.repository)]
    images = in_parallel(*[lambda bundle=bundle: _images(opened, bundle) for bundle in known])
    return attested.find(dict.fromkeys([*known, *itertools.chain.from_iterable(images)]))


def _images(opened: Opened, bundle: Reference) -> list[Reference]:
    """Return the images that a bundle locks, where its repository has them."""
    found = crane.pull_verified_bundle(opened.tools.crane, bundle, SIZE, **opened.remote.how(ARCHIVE))
    entries = foreign.lock_of(found.files.get(locks.IMAGES_LOCK, b"")) if found else ()
    digests = [Reference.of_image(entry["image"]).digest for entry in entries]
    return [bundle.repository.at(digest) for digest in digests if digest]


def _copy_new(
    opened: Opened,
    content: dict[str, bytes],
    bundles: Sequence[Reference],
    attested: Mapping[str, Reference],
    target: Path,
) -> None:
    """Copy by way of a repository of these files and bundles, in a registry of our own, with what is attested."""
    with own_registry(opened.tools.crane, opened.scratch) as address:
        place, how = Repository(address, "package-repository"), opened.remote.how(ARCHIVE)
        carried = []
        if attested:
            layout = write_bundle(attachments.bundle(attested), opened.scratch / "attachments")
            crane.push_layout(opened.tools.crane, layout, place.tagged("attachments"), **how)
            carried.append(place.at(layout.digest))
        lock = yamldoc.dump(locks.extended_lock((), [*bundles, *carried])).encode()
        layout = write_bundle({**content, locks.IMAGES_LOCK: lock}, opened.scratch / "chosen")
        reference = place.tagged("chosen")
        crane.push_layout(opened.tools.crane, layout, reference, **how)
        try:
            _copy(opened, reference.repository.at(layout.digest), target)
        except RegistryError as error:
            # What is missing is missing there, not in the registry of our own.
            error.message = error.message.replace(address, opened.remote.repository.registry)
            error.registry, error.reference = opened.remote.repository.registry, str(opened.remote.repository)
            raise


def _bundle(opened: Opened, held: Held) -> Reference:
    """Return where the bundle of a version is; RegistryError where it is not there."""
    bundle = repository.place_of(opened, Reference.parse(held.bundle or ""))
    if crane.digest(opened.tools.crane, bundle, **opened.remote.how(ARCHIVE)) is None:
        raise RegistryError(
            f"the bundle of {held.ref_name} {held.version} is not there: {bundle}",
            registry=bundle.repository.registry,
            reference=str(bundle),
            hint="see what else is missing: carvelwright repository verify REGISTRY/PATH",
        )
    return bundle


@contextlib.contextmanager
def own_registry(tool: Tool, scratch: Path) -> Iterator[str]:
    """Serve an empty registry at a free address of this machine, which the block gets."""
    with contextlib.ExitStack() as running:
        address = ""
        for left in reversed(range(_ATTEMPTS)):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                address = f"127.0.0.1:{probe.getsockname()[1]}"
            try:
                running.enter_context(crane.serve(tool, address, scratch / "registry", step=ARCHIVE))
                break
            except RegistryError:
                # Somebody else took the address meanwhile.
                if not left:
                    raise
        yield address


def _copy(opened: Opened, bundle: Reference, target: Path) -> None:
    timeout, reporter = opened.remote.timeout, opened.reporter
    airgap.archive(opened.tools.imgpkg, bundle, target, ARCHIVE, timeout=timeout, reporter=reporter, signatures=True)


def verified(path: Path, name: Path, hint: str) -> airgap.Root:
    """Verify that an archive holds, byte for byte, all that its bundles name; errors call it `name`."""
    try:
        root, bundles = airgap.read_bundles(path, SIZE)
        entries = [
            entry for content in bundles.values() for entry in foreign.lock_of(content.get(locks.IMAGES_LOCK, b""))
        ]
        images = [Reference.of_image(entry["image"]).digest for entry in entries]
        airgap.verify(path, dict.fromkeys([root.digest, *bundles, *filter(None, images)]))
    except (ToolError, RegistryError) as error:
        details = error.details or error.message
        raise InputError(f"{name} is incomplete or corrupt", details=details, hint=hint) from None
    return root
