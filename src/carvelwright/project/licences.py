"""Which licenses a workspace's packages may come under, and what somebody found out where a tool recognises none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The key of carvelwright.yaml, or of the build.yaml of a package by itself.
KEY = "licenses"


@dataclass(frozen=True, slots=True)
class Override:
    """A module's SPDX expression as a person says it, and why; for one version, or for all (None)."""

    module: str
    version: str | None
    expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class LicencePolicy:
    """`allowed` are SPDX identifiers, some with an exception; None allows every license."""

    allowed: tuple[str, ...] | None
    overrides: tuple[Override, ...]

    def override(self, module: str, version: str) -> Override | None:
        """Return what is said of a module: of this very version first."""
        fitting = [each for each in self.overrides if each.module == module and each.version in (None, version)]
        return min(fitting, key=lambda each: each.version is None, default=None)


def policy_of(data: Mapping[str, Any]) -> LicencePolicy:
    """Read the policy of a document that passed its JSON Schema."""
    said = data.get(KEY, {})
    return LicencePolicy(
        tuple(said["allow"]) if "allow" in said else None,
        tuple(
            Override(each["module"], each.get("version"), each["licenses"], each["reason"])
            for each in said.get("overrides", [])
        ),
    )
