"""Makes the package repository: every version that was published, and the new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog import LOCK, PACKAGES, SIZE, Catalog, OwnFiles, read, unfit
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.oci import unpack
from carvelwright.plan import LATEST
from carvelwright.steps import bundle
from carvelwright.tools import crane

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.carvel.resources import Document
    from carvelwright.plan import BuildPlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.steps.package import PackageDocuments
    from carvelwright.tools.toolchain import Toolchain


def published(plan: BuildPlan, *, tools: Toolchain, reporter: Reporter) -> Catalog:
    """Read the repository that the target registry holds; an empty one where it holds none."""
    latest, step = plan.repository.repository.tagged(LATEST), "read published repository"
    with reporter.step(step):
        try:
            layer = crane.pull_only_layer(
                tools.crane, latest, SIZE, step=step, timeout=plan.registry_timeout, note=reporter.note
            )
            contents = None if layer is None else unpack.files_of(layer, SIZE)
        except ValueError as error:
            raise unfit(str(error)) from None
        return Catalog() if contents is None else read(contents, plan.project.ref_name, str(plan.release.version))


def refuse_other_content(plan: BuildPlan, before: Catalog, new: Document) -> None:
    """Refuse to publish a version again with other content; the error names what differs."""
    old = before.package
    if old is None or resources.same_package(old, new):
        return
    differing = [key for key in sorted({*old["spec"], *new["spec"]}) if old["spec"].get(key) != new["spec"].get(key)]
    raise CarvelwrightError(
        f"{plan.project.ref_name} {plan.release.version} is already released with different content",
        exit_code=ExitCode.RELEASED,
        details="\n".join(
            [
                f"published bundle: {resources.bundle_or_none(old) or 'none by digest'}",
                f"this bundle:      {resources.package_bundle(new)}",
                f"differs in spec:  {', '.join(differing)}",
            ]
        ),
        hint=f"release the change as a new revision, in a new file beside {plan.release.file}",
        step="push repository",
    )


def assemble(plan: BuildPlan, before: Catalog, documents: PackageDocuments, target: Path) -> Path:
    """Write the repository bundle's content into `target`; returns its packages directory."""
    own = OwnFiles(plan.project.ref_name, str(plan.release.version))
    contents = dict(before.files) | {own.metadata: yamldoc.dump(documents.metadata).encode()}
    if before.package is None:
        contents[own.package] = yamldoc.dump(documents.package).encode()
    for name, content in contents.items():
        files.write_atomic(target / name, content)
    bundles = before.bundles if before.package else before.bundles | {resources.package_bundle(documents.package)}
    files.write_atomic(target / LOCK, yamldoc.dump(locks.extended_lock(before.locked, bundles)))
    return target / PACKAGES


def push(plan: BuildPlan, directory: Path, *, tools: Toolchain, reporter: Reporter) -> Reference:
    """Push the repository bundle under the version's tag and return it by digest."""
    return bundle.push_to(plan.repository, directory, plan, "push repository", tools=tools, reporter=reporter).image


def release(plan: BuildPlan, repository: Reference, *, tools: Toolchain, reporter: Reporter) -> None:
    """Tag a repository bundle as the latest: from here on its users see the new version."""
    with reporter.step(f"tag {LATEST}"):
        crane.tag(
            tools.crane, repository, LATEST, step=f"tag {LATEST}", timeout=plan.registry_timeout, note=reporter.note
        )
