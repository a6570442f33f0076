"""Publishes what a build made: content, then the records of its versions, then the revision that clients follow."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import session as sessions
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.places import Places
from carvelwright.catalog.records import Action, Record, metadata_file
from carvelwright.errors import FilesystemError
from carvelwright.files import read_bytes
from carvelwright.process import in_parallel
from carvelwright.project import paths
from carvelwright.report import readable_size
from carvelwright.stepnames import READ_PUBLISHED, publish_step
from carvelwright.steps import airgap, published
from carvelwright.store import Store
from carvelwright.tools import crane, imgpkg, toolchain
from carvelwright.uses import commit, finished, signing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.record import PackageRecord, ReleaseRecord
    from carvelwright.reference import Reference, Repository
    from carvelwright.report import Reporter
    from carvelwright.steps.published import Remote
    from carvelwright.supply.keys import PrivateKey
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.uses.signing import Signer

_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Where to publish: below `to`, or with `single` in that one OCI repository; `registry_timeout` is in seconds.

    The timeout is the limit of each exchange with the registry. With `sign_key` everything that is published is signed.
    """

    to: Repository
    single: bool = False
    registry_timeout: float = _SECONDS
    sign_key: PrivateKey | None = None

    @property
    def places(self) -> Places:
        """Where things are put."""
        return Places(self.to, self.single)


def publish(
    root: Path,
    options: PublishOptions,
    environment: Mapping[str, str],
    reporter: Reporter,
    *,
    names: Sequence[str] = (),
    dry_run: bool = False,
) -> commit.Published:
    """Publish what dist/ holds, or the named packages of it, as it was built: digests are kept.

    A version that is published stays as it is: ReleasedError, before anything is visible, where the registry has
    another content for it. Publishing again changes nothing, but for content that the registry has lost, which is
    pushed again. Any number of publishers may work at once.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    with store.in_use(), store.scratch("publish") as scratch:
        dist = scratch / "dist"
        release = finished.take(store, dist, "publish")
        packages = _select(release.packages, names)
        search = sessions.lone_search(root, environment)
        toolchain.install(search, reporter)
        tools = toolchain.find(search)
        places, timeout = options.places, options.registry_timeout
        remote = published.Remote(tools.crane, places.packages, store, timeout, reporter, READ_PUBLISHED)
        signer = signing.signer_for(options.sign_key, remote)
        if signer is not None:
            signer = _with_statements(signer, packages, release, dist, remote, environment)
        with reporter.step(READ_PUBLISHED) as step:
            seen = remote.look()
            step.describe(f"{len(seen.catalog.versions)} versions" if seen.catalog.versions else "")
        versions = {package.archive: _version(package, dist, places) for package in packages}
        jobs = dict(zip(versions, commit.jobs([*versions.values()], seen, scratch), strict=True))
        lost = [archive for archive, job in jobs.items() if job.present and _is_lost(job, dist / archive, remote)]
        if dry_run:
            done = commit.would_be([*jobs.values()], seen, remote, signer)
        else:
            for archive, job in jobs.items():
                if not job.present or archive in lost:
                    name = job.version.record.ref_name
                    push_content(dist / archive, job.version.content, name, remote, tools)
            done = commit.commit([*jobs.values()], remote, tools, signer)
    return replace(done, changed=True) if lost else done


def _with_statements(
    signer: Signer,
    packages: Sequence[PackageRecord],
    release: ReleaseRecord,
    dist: Path,
    remote: Remote,
    environment: Mapping[str, str],
) -> Signer:
    """Let a signer attest from what the packages were built, and what they consist of."""
    from carvelwright.uses import attesting  # noqa: PLC0415 - its libraries take their time, and most sign nothing

    said = attesting.statements(packages, release, dist, remote.store, environment, remote.reporter)
    return replace(signer, statements=said)


def _is_lost(job: commit.Job, archive: Path, remote: Remote) -> bool:
    """Tell whether content of a published version is not there: a registry's garbage collection may have removed it."""
    version, place = job.version, job.version.content
    # What others published elsewhere is not ours to push.
    wanted = airgap.copied_as(archive) if version.bundle else []
    found = in_parallel(
        *[lambda digest=digest: crane.digest(remote.crane, place.at(digest), **remote.how()) for digest in wanted]
    )
    if lost := [str(digest) for digest, there in zip(wanted, found, strict=True) if there is None]:
        record = version.record
        remote.reporter.note(
            f"{record.ref_name} {record.version} is published, but {place} lacks {', '.join(lost)}: it is pushed again"
        )
    return bool(lost)


def push_content(archive: Path, target: Repository, name: str, remote: Remote, tools: Toolchain) -> None:
    """Push all of an archive to one OCI repository, where clients look for a bundle's images first."""
    step = publish_step(name)
    with remote.reporter.step(step) as running, remote.store.scratch("push") as scratch:
        running.describe(readable_size(archive.stat().st_size))
        lock = scratch / "bundle-lock.yml"
        note = remote.reporter.note
        imgpkg.copy_from_tar(tools.imgpkg, archive, target, lock, step=step, timeout=remote.timeout, note=note)


def _select(packages: Sequence[PackageRecord], names: Sequence[str]) -> list[PackageRecord]:
    def hint(name: str) -> str:
        return f"use one of these, or build it first: carvelwright build {name}"

    return sessions.named(packages, names, where="dist/", hint=hint)


def _version(package: PackageRecord, dist: Path, places: Places) -> commit.Version:
    version = PackageVersion.parse(package.version)
    images = [places.image(image.name, version).with_digest(_digest(image.reference)) for image in package.images]
    bundle = places.bundle(package.ref_name, version).with_digest(_digest(package.bundle))
    content = places.content(package.ref_name)
    return commit.Version(_record(package, dist, places), content, bundle, tuple(images))


def _record(package: PackageRecord, dist: Path, places: Places) -> Record:
    """Return the record of a version: its Package fetches from the place that it is published to."""
    digest = _digest(package.bundle)
    old, new = package.bundle.repository.at(digest), places.content(package.ref_name).at(digest)
    content = read_bytes(dist / package.file)
    moved, count = moved_package(content, old, new)
    if count != 1:
        raise FilesystemError(
            f"dist/{package.file} does not fetch {old}",
            details=f"found: {count} times\nexpected: once",
            hint="remove dist/, then run `carvelwright build`",
        )
    metadata = read_bytes(dist / metadata_file(package.ref_name))
    return Record(package.ref_name, package.version, Action.RELEASE, 0, moved, metadata, new, package.released_at)


def moved_package(content: bytes, old: Reference, new: Reference) -> tuple[bytes, int]:
    """Let a Package's file fetch from another place; returns the new file, and how often the old place stood there."""
    pattern = rb"""(?m)^([ -]+image: )["']?""" + re.escape(str(old).encode()) + rb"""["']?$"""
    return re.subn(pattern, rb"\g<1>" + str(new).encode(), content)


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise AssertionError(f"a record without a digest: {reference}")
    return reference.digest
