"""What must hold after a round, whoever was killed when, and whatever the registry did."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.torture.projects import without_address
from tests.torture.publishers import KILLED
from tests.torture.reader import record_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.torture.projects import Key, Pool
    from tests.torture.publishers import Publisher
    from tests.torture.reader import Holding, Reader

_CODES = {0, 6, 7, KILLED}


REFUSED = "which was refused"


class Place(StrEnum):
    """How a package repository lies in its registry.

    With paths of its own for packages and images, or all in a single OCI repository; or where no tags are listed, so
    that publishers work one at a time, and clients follow `latest`.
    """

    PATHS = "paths"
    SINGLE = "single"
    UNLISTED = "unlisted"


@dataclass
class Ledger:
    """What has happened in one package repository so far, over all of its rounds.

    `finished` are the contents that a publisher ended well with, `tried` those that any publisher had, `refused` those
    that one was told exit code 7 about, since another content was published. `open` may become visible or not: their
    publishers were killed or failed, or found several contents recorded, one of which a publisher that looked before
    may still make visible.
    """

    path: str
    place: Place = Place.PATHS
    finished: dict[Key, set[str]] = field(default_factory=dict)
    tried: dict[Key, set[str]] = field(default_factory=dict)
    refused: dict[Key, set[str]] = field(default_factory=dict)
    open: dict[Key, set[str]] = field(default_factory=dict)

    @property
    def packages(self) -> str:
        """The OCI repository of the package repository."""
        return self.path if self.place is Place.SINGLE else f"{self.path}/package-repository"

    def content(self, ref_name: str) -> str:
        """Return the OCI repository of a package's content."""
        return self.path if self.place is Place.SINGLE else f"{self.path}/{ref_name}"

    def note(self, publisher: Publisher) -> None:
        """Remember how a publisher ended. What is neither finished nor refused may have become visible, or not."""
        refused = publisher.refused()
        for key in publisher.keys:
            content = publisher.build.content
            self.tried.setdefault(key, set()).add(content)
            if publisher.code == 0:
                self.finished.setdefault(key, set()).add(content)
            elif key == refused and not publisher.contested:
                self.refused.setdefault(key, set()).add(content)
            else:
                self.open.setdefault(key, set()).add(content)


@dataclass(frozen=True)
class Judge:
    """Looks at a package repository in a registry; every method yields what is wrong."""

    pool: Pool
    reader: Reader
    ledger: Ledger
    address: str

    def holding(self) -> Holding:
        """Read the package repository as its clients can."""
        return self.reader.holding(self.ledger.packages, listed=self.ledger.place is not Place.UNLISTED)

    def outcomes(self, publishers: Sequence[Publisher]) -> Iterator[str]:
        """Look at how publishers ended."""
        for each in publishers:
            if each.code not in _CODES or "Traceback" in "".join(each.written[-1]):
                yield f"{each.root.name} ended with {each.code}: {each.written[-1]}"
            if each.code == 7 and each.refused() is None:
                yield f"{each.root.name} does not say which version was refused: {each.written[-1]}"

    def visible(self, publishers: Sequence[Publisher], holding: Holding) -> Iterator[str]:
        """Look at those who failed since `latest` stayed where it was: what they published is in the revision.

        Where no tags are listed `latest` is all there is, and it is read first: who cannot read it has not published.
        """
        if self.ledger.place is Place.UNLISTED:
            return
        for each in publishers:
            if each.code == 6 and each.latest_stayed:
                yield from (
                    f"{key} is recorded, and not in {holding.highest}: {each.written[-1][0]}"
                    for key in each.keys - holding.followed().keys()
                )

    def state(self, holding: Holding) -> Iterator[str]:
        """Look at all revisions: what they hold is right to the byte, and nothing that was refused was ever visible."""
        contents = {key: self.pool.contents(key) for key in self.ledger.tried}
        for tag in holding.digests:
            for key, package in holding.packages(tag).items():
                yield from self._package(f"revision {tag}", key, package, contents)
        if holding.latest is not None and holding.latest not in holding.digests.values():
            yield f"latest is {holding.latest}, which no revision is"
        for key, finished in self.ledger.finished.items():
            if len(finished) > 1:
                yield f"{key} was published with several contents: {finished}"

    def missing(self, holding: Holding) -> list[Key]:
        """Return the versions that were published, and which clients do not see, or see with other content."""
        followed = holding.followed()
        return [
            key
            for key, finished in self.ledger.finished.items()
            if key not in followed or {self._content(key, followed[key])} != finished
        ]

    def converged(self, holding: Holding) -> Iterator[str]:
        """Look at what one more publisher, whom nothing disturbed, has left."""
        highest = holding.highest
        if highest is None or holding.latest != holding.digests[highest]:
            yield f"latest is {holding.latest}, the highest revision is {highest}"
        yield from (f"{key} is missing from {highest}" for key in self.missing(holding))
        followed, ever = holding.followed(), {key for tag in holding.digests for key in holding.packages(tag)}
        keys = {record_key(key): key for key in self.ledger.tried}
        for short, records in holding.records.items():
            key = keys.get(short)
            if key is None:
                yield f"records of a version that nobody published: {records}"
            elif key not in followed and (key in ever or len(records) == 1):
                yield f"{key} has {len(records)} records, and is missing from {highest}"
        for name in {ref_name for ref_name, _ in followed}:
            if f"packages/{name}/metadata.yml" not in holding.files[holding.latest or ""]:
                yield f"{name} has no metadata"

    def fetchable(self, holding: Holding) -> Iterator[str]:
        """Look at whether all that clients fetch is there, and has a tag that keeps it there."""
        if holding.highest is None:
            return
        tags: dict[str, set[str]] = {}
        for (name, version), package in holding.followed().items():
            digest = without_address(package)[1].partition("@")[2]
            known = tags.setdefault(name, set(self.reader.tags(self.ledger.content(name))))
            if f"{digest.replace(':', '-')}.imgpkg" not in known:
                yield f"the bundle {digest} of {name} {version} has no tag of its own"
        try:
            self.reader.copy_all(self.ledger.packages, holding.digests[holding.highest])
        except AssertionError as error:
            yield f"imgpkg copies not all of {holding.highest}: {error}"

    def _package(self, where: str, key: Key, package: bytes, known: dict[Key, dict[bytes, str]]) -> Iterator[str]:
        plain, reference = without_address(package)
        content = known.get(key, {}).get(plain)
        if content is None or content not in self.ledger.tried.get(key, ()):
            yield f"{where} holds a {key} that nobody published"
            return
        if reference.partition("@")[0] != f"{self.address}/{self.ledger.content(key[0])}":
            yield f"{where} fetches {key} from {reference}"
        others = self.ledger.open.get(key, set()) | self.ledger.finished.get(key, set())
        if content in self.ledger.refused.get(key, set()) - others:
            yield f"{where} holds {key} with content {content}, {REFUSED}"

    def _content(self, key: Key, package: bytes) -> str:
        return self.pool.contents(key).get(without_address(package)[0], "unknown")
