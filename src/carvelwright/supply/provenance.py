"""SLSA v1 provenance: from what a package was built, and how. docs/explanation/supply-chain.md explains each field."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carvelwright.carvel import resources
from carvelwright.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carvelwright.supply.modules import Module

# Names, as the specification wants them: nothing is served there.
BUILD_TYPE = "https://carvelwright.dev/provenance/build/v1"
# Nobody but the holder of the key vouches for who built it.
BUILDER = "https://carvelwright.dev/provenance/builder/holder-of-the-key"
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Source:
    """The git commit that was built: its name, where it is fetched from, whether files differed from it."""

    commit: str
    uri: str | None = None
    dirty: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as a resource descriptor."""
        document: dict[str, Any] = {"name": "source", "digest": {"gitCommit": self.commit}}
        if self.uri is not None:
            document["uri"] = self.uri
        if self.dirty:
            document["annotations"] = {"dirty": True}
        return document


@dataclass(frozen=True, slots=True)
class Build:
    """What a build was told and what it used.

    `address` is the registry and path under which it built, which digests depend on; `epoch` is SOURCE_DATE_EPOCH,
    empty where it was not set. `images` are the existing ones that the package names, by digest, `tool_modules` the Go
    modules that tools were built from, by the names of the tools.
    """

    ref_name: str
    version: str
    platforms: Sequence[str]
    address: str
    source: Source
    epoch: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    tool_modules: Mapping[str, Module] = field(default_factory=dict)
    modules: Sequence[Module] = ()
    images: Mapping[str, Digest] = field(default_factory=dict)
    carvelwright: str = ""


def predicate(build: Build) -> dict[str, Any]:
    """Return the predicate; equal builds give equal ones, as it holds no time."""
    source = build.source.document()
    internal: dict[str, Any] = {"tools": dict(sorted(build.tools.items()))}
    if build.epoch:
        internal["SOURCE_DATE_EPOCH"] = build.epoch
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "source": {key: source[key] for key in ("uri", "digest") if key in source},
                "package": build.ref_name,
                "release": build.version,
                "platforms": list(build.platforms),
                "address": build.address,
            },
            "internalParameters": internal,
            "resolvedDependencies": [
                source,
                *(_module(module) for module in build.modules),
                *({"name": name, **_module(module)} for name, module in sorted(build.tool_modules.items())),
                *({"name": name, "digest": {"sha256": digest.hex}} for name, digest in sorted(build.images.items())),
            ],
        },
        "runDetails": {"builder": {"id": BUILDER, "version": {"carvelwright": build.carvelwright}}},
    }


def _module(module: Module) -> dict[str, Any]:
    document: dict[str, Any] = {"uri": f"pkg:golang/{module.path}@{module.version}"}
    kind, _, text = module.sum.partition(":")
    with contextlib.suppress(binascii.Error):
        checksum = base64.b64decode(text, validate=True)
        if kind == "h1" and len(checksum) == _SHA256_BYTES:
            # As in-toto's digest sets have go.sum's checksum of a directory: in hexadecimal digits.
            document["digest"] = {"dirHash": checksum.hex()}
    return document


def package_subject(document: Mapping[str, Any]) -> tuple[str, Digest]:
    """Return the name of a Package in a statement, and a digest of what it says.

    Of the bundle that it fetches only the digest counts, not the place, and a deprecation does not: both change when a
    version is relocated or marked. Digested is the rest, as JSON with sorted keys.
    """
    original = resources.undeprecated(document)
    bundle = resources.bundle_or_none(original)
    if bundle is not None:
        spec = original["spec"]
        inner = {**spec["template"]["spec"], "fetch": [{"imgpkgBundle": {"image": str(bundle.digest)}}]}
        original = {**original, "spec": {**spec, "template": {**spec["template"], "spec": inner}}}
    text = json.dumps(original, separators=(",", ":"), sort_keys=True, default=str)
    return f"Package {resources.name_of(document)}", Digest.of_bytes(text.encode())
