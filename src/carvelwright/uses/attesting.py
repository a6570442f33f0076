"""Says of what a build made from what it was made and what it consists of: the statements that are attested."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from carvelwright import __version__, files, jsondoc, yamldoc
from carvelwright.bounds import STREAM
from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.steps import dist as dists
from carvelwright.steps import sbom
from carvelwright.supply import components, provenance
from carvelwright.supply.attestation import Predicate, Statement
from carvelwright.supply.modules import Module
from carvelwright.tools import git
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.digest import Digest
    from carvelwright.record import BuildState, PackageRecord, ReleaseRecord
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.store import Store
    from carvelwright.supply.provenance import Source

_FORMATS = {Predicate.CYCLONEDX: sbom.CYCLONEDX, Predicate.SPDX: sbom.SPDX}
# Where sources can be fetched from by others.
_SCHEMES = ("http", "https", "ssh", "git")


def statements(
    packages: Sequence[PackageRecord],
    release: ReleaseRecord,
    dist: Path,
    store: Store,
    environment: Mapping[str, str],
    reporter: Reporter,
) -> dict[Digest, list[Statement]]:
    """Return what is to be said of the bundles and images of some packages; `dist` is a copy of dist/.

    SBOMs are those that lie there, and VEX that which `scan` put there. Without git, or where the sources are not those
    that were built any more, there is no provenance, and that is noted.
    """
    state = freshness.read_state(store)
    source = _source(store, state, environment, reporter)
    found: dict[Digest, list[Statement]] = {}
    for package in packages:
        parts = {package.ref_name: package.bundle} | {image.name: image.reference for image in package.images}
        documents = {name: _sboms(name, package, dist) for name in parts}
        whole = _provenance(package, release, dist, source, state, documents) if source and state else None
        for name, reference in parts.items():
            digest = _digest(reference)
            own = [Statement({name: digest}, kind, content) for kind, content in documents[name].items()]
            known = [Statement({name: digest}, Predicate.VEX, content) for content in _vex(name, package, dist)]
            found[digest] = [*([whole] if whole else []), *own, *known]
    return found


def _sboms(name: str, package: PackageRecord, dist: Path) -> dict[Predicate, Any]:
    """Return the SBOMs of a bundle or an image, by their formats."""
    directory = dist / PurePosixPath(package.archive).parent / sbom.DIRECTORY
    there = {kind: directory / f"{name}{ending}" for kind, ending in _FORMATS.items()}
    return {kind: _document(path) for kind, path in there.items() if path.is_file()}


def _vex(name: str, package: PackageRecord, dist: Path) -> list[Any]:
    """Return what is known against an image, where it was scanned."""
    path = dist / dists.vex_file(package, name)
    return [_document(path)] if path.is_file() else []


def _document(path: Path) -> Any:
    try:
        return jsondoc.parse(files.read_bytes(path), STREAM)
    except ValueError as error:
        raise FilesystemError(
            f"{path} is no JSON: {error}", path=path, hint="remove dist/, then run `carvelwright build`"
        ) from None


def _provenance(
    package: PackageRecord,
    release: ReleaseRecord,
    dist: Path,
    source: Source,
    state: BuildState,
    documents: Mapping[str, Mapping[Predicate, Any]],
) -> Statement:
    subjects = {package.ref_name: _digest(package.bundle)}
    subjects |= {image.name: _digest(image.reference) for image in package.images}
    name, digest = provenance.package_subject(yamldoc.load(dist / package.file).data)
    modules = {each for found in documents.values() for each in _modules(found.get(Predicate.CYCLONEDX))}
    platforms = {str(each.platform) for image in package.images for each in image.platforms}
    build = provenance.Build(
        package.ref_name,
        package.version,
        sorted(platforms),
        str(release.registry),
        source,
        state.epoch,
        release.tools,
        {name: _tool_module(*each) for name, each in release.tool_modules.items()},
        sorted(modules),
        {image.name: _digest(image.reference) for image in package.existing_images},
        __version__,
    )
    return Statement({**subjects, name: digest}, Predicate.PROVENANCE, provenance.predicate(build))


def _tool_module(name: str, checksum: str) -> Module:
    path, _, version = name.partition("@")
    return Module(path, version, checksum)


def _modules(document: Any) -> set[Module]:
    # The standard library has no module; the version of Go is beside the other tools.
    return {each for each in components.of_cyclonedx(document) if each.sum} if document else set()


def _source(
    store: Store, state: BuildState | None, environment: Mapping[str, str], reporter: Reporter
) -> Source | None:
    """Return the commit that dist/ was built from; None, with a note, where that cannot be said."""
    if state is None or not freshness.is_current(store, state):
        reporter.note(
            "no provenance is attested: the sources are not those that dist/ was built from; build, then publish again"
        )
        return None
    try:
        repository = git.open_repository(store.root, environment)
        head = repository.head() if git.is_in_repository(store.root) and not repository.is_ignored() else None
        if head is None:
            reporter.note("no provenance is attested: the sources are in no commit of git")
            return None
        return provenance.Source(head.name, _public(repository.origin()), dirty=not repository.is_clean())
    except CarvelwrightError as error:
        reporter.note(f"no provenance is attested: {error.message}")
        return None


def _public(address: str | None) -> str | None:
    """Return an address from which others can fetch, without the credentials in it; None for others."""
    parts = urlsplit(address or "")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        return None
    host = parts.netloc.rpartition("@")[2]
    return f"git+{parts.scheme}://{host}{parts.path}"


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise AssertionError(f"a record without a digest: {reference}")
    return reference.digest
