"""What a build will do, worked out before anything is done: pure data, printable, testable without tools."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright.errors import CarvelwrightError, ExitCode, did_you_mean
from carvelwright.project.clashes import REPOSITORY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.platform import Platform
    from carvelwright.project.config import Package, Release
    from carvelwright.project.images import GoImage
    from carvelwright.reference import Reference, Repository

LATEST = "latest"
_SECONDS = re.compile(r"[0-9]{1,12}")
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the command line asks for; None and () stand for what the project says."""

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
    """Everything a build needs to know.

    `created` is UTC text for image configurations; `embedded` says that the target is the registry which the build
    starts itself.
    """

    project: Package
    release: Release
    created: str
    platforms: tuple[Platform, ...]
    target: Repository
    embedded: bool
    images: tuple[ImagePlan, ...]
    bundle: Reference
    repository: Reference
    registry_timeout: float

    @property
    def archive_name(self) -> str:
        """The file name of the air-gap archive."""
        return f"{self.project.ref_name}-{self.release.version}.tar"

    @property
    def default_values_name(self) -> str:
        """The file name of the default data values."""
        return f"{self.project.short_name}-data-values.yaml"

    def document(self) -> dict[str, Any]:
        """Return the plan as plain data, for --dry-run."""
        return {
            "package": f"{self.project.ref_name}.{self.release.version}",
            "releasedAt": self.release.released_at,
            "created": self.created,
            "platforms": [str(platform) for platform in self.platforms],
            "registry": {"address": str(self.target), "embedded": self.embedded},
            "images": {plan.config.name: str(plan.target) for plan in self.images},
            "existingImages": {image.name: str(image.reference) for image in self.project.locked_images},
            "bundle": str(self.bundle),
            "repository": str(self.repository),
            "archive": f"dist/{self.archive_name}",
            "steps": self.steps(),
        }

    def steps(self) -> list[str]:
        """Return what will be done, in order, a line each."""
        compiled = [
            f"compile {', '.join(module.binaries)} of {self.release.fill(module.directory)} for {platform}"
            for plan in self.images
            for module in plan.config.modules
            for platform in self.platforms
        ]
        return [
            *(["start the embedded registry"] if self.embedded else [f"read what {self.repository} already holds"]),
            *compiled,
            *(f"assemble image {plan.config.name} and push it to {plan.target}" for plan in self.images),
            "stage the bundle, render it with ytt, find its images with kbld and lock them",
            f"push the bundle to {self.bundle}",
            "export the values schema; make Package, PackageMetadata and the values files",
            f"push the package repository to {self.repository} and tag it {LATEST}",
            f"copy everything into dist/{self.archive_name} and verify its digests",
            "move everything into dist/",
        ]


def make_plan(project: Package, options: BuildOptions, environment: Mapping[str, str]) -> BuildPlan:
    """Work out a build from the project, the options and SOURCE_DATE_EPOCH; CarvelwrightError for what cannot be."""
    release = project.release(options.release)
    platforms = options.platforms or project.platforms
    known = [str(platform) for platform in project.platforms]
    for platform in platforms:
        if platform not in project.platforms:
            raise CarvelwrightError(
                f"platform {platform} is not one of the project's{did_you_mean(str(platform), known)}",
                exit_code=ExitCode.USAGE,
                details=f"expected: {', '.join(known)}",
                hint="add it to `platforms` in package/build.yaml, or use one of these",
            )
    target = options.to or project.registry
    tag = release.version.tag
    _refuse_long_names(target, project, embedded=options.to is None)
    return BuildPlan(
        project=project,
        release=release,
        created=_created(release, environment),
        platforms=tuple(dict.fromkeys(platforms)),
        target=target,
        embedded=options.to is None,
        images=tuple(ImagePlan(image, target.child(image.name).tagged(tag)) for image in project.go_images),
        bundle=target.child(project.ref_name).tagged(tag),
        repository=target.child(REPOSITORY_NAME).tagged(tag),
        registry_timeout=options.registry_timeout,
    )


def _refuse_long_names(target: Repository, project: Package, *, embedded: bool) -> None:
    for name in (project.ref_name, REPOSITORY_NAME, *(image.name for image in project.go_images)):
        try:
            target.child(name)
        except ValueError as error:
            raise CarvelwrightError(
                str(error),
                exit_code=ExitCode.CONFIG if embedded else ExitCode.USAGE,
                hint=f"shorten {'`registry` in package/build.yaml' if embedded else '--to'}",
            ) from None


def _created(release: Release, environment: Mapping[str, str]) -> str:
    """Take the date from SOURCE_DATE_EPOCH, as reproducible-builds.org specifies it, or from the release."""
    text = environment.get("SOURCE_DATE_EPOCH")
    if not text:
        return release.released_at
    # datetime counts to the year 9999 and no further.
    if not _SECONDS.fullmatch(text) or int(text) > _LAST_SECOND:
        raise CarvelwrightError(
            "SOURCE_DATE_EPOCH is not a number of seconds since 1970",
            exit_code=ExitCode.USAGE,
            details=f"found: {text!r}",
            hint="unset it to use the release's date, or set it to a whole number",
        )
    return dt.datetime.fromtimestamp(int(text), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
