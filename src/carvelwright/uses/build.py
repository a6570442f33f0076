"""Composes the steps of a build and tells the reporter what goes on."""

from __future__ import annotations

import contextlib
import socket
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files, rules
from carvelwright.carvel.locks import BundleLock
from carvelwright.catalog import Catalog
from carvelwright.errors import ConfigError, errors_among
from carvelwright.oci import layout as layouts
from carvelwright.plan import make_plan
from carvelwright.process import in_parallel, stopwatch
from carvelwright.record import BuildState
from carvelwright.reference import Reference, Repository
from carvelwright.report import readable_size
from carvelwright.session import open_session
from carvelwright.steps import airgap, bundle, dist, image, package, payload, repository
from carvelwright.steps.render import export_schema
from carvelwright.store import Store, content_key
from carvelwright.tools import crane
from carvelwright.uses import freshness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.oci.layout import ImageLayout
    from carvelwright.plan import BuildOptions, BuildPlan, ImagePlan
    from carvelwright.project.images import LockedImage
    from carvelwright.report import Reporter
    from carvelwright.session import Session
    from carvelwright.tools.toolchain import Toolchain


def make(root: Path, options: BuildOptions, environment: Mapping[str, str], reporter: Reporter) -> Mapping[str, Any]:
    """Make dist/ and what its registry holds; returns the content of dist/release.json. The caller holds the lock."""
    seconds = stopwatch()
    session = open_session(root, environment, reporter)
    project = session.project
    plan = make_plan(project, options, environment)
    store = Store(root)
    dist.require_own(store.dist)
    store.remove_leftovers()
    inputs = freshness.inputs(project, plan)
    key = freshness.key(root, inputs, options, environment)
    tools = session.tools()
    _keep_rules(session, tools, key)
    before = Catalog()
    if not plan.embedded:
        before = repository.published(plan, tools=tools, reporter=reporter)
    images = {planned.config.name: _make_image(session, plan, planned) for planned in plan.images}
    seen = dist.look(store.dist)
    with _registry(plan, tools), files.new_directory(store.dist) as target:
        made = _package(session, plan, images, before, target, tools=tools)
        listed, _ = in_parallel(
            lambda: dist.list_files(target),
            lambda: airgap.verify(target / plan.archive_name, made.digests),
        )
        release = {
            **_describe(plan, images, made, tools),
            "files": [asdict(file) | {"digest": str(file.digest)} for file in listed],
            "steps": [asdict(record) for record in reporter.records],
            "seconds": round(seconds(), 3),
        }
        dist.write_release(release, listed, target)
        if dist.look(store.dist) != seen:
            dist.require_own(store.dist)
        repository.release(plan, made.repository, tools=tools, reporter=reporter)
    freshness.remember(store, BuildState(key, tuple(inputs)))
    return release


def _keep_rules(session: Session, tools: Toolchain, key: str) -> None:
    """Refuse, before any work, what `check` refuses; inputs (`key`) that kept the rules once are not checked again."""

    def check() -> list[str]:
        found = rules.problems(session, tools)
        if errors := errors_among(found):
            raise ConfigError(errors)
        return [f"warning: {line}" if not number else line for one in found for number, line in enumerate(one.lines())]

    with session.reporter.step("check"):
        warnings = Store(session.project.root).remember("checked", content_key(key, tools.versions()), check)
    for line in warnings:
        session.reporter.note(line)


@dataclass(frozen=True, slots=True)
class _Made:
    bundle: Reference
    repository: Reference
    images: tuple[Reference, ...]
    existing: tuple[LockedImage, ...]

    @property
    def digests(self) -> list[Digest]:
        others = (image.reference for image in self.existing)
        return [_digest(reference) for reference in (self.bundle, self.repository, *self.images, *others)]


def _make_image(session: Session, plan: BuildPlan, planned: ImagePlan) -> ImageLayout:
    modules = [
        payload.compile_module(
            session.project, plan.release, module, platform, find_go=session.find_go, reporter=session.reporter
        )
        for platform in plan.platforms
        for module in planned.config.modules
    ]
    return image.assemble(plan, planned, modules, reporter=session.reporter)


def _package(
    session: Session,
    plan: BuildPlan,
    images: Mapping[str, ImageLayout],
    before: Catalog,
    target: Path,
    *,
    tools: Toolchain,
) -> _Made:
    """Do all that comes after the images: stage, lock, push, describe, archive."""
    reporter = session.reporter
    references = {
        planned.config.name: planned.target.repository.at(images[planned.config.name].digest) for planned in plan.images
    }
    with Store(plan.project.root).scratch("bundle") as scratch:
        staged, schema, _ = in_parallel(
            lambda: bundle.stage(
                plan, references, scratch / "bundle", tools=tools, find_go=session.find_go, reporter=reporter
            ),
            lambda: export_schema(session.project.root, tools),
            lambda: package.static_part(plan.project, plan.release),
        )
        # All that can fail here fails before anything is pushed.
        dist.write_values(plan, schema, target)
        if before.package is not None:
            would_be = _try_push(session, plan, staged, tools=tools)
            documents = package.make_documents(plan, would_be, schema.openapi)
            repository.refuse_other_content(plan, before, documents.package)
        lock, _ = in_parallel(
            lambda: bundle.push(plan, staged, tools=tools, reporter=reporter),
            lambda: _push_images(session, plan, images, tools=tools),
        )
        documents = package.make_documents(plan, lock, schema.openapi)
        packages = repository.assemble(plan, before, documents, scratch / "repository")
        pushed = repository.push(plan, scratch / "repository", tools=tools, reporter=reporter)
        in_parallel(
            lambda: airgap.archive(plan, pushed, target / plan.archive_name, tools=tools, reporter=reporter),
            lambda: dist.write_repository(plan, pushed, packages, target),
        )
    return _Made(lock.image, pushed, tuple(references.values()), staged.existing)


def _push_images(session: Session, plan: BuildPlan, images: Mapping[str, ImageLayout], *, tools: Toolchain) -> None:
    for planned in plan.images:
        name = f"push image {planned.config.name}"
        with session.reporter.step(name) as step:
            layout = images[planned.config.name]
            step.describe(readable_size(sum(entry["compressedBytes"] for entry in layouts.platform_sizes(layout))))
            timeout, note = plan.registry_timeout, session.reporter.note
            crane.push_layout(tools.crane, layout, planned.target, step=name, timeout=timeout, note=note)


def _try_push(session: Session, plan: BuildPlan, staged: bundle.StagedBundle, *, tools: Toolchain) -> BundleLock:
    """Learn a bundle's digest from a registry of our own, so that a refused release leaves the target untouched."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with Store(plan.project.root).scratch("try") as scratch:
        target = Repository(address, plan.bundle.repository.path).tagged("try")
        with crane.serve(tools.crane, address, scratch / "registry", step="compare with released"):
            lock = bundle.push_to(
                target, staged.directory, plan, "compare with released", tools=tools, reporter=session.reporter
            )
    return BundleLock(Reference(plan.bundle.repository, digest=lock.image.digest), lock.tag)


@contextlib.contextmanager
def _registry(plan: BuildPlan, tools: Toolchain) -> Iterator[None]:
    if not plan.embedded:
        yield
        return
    storage = Store(plan.project.root).build / "registry"
    with crane.serve(tools.crane, plan.target.registry, storage, step="start the embedded registry"):
        yield


def _describe(plan: BuildPlan, images: Mapping[str, ImageLayout], made: _Made, tools: Toolchain) -> dict[str, Any]:
    return {
        "package": f"{plan.project.ref_name}.{plan.release.version}",
        "refName": plan.project.ref_name,
        "version": str(plan.release.version),
        "upstream": plan.release.upstream,
        "releasedAt": plan.release.released_at,
        "registry": {"address": str(plan.target), "embedded": plan.embedded},
        "images": [
            {
                "name": planned.config.name,
                "reference": str(planned.target.with_digest(images[planned.config.name].digest)),
                "platforms": layouts.platform_sizes(images[planned.config.name]),
            }
            for planned in plan.images
        ],
        "existingImages": [
            {"name": image.name, "reference": str(image.reference), "platforms": list(image.platforms)}
            for image in made.existing
        ],
        "bundle": str(plan.bundle.with_digest(_digest(made.bundle))),
        "repository": str(plan.repository.with_digest(_digest(made.repository))),
        "archive": plan.archive_name,
        "defaultValues": plan.default_values_name,
        "tools": {
            **({"go": plan.project.go} if plan.images or plan.project.crds else {}),
            **tools.versions(),
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        },
    }


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise AssertionError(f"a lock without a digest: {reference}")
    return reference.digest
