"""Content digests, as the OCI specifications write them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PATTERN = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest; `hex` holds its 64 lower-case digits, `str()` gives `sha256:<hex>`."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<64 hex digits>`; ValueError says what was found."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"not a sha256 digest: {text!r} (expected sha256: and 64 lower-case hex digits)")
        return cls(match[1])

    @classmethod
    def of_bytes(cls, data: bytes) -> Digest:
        """Digest bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """Digest a file's content without loading it whole; OSError where it cannot be read."""
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
