"""Makes the package repository: every version that was published, and the new one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carvelwright import files, yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.catalog import LOCK, PACKAGES, SIZE, Catalog, OwnFiles, read, unfit
from carvelwright.errors import RegistryError, ReleasedError
from carvelwright.plan import LATEST
from carvelwright.steps import bundle
from carvelwright.store import Store
from carvelwright.tools import crane

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from carvelwright.carvel.resources import Document
    from carvelwright.plan import BuildPlan, WorkspacePlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.steps.package import PackageDocuments
    from carvelwright.tools.toolchain import Toolchain


# Where the content of the bundle is put together, below a scratch directory.
DIRECTORY = "package-repository"


def published(plan: WorkspacePlan, *, tools: Toolchain, reporter: Reporter) -> Catalog:
    """Read the repository that the target registry holds; an empty one where it holds none."""
    step = "read published repository"
    with reporter.step(step), _naming(plan.latest):
        try:
            pulled = crane.pull_verified_bundle(
                tools.crane, plan.latest, SIZE, step=step, timeout=plan.registry_timeout, note=reporter.note
            )
        except ValueError as error:
            raise unfit(str(error)) from None
        if pulled is None:
            return Catalog()
        if LOCK not in pulled.files:
            raise unfit(f"it is no bundle: it has no {LOCK}")
        return read(pulled.files, [own_files(package) for package in plan.packages])


@contextlib.contextmanager
def _naming(reference: Reference) -> Iterator[None]:
    """Add to an error what it is about, which those who only read the content do not know."""
    try:
        yield
    except RegistryError as error:
        error.registry, error.reference = reference.repository.registry, str(reference)
        raise


def own_files(plan: BuildPlan) -> OwnFiles:
    """Return the names under which the repository holds what is built."""
    return OwnFiles(plan.project.ref_name, str(plan.release.version))


def refuse_other_content(plan: BuildPlan, before: Catalog, new: Document) -> None:
    """Refuse to publish a version again with other content; the error names what differs."""
    old = before.packages.get(own_files(plan).package_name)
    if old is None or resources.same_package(old, new):
        return
    differing = [key for key in sorted({*old["spec"], *new["spec"]}) if old["spec"].get(key) != new["spec"].get(key)]
    published, this = resources.bundle_or_none(old), resources.package_bundle(new)
    raise ReleasedError(
        f"{plan.project.ref_name} {plan.release.version} is already released with different content",
        package=plan.project.ref_name,
        version=str(plan.release.version),
        published=str(published) if published else None,
        new=str(this),
        details="\n".join(
            [
                f"published bundle: {published or 'none by digest'}",
                f"this bundle:      {this}",
                f"differs in spec:  {', '.join(differing)}",
            ]
        ),
        hint=f"release the change as a new revision, in a new file beside {plan.release.file}",
        step="push repository",
    )


def assemble(before: Catalog, built: Iterable[tuple[BuildPlan, PackageDocuments]], target: Path) -> Path:
    """Write the repository bundle's content into `target`; returns its packages directory."""
    contents, bundles = dict(before.files), set(before.bundles)
    for plan, documents in built:
        own = own_files(plan)
        contents[own.metadata] = yamldoc.dump(documents.metadata).encode()
        if own.package_name not in before.packages:
            contents[own.package] = yamldoc.dump(documents.package).encode()
            bundles.add(resources.package_bundle(documents.package))
    for name, content in contents.items():
        # Not one by one to the disk: there may be thousands, in a directory that only this process knows.
        files.write_file(target / name, content)
    files.write_atomic(target / LOCK, yamldoc.dump(locks.extended_lock(before.locked, bundles)))
    return target / PACKAGES


def push(plan: WorkspacePlan, directory: Path, *, tools: Toolchain, reporter: Reporter) -> Reference:
    """Push the repository bundle under the tag of each package in it that was built; return it by digest."""
    how = bundle.Pushing(Store(plan.workspace.root), plan.registry_timeout, tools, reporter)
    (first, *others) = plan.repository
    pushed = bundle.push_to(first, directory, "push repository", how).image
    for reference in others:
        _tag(plan, pushed, str(reference.tag), "push repository", tools, reporter)
    return pushed


def release(plan: WorkspacePlan, repository: Reference, *, tools: Toolchain, reporter: Reporter) -> None:
    """Tag a repository bundle as the latest: from here on its users see the new versions."""
    with reporter.step(f"tag {LATEST}"):
        _tag(plan, repository, LATEST, f"tag {LATEST}", tools, reporter)


def _tag(
    plan: WorkspacePlan, repository: Reference, name: str, step: str, tools: Toolchain, reporter: Reporter
) -> None:
    crane.put_tag(tools.crane, repository, name, step=step, timeout=plan.registry_timeout, note=reporter.note)
