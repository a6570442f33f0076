"""What a Package says that is in it, where its template says nothing: the packaged software, existing images, Go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carvelwright.plan import BuildPlan
    from carvelwright.project.images import LockedImage

KEY = "includedSoftware"
_DIGEST_CHARACTERS = len("sha256:") + 12


def software(plan: BuildPlan, existing: Iterable[LockedImage]) -> list[dict[str, str]]:
    """Return the direct parts of a package with their versions; all parts are in its SBOM."""
    project, release = plan.project, plan.release
    module = project.upstream.go_module if project.upstream else ""
    first = {
        "displayName": str(project.metadata.get("displayName") or project.short_name),
        "version": release.upstream,
        **({"description": module} if module else {}),
    }
    listed = [first, *(_existing(image) for image in existing)]
    if project.go_images:
        go = {"version": project.workspace.go, "description": "Compiler and standard library of every binary"}
        listed.append({"displayName": "Go", **go})
    return listed


def _existing(image: LockedImage) -> dict[str, str]:
    digest = str(image.reference.digest)
    return {
        "displayName": str(image.reference.repository),
        "version": image.tag or digest[:_DIGEST_CHARACTERS],
        "description": f"Existing image {digest}",
    }
