"""References to images in a registry."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from carvelwright.digest import Digest

# The grammar of github.com/distribution/reference, with the registry required: a name that silently
# means one public registry has no place in a build.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_LAST_PORT = 65535
# Docker Hub, as the registry's clients call it, and the other name by which people know it.
_HUB, _HUB_ALIAS = "index.docker.io", "docker.io"
_NAME_LENGTH = 255
_REPOSITORY = re.compile(rf"(?P<registry>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)")
_REFERENCE = re.compile(rf"{_REPOSITORY.pattern}(?::(?P<tag>{_TAG}))?(?:@(?P<digest>\S+))?")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where images are kept: `registry` is HOST[:PORT], `path` the slash-separated name below it."""

    registry: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read REGISTRY/PATH; ValueError says what was found and expected."""
        match = _REPOSITORY.fullmatch(text)
        if match is None or not _names_registry(match["registry"]):
            raise ValueError(
                f"not a repository: {text!r} (expected REGISTRY/PATH such as registry.example.com/team/whereabouts: "
                "a host with a dot or a port, then lower-case names)"
            )
        port = re.search(r":([0-9]+)$", match["registry"])
        if port and not 0 < int(port[1]) <= _LAST_PORT:
            raise ValueError(f"{port[1]} is not a port (expected 1 to {_LAST_PORT})")
        if len(text) > _NAME_LENGTH:
            raise ValueError(f"not a repository: {len(text)} characters (expected {_NAME_LENGTH} or fewer): {text}")
        return cls(match["registry"], match["path"])

    def child(self, name: str) -> Repository:
        """Return the repository `name` below this one."""
        return Repository.parse(f"{self}/{name}")

    def at(self, digest: Digest) -> Reference:
        """Return the reference to one digest here."""
        return Reference(self, digest=digest)

    def tagged(self, tag: str) -> Reference:
        """Return the reference to one tag here; ValueError for what cannot be a tag."""
        if re.fullmatch(_TAG, tag) is None:
            raise ValueError(f"not a tag: {tag!r}")
        return Reference(self, tag=tag)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a repository, by tag, by digest or both."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read REGISTRY/PATH[:TAG][@DIGEST]; ValueError says what was found and expected."""
        match = _REFERENCE.fullmatch(text)
        if match is None or not _names_registry(match["registry"]):
            raise ValueError(f"not an image reference: {text!r} (expected REGISTRY/PATH[:TAG][@sha256:DIGEST])")
        digest = Digest.parse(match["digest"]) if match["digest"] else None
        return cls(Repository(match["registry"], match["path"]), match["tag"], digest)

    @classmethod
    def of_image(cls, text: str) -> Reference:
        """Read an image as manifests name it and docker and kbld understand it; ValueError for what names none.

        `nginx` is index.docker.io/library/nginx:latest. Beside a digest a tag says nothing, and is dropped.
        """
        host, slash, path = text.partition("/")
        if slash and host == "localhost":
            # Docker and newer tools read a host there, kbld and imgpkg a path on Docker Hub.
            raise ValueError(f"not an image: {text!r} (expected a port after localhost)")
        if not slash or not _names_registry(host):
            host, path = _HUB, text
        if host in (_HUB, _HUB_ALIAS):
            host, path = _HUB, path if "/" in path else f"library/{path}"
        try:
            found = cls.parse(f"{host}/{path}")
        except ValueError:
            raise ValueError(f"not an image: {text!r} (expected NAME[:TAG][@sha256:DIGEST], lower-case)") from None
        return replace(found, tag=None if found.digest else found.tag or "latest")

    def with_digest(self, digest: Digest) -> Reference:
        """Return this reference pinned to a digest."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def _names_registry(host: str) -> bool:
    """Tell a registry's host from the first part of a Docker Hub name, by the rule of the Docker client."""
    return "." in host or ":" in host or host == "localhost"
