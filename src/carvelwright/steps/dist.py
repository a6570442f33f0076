"""Fills dist/: everything that was made, with its digests, all at once or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from carvelwright import files
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, FilesystemError
from carvelwright.record import FileRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carvelwright.plan import BuildPlan, WorkspacePlan
    from carvelwright.record import PackageRecord, ReleaseRecord
    from carvelwright.reference import Reference
    from carvelwright.values import ValuesSchema

RELEASE_FILE = "release.json"
SUMS_FILE = "SHA256SUMS"
# The directory for what is known against the images of a package, and how the documents' names end.
_VEX, _OPENVEX = "vex", ".openvex.json"


def write_values(plan: BuildPlan, schema: ValuesSchema, target: Path) -> None:
    """Write the default data values as the client does, the annotated ones and the JSON Schema."""
    # Here and below imported only where they are needed: a run without changes reads dist/ and writes nothing.
    from carvelwright import values, valuesdoc  # noqa: PLC0415
    from carvelwright.client import Client, default_values_file  # noqa: PLC0415

    title = f"Data values of {plan.project.ref_name} {plan.release.version}"
    stem = plan.default_values_name.removesuffix(".yaml")
    files.write_atomic(target / f"{stem}.yaml", default_values_file(schema.openapi, Client.KCTRL_0_46))
    files.write_atomic(target / f"{stem}.annotated.yaml", valuesdoc.annotated(schema, title))
    files.write_atomic(target / f"{plan.directory}values.schema.json", values.json_schema(schema, title))


def write_repository(plan: WorkspacePlan, repository: Reference, packages: Path, target: Path) -> None:
    """Write the repository's packages and the PackageRepository resource that points at it."""
    from carvelwright import yamldoc  # noqa: PLC0415
    from carvelwright.carvel import resources  # noqa: PLC0415

    for path in files.walk_files(packages):
        files.copy_file(path, target / "packages" / path.relative_to(packages))
    resource = resources.package_repository(plan.resource_name, repository)
    files.write_atomic(target / "package-repository.yml", yamldoc.dump(resource))


def list_files(directory: Path) -> tuple[FileRecord, ...]:
    """Digest every file below a directory but the release file and the sums."""
    own = (directory / RELEASE_FILE, directory / SUMS_FILE)
    paths = [path for path in files.walk_files(directory) if path not in own]
    with files.reporting_file_errors("read"):
        return tuple(_dist_file(path, directory) for path in paths)


def write_release(release: ReleaseRecord, target: Path) -> None:
    """Write release.json and SHA256SUMS, which `sha256sum -c` reads."""
    text = json.dumps(release.document(), indent=2) + "\n"
    files.write_atomic(target / RELEASE_FILE, text)
    sums = {file.name: file.digest.hex for file in release.files} | {RELEASE_FILE: Digest.of_bytes(text.encode()).hex}
    files.write_atomic(target / SUMS_FILE, _sums_text(sums))


def vex_file(package: PackageRecord, image: str) -> str:
    """Return the file of dist/ that states which known vulnerabilities affect an image of a package."""
    return (PurePosixPath(package.archive).parent / _VEX / f"{image}{_OPENVEX}").as_posix()


def change(directory: Path, release: ReleaseRecord, contents: Mapping[str, bytes | None]) -> None:
    """Put files into a finished dist/, or take them out (None), all at once; its record and sums follow.

    The caller holds the lock.
    """
    with files.new_directory(directory) as target:
        for file in release.files:
            if file.name not in contents:
                files.link_file(directory / file.name, target / file.name)
        for name, content in contents.items():
            if content is not None:
                files.write_file(target / name, content)
        write_release(replace(release, files=list_files(target)), target)


def is_whole(directory: Path) -> bool:
    """Tell whether a dist/ holds exactly what its SHA256SUMS says, by content."""
    try:
        found = {file.name: file.digest.hex for file in list_files(directory)}
        found[RELEASE_FILE] = Digest.of_file(directory / RELEASE_FILE).hex
    except (OSError, CarvelwrightError):
        return False
    return found == _read_sums(directory)


def require_own(directory: Path) -> None:
    """Refuse a dist/ that holds what no build made, or what was changed since: a build replaces all of it.

    What builds made is known from SHA256SUMS. The error names every such file.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        found = [f"{directory} is {'a symbolic link' if directory.is_symlink() else 'not a directory'}"]
    else:
        with files.reporting_file_errors("read"):
            found = [f"{path}: {why}" for path, why in not_made(directory)]
    if found:
        raise FilesystemError(
            f"the build would overwrite files that it did not make: {directory}",
            path=directory,
            details="\n".join(found),
            hint="move or delete them, then run the same command again",
        )


def look(directory: Path) -> list[tuple[str, int, int, int]]:
    """Return what can be seen of a directory's entries without reading them; equal as long as nobody touches it."""
    entries = []
    for path in sorted(directory.rglob("*")):
        state = path.lstat()
        entries.append((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return entries


def not_made(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield what no build made or what was changed since, each with the reason."""
    made = _read_sums(directory)
    directories = {str(parent) for name in made for parent in PurePosixPath(name).parents}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_dir() and not path.is_symlink():
            if name not in directories and not any(path.iterdir()):
                yield path, "not made by a build"
        elif path.is_symlink() or not path.is_file() or (name not in made and name != SUMS_FILE):
            yield path, "not made by a build"
        elif name == SUMS_FILE:
            if path.read_bytes() != _sums_text(made).encode():
                yield path, "changed since the build made it"
        elif Digest.of_file(path).hex != made[name]:
            yield path, "changed since the build made it"


def _sums_text(sums: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def _read_sums(directory: Path) -> dict[str, str]:
    """Return digest by name of what a build made; nothing where no SHA256SUMS says so."""
    try:
        lines = (directory / SUMS_FILE).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _dist_file(path: Path, root: Path) -> FileRecord:
    return FileRecord(path.relative_to(root).as_posix(), path.stat().st_size, Digest.of_file(path))
