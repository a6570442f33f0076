"""Publishers that work on one package repository in memory, one call to the registry at a time, in any order."""

from __future__ import annotations

import io
import tarfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carvelwright import jsondoc, yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog import content
from carvelwright.catalog.foreign import documents_of
from carvelwright.catalog.records import Action, Record, metadata_file, package_file
from carvelwright.catalog.tags import LATEST, RecordTag, Revision
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError
from carvelwright.oci.bundle import write_bundle
from carvelwright.reference import Reference, Repository
from carvelwright.report import StreamReporter
from carvelwright.steps.published import PackageRepository
from carvelwright.uses.converge import Settled, converge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from carvelwright.catalog.content import Catalog
    from carvelwright.oci.layout import ImageLayout
    from carvelwright.store import Store

WHERE = Repository.parse("r.example.com/p/package-repository")
_LOCK = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"


def package(ref_name: str, version: str, notes: str = "") -> bytes:
    """Return a Package; other notes are other content, in another bundle."""
    bundle = bundle_of(ref_name, version, notes)
    document = resources.package(
        ref_name,
        PackageVersion.parse(version),
        released_at="2026-11-01T00:00:00Z",
        release_notes=notes,
        static={},
        values_schema={},
        bundle=bundle,
    )
    return yamldoc.dump(document).encode()


def bundle_of(ref_name: str, version: str, notes: str = "") -> Reference:
    """Return the bundle of a Package."""
    return Repository.parse(f"r.example.com/p/{ref_name}").at(Digest.of_bytes(f"{ref_name} {version} {notes}".encode()))


def metadata(ref_name: str, name: str = "") -> bytes:
    """Return a PackageMetadata."""
    return yamldoc.dump(resources.package_metadata(ref_name, {"displayName": name or ref_name})).encode()


def release(ref_name: str, version: str, notes: str = "", name: str = "") -> Record:
    """Return the record of a release."""
    return Record(
        ref_name,
        version,
        Action.RELEASE,
        0,
        package(ref_name, version, notes),
        metadata(ref_name, name),
        bundle_of(ref_name, version, notes),
        "2026-11-01T00:00:00Z",
    )


def mark(of: Record, action: Action, number: int, text: str = "") -> Record:
    """Return a mark of a release: `text` is its reason, or the name in its metadata."""
    if action is Action.METADATA:
        return Record(of.ref_name, of.version, action, number, None, metadata(of.ref_name, text), None)
    shown = of.package
    if action is Action.DEPRECATE:
        (document,) = documents_of("package.yml", of.package or b"")
        shown = yamldoc.dump(resources.deprecated(document, text)).encode()
    return Record(of.ref_name, of.version, action, number, shown, None, of.bundle, of.released_at, text)


def tag_of(record: Record, scratch: Path) -> RecordTag:
    """Return the tag under which a record is pushed."""
    return record.tag(write_bundle(record.files(), scratch / "tag-of").digest)


@dataclass
class Registry:
    """One OCI repository: its tags, and its bundles by digest. Each call on it takes effect at once.

    Where it lists tags in pages, a name is on the first one or on the second, which is read later.
    """

    tags: dict[str, Digest] = field(default_factory=dict)
    bundles: dict[Digest, dict[str, bytes]] = field(default_factory=dict)
    lists: bool = True
    on_second_page: Callable[[str], bool] | None = None

    @property
    def highest(self) -> Revision | None:
        """The revision that clients follow."""
        return Revision.highest(self.tags)

    def catalog(self) -> Catalog:
        """Return what clients see."""
        highest = self.highest
        if highest is None:
            return content.Catalog()
        return content.read(self.bundles[self.tags[highest.tag]])

    def put(self, files: Mapping[str, bytes], *tags: str) -> Digest:
        """Put a bundle there, as others do."""
        digest = Digest.of_bytes(repr(sorted(files.items())).encode())
        self.bundles[digest] = dict(files)
        self.tags |= dict.fromkeys(tags, digest)
        return digest


@dataclass
class InMemory(PackageRepository):
    """The package repository as one publisher meets it; `turn` gets each call to the registry before it is made."""

    registry: Registry
    store: Store
    turn: Callable[[str], None] = lambda _: None
    repository: Repository = WHERE
    timeout: float = 600.0
    log: io.StringIO = field(default_factory=io.StringIO)
    step: str = "push repository"
    _read: dict[Digest, Mapping[str, bytes]] = field(default_factory=dict)
    _parsed: dict[Digest, Catalog] = field(default_factory=dict)
    _records: dict[RecordTag, Record | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reporter = StreamReporter(self.log)

    def list_tags(self) -> frozenset[str] | None:
        self.turn("list")
        late = self.registry.on_second_page
        if late is None:
            return frozenset(self.registry.tags) if self.registry.lists else None
        first = {tag for tag in self.registry.tags if not late(tag)}
        self.turn("list on")
        return frozenset(first | {tag for tag in self.registry.tags if late(tag)})

    def digests_of(self, *tags: str | None) -> list[Digest | None]:
        return [self._digest_of(tag) if tag else None for tag in tags]

    def _digest_of(self, tag: str) -> Digest | None:
        self.turn(f"digest {tag}")
        return self.registry.tags.get(tag)

    def pull(self, digest: Digest) -> Mapping[str, bytes] | None:
        # What has a digest never changes, so it does not matter when it is read.
        return self.registry.bundles.get(digest)

    def push(self, layout: ImageLayout, tag: str) -> None:
        files = unpacked(layout)
        self.turn(f"push {tag}")
        self.registry.bundles[layout.digest] = files
        self.registry.tags[tag] = layout.digest

    def move_latest(self, digest: Digest) -> None:
        self.turn("tag latest")
        self.registry.tags[LATEST] = digest

    def wait(self, seconds: float) -> None:  # noqa: ARG002 - time is what the others do
        self.turn("wait")


def unpacked(layout: ImageLayout) -> dict[str, bytes]:
    """Return the files of a bundle's layout."""

    def blob(digest: str) -> bytes:
        return (layout.directory / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()

    (layer,) = jsondoc.parse(blob(str(layout.digest)))["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"])), mode="r:gz") as tar:
        return {member.name: stream.read() for member in tar if member.isfile() and (stream := tar.extractfile(member))}


class Killed(BaseException):
    """The end of a publisher that is killed: nothing catches it."""


@dataclass
class Publisher:
    """A publisher, which stops before each call to the registry until it is let on.

    `following` is that call. `killed_at` is the number of the call that it does not come to any more; None where it
    comes to its end. `settled` is what it returned, `error` how it failed; neither where it was killed.
    """

    registry: Registry
    store: Store
    records: Sequence[Record]
    killed_at: int | None = None
    settled: Settled | None = None
    error: CarvelwrightError | None = None
    pushed: dict[RecordTag, Record] = field(default_factory=dict)
    ended: bool = False
    following: str = ""
    crash: BaseException | None = None
    _calls: int = 0

    def __post_init__(self) -> None:
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def let_on(self) -> None:
        """Let it make one call to the registry, and come to the next one or to its end."""
        if not self.ended:
            self._go.release()
            self._stopped.acquire()
            if self.crash:
                raise self.crash

    def _turn(self, call: str) -> None:
        self.following = call
        self._stopped.release()
        self._go.acquire()
        self._calls += 1
        if self._calls == self.killed_at:
            raise Killed

    def _run(self) -> None:
        try:
            self._publish(InMemory(self.registry, self.store, self._turn))
        except Killed:
            pass
        except CarvelwrightError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.crash = error
        finally:
            self.ended = True
            self._stopped.release()

    def _publish(self, repository: PackageRepository) -> None:
        """Do as `carvelwright publish` does, whose content is there already."""
        for record in self.records:
            self.pushed[repository.push_record(record)] = record
        self.settled = converge(repository, self.pushed)


@dataclass
class OlderPublisher(Publisher):
    """A publisher of a former carvelwright: it knows only `latest`, reads it, adds its version and writes it."""

    def _publish(self, repository: PackageRepository) -> None:  # noqa: ARG002 - it knows nothing of it
        self._turn("read latest")
        held = self.registry.tags.get(LATEST)
        files = dict(self.registry.bundles[held]) if held else {locks.IMAGES_LOCK: _LOCK}
        for record in self.records:
            files[package_file(record.ref_name, record.version)] = record.package or b""
            files[metadata_file(record.ref_name)] = record.metadata or b""
        self._turn("write latest")
        self.registry.put(files, LATEST)
