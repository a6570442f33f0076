"""What a build will do, worked out before anything is done: pure data, printable, testable without tools."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.catalog.places import full_tag
from carvelwright.errors import InputError, UsageError, did_you_mean
from carvelwright.project.clashes import REPOSITORY_NAME
from carvelwright.project.paths import BUILD_FILE
from carvelwright.stepnames import (
    ARCHIVE,
    CHECK,
    CRDS,
    PUSH_BUNDLE,
    PUSH_REPOSITORY,
    READ_PUBLISHED,
    RECORD,
    RENDER,
    SBOM,
    TAG,
    archive_step,
    assemble_step,
    compile_step,
    licences_step,
    publish_step,
    push_image_step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.platform import Platform
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import GoImage
    from carvelwright.project.workspace import Workspace
    from carvelwright.reference import Reference, Repository

_SECONDS = re.compile(r"[0-9]{1,12}")
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step: the name under which it is reported while it runs, and what it does."""

    name: str
    does: str

    def document(self) -> dict[str, str]:
        """Return it as JSON has it."""
        return {"name": self.name, "does": self.does}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What a build is asked for; None and () stand for what the project says.

    `release` is a version that the package has a release file for, `platforms` are some of the package's, `to` is where
    to publish what was built, `registry_timeout` the limit of each exchange with a registry in seconds.
    """

    release: str | None = None
    platforms: tuple[Platform, ...] = ()
    to: Repository | None = None
    registry_timeout: float = 900.0


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image: its configuration with the release filled in, and the tag it is pushed to."""

    config: GoImage
    target: Reference


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Everything that the build of one package needs to know.

    `created` is UTC text for image configurations; `directory` is where in dist/ the package's own files go, "" or
    NAME/; `target` is the embedded registry, in which bundle and archive are made.
    """

    project: Package
    release: Release
    created: str
    platforms: tuple[Platform, ...]
    target: Repository
    images: tuple[ImagePlan, ...]
    bundle: Reference
    directory: str
    registry_timeout: float

    @property
    def archive_name(self) -> str:
        """The file of the package's air-gap archive in dist/."""
        return f"{self.directory}{self.project.ref_name}-{self.release.version}.tar"

    @property
    def default_values_name(self) -> str:
        """The file of the default data values in dist/."""
        return f"{self.directory}{self.project.short_name}-data-values.yaml"

    def document(self) -> dict[str, Any]:
        """Return the plan as plain data, for --dry-run."""
        return {
            "package": f"{self.project.ref_name}.{self.release.version}",
            "releasedAt": self.release.released_at,
            "created": self.created,
            "platforms": [str(platform) for platform in self.platforms],
            "images": {plan.config.name: str(plan.target) for plan in self.images},
            "existingImages": {image.name: str(image.reference) for image in self.project.locked_images},
            "bundle": str(self.bundle),
            "archive": f"dist/{self.archive_name}",
            "defaultValues": f"dist/{self.default_values_name}",
        }

    def images_steps(self) -> Iterator[PlannedStep]:
        """Yield the steps that make the images."""
        for plan in self.images:
            for platform in self.platforms:
                for module in plan.config.modules:
                    where = self.release.fill(module.directory)
                    yield PlannedStep(compile_step(module.binaries, platform), f"go build in {where}")
            name = plan.config.name
            yield PlannedStep(licences_step(name), "take the texts of every module from the module cache")
            yield PlannedStep(assemble_step(name), "pack the binaries of each platform into layers")

    def render_steps(self) -> Iterator[PlannedStep]:
        """Yield the steps that make the bundle's content."""
        if self.project.crds:
            yield PlannedStep(CRDS, "copy the CRDs of the pinned Go module")
        yield PlannedStep(SBOM, "write what images and package consist of, as CycloneDX and SPDX, into dist/")
        yield PlannedStep(RENDER, "stage the bundle, render it with ytt, find its images with kbld and lock them")

    def push_steps(self) -> Iterator[PlannedStep]:
        """Yield the steps that put images and bundle into the embedded registry."""
        for plan in self.images:
            yield PlannedStep(push_image_step(plan.config.name), f"push to {plan.target}")
        yield PlannedStep(PUSH_BUNDLE, f"push to {self.bundle}")


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """The build of some packages of a workspace, and of the one package repository that holds them.

    `target` is the embedded registry, `repository` the reference of the package repository's bundle there, once for
    each tag that it gets. `to` is where the result is published, None where it is not.
    """

    workspace: Workspace
    target: Repository
    packages: tuple[BuildPlan, ...]
    repository: tuple[Reference, ...]
    to: Repository | None
    registry_timeout: float

    @property
    def archive_name(self) -> str:
        """The file in dist/ that carries the repository with all its packages; a lone package's archive is this one."""
        (first, *others) = self.packages
        return f"{REPOSITORY_NAME}.tar" if others or first.directory else first.archive_name

    @property
    def resource_name(self) -> str:
        """The name of the PackageRepository resource."""
        (first, *others) = self.packages
        return REPOSITORY_NAME if others or first.directory else f"{first.project.short_name}-repository"

    def document(self) -> dict[str, Any]:
        """Return the plan as plain data, for --dry-run."""
        return {
            "registry": str(self.target),
            "to": str(self.to) if self.to else None,
            "packages": [plan.document() for plan in self.packages],
            "repository": [str(reference) for reference in self.repository],
            "archive": f"dist/{self.archive_name}",
            "steps": [step.document() for step in self.steps()],
        }

    def steps(self) -> list[PlannedStep]:
        """Return what will be done. Steps of one package, and those that wait for nothing, may run side by side."""
        name = str(self.repository[0].repository)
        return [
            *(PlannedStep(CHECK, f"apply the rules to {plan.project.short_name}") for plan in self.packages),
            *(step for plan in self.packages for step in plan.images_steps()),
            *(step for plan in self.packages for step in plan.render_steps()),
            *(step for plan in self.packages for step in plan.push_steps()),
            PlannedStep(PUSH_REPOSITORY, f"push the Packages to {name}"),
            *self._archive_steps(),
            *self._publish_steps(),
        ]

    def _archive_steps(self) -> Iterator[PlannedStep]:
        yield PlannedStep(ARCHIVE, f"copy everything into dist/{self.archive_name} and verify its digests")
        for plan in self.packages:
            if plan.directory:
                yield PlannedStep(archive_step(plan.project.short_name), f"the same, into dist/{plan.archive_name}")

    def _publish_steps(self) -> Iterator[PlannedStep]:
        if self.to is None:
            return
        yield PlannedStep(READ_PUBLISHED, f"read what {self.to} holds")
        for plan in self.packages:
            yield PlannedStep(publish_step(plan.project.ref_name), "push bundle and images, if they are not there yet")
        yield PlannedStep(RECORD, "add the versions to the package repository")
        yield PlannedStep(TAG, "tag bundles and images with their versions")


def make_plan(packages: Sequence[Package], options: BuildOptions, environment: Mapping[str, str]) -> WorkspacePlan:
    """Work out a build from packages of one workspace, the options and SOURCE_DATE_EPOCH.

    CarvelwrightError for what cannot be.
    """
    if options.release is not None and len(packages) > 1:
        raise UsageError(
            f"--release {options.release} names a release of one package, and {len(packages)} are built",
            details=f"found: {', '.join(package.short_name for package in packages)}",
            hint=f"name the package: carvelwright build {packages[0].short_name} --release {options.release}",
        )
    workspace = packages[0].workspace
    target = workspace.registry
    plans = tuple(_plan(package, target, options, environment) for package in packages)
    repository = target.child(REPOSITORY_NAME)
    return WorkspacePlan(
        workspace=workspace,
        target=target,
        packages=plans,
        repository=tuple(repository.tagged(full_tag(plan.project.ref_name, plan.release.version)) for plan in plans),
        to=options.to,
        registry_timeout=options.registry_timeout,
    )


def _plan(project: Package, target: Repository, options: BuildOptions, environment: Mapping[str, str]) -> BuildPlan:
    release = project.release(options.release)
    platforms = options.platforms or project.platforms
    known = [str(platform) for platform in project.platforms]
    for platform in platforms:
        if platform not in project.platforms:
            raise UsageError(
                f"platform {platform} is not one of the project's{did_you_mean(str(platform), known)}",
                details=f"expected: {', '.join(known)}",
                hint=f"add it to `platforms` in {project.root / BUILD_FILE}, or use one of these",
            )
    tag = release.version.tag
    _refuse_long_names(target, options.to, project)
    return BuildPlan(
        project=project,
        release=release,
        created=_created(release, environment),
        platforms=tuple(dict.fromkeys(platforms)),
        target=target,
        images=tuple(ImagePlan(image, target.child(image.name).tagged(tag)) for image in project.go_images),
        bundle=target.child(project.ref_name).tagged(tag),
        directory="" if len(project.workspace.members) == 1 else f"{project.short_name}/",
        registry_timeout=options.registry_timeout,
    )


def _refuse_long_names(target: Repository, to: Repository | None, project: Package) -> None:
    for name in (project.ref_name, REPOSITORY_NAME, *(image.name for image in project.go_images)):
        try:
            target.child(name)
        except ValueError as error:
            raise InputError(str(error), hint=f"shorten `registry` in {project.workspace.file}") from None
        try:
            _ = to and to.child(name)
        except ValueError as error:
            raise UsageError(str(error), hint="shorten --to") from None


def _created(release: Release, environment: Mapping[str, str]) -> str:
    """Take the date from SOURCE_DATE_EPOCH, as reproducible-builds.org specifies it, or from the release."""
    text = environment.get("SOURCE_DATE_EPOCH")
    if not text:
        return release.released_at
    # datetime counts to the year 9999 and no further.
    if not _SECONDS.fullmatch(text) or int(text) > _LAST_SECOND:
        raise UsageError(
            "SOURCE_DATE_EPOCH is not a number of seconds since 1970",
            details=f"found: {text!r}",
            hint="unset it to use the release's date, or set it to a whole number",
        )
    return dt.datetime.fromtimestamp(int(text), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
