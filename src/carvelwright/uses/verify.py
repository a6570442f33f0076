"""Verifies a published package repository: every byte that its packages fetch, and that they are what they say."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carvelwright import files, jsondoc
from carvelwright.carvel import locks
from carvelwright.catalog import foreign, survey
from carvelwright.catalog.content import SIZE, Catalog
from carvelwright.catalog.records import PACKAGES
from carvelwright.catalog.tags import LATEST, RecordTag
from carvelwright.errors import CarvelwrightError, RegistryError
from carvelwright.oci.bundle import BUNDLE_LABEL
from carvelwright.process import in_parallel
from carvelwright.reference import Reference
from carvelwright.stepnames import READ_PUBLISHED
from carvelwright.steps import render
from carvelwright.steps.published import Seen
from carvelwright.tools import crane, tags
from carvelwright.uses import repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.catalog.content import Held
    from carvelwright.digest import Digest
    from carvelwright.reference import Repository
    from carvelwright.uses.remote import Opened

# At once: an image is read while others are waited for.
_WORKERS = 4
# Of what a tool writes about one image, in characters.
_LONGEST = 400
# Where `build` puts the values schema in a bundle.
_CONFIG = "config/"
_SCHEMA = f"{_CONFIG}values-schema.yaml"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in a repository: what it is about, and what is wrong with it."""

    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True, slots=True)
class KnownOf:
    """What the publisher states of known vulnerabilities in an image: with the data of when, how often each status."""

    about: str
    image: str
    timestamp: str
    statuses: Mapping[str, int]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in self.statuses.items())
        return f"{self.about}: image {self.image}: known on {self.timestamp}: {counts or 'nothing'}"

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        said = {"timestamp": self.timestamp, "statuses": dict(self.statuses)}
        return {"about": self.about, "image": self.image, **said}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A version that was built again with equal digests: from which tag and commit, and the digest of its bundle."""

    about: str
    tag: str
    commit: str
    bundle: Digest

    def __str__(self) -> str:
        return f"{self.about}: rebuilt from tag {self.tag}, commit {self.commit[:12]}: the same bundle {self.bundle}"

    def document(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {"about": self.about, "tag": self.tag, "commit": self.commit, "bundle": str(self.bundle)}


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified: versions, bundles and images that were read to the last byte, and what is wrong.

    `locked` is what each bundle that could be read locks, `known` what is attested of vulnerabilities, `rebuilt`
    the versions that were built again with equal digests.
    """

    versions: int
    images: int
    findings: tuple[Finding, ...]
    locked: Mapping[Reference, tuple[Digest, ...]] = field(default_factory=dict, compare=False, repr=False)
    known: tuple[KnownOf, ...] = ()
    rebuilt: tuple[Rebuilt, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        found = [{"about": finding.about, "message": finding.message} for finding in self.findings]
        return {"versions": self.versions, "images": self.images, "findings": found}


def verify(
    opened: Opened, ref_names: Sequence[str] = (), versions: Sequence[tuple[str, str]] | None = None
) -> Verified:
    """Verify what clients of a repository get, of all packages, of some, or of some versions (refName and version)."""
    with opened.reporter.step(READ_PUBLISHED):
        seen = opened.remote.look()
    return verify_seen(opened, seen, ref_names, versions)


def verify_seen(
    opened: Opened, seen: Seen, ref_names: Sequence[str] = (), versions: Sequence[tuple[str, str]] | None = None
) -> Verified:
    """Verify what clients get of a repository that was looked at, as `verify` does.

    Every bundle, and every image that it locks, is read and compared with its digest down to the layers; every Package
    of a recorded version has the values schema of its bundle; every digest has a tag, so that it lasts; every record
    can be read; the highest revision holds all of them, and `latest` names it.
    """
    surveyed = survey.survey(seen.base)
    there = {key: held for key, held in surveyed.catalog.versions.items() if held.file}
    if ref_names:
        repository.require_known(ref_names, {ref_name for ref_name, _ in surveyed.catalog.versions})
    wanted = set(there if versions is None else versions)
    held = [each for key, each in there.items() if key in wanted and (not ref_names or each.ref_name in ref_names)]
    work = _Work(opened, seen, surveyed.catalog)
    with opened.reporter.step("verify") as step:
        for start in range(0, len(held), _WORKERS):
            in_parallel(*[lambda each=each: work.version(each) for each in held[start : start + _WORKERS]])
            step.count_packages(min(start + _WORKERS, len(held)), len(held))
        for ref_name, version in sorted(wanted - there.keys()):
            work.find(f"{ref_name} {version}", "not in the revision that clients follow")
        if not ref_names and versions is None:
            work.repository(surveyed.problems)
    return work.done(len(held))


def verify_content(opened: Opened, reference: Reference) -> tuple[Verified, Mapping[str, bytes] | None]:
    """Verify one bundle, with all that it locks, or one image, by digest; returns the files of a bundle, too.

    Of a package repository only its own content is verified: what it locks lies elsewhere.
    """
    nothing = Catalog()
    work = _Work(opened, Seen(None, None, None, {}, nothing, nothing, None), nothing)
    content, about = None, str(reference)
    with opened.reporter.step("verify"):
        manifest = crane.manifest(opened.tools.crane, reference, **opened.remote.how())
        if manifest is not None and work.is_bundle(reference, manifest):
            content = work.bundle(about, reference, others=False)
        else:
            work.image(about, reference.repository, reference)
    return work.done(0), content


@dataclass(slots=True)
class _Work:
    """What has been read so far, and what was found."""

    opened: Opened
    seen: Seen
    catalog: Catalog
    read: set[Reference] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    _locked: dict[Reference, tuple[Digest, ...]] = field(default_factory=dict)
    _lasting: dict[Repository, _Lasting] = field(default_factory=dict)

    def done(self, versions: int) -> Verified:
        """Return what was verified, with so many versions."""
        return Verified(versions, len(self.read), tuple(sorted(self.findings, key=str)), self._locked)

    def version(self, held: Held) -> None:
        """Verify one version."""
        about = f"{held.ref_name} {held.version}"
        if held.bundle is None:
            self.find(about, "its Package fetches no bundle by digest, so nothing of it can be verified")
            return
        with self._finding(about):
            bundle = repository.place_of(self.opened, Reference.parse(held.bundle))
            content = self.bundle(about, bundle)
            if content is not None and held.release is not None:
                self._schema(about, held, content)

    def repository(self, problems: Sequence[str]) -> None:
        """Verify what belongs to no version."""
        remote, seen = self.opened.remote, self.seen
        name = str(remote.repository)
        for problem in problems:
            self.find(name, problem)
        if seen.digest is None:
            self.find(name, "has no revision that clients can follow; publish to it, or run repair")
        claims = {claim.record for claim in repository.contested(self.opened, seen)}
        for each in seen.listed or ():
            if RecordTag.parse(each) and each not in seen.base.accounted:
                what = "contested: choose one with repair --keep" if each in claims else "run repair"
                self.find(f"{name}:{each}", f"recorded, but the highest revision does not account for it; {what}")
        if seen.digest is not None and seen.latest != seen.digest:
            self.find(f"{name}:{LATEST}", "is not the highest revision; run repair")
        in_parallel(*[lambda text=text: self._record(text) for text in sorted(seen.base.records)])

    def find(self, about: str, message: str) -> None:
        """Note what is wrong."""
        self.findings.append(Finding(about, message))

    def _record(self, text: str) -> None:
        """Verify that the record of a version, or of a mark, lasts and can be read."""
        remote, listed, tag = self.opened.remote, self.seen.listed, RecordTag.parse(text)
        about = f"{remote.repository}:{text}"
        if tag is None:
            return
        with self._finding(about):
            if listed is not None and text not in listed:
                place = remote.repository.at(tag.content)
                # Asked once: what is read as a record is waited for, as it may be on its way.
                if crane.digest(self.opened.tools.crane, place, **self.opened.remote.how()) is None:
                    self.find(about, "this record is gone")
                    return
                self.find(
                    about, "the tag of this record is gone: a registry's garbage collection may remove the record"
                )
            if remote.record(tag) is None:
                self.find(about, "is no record")

    def bundle(self, about: str, bundle: Reference, *, others: bool = True) -> Mapping[str, bytes] | None:
        """Verify a bundle and all that it locks, bundles within included; returns its files.

        What a package repository locks is left out unless `others` says otherwise.
        """
        self.read.add(bundle)
        content = None
        with self._finding(f"{about}: bundle {bundle}"):
            content = self._read_bundle(about, bundle)
        if content and not others and any(name.startswith(f"{PACKAGES}/") for name in content):
            return content
        images = (
            [Reference.of_image(entry["image"]) for entry in foreign.lock_of(content[locks.IMAGES_LOCK])]
            if content
            else []
        )
        self._locked[bundle] = tuple(image.digest for image in images if image.digest)
        for image in images:
            self.image(about, bundle.repository, image)
        return content

    def _read_bundle(self, about: str, bundle: Reference) -> Mapping[str, bytes]:
        found = crane.pull_verified_bundle(self.opened.tools.crane, bundle, SIZE, **self.opened.remote.how())
        if found is None:
            raise ValueError("not there")
        self._lasts(about, bundle, "bundle")
        if locks.IMAGES_LOCK not in found.files:
            raise ValueError(f"it has no {locks.IMAGES_LOCK}")
        return found.files

    def image(self, about: str, home: Repository, image: Reference) -> None:
        """Read an image from the bundle's repository, where clients look first, or from where it came from."""
        if image.digest is None:
            self.find(about, f"image {image} is not locked by digest")
            return
        place = home.at(image.digest)
        if place in self.read:
            return
        with self._finding(f"{about}: image {place}"):
            manifest = crane.manifest(self.opened.tools.crane, place, **self.opened.remote.how())
            if manifest is not None:
                self._lasts(about, place, "image")
            else:
                self.find(about, f"image {image} is not beside the bundle: sites that copy only this registry miss it")
                place = image
                manifest = crane.manifest(self.opened.tools.crane, place, **self.opened.remote.how())
            if manifest is not None and self.is_bundle(place, manifest):
                self.bundle(about, place)
                return
            self.read.add(place)
            crane.validate(self.opened.tools.crane, place, **self.opened.remote.how())

    def is_bundle(self, image: Reference, manifest: bytes) -> bool:
        """Tell whether an image is a bundle within a bundle, as imgpkg does: by a label."""
        if "layers" not in jsondoc.parse(manifest):
            return False
        text = crane.configuration(self.opened.tools.crane, image, **self.opened.remote.how())
        configuration = jsondoc.parse(text)
        settings = configuration.get("config") if isinstance(configuration, dict) else None
        return isinstance(settings, dict) and BUNDLE_LABEL in (settings.get("Labels") or {})

    def _lasts(self, about: str, image: Reference, what: str) -> None:
        """Find what a registry's garbage collection may remove: what no tag names."""
        place = image.repository
        if place not in self._lasting:
            listed = tags.list_tags(self.opened.tools.crane, place, **self.opened.remote.how())
            self._lasting[place] = _Lasting(place, listed)
        if image.digest is not None and not self._lasting[place].has(image.digest, self.opened):
            self.find(about, f"{what} {image} has no tag: a registry's garbage collection may remove it")

    def _schema(self, about: str, held: Held, content: Mapping[str, bytes]) -> None:
        """Compare the values schema of a Package with that of its bundle, as ytt exports it."""
        if _SCHEMA not in content:
            return
        package = survey.package_document(held, survey.package_text(self.catalog.files, held))
        said = (package["spec"].get("valuesSchema") or {}).get("openAPIv3")
        with files.temporary_directory(self.opened.scratch, "schema.") as scratch:
            for name, text in content.items():
                if name.startswith(_CONFIG):
                    files.write_file(scratch / name, text)
            exported = render.export_file(scratch / _SCHEMA, content[_SCHEMA], self.opened.tools).openapi
        if exported != said:
            self.find(about, "its Package has another values schema than its bundle")

    @contextlib.contextmanager
    def _finding(self, about: str) -> Iterator[None]:
        """Note what cannot be read, and go on."""
        try:
            yield
        except (ValueError, CarvelwrightError) as error:
            self.find(about, words(error))


@dataclass(slots=True)
class _Lasting:
    """The tags of an OCI repository (None: it does not list them), and the digests that they keep."""

    place: Repository
    listed: frozenset[str] | None
    _kept: frozenset[Digest] | None = None

    def has(self, digest: Digest, opened: Opened) -> bool:
        """Tell whether a tag names a digest: most have it in their name, the others are asked for where need be."""
        if self.listed is None or f"sha256-{digest.hex}.imgpkg" in self.listed:
            return True
        if self._kept is None:
            others = [tag for tag in self.listed if not tag.startswith("sha256-") and not RecordTag.parse(tag)]
            asked = in_parallel(
                *[
                    lambda tag=tag: crane.digest(opened.tools.crane, self.place.tagged(tag), **opened.remote.how())
                    for tag in others
                ]
            )
            self._kept = frozenset(filter(None, asked))
        return digest in self._kept


def words(error: Exception) -> str:
    """Return what went wrong in one line."""
    if not isinstance(error, CarvelwrightError):
        return " ".join(str(error).split())
    # Which command failed is no part of what is wrong in the repository.
    details = " ".join(line for line in (error.details or "").splitlines() if not line.startswith("command: "))
    words = details if details and isinstance(error, RegistryError) and error.step else f"{error.message}: {details}"
    words = " ".join(words.removeprefix("Error: ").removesuffix(": ").split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
