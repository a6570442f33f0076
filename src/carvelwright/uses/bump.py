"""Raises the version of the packaged software: the pin, a stub of the release, and what changed upstream."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files, upstream, yamldoc
from carvelwright.carvel.version import PackageVersion
from carvelwright.errors import FilesystemError, InputError, Location, UsageError
from carvelwright.process import interrupts_wait
from carvelwright.project import config, paths, vendored
from carvelwright.project.config import Release
from carvelwright.session import at_work
from carvelwright.store import Store
from carvelwright.tools import gomod, gorequire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.project.config import Package, UpstreamModule
    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.tools.tool import Tool
    from carvelwright.upstream.facts import Facts

_STEP = "raise the pin"
_INCOMPATIBLE = "+incompatible"
# What YAML reads as text without quotes.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9-]*\.[A-Za-z0-9.-]*[A-Za-z0-9]")
_NUMBER = re.compile(r"(?<=[.-])[0-9]+|^[0-9]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to raise to: `version` None is the newest that the proxy lists, `revision` None the first like the last.

    `released_at` is UTC text such as 2026-11-23T00:00:00Z. With `dry_run` nothing is changed.
    """

    released_at: str
    version: str | None = None
    revision: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was raised, from which version to which; `release` is the new release, None where nothing is newer.

    `copied` are new directories of Go modules, `raised` go.mod files, both relative to the package's directory.
    """

    module: str
    old: str
    new: str
    release: str | None
    copied: tuple[str, ...]
    raised: tuple[str, ...]
    changes: tuple[upstream.Change, ...]
    notes: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file of the new release, below the package's directory."""
        return f"{paths.RELEASES_DIRECTORY}/{self.release}.yaml"


def bump(
    root: Path, environment: Mapping[str, str], reporter: Reporter, wanted: Wanted, *, package: str | None = None
) -> Outcome:
    """Raise a package's upstream version: pin it, tidy, write a release to complete. All is written, or nothing.

    UsageError for a version that is not above what there is, InputError for a package without `upstream` in its
    build.yaml, ToolError where Go or its proxy fails.
    """
    paths.require_project(root)
    with Store(paths.workspace_root(root)).locked(wait=True), at_work(root, environment, reporter, package) as session:
        module = _upstream_of(session.project)
        tool = session.find_go()
        version = wanted.version or _newest(session, module, tool)
        if version is None:
            old = session.project.release(None).upstream
            return Outcome(module.go_module, old, old, None, (), (), (), ())
        return _Bump(session, module, tool, wanted, version).run()


def parse_version(text: str) -> str:
    """Return an upstream version without its v; ValueError for what is no version of a Go module."""
    version = text.removeprefix("v")
    with contextlib.suppress(ValueError):
        if not PackageVersion.read(version.removesuffix(_INCOMPATIBLE)).build:
            return version
    raise ValueError(f"not a version of a Go module: {text!r} (expected MAJOR.MINOR.PATCH[-PRE])")


def _upstream_of(project: Package) -> UpstreamModule:
    if project.upstream is None:
        raise InputError(
            f"{project.root / config.BUILD_FILE} does not name the Go module of the packaged software",
            details="expected: upstream with goModule and pinnedBy",
            hint="add `upstream: {goModule: MODULE, pinnedBy: DIRECTORY}`, with the directory whose go.mod requires it",
        )
    for name in vendored.directories(project.root):
        pinned = project.release(None).fill(project.upstream.pinned_by)
        if pinned == name or pinned.startswith(f"{name}/"):
            raise InputError(
                f"{project.root / pinned} is vendored: {paths.VENDIR_FILE} says its version",
                hint=f"raise the version in {paths.VENDIR_FILE}, then run carvelwright vendor",
            )
    return project.upstream


def _newest(session: Session, module: UpstreamModule, tool: Tool) -> str | None:
    """Return the highest version that the proxy lists and that is no pre-release; None where it is not newer."""
    newest = session.project.release(None)
    directory = session.project.root / newest.fill(module.pinned_by)
    with session.reporter.step("list versions"):
        listed = gorequire.listed_versions(tool, directory, module.go_module, step="list versions")
    known = []
    for text in listed:
        with contextlib.suppress(ValueError):
            known.append((_order(version := parse_version(text)), version))
    final = [(order, version) for order, version in known if not order.pre]
    highest = max(final, default=None)
    return highest[1] if highest is not None and highest[0] > _order(newest.upstream) else None


def _order(version: str) -> PackageVersion:
    return PackageVersion.read(version.removesuffix(_INCOMPATIBLE))


@dataclass(frozen=True, slots=True)
class _Staged:
    """A Go module that is not in its place yet: `copied` where the directory is new, `raised` where its go.mod is."""

    name: str
    directory: Path
    copied: bool
    raised: bool


class _Bump:
    """One raise of one package."""

    def __init__(self, session: Session, module: UpstreamModule, tool: Tool, wanted: Wanted, version: str) -> None:
        self._session, self._module, self._tool, self._wanted = session, module, tool, wanted
        self._project = session.project
        self._base, self._release = self._releases(version.removesuffix(_INCOMPATIBLE))

    def run(self) -> Outcome:
        # Where each Go module of the former release is for the new one.
        names = self._project.go_module_names()
        places = {self._base.fill(name): self._release.fill(name) for name in names}
        version, old, new = self._sources(places)
        with contextlib.ExitStack() as cleanup:
            with self._session.reporter.step(_STEP):
                staged = [self._stage(name, after, version, cleanup) for name, after in places.items()]
            ready = [each for each in staged if each]
            if not self._wanted.dry_run:
                with interrupts_wait():
                    self._put(ready)
        return Outcome(
            module=self._module.go_module,
            old=self._base.upstream,
            new=self._release.upstream,
            release=str(self._release.version),
            copied=tuple(each.name for each in ready if each.copied),
            raised=tuple(f"{each.name}/go.mod" for each in ready if each.raised),
            changes=upstream.compare(old, new),
            notes=tuple(self._notes(old, new)),
        )

    def _releases(self, version: str) -> tuple[Release, Release]:
        """Return the release that the new one follows, and the new one, of which only the file is missing."""
        target = _order(version)
        releases = self._project.releases
        same = [each for each in releases if each.upstream == version]
        if same:
            raise UsageError(
                f"{self._project.short_name} {version} is packaged already, as {same[-1].version}",
                hint=f"name a version above it, or add a revision: a new file in {paths.RELEASES_DIRECTORY}",
            )
        line = [each for each in releases if _order(each.upstream).core[:2] == target.core[:2]]
        # Lines, which are MAJOR.MINOR, are independent: a new one follows the nearest below it.
        below = [each for each in line or releases if _order(each.upstream) < target]
        base = max(below, key=lambda each: each.version, default=None)
        if base is None or (line and base is not line[-1]):
            higher = (line or releases)[-1].upstream
            raise UsageError(
                f"{version} is below {higher}, which {self._project.short_name} packages already",
                hint="name a version above it; write the release of an older line by hand",
            )
        before = str(base.version).removeprefix(f"{base.upstream}+")
        wanted = self._wanted.revision
        text = f"{version}+{_NUMBER.sub('1', before) if wanted is None else wanted}"
        try:
            new = PackageVersion.parse(text)
        except ValueError as error:
            raise UsageError(str(error), hint="name a revision such as build.1 with --revision") from None
        notes = f"{self._module.go_module} v{version}, in place of v{base.upstream}.\n"
        file = self._project.root / paths.RELEASES_DIRECTORY / f"{text}.yaml"
        return base, Release(new, version, self._wanted.released_at, notes, file)

    def _sources(self, places: Mapping[str, str]) -> tuple[str, Facts, Facts]:
        """Return the new version as Go writes it, and what the module says of itself in the former and the new one."""
        name = self._base.fill(self._module.pinned_by)
        found = [self._project.root / each for each in (places[name], name)]
        directories = [directory for directory in found if (directory / "go.mod").is_file()]
        if not directories:
            raise InputError(
                f"no Go module in {found[-1]}",
                details=f"expected: the go.mod that pins {self._module.go_module} for {self._base.version}",
                hint="restore it, or write the new version's module by hand",
            )
        self._require_pin(directories[0])
        # The go.sum of the former release has the digest of the former version.
        home, step, module = directories[-1], "fetch both versions", self._module.go_module
        with self._session.reporter.step(step):
            _, former = gorequire.fetch(self._tool, home, module, f"v{self._base.upstream}", step=step)
            version, new = gorequire.fetch(self._tool, home, module, f"v{self._release.upstream}", step=step)
        with self._session.reporter.step("read both versions"):
            return version, upstream.read(former), upstream.read(new)

    def _require_pin(self, directory: Path) -> None:
        pins = gomod.load(directory / "go.mod")
        required, replaced = pins.requirements.get(self._module.go_module), pins.replacement(self._module.go_module)
        place = Location(pins.path, replaced.line if replaced else required.line if required else None)
        if required is None or replaced is not None:
            raise InputError(
                f"go.mod {'replaces' if replaced else 'does not require'} {self._module.go_module}",
                details=f"found: {replaced}" if replaced else None,
                hint="remove the replace first" if replaced else "run `go get` for it there first",
                location=place,
            )
        try:
            above = _order(required.version.removeprefix("v")) > _order(self._release.upstream)
        except ValueError:
            above = False
        if above:
            raise UsageError(
                f"{self._release.upstream} is below what is pinned",
                details=f"found: {required.version}",
                hint="name a version above it",
                location=place,
            )

    def _stage(self, name: str, after: str, version: str, cleanup: contextlib.ExitStack) -> _Staged | None:
        """Raise the pin of a module beside its place; None for one that neither requires the software nor moves."""
        root, module = self._project.root, self._module.go_module
        final = root / after
        copied = name != after and not final.exists()
        source = root / (name if copied else after)
        requires = (source / "go.mod").is_file() and module in gomod.load(source / "go.mod").requirements
        if not copied and not requires:
            return None
        if copied:
            # Beside its place: its relative paths lead to the same.
            files.remove_leftovers(final.parent, final.name)
            work = source = cleanup.enter_context(files.temporary_directory(final.parent, f".{final.name}.new."))
            with files.reporting_file_errors("copy"):
                ignore = lambda _, names: [each for each in names if files.is_junk(each)]  # noqa: E731
                shutil.copytree(root / name, work, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            gorequire.rename(self._tool, work, self._base.upstream, self._release.upstream, step=_STEP)
        else:
            work = cleanup.enter_context(self._session.store.scratch("bump"))
            for each in ("go.mod", "go.sum"):
                if (source / each).exists():
                    files.copy_file(source / each, work / each)
        if requires:
            gorequire.require(self._tool, source, work, module, version, step=_STEP)
        return _Staged(after, work, copied, raised=requires)

    def _put(self, staged: list[_Staged]) -> None:
        """Move everything to its place, the release last: as long as it is missing, the former one is the newest."""
        root = self._project.root
        if self._release.file.exists():
            raise FilesystemError(f"{self._release.file} exists", hint="remove it, or name another --revision")
        with files.reporting_file_errors("replace"), contextlib.ExitStack() as undo:
            for each in staged:
                if each.copied:
                    each.directory.rename(root / each.name)
                    undo.callback((root / each.name).rename, each.directory)
                else:
                    _replace_pins(root / each.name, each.directory, undo)
            files.write_atomic(self._release.file, self._stub())
            undo.pop_all()
            for each in staged:
                if not each.copied:
                    _write(root / each.name / "go.sum", _content(each.directory / "go.sum"))

    def _stub(self) -> str:
        """Return the text of the new release, below the comments that the former one begins with."""
        revision = str(self._release.version).removeprefix(f"{self._release.upstream}+")
        lines = [
            f"upstream: {self._release.upstream}",
            f"revision: {revision if _PLAIN.fullmatch(revision) else json.dumps(revision)}",
            f"releasedAt: {self._release.released_at}",
            f"releaseNotes: |\n  {self._release.notes}",
        ]
        head = re.match(r"(?:#.*\n)*", yamldoc.read_text(self._base.file))
        return (head[0] if head else "") + "\n".join(lines)

    def _notes(self, old: Facts, new: Facts) -> Iterator[str]:
        """Yield what the author has to see to, by the CRDs that build.yaml names and the files that were not read."""
        named = {file for each in self._project.crds if each.go_module == self._module.go_module for file in each.files}
        found = new.found["crd files"]
        for file in sorted(named):
            if file in old.found["crd files"] and file not in found:
                yield f"{config.BUILD_FILE} names {file}, which the new version does not have: change `crds`"
        directories = {file.rpartition("/")[0] for file in named}
        for file in sorted(found.keys() - old.found["crd files"].keys()):
            if file.rpartition("/")[0] in directories:
                yield f"{file} is new and not named in {config.BUILD_FILE}: add it to `crds` if the programs need it"
        if new.unread:
            yield f"not read, because they are no YAML: {', '.join(new.unread)}"


def _replace_pins(directory: Path, work: Path, undo: contextlib.ExitStack) -> None:
    """Write go.mod and go.sum; the sums of both versions first, so that go.mod finds all that it needs at any time."""
    for name in ("go.sum", "go.mod"):
        before, after = _content(directory / name), _content(work / name)
        undo.callback(_write, directory / name, before)
        if name == "go.sum" and before and after:
            after = b"".join(line + b"\n" for line in sorted({*before.splitlines(), *after.splitlines()}))
        _write(directory / name, after)


def _content(path: Path) -> bytes | None:
    return files.read_bytes(path) if path.exists() else None


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        files.write_atomic(path, content)
