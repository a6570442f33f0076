"""Compares two versions of a package: values schema, images, manifests for sample values, rights."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import bounds, files, jsondoc, yamldoc
from carvelwright.carvel import resources
from carvelwright.catalog.places import Places
from carvelwright.catalog.tags import LATEST, Revision
from carvelwright.compare import images, manifests, rights
from carvelwright.compare.changes import Change, Judgement, Kind
from carvelwright.compare.comparison import Compared, Comparison, Gap
from carvelwright.compare.schema import schema_changes
from carvelwright.errors import CarvelwrightError, ConfigError, FilesystemError, InputError, UsageError
from carvelwright.project import config, paths
from carvelwright.record import ReleaseRecord
from carvelwright.session import Session, lone_search, open_session
from carvelwright.steps import contents, dist, render
from carvelwright.steps.contents import ArchiveContents, RegistryContents
from carvelwright.store import Store
from carvelwright.tools import gittree, toolchain, ytt
from carvelwright.tools.tags import list_tags
from carvelwright.uses import operands, sides
from carvelwright.uses.operands import OfPath, OfRegistry, OfRelease, OfRevision
from carvelwright.uses.sides import IMAGES, MANIFESTS, Reading, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.compare.manifests import Manifest
    from carvelwright.errors import Problem
    from carvelwright.report import Reporter
    from carvelwright.tools.toolchain import Search, Toolchain
    from carvelwright.uses.operands import Operand

_RIGHTS = "rights"
_DEFAULTS = "default values"
_STEP = "read published repository"


@dataclass(frozen=True, slots=True)
class Request:
    """What is compared, and how: the operands as the user names them, `samples` are values files to render with.

    Without samples, those in `package/renders` of the project. `timeout` is of one registry operation, in seconds.
    """

    old: str
    new: str
    package: str | None = None
    samples: tuple[Path, ...] = ()
    timeout: float = 900.0


def diff(root: Path, request: Request, environment: Mapping[str, str], reporter: Reporter) -> Comparison:
    """Compare two versions of a package; `root` is the project's directory, if there is one.

    UsageError for operands that name nothing, and the errors of what they are read from.
    """
    named = [_operand(text) for text in (request.old, request.new)]
    with contextlib.ExitStack() as held:
        if _is_project(root):
            held.enter_context(Store(paths.workspace_root(root)).in_use())
        scratch = held.enter_context(files.temporary_directory(Path(tempfile.gettempdir()), "carvelwright."))
        search = lone_search(root, environment)
        toolchain.install(search, reporter)
        reader = _Reader(root, request, search, toolchain.find(search), reporter, scratch, held)
        old, new = (reader.read(operand, name) for operand, name in zip(named, ("old", "new"), strict=True))
        _require_same_package(request, old, new)
        return _compared(request, old, new, reader.samples())


def _operand(text: str) -> Operand:
    try:
        return operands.parse(text)
    except ValueError as error:
        raise UsageError(
            f"cannot compare {text!r}: {error}",
            hint="name a VERSION of package/releases, git:REVISION, registry:REGISTRY/PATH[@VERSION], or a path",
        ) from None


def _is_project(root: Path) -> bool:
    return (root / paths.WORKSPACE_FILE).is_file() or (root / config.BUILD_FILE).is_file()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads operands into sides; both are rendered by the tools of the project at `root`."""

    root: Path
    request: Request
    search: Search
    tools: Toolchain
    reporter: Reporter
    scratch: Path
    held: contextlib.ExitStack

    def read(self, operand: Operand, name: str) -> Side:
        """Return what an operand names; `name` is of the directory for what is written."""
        with self.reporter.step(f"read {name}"):
            match operand:
                case OfRelease(version):
                    return self._project(self.root, version)
                case OfRevision(revision):
                    with _places_as_git_has_them(self.scratch / name / "tree", revision):
                        return self._project(self._exported(revision, name), None)
                case OfRegistry():
                    return self._published(operand, name)
                case OfPath(path):
                    return self._path(self.root / path, path, name)

    def samples(self) -> list[tuple[str, Path]]:
        """Return copies of the values files to render with, by name: a pipe can be read once, and there are two."""
        given = self.request.samples
        if not given and _is_project(self.root):
            given = self._session(self.root).project.renders
        names = [sample.name for sample in given]
        found = []
        for number, sample in enumerate(given):
            content = files.read_bytes(sample, bounds.STREAM.size)
            copy = self.scratch / "samples" / str(number) / f"{sample.stem}.yaml"
            render.check_bounds({sample.with_suffix(".yaml"): content})
            files.write_file(copy, content)
            found.append((sample.name if names.count(sample.name) == 1 else str(sample), copy))
        return found

    def _session(self, root: Path) -> Session:
        session = open_session(root, self.search.environment, self.reporter, self.request.package)
        return replace(session, search=self.search)

    def _project(self, root: Path, version: str | None) -> Side:
        return sides.of_project(self._session(root), self.tools, version, self.held)

    def _exported(self, revision: str, name: str) -> Path:
        """Return where the project of a git revision is now: the whole workspace, which its packages need."""
        paths.require_project(self.root)
        top, target = paths.workspace_root(self.root), self.scratch / name / "tree"
        target.parent.mkdir()
        commit = gittree.commit_of(top, revision, self.search.environment)
        there = target / self.root.resolve().relative_to(top.resolve())
        if not gittree.export(top, commit, target, self.search.environment) or not _is_project(there):
            raise InputError(
                f"git revision {revision!r} has no package project in {self.root}",
                hint="compare with a revision that has one; a package that is new has nothing to be compared with",
            )
        return there

    def _published(self, operand: OfRegistry, name: str) -> Side:
        repository, timeout, note = operand.repository, self.request.timeout, self.reporter.note
        found = published(self.tools, operand, timeout, self.reporter)
        package = sides.choose(found, self.request.package, operand.version, f"registry:{repository}")
        bundle = resources.bundle_or_none(package)
        near = (*((bundle.repository,) if bundle else ()), Places(repository).packages, repository)
        return self._package(package, RegistryContents(self.tools.crane, near, timeout, note), name)

    def _path(self, path: Path, named: Path, name: str) -> Side:
        if not path.exists():
            raise UsageError(
                f"cannot compare {str(named)!r}: no such file or directory",
                hint="name a VERSION of package/releases, git:REVISION, registry:REGISTRY/PATH[@VERSION], or a path",
            )
        if not path.is_dir():
            return self._file(path, name)
        if (path / dist.RELEASE_FILE).is_file():
            return self._dist(path, name)
        return self._project(path, None)

    def _dist(self, path: Path, name: str) -> Side:
        record = _record(path)
        loaded = [yamldoc.load(path / package.file).data for package in record.packages]
        packages = [document for document in loaded if contents.is_package(document)]
        package = sides.choose(packages, self.request.package, None, str(path))
        built = next(each for each in record.packages if each.ref_name == package["spec"]["refName"])
        rules = jsondoc.parse(files.read_bytes((path / built.default_values).parent / "values.schema.json"))
        return self._package(package, ArchiveContents.open(path / built.archive), name, rules)

    def _file(self, path: Path, name: str) -> Side:
        with files.reporting_file_errors("read", path), path.open("rb") as stream:
            head = stream.read(512)
        if b"ustar" in head or b"\0" in head:
            archive = ArchiveContents.open(path)
            found = contents.packages_in(archive.outermost())
            return self._package(sides.choose(found, self.request.package, None, str(path)), archive, name)
        content = files.read_bytes(path, bounds.FILE.size)
        document = None if b"data/values-schema" in content else yamldoc.parse(yamldoc.decode(content, path), path).data
        if document is None or not contents.is_package(document):
            return sides.of_schema(path, content, self.tools)
        fetched = RegistryContents(self.tools.crane, (), self.request.timeout, self.reporter.note)
        return self._package(document, fetched, name, may_fail=True)

    def _package(
        self,
        package: Mapping[str, Any],
        where: contents.Contents,
        name: str,
        rules: Mapping[str, Any] | None = None,
        *,
        may_fail: bool = False,
    ) -> Side:
        def find_helm() -> Any:
            return toolchain.find_helm(self.search, self.reporter)

        target = self.scratch / name / "bundle"
        target.mkdir(parents=True)
        return sides.of_package(package, Reading(self.tools, find_helm, target, where, rules, may_fail))


@contextlib.contextmanager
def _places_as_git_has_them(tree: Path, revision: str) -> Iterator[None]:
    """Let errors name a file as `git show` takes it, not where a copy of it was for a moment."""
    try:
        yield
    except CarvelwrightError as error:
        error.message = error.message.replace(str(tree), f"git:{revision}")
        if isinstance(error, ConfigError):
            error.problems = tuple(_placed(problem, tree, revision) for problem in error.problems)
        raise


def _placed(problem: Problem, tree: Path, revision: str) -> Problem:
    place = problem.location
    if place is None or not place.file.is_relative_to(tree):
        return problem
    named = Path(f"{revision}:{place.file.relative_to(tree).as_posix()}")
    return replace(problem, location=replace(place, file=named))


def published(tools: Toolchain, operand: OfRegistry, timeout: float, reporter: Reporter) -> list[dict[str, Any]]:
    """Return the Packages that clients see at REGISTRY/PATH, or where that is a package repository itself."""
    fetched = RegistryContents(tools.crane, (), timeout, reporter.note)
    for place in (Places(operand.repository).packages, operand.repository):
        tags = list_tags(tools.crane, place, step=_STEP, timeout=timeout, note=reporter.note)
        highest = Revision.highest(tags or ())
        reference = place.tagged(highest.tag if highest else LATEST)
        try:
            found = fetched.bundle(reference)
        except ValueError as error:
            raise InputError(
                f"{reference} is no package repository: {error}", hint="name one that was published"
            ) from None
        if found is not None:
            return contents.packages_in(found)
    raise InputError(
        f"no package repository at {Places(operand.repository).packages}",
        hint="name the REGISTRY/PATH that was given to `carvelwright publish`",
    )


def _record(path: Path) -> ReleaseRecord:
    try:
        record = ReleaseRecord.parse(files.read_bytes(path / dist.RELEASE_FILE))
    except ValueError as error:
        raise _not_built(path, str(error)) from None
    if not dist.is_whole(path):
        raise _not_built(path, "a file of SHA256SUMS is missing or changed, or another was added")
    return record


def _not_built(path: Path, why: str) -> FilesystemError:
    return FilesystemError(
        f"{path} is not what a build made: {why}",
        path=path,
        hint="build again, or name a dist/ directory that `carvelwright build` made",
    )


def _require_same_package(request: Request, old: Side, new: Side) -> None:
    if None not in (old.ref_name, new.ref_name) and old.ref_name != new.ref_name:
        raise UsageError(
            "these are two packages",
            details=f"found: {old.ref_name} in {request.old}\nfound: {new.ref_name} in {request.new}",
            hint="name two versions of one package, or choose one with --package NAME",
        )


def _compared(request: Request, old: Side, new: Side, samples: Sequence[tuple[str, Path]]) -> Comparison:
    pair = [(request.old, old), (request.new, new)]
    gaps = [
        Gap(part, f"{name}: {side.lacking[part]}")
        for part in (IMAGES, MANIFESTS)
        for name, side in pair
        if part in side.lacking
    ]
    changes = _values(request, old, new)
    listed = None
    if old.images is not None and new.images is not None:
        listed = images.image_changes(old.images, new.images)
    objects, allowed = None, None
    if old.render and new.render:
        rendered = _Rendered(request, old, new)
        found = rendered.all(samples)
        objects = manifests.object_changes(found)
        allowed = rights.rights_changes(*(itertools.chain(*(both[side] for both in found.values())) for side in (0, 1)))
        gaps += rendered.gaps
        changes += rendered.refused
    else:
        gaps += [Gap(_RIGHTS, "they are read from the manifests")]
    before, after = (Compared(name, side.version) for name, side in pair)
    return Comparison(
        old.ref_name or new.ref_name, before, after, tuple(changes), listed, objects, allowed, tuple(gaps)
    )


def _values(request: Request, old: Side, new: Side) -> list[Change]:
    """Compare with the rules that only JSON Schema says where both have them, or else what the Packages carry."""
    ruled = old.rules is not None and new.rules is not None
    before, after = (side.rules if ruled else side.openapi for side in (old, new))
    try:
        return list(schema_changes(before, after, patterns=ruled))
    except ValueError as error:
        raise InputError(
            f"the values schemas of {request.old} and {request.new} cannot be compared: {error}",
            hint="correct that part of the schema",
        ) from None


class _Rendered:
    """Both versions rendered with sample values; collects what was refused."""

    def __init__(self, request: Request, old: Side, new: Side) -> None:
        self._named = [(request.old, old), (request.new, new)]
        self.gaps: list[Gap] = []
        self.refused: list[Change] = []

    def all(self, samples: Sequence[tuple[str, Path]]) -> dict[str, tuple[list[Manifest], list[Manifest]]]:
        """Return the objects of both by the name of the values; without those that one of them refuses."""
        found = {}
        for name, sample in [(_DEFAULTS, None), *samples]:
            old, new = (self._render(side, sample) for _, side in self._named)
            if isinstance(old, CarvelwrightError) or isinstance(new, CarvelwrightError):
                self._note(name, old, new)
            else:
                found[name] = (old, new)
        return found

    def _note(
        self, name: str, old: list[Manifest] | CarvelwrightError, new: list[Manifest] | CarvelwrightError
    ) -> None:
        for (source, _), outcome in zip(self._named, (old, new), strict=True):
            if isinstance(outcome, CarvelwrightError):
                self.gaps.append(Gap(MANIFESTS, f"{name}, with {source}: {sides.readable(outcome)}"))
        if isinstance(new, CarvelwrightError) and not isinstance(old, CarvelwrightError):
            reason = f"{name} are refused now: {sides.readable(new)}"
            self.refused.append(Change(Kind.REFUSED, "", Judgement.BREAKING, reason))

    @staticmethod
    def _render(side: Side, sample: Path | None) -> list[Manifest] | CarvelwrightError:
        try:
            return _objects(_render(side, sample))
        except InputError as error:
            return error


def _render(side: Side, sample: Path | None) -> bytes:
    if side.render is None:
        raise InputError("it cannot be rendered", hint="compare versions that can")
    try:
        return side.render(sample, validate=True)
    except CarvelwrightError as error:
        # With values that every user has to give, the defaults are refused: they still show what is installed.
        if sample is not None or not ytt.is_invalid(error):
            raise
    return side.render(None, validate=False)


def _objects(rendered: bytes) -> list[Manifest]:
    return [each for each in yamldoc.load_all_text(rendered.decode(), Path("manifests")) if isinstance(each, dict)]
