"""Looks for known vulnerabilities in packages, and judges what is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import __version__, files
from carvelwright.errors import InputError, VulnerableError
from carvelwright.project import paths, vulnerabilities
from carvelwright.session import open_sessions
from carvelwright.steps import dist
from carvelwright.steps import scan as steps
from carvelwright.store import Store
from carvelwright.supply.vulnerabilities import Acceptance, judge
from carvelwright.tools import govulncheck
from carvelwright.uses import freshness

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import GoImage
    from carvelwright.record import ReleaseRecord
    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.supply.vex import Product
    from carvelwright.supply.vulnerabilities import Judged
    from carvelwright.tools.govulncheck import Database

_STEP = "fetch vulnerability database"


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """What is known against an image of a package; `findings` is None for an existing image, which is not scanned.

    `platforms` are those that were scanned. `digest` is that of the image in dist/, None where that is not what the
    sources give now. `vex` is the file of dist/ that states the findings, None where none does.
    """

    package: str
    version: str
    image: str
    platforms: tuple[str, ...]
    digest: Digest | None
    findings: tuple[Judged, ...] | None
    vex: str | None = None

    def product(self) -> Product:
        """Return it as OpenVEX has it."""
        from carvelwright.supply.inventory import image_purl, tagged_purl  # noqa: PLC0415 - only for this
        from carvelwright.supply.vex import Product  # noqa: PLC0415

        purl = image_purl(self.image, self.digest) if self.digest else tagged_purl(self.image, self.version)
        return Product(purl, self.findings or ())


@dataclass(frozen=True, slots=True)
class Scan:
    """What was looked up, in which database, and how old that is in days; None and 0 without any Go image."""

    database: Database | None
    age: int
    images: tuple[ScannedImage, ...]

    def open_findings(self) -> list[Judged]:
        """Return what is reached and not accepted."""
        return [each for image in self.images for each in image.findings or () if each.is_open]

    def openvex(self, images: Sequence[ScannedImage] | None = None) -> bytes:
        """Return what is known against some of the images (None: all) as OpenVEX; InputError without any Go image."""
        from carvelwright.supply.vex import openvex  # noqa: PLC0415 - slow to import

        database = self.database
        if database is None:
            raise InputError("no image is built from Go: there is nothing to state", hint="use --format text or json")
        scanned = self.images if images is None else images
        products = [image.product() for image in scanned if image.findings is not None]
        tool = f"carvelwright {__version__}, govulncheck with golang.org/x/vulndb {database.version}"
        # Not the time of the run: equal data gives an equal document.
        made = database.made.strftime("%Y-%m-%dT%H:%M:%SZ")
        return openvex(products, author="carvelwright", created=made, tool=tool)


def scan(
    root: Path,
    environment: Mapping[str, str],
    reporter: Reporter,
    names: Sequence[str] = (),
    *,
    version: str | None,
    now: dt.datetime,
    max_age: int,
) -> Scan:
    """Look for known vulnerabilities in the Go images of the packages, or of the named ones, in a release.

    From the sources, for every platform of each package. Raises VulnerableError where the database is more than
    `max_age` days old, ConfigError for a wrong package/vulnerabilities.yaml, ToolError where Go cannot compile.

    Where dist/ was built from these sources, what is found of its images is kept there as OpenVEX, for `publish` to
    attest.
    """
    paths.require_project(root)
    store = Store(paths.workspace_root(root))
    with store.in_use():
        sessions = open_sessions(root, environment, reporter, names)
        # What was decided is read first: what is wrong there shows before minutes of work.
        decided = [_acceptances(session.project) for session in sessions]
        compiled = [session for session in sessions if session.project.go_images]
        known = _database(compiled[0], reporter) if compiled else None
        age = known.age(now) if known else 0
        if known and age > max_age:
            raise _too_old(known, age, max_age)
        built = _built(freshness.of_these_sources(store))
        found = [
            image
            for session, accepted in zip(sessions, decided, strict=True)
            for image in _images(session, session.project.release(version), accepted, known, now.date(), built)
        ]
        return _keep(store, Scan(known, age, tuple(found)))


def _keep(store: Store, found: Scan) -> Scan:
    """Put what was found of the images of dist/ there, one document for each image against which something is known."""
    if not any(image.digest and image.findings is not None for image in found.images):
        return found
    with store.locked(wait=True):
        # A build may have replaced dist/ meanwhile: what was found says nothing of what it made from other sources.
        release = freshness.of_these_sources(store)
        if release is None:
            return found
        stated, wanted = [], {}
        for image in found.images:
            name = _vex_file(release, image)
            if name is not None:
                wanted[name] = found.openvex([image]) if image.findings else None
            stated.append(replace(image, vex=name if image.findings else None))
        there = {file.name: files.read_bytes(store.dist / file.name) for file in release.files if file.name in wanted}
        if any(there.get(name) != content for name, content in wanted.items()):
            dist.change(store.dist, release, wanted)
    return replace(found, images=tuple(stated))


def _vex_file(release: ReleaseRecord, image: ScannedImage) -> str | None:
    """Return the file of dist/ for what was found of an image; None for an image that is not there."""
    for package in release.packages:
        made = {each.name: each.reference.digest for each in package.images}
        about = (package.ref_name, package.version) == (image.package, image.version)
        if about and image.digest and made.get(image.image) == image.digest:
            return dist.vex_file(package, image.image)
    return None


def _images(
    session: Session,
    release: Release,
    accepted: Sequence[Acceptance],
    known: Database | None,
    today: dt.date,
    built: Mapping[tuple[str, str, str], Digest],
) -> list[ScannedImage]:
    project, platforms = session.project, session.project.platforms
    name, version = project.ref_name, str(release.version)

    def scanned(image: GoImage, database: Database) -> ScannedImage:
        found = judge(steps.of_image(session, release, image, platforms, database), accepted, today)
        names, digest = tuple(map(str, platforms)), built.get((name, version, image.name))
        return ScannedImage(name, version, image.name, names, digest, found)

    found = [scanned(image, known) for image in project.go_images] if known else []
    others = [
        ScannedImage(name, version, image.name, (), image.reference.digest, None) for image in project.locked_images
    ]
    return [*found, *others]


def _database(session: Session, reporter: Reporter) -> Database:
    required = session.search.requirement(govulncheck.MODULE)
    with reporter.step(_STEP):
        return govulncheck.database(session.find_go(), required, step=_STEP)


def _acceptances(project: Package) -> list[Acceptance]:
    return [
        Acceptance(
            entry["id"],
            entry.get("module"),
            entry["reason"],
            entry["date"],
            entry.get("until"),
            entry.get("justification"),
        )
        for entry in vulnerabilities.load(project.root)
    ]


def _built(release: ReleaseRecord | None) -> dict[tuple[str, str, str], Digest]:
    """Return the digests of the images in dist/, by package, version and name."""
    return {
        (package.ref_name, package.version, image.name): image.reference.digest
        for package in (release.packages if release else ())
        for image in package.images
        if image.reference.digest
    }


def _too_old(known: Database, age: int, max_age: int) -> VulnerableError:
    return VulnerableError(
        f"the vulnerability database is {age} days old",
        details=f"found: {govulncheck.MODULE} {known.version}\nexpected: {max_age} days or less",
        hint=f"upgrade carvelwright, require a newer {govulncheck.MODULE} in a module of `tools`, or raise --max-age",
    )
