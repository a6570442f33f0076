"""Stages the bundle, locks its images and pushes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.carvel.locks import ImagesLock, LockEntry
from carvelwright.project import config, loads
from carvelwright.report import readable_size
from carvelwright.stepnames import PUSH_BUNDLE, RENDER
from carvelwright.steps import crds, existing, package, templating
from carvelwright.steps.templating import Templating
from carvelwright.store import Store
from carvelwright.tools import imgpkg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from carvelwright.carvel.locks import BundleLock
    from carvelwright.plan import BuildPlan
    from carvelwright.platform import Platform
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import LockedImage
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain

# What templates may load of the release that is built, and for what: load("/release.star", "version", "platforms").
RELEASE_LIBRARY = "release.star"


@dataclass(frozen=True, slots=True)
class StagedBundle:
    """A directory that is the bundle's content: config/ and .imgpkg/images.yml.

    `existing` are the images of that lock that the project does not build.
    """

    directory: Path
    existing: tuple[LockedImage, ...]


def stage_config(
    project: Package,
    release: Release,
    target: Path,
    *,
    platforms: Sequence[Platform] = (),
    find_go: Callable[[], Tool],
    reporter: Reporter,
) -> None:
    """Put together what ytt reads: base, overlays, the values schema, the release and the CRDs of the pinned Go module.

    `platforms` are those that the images are built for (default: the project's).
    """
    source = project.root / config.BUNDLE_CONFIG
    for path in files.walk_files(source, files.is_no_content):
        files.copy_file(path, target / path.relative_to(source))
    for name, content in loads.staged(project.root / config.VALUES_SCHEMA, source).items():
        files.write_file(target / name, content)
    files.write_atomic(target / RELEASE_LIBRARY, release_library(release, platforms or project.platforms))
    for wanted in project.crds:
        for path in crds.stage(project, release, wanted, find_go=find_go, reporter=reporter):
            files.copy_file(path, target / "crds" / path.name)


def release_library(release: Release, platforms: Sequence[Platform]) -> bytes:
    """Return a ytt library that says which release is built, and for which platforms (OS/ARCHITECTURE)."""
    facts = {"version": str(release.version), "upstream": release.upstream, "platforms": [str(p) for p in platforms]}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in facts.items()]
    return "".join(["# Made by the build.\n", *lines]).encode()


def stage(
    plan: BuildPlan,
    images: Mapping[str, Reference],
    target: Path,
    *,
    tools: Toolchain,
    find_go: Callable[[], Tool],
    find_helm: Callable[[], Tool],
    reporter: Reporter,
) -> StagedBundle:
    """Stage the bundle in `target` with the ImagesLock of `images`, which the project builds, and of existing ones.

    `images` are references by digest, by the names that the manifests write. ConfigError where the package uses an
    image that is neither among them nor locked.
    """
    name = RENDER

    def resolve(image: str) -> LockedImage:
        return existing.resolve(tools, image, step=name, timeout=plan.registry_timeout, note=reporter.note)

    with reporter.step(name):
        stage_config(
            plan.project,
            plan.release,
            target / "config",
            platforms=plan.platforms,
            find_go=find_go,
            reporter=reporter,
        )
        templating.place_lock(target)
        template = package.read_template(plan.project, plan.release)
        render = Templating(plan.project, template, target, tools, find_helm).manifests
        used = existing.used(plan.project, existing.renderings(plan.project, tools, render))
        locked = existing.locked(plan.project, used, resolve)
        built = [LockEntry(reference, name) for name, reference in images.items()]
        others = [LockEntry(image.reference, image.name, image.tag) for image in locked]
        templating.place_lock(target, ImagesLock((*built, *others)))
    return StagedBundle(target, locked)


def push(plan: BuildPlan, bundle: StagedBundle, *, tools: Toolchain, reporter: Reporter) -> BundleLock:
    """Push a staged bundle to where the plan says."""
    how = Pushing(Store(plan.project.workspace.root), plan.registry_timeout, tools, reporter)
    return push_to(plan.bundle, bundle.directory, PUSH_BUNDLE, how)


@dataclass(frozen=True, slots=True)
class Pushing:
    """How bundles are pushed: where scratch files go, the seconds that it may take, with what, and whom to tell."""

    store: Store
    timeout: float
    tools: Toolchain
    reporter: Reporter


def push_to(target: Reference, directory: Path, step: str, how: Pushing) -> BundleLock:
    """Push a directory as a bundle under a tag."""
    with how.reporter.step(step) as running, how.store.scratch(step.replace(" ", "-")) as scratch:
        running.describe(readable_size(sum(path.stat().st_size for path in files.walk_files(directory))))
        lock = scratch / "bundle-lock.yml"
        return imgpkg.push_bundle(
            how.tools.imgpkg, directory, target, lock, step=step, timeout=how.timeout, note=how.reporter.note
        )
