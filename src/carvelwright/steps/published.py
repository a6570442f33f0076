"""The package repository in a registry, as a publisher meets it: others write to it at the same time."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.catalog import content, foreign
from carvelwright.catalog.content import SIZE, Catalog
from carvelwright.catalog.merge import joined, merged
from carvelwright.catalog.records import Record
from carvelwright.catalog.tags import LATEST, RecordTag, Revision
from carvelwright.errors import RegistryError
from carvelwright.oci.bundle import write_bundle
from carvelwright.process import in_parallel, pause, stopwatch
from carvelwright.tools import crane, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.oci.layout import ImageLayout
    from carvelwright.reference import Reference, Repository
    from carvelwright.report import Reporter
    from carvelwright.store import Store
    from carvelwright.tools.tool import Tool

# Of how many revisions it is asked which of two releases of a version was the first.
_LOOK_BACK = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a package repository at one moment.

    `highest` is the revision that clients follow, `digest` that of its bundle, `shown` its files, and `base` what it
    holds (of a repository without revisions: what `latest` holds), with what else `latest` holds; `latest` is the
    digest of that. `catalog` is the repository with the records that `base` does not account for. `listed` are the
    tags, None where the registry does not list them; `digest` and `shown` are then of `latest`.
    """

    highest: Revision | None
    digest: Digest | None
    latest: Digest | None
    shown: Mapping[str, bytes]
    base: Catalog
    catalog: Catalog
    listed: frozenset[str] | None

    def next_mark(self, key: str) -> int:
        """Return the number of the next mark of the version that `key` stands for."""
        tags = filter(None, map(RecordTag.parse, (self.listed or frozenset()) | self.catalog.accounted))
        return 1 + max((tag.number for tag in tags if tag.key == key), default=0)

    @property
    def is_current(self) -> bool:
        """Tell whether the revision that clients follow holds everything."""
        return self.catalog.accounted == self.base.accounted and self.catalog.files == self.shown


class PackageRepository(ABC):
    """A package repository that several publishers write to.

    `store` has the place for scratch files, `timeout` is in seconds for each exchange. The abstract methods are all
    that is asked of the place where it lies.
    """

    repository: Repository
    store: Store
    timeout: float
    reporter: Reporter
    step: str
    # Signs a revision, by reference; None where the publisher has no key.
    sign: Callable[[Reference], object] | None = None
    _read: dict[Digest, Mapping[str, bytes]]
    _parsed: dict[Digest, Catalog]
    _records: dict[RecordTag, Record | None]

    @abstractmethod
    def list_tags(self) -> frozenset[str] | None:
        """Return every tag; None where the registry does not list them."""

    @abstractmethod
    def digests_of(self, *tags: str | None) -> list[Digest | None]:
        """Return what each tag names; None where there is none, and for no tag."""

    @abstractmethod
    def pull(self, digest: Digest) -> Mapping[str, bytes] | None:
        """Return the files of a bundle; None where there is none, ValueError where it is no bundle."""

    @abstractmethod
    def push(self, layout: ImageLayout, tag: str) -> None:
        """Push a bundle under a tag."""

    @abstractmethod
    def move_latest(self, digest: Digest) -> None:
        """Let `latest` name a bundle, which it was just seen not to do."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let others go on for a while."""

    def look(self, own: Mapping[RecordTag, Record] | None = None) -> Seen:
        """Read what the repository holds now, `own` included: records that the caller has pushed.

        RegistryError where it cannot be read, or not be carried on.
        """
        with self._naming():
            listed = self.list_tags() if own is None else self._list_at_one_moment()
            known = listed or frozenset()
            highest = Revision.highest(known)
            asked = LATEST if listed is None or LATEST in known else None
            latest, followed = self.digests_of(asked, highest.tag if highest else None)
            digest = latest if listed is None else followed
            base = self._base(digest, latest)
            records, broken = self._unknown(known, base)
            records |= {tag: record for tag, record in (own or {}).items() if str(tag) not in base.accounted}
            catalog = merged(base, records, broken)
            if missing := {tag: each for tag, each in records.items() if str(tag) not in catalog.accounted}:
                catalog = merged(self._with_first(catalog, missing, known), missing)
            shown = self.catalog_at(digest).files if digest else {}
        return Seen(highest, digest, latest, shown, base, catalog, listed)

    def _list_at_one_moment(self) -> frozenset[str] | None:
        """Return every tag that was there at one moment: a list that is read in pieces mixes several.

        Tags are only added. So where two lists, one after the other, are the same, nothing was added between them.
        """
        listed, seconds = self.list_tags(), stopwatch()
        while listed is not None and (again := self.list_tags()) != listed:
            if seconds() > self.timeout:
                raise RegistryError(
                    f"step {self.step}: others push to {self.repository} without a pause",
                    hint="run the same command again later: nothing is lost",
                    step=self.step,
                )
            listed = again
        return listed

    def push_record(self, record: Record) -> RecordTag:
        """Push a record; equal content is there already, and is left as it is."""
        with self.store.scratch("record") as scratch:
            layout = write_bundle(record.files(), scratch / "layout")
            tag = record.tag(layout.digest)
            self.push(layout, str(tag))
        self._records[tag] = record
        return tag

    def push_revision(self, catalog: Catalog, seen: Seen) -> Digest:
        """Push what the repository is to hold, above what was seen; returns the digest of its bundle."""
        with self.store.scratch("revision") as scratch:
            revision, layout = self.would_be(catalog, seen, scratch / "layout")
            # Before clients see it.
            self.sign_revision(layout.digest)
            self.push(layout, revision.tag)
        return layout.digest

    def sign_revision(self, digest: Digest) -> None:
        """Sign a revision, where there is a key; what is signed with it already stays as it is."""
        if self.sign is not None:
            self.sign(self.repository.at(digest))

    def would_be(self, catalog: Catalog, seen: Seen, directory: Path) -> tuple[Revision, ImageLayout]:
        """Write the bundle of a repository into a directory; returns the revision that it is, and the layout."""
        files = catalog.bundle_files()
        layout = write_bundle(files, directory)
        self._read[layout.digest] = files
        known = {tag for tag in seen.listed or () if RecordTag.parse(tag) or Revision.parse(tag)}
        return Revision.after(seen.highest, len(known | catalog.accounted), layout.digest), layout

    def catalog_at(self, digest: Digest) -> Catalog:
        """Read a revision by its digest."""
        with self._naming():
            if digest not in self._parsed:
                self._parsed[digest] = content.read(self._files(digest))
        return self._parsed[digest]

    def _base(self, digest: Digest | None, latest: Digest | None) -> Catalog:
        """Return what clients see: the highest revision, and what a publisher that knows only `latest` added there."""
        if digest is None:
            return self.catalog_at(latest) if latest else Catalog()
        base = self.catalog_at(digest)
        if latest is None or latest == digest:
            return base
        both = joined(base, self.catalog_at(latest))
        # An older revision of ours adds nothing.
        return merged(both, {}, adopt=base.ref_names) if both.files != base.files else base

    def _unknown(self, listed: frozenset[str], base: Catalog) -> tuple[dict[RecordTag, Record], frozenset[str]]:
        """Read the records that a state does not account for; those that are none are returned by their tags."""
        found, broken = {}, set()
        for name in sorted(listed - base.accounted):
            if (tag := RecordTag.parse(name)) is None:
                continue
            if (record := self.record(tag)) is not None:
                found[tag] = record
            else:
                broken.add(name)
        return found, frozenset(broken)

    def record(self, tag: RecordTag) -> Record | None:
        """Read a record; None where something else was pushed under its tag."""
        if tag not in self._records:
            files = self._files(tag.content)
            try:
                self._records[tag] = _parse(tag, files)
            except ValueError as error:
                self.reporter.note(f"{self.repository}:{tag} is no record and is left out: {error}")
                self._records[tag] = None
        return self._records[tag]

    def _with_first(self, catalog: Catalog, missing: Mapping[RecordTag, Record], listed: frozenset[str]) -> Catalog:
        """Add of each version that several claim the release that any revision holds: it was seen, and so it stands."""
        revisions = sorted(filter(None, map(Revision.parse, listed)), reverse=True)[:_LOOK_BACK]
        for digest in self.digests_of(*[revision.tag for revision in revisions]):
            held = self.catalog_at(digest).records if digest else frozenset()
            first = {tag: record for tag, record in missing.items() if str(tag) in held}
            catalog = merged(catalog, first)
        return catalog

    def _files(self, digest: Digest) -> Mapping[str, bytes]:
        if digest not in self._read:
            reference = self.repository.at(digest)
            try:
                found = self.pull(digest)
            except ValueError as error:
                raise foreign.unfit(f"{reference}: {error}") from None
            if found is None:
                raise foreign.unfit(f"{reference}: the registry lists it, but does not have it")
            self._read[digest] = found
        return self._read[digest]

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Add to an error what it is about, which those who only read the content do not know."""
        try:
            yield
        except RegistryError as error:
            error.registry, error.reference = self.repository.registry, str(self.repository)
            raise


@dataclass(slots=True)
class Remote(PackageRepository):
    """A package repository in a registry, by way of crane."""

    crane: Tool
    repository: Repository
    store: Store
    timeout: float
    reporter: Reporter
    step: str = "read published repository"
    sign: Callable[[Reference], object] | None = None
    _read: dict[Digest, Mapping[str, bytes]] = field(default_factory=dict)
    _parsed: dict[Digest, Catalog] = field(default_factory=dict)
    _records: dict[RecordTag, Record | None] = field(default_factory=dict)

    def list_tags(self) -> frozenset[str] | None:
        """Return every tag, as the base class says."""
        return tags.list_tags(self.crane, self.repository, **self.how())

    def digests_of(self, *tags: str | None) -> list[Digest | None]:
        """Return what tags name, as the base class says."""

        def ask(tag: str | None) -> Digest | None:
            return crane.digest(self.crane, self.repository.tagged(tag), **self.how()) if tag else None

        return in_parallel(*[lambda tag=tag: ask(tag) for tag in tags])

    def pull(self, digest: Digest) -> Mapping[str, bytes] | None:
        """Return the files of a bundle, verified."""
        reference = self.repository.at(digest)
        found = crane.pull_verified_bundle(self.crane, reference, SIZE, expected=True, **self.how())
        return found.files if found else None

    def push(self, layout: ImageLayout, tag: str) -> None:
        """Push a bundle under a tag, as the base class says."""
        crane.push_layout(self.crane, layout, self.repository.tagged(tag), **self.how())

    def move_latest(self, digest: Digest) -> None:
        """Let `latest` name a bundle."""
        crane.put_tag(self.crane, self.repository.at(digest), LATEST, differs=True, **self.how())

    def wait(self, seconds: float) -> None:
        """Wait."""
        pause(seconds)

    def how(self, step: str | None = None) -> dict[str, Any]:
        """Return what every exchange with the registry is told; `step` is the repository's own where none is named."""
        return {"step": step or self.step, "timeout": self.timeout, "note": self.reporter.note}


def _parse(tag: RecordTag, files: Mapping[str, bytes]) -> Record:
    record = Record.parse(files)
    if record.tag(tag.content) != tag:
        raise ValueError(f"it is the record of {record.ref_name} {record.version}")
    return record
