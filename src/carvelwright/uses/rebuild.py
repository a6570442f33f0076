"""Builds a released version again from its git tag, and compares the digests with what is published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright import __version__, yamldoc
from carvelwright.catalog.content import SIZE
from carvelwright.errors import CarvelwrightError, FilesystemError, InputError, RegistryError, ToolMissingError
from carvelwright.plan import BuildOptions
from carvelwright.platform import Platform
from carvelwright.project import paths
from carvelwright.rules.released import version_of_tag
from carvelwright.steps import airgap
from carvelwright.supply import provenance
from carvelwright.tools import git, gittree
from carvelwright.uses import incremental
from carvelwright.uses.verify import Finding, Rebuilt, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.record import PackageRecord, ReleaseRecord
    from carvelwright.supply.attestation import Statement
    from carvelwright.uses.remote import Surroundings

_STEP = "rebuild"
_SHOWN = 5
# What is in the way of any build is no fault of the tag.
_NOT_OF_THE_TAG = (RegistryError, FilesystemError, ToolMissingError)


@dataclass(frozen=True, slots=True)
class Published:
    """A version as it is published: its bundle with the files in it, what that locks, its Package, its provenance.

    `bundle` is None where the version fetches none by digest, `made` where no provenance counts.
    """

    ref_name: str
    version: str
    bundle: Digest | None
    files: Mapping[str, bytes]
    locked: Sequence[Digest]
    package: Mapping[str, Any]
    made: Statement | None

    @property
    def about(self) -> str:
        """What findings call it."""
        return f"{self.ref_name} {self.version}"


def require_clone(around: Surroundings) -> None:
    """Refuse, before any work, a directory that holds no package project in a git repository: InputError."""
    paths.require_project(around.root)
    if not git.is_in_repository(top := paths.workspace_root(around.root)):
        raise InputError(
            f"nothing to rebuild from: {top} is in no git repository",
            hint="run the command in a clone of the project that has the tag, or name one with --project DIR",
        )


@dataclass(slots=True)
class Rebuild:
    """Builds versions again in a scratch directory, one after the other; `findings` is what is wrong."""

    around: Surroundings
    scratch: Path
    findings: list[Finding] = field(default_factory=list)
    same: list[Rebuilt] = field(default_factory=list)

    def version(self, published: Published) -> None:
        """Build a version again and compare it. Raises what is in the way of any build, such as a missing tool."""
        if published.bundle is None:
            self._find(published, "its Package fetches no bundle by digest, so there is nothing to compare")
            return
        tag = self._tag_of(published)
        if tag is None:
            self._find(
                published,
                f"no git tag names it, so it cannot be rebuilt: tag the commit that it was built from with "
                f"{published.version}, or fetch the tags: git fetch --tags",
            )
            return
        commit = gittree.commit_of(self._top, f"refs/tags/{tag}", self.around.environment)
        try:
            root, release = self._build(published, commit)
        except _NOT_OF_THE_TAG:
            raise
        except CarvelwrightError as error:
            self._find(published, f"the tree of tag {tag} cannot be built: {words(error)}")
            return
        self._compare(published, tag, commit, root, release)

    @property
    def _top(self) -> Path:
        return paths.workspace_root(self.around.root)

    def _tag_of(self, published: Published) -> str | None:
        """Return the tag of a version, rather with the package's name in it than without."""
        short_name, alone = published.ref_name.partition(".")[0], len(paths.members(self._top)) <= 1
        tags = git.open_repository(self._top, self.around.environment).tags()
        found = [tag for tag in tags if version_of_tag(tag, short_name, alone=alone) == published.version]
        return max(found, key=lambda tag: (short_name in tag, tag), default=None)

    def _build(self, published: Published, commit: str) -> tuple[Path, ReleaseRecord]:
        """Build a version in a clean tree of a commit, as its provenance says that it was built."""
        tree = self.scratch / "rebuild" / published.ref_name / "tree"
        tree.parent.mkdir(parents=True)
        if not gittree.export(self._top, commit, tree, self.around.environment):
            raise InputError("it has no such directory")
        said = _Said(published.made)
        environment = {name: text for name, text in self.around.environment.items() if name != "SOURCE_DATE_EPOCH"}
        if said.epoch:
            environment["SOURCE_DATE_EPOCH"] = said.epoch
        options = BuildOptions(published.version, said.platforms)
        with self.around.reporter.step(f"{_STEP} {published.about}"):
            built = incremental.build(tree, options, environment, self.around.reporter, names=[published.ref_name])
        return tree, built.release

    def _compare(self, published: Published, tag: str, commit: str, root: Path, release: ReleaseRecord) -> None:
        (package,) = release.packages
        made = _digest(package)
        different = list(_differences(published, package, root / "dist", release))
        if not different:
            self.same.append(Rebuilt(published.about, tag, commit, made))
            return
        for message in different:
            self._find(published, f"rebuilt from tag {tag}, {message}")
        if reasons := list(_Said(published.made).reasons(commit, release)):
            self._find(published, f"what the provenance says was different: {'; '.join(reasons)}")

    def _find(self, published: Published, message: str) -> None:
        self.findings.append(Finding(published.about, message))


def _differences(published: Published, package: PackageRecord, dist: Path, release: ReleaseRecord) -> Iterator[str]:
    subjects = published.made.subjects if published.made else {}
    for image in package.images:
        digest = image.reference.digest
        if digest not in published.locked:
            known = (
                f"{subjects[image.name]} is published" if image.name in subjects else "the bundle locks no such image"
            )
            yield f"image {image.name} is {digest}, and {known}"
    if _digest(package) != published.bundle:
        _, bundles = airgap.read_bundles(dist / release.archive, SIZE)
        made = bundles[_digest(package)]
        names = sorted(name for name in {*made, *published.files} if made.get(name) != published.files.get(name))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        where = f": {', '.join(names[:_SHOWN])}{more} differ" if names else ""
        yield f"the bundle is {_digest(package)}, and {published.bundle} is published{where}"
        # The Package names the bundle.
        return
    document = yamldoc.load(dist / package.file).data
    if provenance.package_subject(document) != provenance.package_subject(published.package):
        yield "the Package is another one than the published"


@dataclass(frozen=True, slots=True)
class _Said:
    """What the provenance of a version says of how it was built; nothing where there is none, or it says nothing."""

    made: Statement | None

    def _part(self, *names: str) -> Any:
        found: Any = self.made.predicate if self.made else None
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    @property
    def epoch(self) -> str:
        """SOURCE_DATE_EPOCH, empty where it was not set."""
        return str(self._part("buildDefinition", "internalParameters", "SOURCE_DATE_EPOCH") or "")

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that were built; empty for all of the package."""
        named = self._part("buildDefinition", "externalParameters", "platforms")
        try:
            return tuple(Platform.parse(str(each)) for each in named or ())
        except (ValueError, TypeError):
            return ()

    def reasons(self, commit: str, release: ReleaseRecord) -> Iterator[str]:
        """Yield how the published build differs from the one that was made now, as far as the provenance says."""
        source = self._part("buildDefinition", "externalParameters", "source", "digest", "gitCommit")
        if source and source != commit:
            yield f"it was built from commit {source}, and the tag names {commit}"
        if self._is_dirty():
            yield "files differed from the commit"
        address = self._part("buildDefinition", "externalParameters", "address")
        if address and address != str(release.registry):
            yield f"it was built under {address}, and the tree names {release.registry}"
        here = {**release.tools, "carvelwright": __version__}
        parts = (
            self._part("buildDefinition", "internalParameters", "tools"),
            self._part("runDetails", "builder", "version"),
        )
        there = {name: version for part in parts if isinstance(part, dict) for name, version in part.items()}
        for name in sorted(there):
            if there[name] != here.get(name):
                yield f"{name} was {there[name]}, and is {here.get(name, 'not used')}"

    def _is_dirty(self) -> bool:
        dependencies = self._part("buildDefinition", "resolvedDependencies")
        first = dependencies[0] if isinstance(dependencies, list) and dependencies else None
        notes = first.get("annotations") if isinstance(first, dict) else None
        return isinstance(notes, dict) and bool(notes.get("dirty"))


def _digest(package: PackageRecord) -> Digest:
    if package.bundle.digest is None:
        raise AssertionError(f"a record without a digest: {package.bundle}")
    return package.bundle.digest
