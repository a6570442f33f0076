"""What a registry holds, read with crane and imgpkg alone: nothing of the code under test."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.projects import Key

LATEST = "latest"
_REVISION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_RECORD = re.compile(r"r\.([0-9a-f]{16})\.[0-9a-f]{64}")
_PACKAGE = re.compile(r"packages/([^/]+)/(.+)\.yml")


def record_key(key: Key) -> str:
    """Return what stands for a version in the tags of its records, as the documentation says."""
    return hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Holding:
    """A package repository at one moment: revisions by tag, their digests, the Packages in them, the records' keys."""

    digests: dict[str, str]
    latest: str | None
    files: dict[str, dict[str, bytes]]
    records: dict[str, set[str]]

    @property
    def highest(self) -> str | None:
        """The tag that clients follow."""
        return max(self.digests, key=_numbers, default=None)

    def packages(self, tag: str) -> dict[Key, bytes]:
        """Return the Packages of a revision."""
        found = {}
        for name, content in self.files[self.digests[tag]].items():
            match = _PACKAGE.fullmatch(name)
            if match and match[2] != "metadata":
                found[match[1], match[2]] = content
        return found

    def followed(self) -> dict[Key, bytes]:
        """Return the Packages that clients see."""
        return self.packages(self.highest) if self.highest else {}


@dataclass
class Reader:
    """Reads one registry: `address` is the registry itself, not the proxy."""

    address: str
    crane: Path
    imgpkg: Path
    scratch: Path
    _files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def tags(self, repository: str) -> list[str]:
        done = self._call(self.crane, "ls", f"{self.address}/{repository}", check=False)
        if done.returncode and "NAME_UNKNOWN" in done.stderr:
            return []
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def digest(self, repository: str, tag: str) -> str:
        return self._call(self.crane, "digest", f"{self.address}/{repository}:{tag}").stdout.strip()

    def holding(self, repository: str, *, listed: bool) -> Holding:
        """Read every revision of a package repository; where clients get no list, `latest` as the only one."""
        tags = self.tags(repository)
        if not listed:
            latest = self.digest(repository, LATEST) if LATEST in tags else None
            held = {LATEST: latest} if latest else {}
            return Holding(held, latest, {digest: self._pull(repository, digest) for digest in held.values()}, {})
        digests = {tag: self.digest(repository, tag) for tag in tags if _REVISION.fullmatch(tag)}
        latest = self.digest(repository, LATEST) if LATEST in tags else None
        files = {digest: self._pull(repository, digest) for digest in {*digests.values(), *filter(None, [latest])}}
        records: dict[str, set[str]] = {}
        for match in filter(None, map(_RECORD.fullmatch, tags)):
            records.setdefault(match[1], set()).add(match[0])
        return Holding(digests, latest, files, records)

    def copy_all(self, repository: str, digest: str) -> None:
        """Copy a revision, all bundles in it and their images, which imgpkg verifies by digest."""
        archive = self.scratch / "copied.tar"
        self._call(self.imgpkg, "copy", "-b", f"{self.address}/{repository}@{digest}", "--to-tar", str(archive))
        archive.unlink()

    def _pull(self, repository: str, digest: str) -> dict[str, bytes]:
        if digest not in self._files:
            target = self.scratch / "pulled" / digest.replace(":", "-")
            self._call(self.imgpkg, "pull", "-b", f"{self.address}/{repository}@{digest}", "-o", str(target))
            self._files[digest] = {
                str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()
            }
        return self._files[digest]

    @staticmethod
    def _call(tool: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 or not check, f"{tool.name} {arguments}: {done.stderr}"
        return done


def _numbers(tag: str) -> tuple[int, ...]:
    match = _REVISION.fullmatch(tag)
    assert match or tag == LATEST
    return tuple(int(number) for number in match.groups()) if match else ()
