"""Verifies a published package repository: every byte that its packages fetch, and that they are what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.carvel import locks
from carvelwright.catalog import foreign
from carvelwright.catalog.content import SIZE
from carvelwright.catalog.tags import LATEST, RecordTag
from carvelwright.errors import CarvelwrightError
from carvelwright.process import in_parallel
from carvelwright.reference import Reference
from carvelwright.steps import render
from carvelwright.tools import crane, tags
from carvelwright.uses import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from carvelwright.catalog.content import Held
    from carvelwright.reference import Repository
    from carvelwright.steps.published import Seen
    from carvelwright.uses.remote import Opened

# At once: an image is read while others are waited for.
_WORKERS = 4
# Where `build` puts the values schema in a bundle.
_SCHEMA = "config/values-schema.yaml"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in a repository: what it is about, and what is wrong with it."""

    about: str
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified: versions, images that were read to the last byte, and what is wrong."""

    versions: int
    images: int
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        found = [{"about": finding.about, "message": finding.message} for finding in self.findings]
        return {"versions": self.versions, "images": self.images, "findings": found}


def verify(
    opened: Opened, ref_names: Sequence[str] = (), versions: Sequence[tuple[str, str]] | None = None
) -> Verified:
    """Verify what clients of a repository get, of all packages, of some, or of some versions (refName and version).

    Every bundle, and every image that it locks, is read and compared with its digest down to the layers; every Package
    of a recorded version has the values schema of its bundle; every digest has a tag, so that it lasts; every record
    can be read; the highest revision holds all of them, and `latest` names it.
    """
    with opened.reporter.step("read published repository"):
        seen = opened.remote.look()
    held = [
        each
        for key, each in repository.adopted(seen.base).versions.items()
        if each.file and (not ref_names or each.ref_name in ref_names) and (versions is None or key in versions)
    ]
    work = _Work(opened, seen)
    with opened.reporter.step("verify") as step:
        for start in range(0, len(held), _WORKERS):
            in_parallel(*[lambda each=each: work.version(each) for each in held[start : start + _WORKERS]])
            step.count_packages(min(start + _WORKERS, len(held)), len(held))
        work.repository(with_records=not ref_names and versions is None)
    return Verified(len(held), len(work.read), tuple(sorted(work.findings, key=str)))


@dataclass(slots=True)
class _Work:
    """What has been read so far, and what was found."""

    opened: Opened
    seen: Seen
    read: set[Reference] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    _tags: dict[Repository, frozenset[str] | None] = field(default_factory=dict)

    def version(self, held: Held) -> None:
        """Verify one version."""
        about = f"{held.ref_name} {held.version}"
        if held.bundle is None:
            self._find(about, "its Package fetches no bundle by digest, so nothing of it can be verified")
            return
        bundle = Reference.parse(held.bundle)
        content = self._bundle(about, bundle)
        if content is None:
            return
        self._lasts(about, bundle, "bundle")
        for entry in _entries(content):
            self._image(about, bundle.repository, Reference.of_image(entry["image"]))
        if held.release is not None:
            self._schema(about, held, content)

    def repository(self, *, with_records: bool) -> None:
        """Verify what belongs to no version."""
        remote, seen = self.opened.remote, self.seen
        name = str(remote.repository)
        pending = [tag for tag in (seen.listed or ()) if RecordTag.parse(tag) and tag not in seen.base.accounted]
        for each in pending:
            self._find(f"{name}:{each}", "recorded, but the highest revision does not account for it; run repair")
        if seen.digest is not None and seen.latest != seen.digest:
            self._find(f"{name}:{LATEST}", "is not the highest revision; run repair")
        for text in sorted(seen.base.records) if with_records else ():
            if (tag := RecordTag.parse(text)) is not None:
                self._guard(f"{name}:{text}", lambda tag=tag: remote.record(tag))  # type: ignore[misc]

    def _bundle(self, about: str, bundle: Reference) -> Mapping[str, bytes] | None:
        try:
            found = crane.pull_verified_bundle(self.opened.tools.crane, bundle, SIZE, **self._how())
        except (ValueError, CarvelwrightError) as error:
            self._find(about, f"bundle {bundle}: {_words(error)}")
            return None
        if found is None:
            self._find(about, f"bundle {bundle}: not there")
            return None
        self.read.add(bundle)
        return found.files

    def _image(self, about: str, repository: Repository, image: Reference) -> None:
        """Read an image from the bundle's repository, where clients look first, or from where it came from."""
        if image.digest is None:
            self._find(about, f"image {image} is not locked by digest")
            return
        beside = repository.at(image.digest)
        if beside in self.read:
            return
        if self._has(beside):
            self._lasts(about, beside, "image")
        else:
            beside = image
            self._find(about, f"image {image} is not beside the bundle: sites that copy only this registry miss it")
        self.read.add(beside)
        self._guard(
            f"{about}: image {beside}",
            lambda: crane.validate(self.opened.tools.crane, beside, **self._how()),
        )

    def _has(self, image: Reference) -> bool:
        try:
            return crane.digest(self.opened.tools.crane, image, **self._how()) is not None
        except CarvelwrightError:
            return False

    def _lasts(self, about: str, image: Reference, what: str) -> None:
        """Find what a registry's garbage collection may remove: what no tag names."""
        repository, digest = image.repository, image.digest
        if repository not in self._tags:
            self._tags[repository] = tags.list_tags(self.opened.tools.crane, repository, **self._how())
        listed = self._tags[repository]
        if listed is None or digest is None or any(tag.startswith(f"sha256-{digest.hex}") for tag in listed):
            return
        self._find(about, f"{what} {image} has no tag of its own: a registry's garbage collection may remove it")

    def _schema(self, about: str, held: Held, content: Mapping[str, bytes]) -> None:
        """Compare the values schema of a Package with that of its bundle, as ytt exports it."""
        (document, *_) = foreign.documents_of(held.file or "", self.seen.base.files[held.file or ""])
        said = document["spec"].get("valuesSchema", {}).get("openAPIv3")
        scratch = self.opened.scratch / f"{held.ref_name}-{held.version}"
        for name, text in content.items():
            files.write_file(scratch / name, text)

        schema = scratch / _SCHEMA

        def compare() -> None:
            if render.export_file(schema, files.read_bytes(schema), self.opened.tools).openapi != said:
                self._find(about, "its Package has another values schema than its bundle")

        if said and schema.is_file():
            self._guard(about, compare)
        files.remove_tree(scratch)

    def _guard(self, about: str, check: Callable[[], object]) -> None:
        try:
            check()
        except (ValueError, CarvelwrightError) as error:
            self._find(about, _words(error))

    def _find(self, about: str, message: str) -> None:
        self.findings.append(Finding(about, message))

    def _how(self) -> dict[str, Any]:
        remote = self.opened.remote
        return {"step": remote.step, "timeout": remote.timeout, "note": self.opened.reporter.note}


def _entries(content: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    lock = content.get(locks.IMAGES_LOCK)
    yield from foreign.lock_of(lock) if lock is not None else ()


def _words(error: Exception) -> str:
    """Return what went wrong in one line."""
    if isinstance(error, CarvelwrightError):
        details = " ".join((error.details or "").split())
        return f"{error.message}{': ' if details else ''}{details}"
    return str(error)
