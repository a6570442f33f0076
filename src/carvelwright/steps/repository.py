"""Makes the package repository: every version that was published, and the new one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, resources, yamldoc
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.plan import LATEST
from carvelwright.resources import ImagesLock, LockedImage
from carvelwright.steps import bundle
from carvelwright.tools import crane, imgpkg
from carvelwright.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carvelwright.plan import BuildPlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.resources import Document
    from carvelwright.steps.package import PackageDocuments
    from carvelwright.tools.toolchain import Toolchain

_PACKAGES = "packages"


@dataclass(frozen=True, slots=True)
class PublishedRepository:
    """What a registry holds already: the content of each file below packages/, by its name there."""

    files: Mapping[str, bytes]

    def package(self, ref_name: str, version: str) -> Document | None:
        """Return the Package of a version that was published; None where it was not."""
        content = self.files.get(f"{ref_name}/{version}.yml")
        if content is None:
            return None
        (document,) = yamldoc.load_all_text(content.decode(), _path(ref_name, f"{version}.yml"))
        found: Document = document
        return found


def published(plan: BuildPlan, *, tools: Toolchain, reporter: Reporter) -> PublishedRepository:
    """Read the repository that the target registry holds; an empty one where it holds none."""
    latest = plan.repository.repository.tagged(LATEST)
    with reporter.step("read published repository"), Workspace(plan.project.root).scratch("published") as scratch:
        target = scratch / "repository"
        if not imgpkg.pull_bundle(
            tools.imgpkg, latest, target, step="read published repository", timeout=plan.registry_timeout
        ):
            return PublishedRepository({})
        root = target / _PACKAGES
        return PublishedRepository(
            {path.relative_to(root).as_posix(): path.read_bytes() for path in files.walk_files(root)}
        )


def refuse_other_content(plan: BuildPlan, before: PublishedRepository, new: Document) -> None:
    """Refuse to publish a version again with other content; the error names what differs."""
    old = before.package(plan.project.ref_name, str(plan.release.version))
    if old is None or resources.same_package(old, new):
        return
    differing = [key for key in sorted({*old["spec"], *new["spec"]}) if old["spec"].get(key) != new["spec"].get(key)]
    raise CarvelwrightError(
        f"{plan.project.ref_name} {plan.release.version} is already released with other content",
        exit_code=ExitCode.RELEASED,
        details="\n".join(
            [
                f"published bundle: {resources.package_bundle(old)}",
                f"this bundle:      {resources.package_bundle(new)}",
                f"differs in spec:  {', '.join(differing)}",
            ]
        ),
        hint=f"leave that release as it is: give the change a new revision in a new file beside {plan.release.file}",
        step="push repository",
    )


def assemble(plan: BuildPlan, before: PublishedRepository, documents: PackageDocuments, target: Path) -> Path:
    """Write the repository bundle's content into `target`; returns its packages directory."""
    ref_name, version = plan.project.ref_name, str(plan.release.version)
    contents = dict(before.files) | {f"{ref_name}/metadata.yml": yamldoc.dump(documents.metadata).encode()}
    contents.setdefault(f"{ref_name}/{version}.yml", yamldoc.dump(documents.package).encode())
    packages = target / _PACKAGES
    for name, content in contents.items():
        files.write_atomic(packages / name, content)
    bundles = {resources.package_bundle(document) for document in _packages(contents)}
    bundle.write_lock(ImagesLock(tuple(LockedImage(image, str(image)) for image in sorted(bundles, key=str))), target)
    return packages


def push(plan: BuildPlan, directory: Path, *, tools: Toolchain, reporter: Reporter) -> Reference:
    """Push the repository bundle under the version's tag and return it by digest."""
    return bundle.push_to(plan.repository, directory, plan, "push repository", tools=tools, reporter=reporter).image


def release(plan: BuildPlan, repository: Reference, *, tools: Toolchain, reporter: Reporter) -> None:
    """Tag a repository bundle as the latest: from here on its users see the new version."""
    with reporter.step(f"tag {LATEST}"):
        crane.tag(tools.crane, repository, LATEST, step=f"tag {LATEST}", timeout=plan.registry_timeout)


def _packages(contents: Mapping[str, bytes]) -> list[Document]:
    documents = []
    for name, content in contents.items():
        documents += [
            document
            for document in yamldoc.load_all_text(content.decode(), _path(name))
            if document and document.get("kind") == "Package"
        ]
    return documents


def _path(*parts: str) -> Path:
    """Name a file of the repository in errors."""
    return Path("package repository", *parts)
