"""Platforms an image is built for."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Where the pinned Go compiles static Linux binaries to (`go tool dist list`).
LINUX_ARCHITECTURES = frozenset(
    (
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mips64",
        "mips64le",
        "mipsle",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
    )
)
_PATTERN = re.compile(r"(?P<os>[a-z0-9]+)/(?P<architecture>[a-z0-9]+)")


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and an architecture, named as Go and OCI name them."""

    os: str
    architecture: str

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read OS/ARCHITECTURE such as linux/arm64; ValueError says what was found and expected."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a platform: {text!r} (expected OS/ARCHITECTURE such as linux/amd64)")
        return cls(match["os"], match["architecture"])

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"
