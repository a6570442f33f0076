"""The names of the steps of a build and of a publication: a plan prints them, and they are reported as they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carvelwright.platform import Platform

CHECK = "check"
CRDS = "stage CRDs"
RENDER = "render manifests and lock images"
PUSH_BUNDLE = "push bundle"
PUSH_REPOSITORY = "push repository"
ARCHIVE = "archive"
READ_PUBLISHED = "read published repository"
RECORD = "record versions"
TAG = "tag versions"
SIGN = "sign"
SBOM = "write SBOMs"


def compile_step(binaries: Iterable[str], platform: Platform) -> str:
    """Return the name of the step that compiles a module's binaries."""
    return f"compile {', '.join(binaries)} for {platform}"


def licences_step(image: str) -> str:
    """Return the name of the step that collects the licenses of what is linked into an image."""
    return f"collect licenses of {image}"


def assemble_step(image: str) -> str:
    """Return the name of the step that assembles an image."""
    return f"assemble image {image}"


def push_image_step(image: str) -> str:
    """Return the name of the step that pushes an image."""
    return f"push image {image}"


def scan_step(image: str) -> str:
    """Return the name of the step that looks for known vulnerabilities in an image."""
    return f"scan {image}"


def archive_step(package: str) -> str:
    """Return the name of the step that archives one package of several."""
    return f"{ARCHIVE} {package}"


def publish_step(ref_name: str) -> str:
    """Return the name of the step that pushes a package's content to where it is published."""
    return f"publish {ref_name}"
