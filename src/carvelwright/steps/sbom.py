"""Writes the bills of materials of images and packages into dist/."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import __version__, files
from carvelwright.steps import buildinfo, layer
from carvelwright.supply import carried, inventory, sbom
from carvelwright.supply.modules import Module
from carvelwright.tools import gomod

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.plan import BuildPlan
    from carvelwright.project.images import LockedImage
    from carvelwright.session import Session
    from carvelwright.steps.image import BuiltImage
    from carvelwright.supply.sbom import Inventory

# The directory in dist/ for the documents of a package, and how their names end.
DIRECTORY = "sbom"
CYCLONEDX, SPDX = ".cdx.json", ".spdx.json"


def of_image(session: Session, plan: BuildPlan, image: BuiltImage) -> Inventory:
    """Return what an image consists of, for all of its platforms."""
    config = image.plan.config
    binaries = [
        inventory.Binary(
            f"{layer.DIRECTORY}/{binary.name}",
            module.platform,
            binary.digest,
            buildinfo.of_binary(plan.project.workspace.root, binary, find_go=session.find_go),
        )
        for module in image.modules
        for binary in module.binaries
    ]
    what = inventory.Described(config.name, str(plan.release.version), config.description, config.licenses)
    made_by = {"carvelwright": __version__, "go": plan.project.workspace.go}
    return inventory.of_image(
        what, image.layout.digest, binaries, image.licences.index.expressions(), created=plan.created, tools=made_by
    )


def of_package(
    plan: BuildPlan,
    bundle: Digest,
    images: Iterable[Inventory],
    existing: Sequence[LockedImage],
    archive: Path,
    tools: Mapping[str, str],
) -> Inventory:
    """Return what a package consists of; `tools` are the versions of those that made it.

    `archive` holds the existing images, with what their builders state about them.
    """
    documents = _documents(archive) if existing else {}
    listed = [
        inventory.Existing(
            image.name, image.tag, _digest(image), image.platforms, carried.attestations(documents, _digest(image))
        )
        for image in existing
    ]
    description = str(plan.project.metadata.get("shortDescription", ""))
    what = inventory.Described(plan.project.ref_name, str(plan.release.version), description, None)
    made_by = {"carvelwright": __version__, **tools}
    return inventory.of_package(what, bundle, images, listed, _crds(plan), created=plan.created, tools=made_by)


def write(documents: Sequence[Inventory], plan: BuildPlan, target: Path) -> None:
    """Write each inventory in both formats below a directory, by the name of what it is about."""
    for document in documents:
        stem = target / f"{plan.directory}{DIRECTORY}" / document.subject.name
        files.write_atomic(stem.with_name(f"{stem.name}{CYCLONEDX}"), sbom.cyclonedx(document))
        files.write_atomic(stem.with_name(f"{stem.name}{SPDX}"), sbom.spdx(document))


def _documents(archive: Path) -> Mapping[str, bytes]:
    from carvelwright.steps.contents import ArchiveContents  # noqa: PLC0415 - only for existing images

    return ArchiveContents.open(archive).documents


def _crds(plan: BuildPlan) -> Iterator[inventory.Files]:
    for source in plan.project.crds:
        pinned = gomod.load(plan.project.root / plan.release.fill(source.pinned_by) / "go.mod")
        required, replaced = pinned.requirements.get(source.go_module), pinned.replacement(source.go_module)
        path, version = source.go_module, required.version if required else ""
        if replaced is not None and replaced.version is not None:
            path, version = replaced.path, replaced.version
        yield inventory.Files(Module(path, version), source.files)


def _digest(image: LockedImage) -> Digest:
    if image.reference.digest is None:
        raise AssertionError(f"a lock without a digest: {image.reference}")
    return image.reference.digest
