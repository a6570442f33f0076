"""Where a publisher puts things below REGISTRY/PATH."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright.digest import Digest
from carvelwright.errors import UsageError
from carvelwright.project.clashes import REPOSITORY_NAME

if TYPE_CHECKING:
    from carvelwright.carvel.version import PackageVersion
    from carvelwright.reference import Reference, Repository

# The OCI distribution specification's limit.
_LONGEST_TAG = 128
_TAG_DIGITS = 24


@dataclass(frozen=True, slots=True)
class Places:
    """The OCI repositories and tags below a target.

    As a rule each package, each image and the package repository have an OCI repository of their own below it. With
    `single` all lie in the target itself, for registries without nested names, and the tags begin with the names.
    """

    target: Repository
    single: bool = False

    @property
    def packages(self) -> Repository:
        """Where the package repository lies."""
        return self.target if self.single else self._child(REPOSITORY_NAME)

    def content(self, ref_name: str) -> Repository:
        """Where a package's bundle lies, with all of its images."""
        return self.target if self.single else self._child(ref_name)

    def bundle(self, ref_name: str, version: PackageVersion) -> Reference:
        """Return the reference of a version's bundle."""
        return self._tagged(ref_name, version)

    def image(self, name: str, version: PackageVersion) -> Reference:
        """Return the reference of an image that the package's build made."""
        return self._tagged(name, version)

    def _tagged(self, name: str, version: PackageVersion) -> Reference:
        if self.single:
            return self.target.tagged(full_tag(name, version))
        return self._child(name).tagged(version.tag)

    def _child(self, name: str) -> Repository:
        """Return an OCI repository below the target; UsageError where its name gets too long."""
        try:
            return self.target.child(name)
        except ValueError as error:
            raise UsageError(str(error), hint="shorten REGISTRY/PATH") from None


def full_tag(name: str, version: PackageVersion) -> str:
    """Return a tag that no other name's version has: the version alone would be the tag of several."""
    tag = f"{name}.{version.tag}"
    if len(tag) <= _LONGEST_TAG:
        return tag
    digest = Digest.of_bytes(tag.encode()).hex[:_TAG_DIGITS]
    return f"{tag[: _LONGEST_TAG - _TAG_DIGITS - 1]}-{digest}"
