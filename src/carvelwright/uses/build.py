"""Builds packages: composes the steps and tells the reporter what goes on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carvelwright import files, rules
from carvelwright.carvel import app
from carvelwright.digest import Digest
from carvelwright.errors import ConfigError, errors_among
from carvelwright.oci import layout as layouts
from carvelwright.plan import make_plan
from carvelwright.platform import Platform
from carvelwright.process import in_parallel, stopwatch
from carvelwright.record import ExistingImageRecord, ImageRecord, PackageRecord, PlatformRecord, ReleaseRecord
from carvelwright.report import readable_size
from carvelwright.rules.licences import problems as problems_of_licences
from carvelwright.session import open_sessions
from carvelwright.stepnames import ARCHIVE, CHECK, SBOM, archive_step, licences_step, push_image_step
from carvelwright.steps import (
    airgap,
    buildinfo,
    bundle,
    dist,
    image,
    licences,
    linked,
    package,
    payload,
    repository,
    sbom,
)
from carvelwright.steps.render import export_schema
from carvelwright.store import Store, content_key
from carvelwright.supply.modules import union
from carvelwright.tools import crane
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.carvel.locks import BundleLock
    from carvelwright.errors import Problem
    from carvelwright.oci.layout import ImageLayout
    from carvelwright.plan import BuildPlan, ImagePlan, WorkspacePlan
    from carvelwright.project.images import GoModule
    from carvelwright.record import FileRecord
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.steps.image import BuiltImage
    from carvelwright.steps.package import PackageDocuments
    from carvelwright.steps.payload import PayloadModule
    from carvelwright.supply.modules import Module
    from carvelwright.supply.sbom import Inventory
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema


def make(store: Store, asked: freshness.Asked, reporter: Reporter) -> ReleaseRecord:
    """Make dist/. The caller holds the lock."""
    seconds = stopwatch()
    sessions = open_sessions(asked.root, asked.environment, reporter, asked.names)
    plan = make_plan([session.project for session in sessions], asked.options, asked.environment)
    dist.require_own(store.dist)
    store.remove_leftovers()
    inputs = freshness.inputs_of(plan)
    project_key = freshness.project_key(store.root, inputs)
    state = replace(
        inputs,
        key=freshness.key(store.root, inputs, asked, project_key),
        sources=freshness.sources_key(store.root, inputs, project_key),
        epoch=freshness.epoch_of(asked.environment),
    )
    tools = sessions[0].tools()
    rules_of = [_Rules(session, tools, state.key, project_key) for session in sessions]
    late = [each for each in rules_of if each.of_project_kept()]
    for each in rules_of:
        if each not in late:
            each.keep()
    works = [_make_images(session, each) for session, each in zip(sessions, plan.packages, strict=True)]
    seen = dist.look(store.dist)
    storage = store.build / "registry"
    with (
        crane.serve(tools.crane, plan.target.registry, storage, step="start the embedded registry"),
        files.new_directory(store.dist) as target,
    ):
        # What only other manifests can break is found while they are packaged: nothing leaves this machine before.
        *_, made = in_parallel(*[each.keep for each in late], lambda: _make_rest(plan, works, target, tools=tools))
        listed, *_ = in_parallel(lambda: dist.list_files(target), *_verifications(plan, made, target))
        release = _record(plan, made, tools, listed)
        dist.write_release(release, target)
        if dist.look(store.dist) != seen:
            dist.require_own(store.dist)
    freshness.remember(store, state)
    freshness.remember_run(store, reporter.records, seconds())
    return release


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules that `check` applies, for one package: inputs that kept them once are not checked again.

    `key` names all inputs; `project_key` those beside the manifests, which are not checked again with other manifests
    where they gave no problem, not even a warning. git's history is compared each time.
    """

    session: Session
    tools: Toolchain
    key: str
    project_key: str

    def of_project_kept(self) -> bool:
        """Tell whether only the manifests are left to check."""
        return self.session.store.holds("checked", self._beside())

    def keep(self) -> None:
        """Refuse what `check` refuses: ConfigError with all problems. Warnings are noted."""
        with self.session.reporter.step(CHECK):
            of_history = rules.of_history(self.session, self.tools)
            if errors_among(of_history):
                raise ConfigError(errors_among([*of_history, *self._found()]))
            warnings = self.session.store.remember("checked", self._all(), self._check)
        for line in [*_lines(of_history), *warnings]:
            self.session.reporter.note(line)

    def _found(self) -> list[Problem]:
        first = [] if self.of_project_kept() else rules.of_project(self.session, self.tools)
        if not first:
            self.session.store.remember("checked", self._beside(), list)
        return list(dict.fromkeys([*first, *rules.of_manifests(self.session, self.tools)]))

    def _check(self) -> list[str]:
        found = self._found()
        if errors := errors_among(found):
            raise ConfigError(errors)
        return _lines(found)

    def _all(self) -> str:
        return content_key(self.key, self.session.project.ref_name, self.tools.versions())

    def _beside(self) -> str:
        return content_key("project", self.project_key, self.session.project.ref_name, self.tools.versions())


def _lines(warnings: Iterable[Problem]) -> list[str]:
    return [f"warning: {line}" if not number else line for one in warnings for number, line in enumerate(one.lines())]


@dataclass(frozen=True, slots=True)
class _Work:
    """A package whose images are made; they are known by digest before they are pushed."""

    session: Session
    plan: BuildPlan
    images: tuple[BuiltImage, ...]

    def references(self) -> dict[str, Reference]:
        """Return the images by the names that manifests have for them, by digest."""
        return {each.plan.config.name: each.plan.target.repository.at(each.layout.digest) for each in self.images}


@dataclass(frozen=True, slots=True)
class _Ready:
    """A package of which nothing is pushed yet, and of which nothing is left that could be refused.

    `images` says of each image that the project builds what it consists of.
    """

    work: _Work
    staged: bundle.StagedBundle
    schema: ValuesSchema
    images: tuple[Inventory, ...]

    def documents(self, lock: BundleLock) -> PackageDocuments:
        """Return the package's documents, now that its bundle is known by digest."""
        return package.make_documents(self.work.plan, lock, self.schema.openapi, self.staged.existing)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was pushed: the bundle of each package, and the repository.

    `own` is, of each package that has an archive of its own, the repository that holds this one version.
    """

    bundles: tuple[tuple[_Ready, Reference], ...]
    repository: Reference
    own: Mapping[str, Reference]


def _make_images(session: Session, plan: BuildPlan) -> _Work:
    return _Work(session, plan, tuple(_make_image(session, plan, planned) for planned in plan.images))


def _make_image(session: Session, plan: BuildPlan, planned: ImagePlan) -> BuiltImage:
    modules = [
        payload.compile_module(
            session.project, plan.release, module, platform, find_go=session.find_go, reporter=session.reporter
        )
        for platform in plan.platforms
        for module in planned.config.modules
    ]
    sources = [
        linked.Linked(module, plan.project.root / plan.release.fill(module.directory), _linked(session, made))
        for module, made in _by_module(planned, modules)
    ]
    with session.reporter.step(licences_step(planned.config.name)) as step:
        found = licences.collect(session, planned.config, sources, plan.platforms, step=step)
    if wrong := problems_of_licences(plan.project, found, sources):
        raise ConfigError(wrong)
    return image.assemble(plan, planned, modules, found, reporter=session.reporter)


def _by_module(planned: ImagePlan, made: Sequence[PayloadModule]) -> Iterator[tuple[GoModule, Sequence[PayloadModule]]]:
    """Yield each Go module of an image with its binaries for every platform."""
    for number, module in enumerate(planned.config.modules):
        yield module, made[number :: len(planned.config.modules)]


def _linked(session: Session, made: Iterable[PayloadModule]) -> tuple[Module, ...]:
    """Return what binaries say that they are linked from."""
    root = session.project.workspace.root
    binaries = [binary for module in made for binary in module.binaries]
    return union(buildinfo.of_binary(root, binary, find_go=session.find_go) for binary in binaries)


def _make_rest(plan: WorkspacePlan, works: Sequence[_Work], target: Path, *, tools: Toolchain) -> _Made:
    """Do all that comes after the images: stage, lock, push, describe, archive."""
    store, reporter = Store(plan.workspace.root), works[0].session.reporter
    with store.scratch("bundle") as scratch:
        # All that can fail here fails before anything is pushed.
        ready = [_prepare(work, scratch / work.plan.project.ref_name, target, tools=tools) for work in works]
        locks = [_push(each, tools=tools) for each in ready]
        built = [(each.work.plan, each.documents(lock)) for each, lock in zip(ready, locks, strict=True)]
        packages = repository.assemble(built, scratch / repository.DIRECTORY)
        pushed = repository.push(plan, scratch / repository.DIRECTORY, tools=tools, reporter=reporter)
        own = {
            each.project.ref_name: repository.push_alone(plan, each, documents, scratch, tools=tools, reporter=reporter)
            for each, documents in built
            if each.directory
        }
        made = _Made(tuple(zip(ready, [lock.image for lock in locks], strict=True)), pushed, own)
        # What builders state about existing images is read from the archive. The others need not wait for it.
        early = [each for each in made.bundles if not each[0].staged.existing]
        late = [each for each in made.bundles if each[0].staged.existing]
        in_parallel(
            lambda: _archive(plan, made, target, tools=tools, reporter=reporter),
            lambda: dist.write_repository(plan, pushed, packages, target),
            lambda: _describe_packages(plan, made, early, target, tools),
        )
        _describe_packages(plan, made, late, target, tools)
    return made


def _prepare(work: _Work, scratch: Path, target: Path, *, tools: Toolchain) -> _Ready:
    session, plan = work.session, work.plan
    staged, schema, images, _ = in_parallel(
        lambda: bundle.stage(
            plan,
            work.references(),
            scratch,
            tools=tools,
            find_go=session.find_go,
            find_helm=session.find_helm,
            reporter=session.reporter,
        ),
        lambda: export_schema(session.project.root, session.project.workspace.root, tools),
        # Written while the tools work: nothing waits for it.
        lambda: _describe_images(work, target),
        lambda: package.static_part(plan.project, plan.release),
    )
    dist.write_values(plan, schema, target)
    return _Ready(work, staged, schema, images)


def _push(ready: _Ready, *, tools: Toolchain) -> BundleLock:
    work = ready.work
    lock: BundleLock
    lock, _ = in_parallel(
        lambda: bundle.push(work.plan, ready.staged, tools=tools, reporter=work.session.reporter),
        lambda: _push_images(work, tools=tools),
    )
    return lock


def _push_images(work: _Work, *, tools: Toolchain) -> None:
    reporter = work.session.reporter
    for each in work.images:
        name = push_image_step(each.plan.config.name)
        with reporter.step(name) as step:
            step.describe(readable_size(sum(entry.compressed_bytes for entry in _platforms(each.layout))))
            timeout = work.plan.registry_timeout
            crane.push_layout(
                tools.crane, each.layout, each.plan.target, step=name, timeout=timeout, note=reporter.note
            )


def _archive(plan: WorkspacePlan, made: _Made, target: Path, *, tools: Toolchain, reporter: Reporter) -> None:
    """Make the repository's archive, and one for each package that has a directory of its own in dist/."""
    wanted = [(made.repository, plan.archive_name, ARCHIVE)]
    for ready, _ in made.bundles:
        package = ready.work.plan
        if own := made.own.get(package.project.ref_name):
            wanted.append((own, package.archive_name, archive_step(package.project.short_name)))
    for reference, name, step in wanted:
        airgap.archive(tools.imgpkg, reference, target / name, step, timeout=plan.registry_timeout, reporter=reporter)


def _describe_images(work: _Work, target: Path) -> tuple[Inventory, ...]:
    """Write what each image consists of, and return it."""
    with work.session.reporter.step(SBOM):
        made = tuple(sbom.of_image(work.session, work.plan, each) for each in work.images)
        sbom.write(made, work.plan, target)
    return made


def _describe_packages(
    plan: WorkspacePlan, made: _Made, chosen: Sequence[tuple[_Ready, Reference]], target: Path, tools: Toolchain
) -> None:
    """Write what some of the packages consist of."""
    versions = _versions(plan, made, tools)
    for ready, reference in chosen:
        package = ready.work.plan
        whole = sbom.of_package(
            package,
            _digest(reference),
            ready.images,
            ready.staged.existing,
            target / plan.archive_name,
            versions,
        )
        sbom.write([whole], package, target)


def _verifications(plan: WorkspacePlan, made: _Made, target: Path) -> list[Callable[[], None]]:
    """Return the checks that each archive holds what it is for."""
    expected = {plan.archive_name: [_digest(made.repository)]}
    for ready, reference in made.bundles:
        existing = [_digest(image.reference) for image in ready.staged.existing]
        digests = [_digest(reference), *(each.layout.digest for each in ready.work.images), *existing]
        expected[plan.archive_name] += digests
        package = ready.work.plan
        if own := made.own.get(package.project.ref_name):
            expected[package.archive_name] = [_digest(own), *digests]
    return [lambda name=name: airgap.verify(target / name, expected[name]) for name in expected]  # type: ignore[misc]


def _record(plan: WorkspacePlan, made: _Made, tools: Toolchain, listed: tuple[FileRecord, ...]) -> ReleaseRecord:
    digest = _digest(made.repository)
    return ReleaseRecord(
        registry=plan.target,
        repository=tuple(reference.with_digest(digest) for reference in plan.repository),
        archive=plan.archive_name,
        packages=tuple(_package_record(ready, reference) for ready, reference in made.bundles),
        tools={**_versions(plan, made, tools), "zlib": zlib.ZLIB_RUNTIME_VERSION},
        files=listed,
        tool_modules={name: (tool.module, tool.sum) for name, tool in _tools(made, tools).items() if tool.module},
    )


def _versions(plan: WorkspacePlan, made: _Made, tools: Toolchain) -> dict[str, str]:
    return {**_go_of(plan), **{name: tool.version for name, tool in _tools(made, tools).items()}}


def _tools(made: _Made, tools: Toolchain) -> dict[str, Tool]:
    """Return the tools that made it, helm where a package's template runs it."""
    return {**tools.all(), **_helm_of(made)}


def _helm_of(made: _Made) -> dict[str, Tool]:
    for ready, _ in made.bundles:
        plan, session = ready.work.plan, ready.work.session
        if app.needs_helm(app.steps(package.static_part(plan.project, plan.release))):
            return {"helm": session.find_helm()}
    return {}


def _package_record(ready: _Ready, reference: Reference) -> PackageRecord:
    plan = ready.work.plan
    images = [
        ImageRecord(each.plan.config.name, each.plan.target.with_digest(each.layout.digest), _platforms(each.layout))
        for each in ready.work.images
    ]
    existing = [ExistingImageRecord(image.name, image.reference, image.platforms) for image in ready.staged.existing]
    return PackageRecord(
        ref_name=plan.project.ref_name,
        version=str(plan.release.version),
        upstream=plan.release.upstream,
        released_at=plan.release.released_at,
        images=tuple(images),
        existing_images=tuple(existing),
        bundle=plan.bundle.with_digest(_digest(reference)),
        archive=plan.archive_name,
        default_values=plan.default_values_name,
    )


def _platforms(layout: ImageLayout) -> tuple[PlatformRecord, ...]:
    return tuple(
        PlatformRecord(Platform.parse(entry["platform"]), Digest.parse(entry["digest"]), entry["compressedBytes"])
        for entry in layouts.platform_sizes(layout)
    )


def _go_of(plan: WorkspacePlan) -> dict[str, str]:
    """Return Go's version where something was compiled or taken from a module."""
    used = any(package.images or package.project.crds for package in plan.packages)
    return {"go": plan.workspace.go} if used else {}


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise AssertionError(f"a lock without a digest: {reference}")
    return reference.digest
