"""Makes the package repository that the archive carries: the versions that are built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog.records import PACKAGES, metadata_file, package_file
from carvelwright.oci.bundle import write_bundle
from carvelwright.stepnames import PUSH_REPOSITORY
from carvelwright.steps import bundle
from carvelwright.store import Store
from carvelwright.tools import crane

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from carvelwright.plan import BuildPlan, WorkspacePlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.steps.package import PackageDocuments
    from carvelwright.tools.toolchain import Toolchain

# Where the content of the bundle is put together, below a scratch directory.
DIRECTORY = "package-repository"


def assemble(built: Iterable[tuple[BuildPlan, PackageDocuments]], target: Path) -> Path:
    """Write the repository bundle's content into `target`; returns its packages directory."""
    bundles = []
    for plan, documents in built:
        name, version = plan.project.ref_name, str(plan.release.version)
        files.write_atomic(target / metadata_file(name), yamldoc.dump(documents.metadata))
        files.write_atomic(target / package_file(name, version), yamldoc.dump(documents.package))
        bundles.append(resources.package_bundle(documents.package))
    files.write_atomic(target / locks.IMAGES_LOCK, yamldoc.dump(locks.extended_lock((), bundles)))
    return target / PACKAGES


def push_alone(
    plan: WorkspacePlan,
    package: BuildPlan,
    documents: PackageDocuments,
    scratch: Path,
    *,
    tools: Toolchain,
    reporter: Reporter,
) -> Reference:
    """Push a repository bundle of one version, for the archive of one package of several; return it by digest."""
    content = scratch / f"{DIRECTORY}-{package.project.ref_name}"
    assemble([(package, documents)], content)
    held = {path.relative_to(content).as_posix(): files.read_bytes(path) for path in files.walk_files(content)}
    layout = write_bundle(held, scratch / f"layout-{package.project.ref_name}")
    target = package.bundle.repository.tagged(DIRECTORY)
    note, timeout = reporter.note, plan.registry_timeout
    crane.push_layout(tools.crane, layout, target, step=PUSH_REPOSITORY, timeout=timeout, note=note)
    return target.repository.at(layout.digest)


def push(plan: WorkspacePlan, directory: Path, *, tools: Toolchain, reporter: Reporter) -> Reference:
    """Push the repository bundle under the tag of each package in it; return it by digest."""
    how = bundle.Pushing(Store(plan.workspace.root), plan.registry_timeout, tools, reporter)
    (first, *others) = plan.repository
    pushed = bundle.push_to(first, directory, PUSH_REPOSITORY, how).image
    for reference in others:
        crane.put_tag(
            tools.crane,
            pushed,
            str(reference.tag),
            step=PUSH_REPOSITORY,
            timeout=plan.registry_timeout,
            note=reporter.note,
        )
    return pushed
