"""Carries published versions into sites without a network: an archive of them, and back into a registry there."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog import foreign
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.merge import version_order
from carvelwright.catalog.places import full_tag
from carvelwright.catalog.records import Action, Record, metadata_file, package_file
from carvelwright.errors import InputError, ToolError, UsageError, did_you_mean
from carvelwright.oci.bundle import write_bundle
from carvelwright.reference import Reference, Repository
from carvelwright.report import readable_size
from carvelwright.steps import airgap
from carvelwright.tools import crane, imgpkg
from carvelwright.uses import commit, publish, repository, verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.carvel.resources import Document
    from carvelwright.catalog.content import Catalog, Held
    from carvelwright.uses.remote import Opened
    from carvelwright.uses.verify import Verified

_ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that was made: the file, its size in bytes, and the versions in it as REFNAME/VERSION."""

    file: Path
    size: int
    versions: tuple[str, ...]


def archive(opened: Opened, wanted: Sequence[str], target: Path) -> Archived:
    """Write versions of a published repository, with all of their images, into one file.

    `wanted` are packages (REFNAME: the highest version) or versions (REFNAME/VERSION); without any, the whole
    repository as it is, with what others published in it. RegistryError names what cannot be fetched.
    """
    with opened.reporter.step("read published repository"):
        seen = opened.remote.look()
        catalog = repository.adopted(seen.base)
    if seen.digest is None:
        raise UsageError(
            f"{opened.remote.repository} holds no package repository",
            hint="publish one first: carvelwright publish REGISTRY/PATH",
        )
    if target.is_dir():
        raise UsageError(f"{target} is a directory", hint="name a file with --output FILE")
    chosen = _choose(catalog, wanted) if wanted else [held for held in catalog.versions.values() if held.file]
    half = opened.scratch / "archive.tar"
    if wanted:
        _copy_some(opened, catalog, chosen, half)
    else:
        _copy(opened, opened.remote.repository.at(seen.digest), half)
    _verify(half)
    size = half.stat().st_size
    files.copy_file(half, target)
    names = tuple(f"{held.ref_name}/{held.version}" for held in chosen)
    return Archived(target, size, names)


def _choose(catalog: Catalog, wanted: Sequence[str]) -> list[Held]:
    there = [held for held in catalog.versions.values() if held.file]
    found: dict[tuple[str, str], Held] = {}
    for name in wanted:
        ref_name, _, version = name.partition("/")
        versions = sorted(
            (held for held in there if held.ref_name == ref_name), key=lambda held: version_order(held.version)
        )
        chosen = versions[-1:] if not version else [held for held in versions if held.version == version]
        if not chosen:
            known = {held.ref_name for held in there} if not versions else {held.version for held in versions}
            raise UsageError(
                f"{name} is not in the repository{did_you_mean(version if versions else ref_name, known)}",
                details=f"found: {', '.join(sorted(known)) or 'none'}",
                hint="name REFNAME or REFNAME/VERSION: carvelwright repository list REGISTRY/PATH",
            )
        found[chosen[0].ref_name, chosen[0].version] = chosen[0]
    return list(found.values())


def _copy_some(opened: Opened, catalog: Catalog, chosen: Sequence[Held], target: Path) -> None:
    """Copy by way of a repository of only these versions, in a registry of our own."""
    content: dict[str, bytes] = {}
    for held in chosen:
        content[package_file(held.ref_name, held.version)] = _package(catalog, held)
        if metadata := catalog.files.get(metadata_file(held.ref_name)):
            content[metadata_file(held.ref_name)] = metadata
    bundles = [Reference.parse(held.bundle) for held in chosen if held.bundle]
    content[locks.IMAGES_LOCK] = yamldoc.dump(locks.extended_lock((), bundles)).encode()
    layout = write_bundle(content, opened.scratch / "chosen")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with crane.serve(opened.tools.crane, address, opened.scratch / "registry", step=_ARCHIVE):
        reference = Repository(address, "package-repository").tagged("chosen")
        note = opened.reporter.note
        crane.push_layout(
            opened.tools.crane, layout, reference, step=_ARCHIVE, timeout=opened.remote.timeout, note=note
        )
        _copy(opened, reference.repository.at(layout.digest), target)


def _copy(opened: Opened, bundle: Reference, target: Path) -> None:
    with opened.reporter.step(_ARCHIVE) as step:
        note, timeout = opened.reporter.note, opened.remote.timeout
        imgpkg.copy_to_tar(opened.tools.imgpkg, bundle, target, step=_ARCHIVE, timeout=timeout, note=note)
        step.describe(readable_size(target.stat().st_size))


def _verify(path: Path) -> airgap.Root:
    """Verify that an archive holds, byte for byte, all that its bundles name."""
    root, bundles = airgap.read_bundles(path, SIZE)
    entries = [entry for content in bundles.values() for entry in foreign.lock_of(content[locks.IMAGES_LOCK])]
    images = [Reference.of_image(entry["image"]).digest for entry in entries]
    try:
        airgap.verify(path, dict.fromkeys([root.digest, *bundles, *filter(None, images)]))
    except ToolError as error:
        hint = "copy the archive again from where it was made"
        raise InputError(f"{path} is incomplete or corrupt", details=error.details, hint=hint) from None
    return root


def _package(catalog: Catalog, held: Held) -> bytes:
    """Return the file of one Package; cut out where others keep several in one file."""
    content = catalog.files[held.file or ""]
    documents = foreign.documents_of(held.file or "", content)
    name = f"{held.ref_name}.{held.version}"
    return (
        content if len(documents) == 1 else _dump(next(each for each in documents if resources.name_of(each) == name))
    )


def _dump(document: Document) -> bytes:
    return yamldoc.dump(document).encode()


def relocate(opened: Opened, source: Path) -> tuple[commit.Published, Verified]:
    """Publish what an archive holds to another registry, digest for digest, and verify it there to the last byte.

    All content goes to the package repository's own OCI repository, which has a tag for every digest. What is there is
    not pushed again: an interrupted run is repeated. Raises as `publish`.
    """
    with opened.reporter.step("verify the archive"):
        root = _verify(source)
        versions = _versions(opened, root, source)
    with opened.reporter.step("read published repository"):
        seen = opened.remote.look()
    jobs = [commit.job(version, seen, opened.scratch) for version in versions]
    if not all(job.present for job in jobs):
        publish.push_content(source, opened.remote.repository, "the archive", opened.remote, opened.tools)
    done = commit.commit(jobs, opened.remote, opened.tools)
    names = [(version.record.ref_name, version.record.version) for version in versions]
    return done, verify.verify(opened, versions=names)


def _versions(opened: Opened, root: airgap.Root, source: Path) -> list[commit.Version]:
    """Return the versions of the repository that an archive holds, as they are to be published."""
    place, found = opened.remote.repository, []
    for name, content in sorted(root.files.items()):
        for ref_name in sorted(foreign.ref_names(name, content)):
            packages, _ = foreign.packages_and_metadata(ref_name, {name: content})
            for version, each in packages.items():
                found.append(_version(ref_name, version, each, content, root.files, place))
    if not found:
        raise InputError(
            f"{source} holds no package repository",
            details=f"found: a bundle with the files {', '.join(sorted(root.files)[:5])}",
            hint="use the archive that dist/release.json names, or one that `carvelwright archive` made",
        )
    return found


def _version(
    ref_name: str, version: str, found: foreign.Found, content: bytes, others: Mapping[str, bytes], place: Repository
) -> commit.Version:
    old = resources.bundle_or_none(found.document)
    new = place.at(old.digest) if old and old.digest else None
    package = content if found.alone else _dump(found.document)
    if old and new:
        moved, count = publish.moved_package(package, old, new)
        package = moved if count == 1 else _dump(resources.with_bundle(found.document, new))
    date = str(found.document["spec"].get("releasedAt") or "")
    metadata = others.get(metadata_file(ref_name))
    record = Record(ref_name, version, Action.RELEASE, 0, package, metadata, new, date)
    name = place.tagged(full_tag(ref_name, PackageVersion.read(version))) if new else None
    return commit.Version(record, place, name.with_digest(new.digest) if name and new and new.digest else None)
