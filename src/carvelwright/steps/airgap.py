"""Makes the air-gap archive and verifies that it holds everything."""

from __future__ import annotations

import hashlib
import re
import tarfile
from typing import IO, TYPE_CHECKING

from carvelwright import files
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.tools import imgpkg

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.plan import BuildPlan
    from carvelwright.reference import Reference
    from carvelwright.report import Reporter
    from carvelwright.tools.toolchain import Toolchain

_CHUNK = 1 << 20
_BLOB = re.compile(r"sha256-([0-9a-f]{64})\.tar\.gz")


def archive(plan: BuildPlan, repository: Reference, target: Path, *, tools: Toolchain, reporter: Reporter) -> None:
    """Copy the repository bundle, every package bundle and every image into one tar."""
    with reporter.step("archive"):
        imgpkg.copy_to_tar(tools.imgpkg, repository, target, step="archive", timeout=plan.registry_timeout)


def verify(target: Path, expected: Iterable[Digest]) -> None:
    """Check that an archive is whole: every expected digest is named in it and every blob is what its name says."""
    with files.reporting_file_errors("read"), tarfile.open(target) as tar:
        manifest = tar.extractfile("manifest.json")
        named = manifest.read().decode() if manifest else ""
        wrong = [f"missing: {digest}" for digest in expected if str(digest) not in named]
        wrong += [f"damaged: {member.name}" for member in tar if not _is_what_it_says(tar, member)]
    if wrong:
        raise CarvelwrightError(
            f"step archive: {target.name} is not whole",
            exit_code=ExitCode.TOOL_FAILED,
            details="\n".join(wrong),
            hint="build again; if it stays so, report it",
            step="archive",
        )


def _is_what_it_says(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    name = _BLOB.fullmatch(member.name)
    content = tar.extractfile(member)
    if name is None or content is None:
        return True
    return _sha256(content) == name[1]


def _sha256(content: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()
