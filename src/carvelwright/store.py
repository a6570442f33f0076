"""Where a build keeps what it makes: everything below the project's build/, named by content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files, jsondoc
from carvelwright.errors import CarvelwrightError, FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.report import Step

# What `product` and `remember` keep, by the names of their directories in build/, and what vouches for the products.
PRODUCTS = ("crds", "image", "layer", "licences", "payload")
REMEMBERED = (
    "buildinfo",
    "checked",
    "history",
    "images",
    "linked",
    "manifests",
    "package",
    "scanned",
    "schema",
    "validated",
)
SEALS = "seals"
_KEY_DIGITS = 24
_LOOK_SECONDS = 0.1


def content_key(*parts: Any) -> str:
    """Return a short name for some plain data; equal data gives equal names."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True, slots=True)
class Store:
    """The build/ and dist/ directories of a project."""

    root: Path

    @property
    def build(self) -> Path:
        """Staging and what can be reused."""
        return self.root / "build"

    @property
    def dist(self) -> Path:
        """What was made."""
        return self.root / "dist"

    def product(self, kind: str, key: str, step: Step | None, make: Callable[[Path], None]) -> Path:
        """Return the directory build/KIND/KEY, made by `make` if it is not there; it is there whole or not at all.

        `step` is told when the directory is reused. Of several processes that make the same at once one puts it there,
        and none ever changes it. One without any seal, which an older carvelwright made, is made again.
        """
        final = self.build / kind / key
        seals = self.build / SEALS / kind / key
        self._require_own(final)
        self._require_own(seals)
        # In this order: a product without a seal goes before the first seal is written.
        if _seals_in(seals) and final.is_dir():
            _require_sealed(final, seals)
            if step is not None:
                step.reuse()
            return final
        files.remove_leftovers(final.parent)
        with files.new_directory(final, replace=False) as staging:
            make(staging)
            # A file for each digest that was ever made: of two processes at once, one's product stays.
            _seal(staging, final, seals)
        return final

    def holds(self, kind: str, key: str) -> bool:
        """Tell whether a value is kept."""
        return (self.build / kind / f"{key}.json").is_file()

    def remember(self, kind: str, key: str, compute: Callable[[], Any]) -> Any:
        """Return a JSON value kept under build/KIND/KEY.json, computed if it is not there."""
        path = self.build / kind / f"{key}.json"
        with contextlib.suppress(CarvelwrightError, ValueError):
            return _Remembered.parse(files.read_bytes(path)).value
        self._require_own(path.parent)
        value = compute()
        files.remove_leftovers(path.parent)
        files.write_atomic(path, _Remembered(value).text())
        return value

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Yield a directory of the caller's own below build/scratch, empty at first and gone after the block.

        What processes that are no more left there is removed.
        """
        parent = self.build / "scratch"
        self._require_own(parent)
        files.remove_unheld(parent, "*")
        with files.temporary_directory(parent, f"{name}.") as directory:
            yield directory

    @contextlib.contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Hold build/.lock while the block runs; CarvelwrightError where another build holds it and `wait` is False.

        The kernel frees the lock when its holder ends in whatever way, so none is ever stale.
        """
        self._require_own(self.build)
        with files.reporting_file_errors("write"):
            while (handle := self._take_lock()) is None:
                if not wait:
                    raise FilesystemError(
                        f"another build is running in {self.root}",
                        path=self.root,
                        hint="wait until it has ended, or run carvelwright build --wait",
                    )
                # Not left to the kernel: a signal just before such a wait would not end it.
                time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            os.close(handle)

    def _take_lock(self) -> int | None:
        """Return the lock's handle; None where another process holds it, or has removed the file with `remove_lock`."""
        path = self.build / ".lock"
        self.build.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if _lock(handle) and os.fstat(handle).st_nlink:
            return handle
        os.close(handle)
        return None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `clean` away while the block runs; any number of processes may use a project at once.

        One that is cleaning is waited for.
        """
        with files.reporting_file_errors("write"):
            while (handle := self._hold(fcntl.LOCK_SH)) is None:
                time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def unused(self) -> Iterator[None]:
        """Keep away, while the block runs, all that use the project; CarvelwrightError where there is one."""
        with files.reporting_file_errors("write"):
            handle = self._hold(fcntl.LOCK_EX)
        if handle is None:
            raise FilesystemError(
                f"another carvelwright command is running in {self.root}",
                path=self.root,
                hint="stop `carvelwright serve` with Ctrl-C, or wait until the other command has ended, then run the "
                "same command again",
            )
        try:
            yield
        finally:
            os.close(handle)

    def _hold(self, lock: int) -> int | None:
        """Return a handle of build/ with a lock; None where another process holds one or has removed build/."""
        self._require_own(self.build)
        self.build.mkdir(parents=True, exist_ok=True)
        return files.hold(self.build, lock)

    def remove_lock(self) -> None:
        """Remove the lock that the caller holds, and build/ if nothing else is in it."""
        (self.build / ".lock").unlink()
        with contextlib.suppress(OSError):
            self.build.rmdir()

    def remove_leftovers(self) -> None:
        """Remove what killed runs left, of whatever they made; the caller holds the lock, without which dist/ is."""
        files.remove_leftovers(self.root, self.dist.name)
        for parent in (self.build, *self.build.iterdir()):
            files.remove_leftovers(parent)
        files.remove_unheld(self.build / "scratch", "*")

    def _require_own(self, path: Path) -> None:
        """Refuse a file or a link where build/ or a directory in it should be: it is the user's."""
        for part in (*reversed(path.relative_to(self.root).parents), path.relative_to(self.root)):
            place = self.root / part
            if part.parts and (place.is_symlink() or (place.exists() and not place.is_dir())):
                raise FilesystemError(
                    f"{place} is {'a symbolic link' if place.is_symlink() else 'not a directory'}",
                    path=place,
                    details="expected: a directory that carvelwright made, or none",
                    hint="move it to another place, then run the same command again",
                )


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A value with the digest of its text: what was changed since is no more taken for what was computed."""

    value: Any

    def text(self) -> str:
        return json.dumps({"value": self.value, "sha256": self._digest()})

    @classmethod
    def parse(cls, data: bytes) -> _Remembered:
        document = jsondoc.parse(data)
        if not isinstance(document, dict) or set(document) != {"value", "sha256"}:
            raise ValueError("not a value with its digest")
        found = cls(document["value"])
        if found._digest() != document["sha256"]:
            raise ValueError("changed since it was written")
        return found

    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(self.value).encode()).hexdigest()


def _seals_in(seals: Path) -> bool:
    # Hidden are those that are being written, or were when a process was killed.
    return seals.is_dir() and any(not path.name.startswith(".") for path in seals.iterdir())


def _digest_of(product: Path) -> str | None:
    """Return a product's digest; None where something in it cannot be read."""
    try:
        return files.tree_digest(product)
    except CarvelwrightError:
        return None


def _seal(made: Path, final: Path, seals: Path) -> None:
    """Seal what was made, and remove what lies at its place without a seal; what is equal stays, sealed by that.

    Under a lock, so that of two processes neither removes what the other has put there.
    """
    seals.mkdir(parents=True, exist_ok=True)
    digest = files.tree_digest(made)
    handle = os.open(seals, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if final.is_dir() and not _seals_in(seals) and _digest_of(final) != digest:
            files.remove_tree(final)
        files.write_atomic(seals / digest, "")
    finally:
        os.close(handle)


def _require_sealed(product: Path, seals: Path) -> None:
    """Refuse to reuse what is not what was made; another process may be reading it, so it is not replaced here."""
    digest = _digest_of(product)
    if digest is None or not (seals / digest).is_file():
        raise FilesystemError(
            f"{product} differs from what was built: something in it is missing, changed or added",
            path=product,
            hint=f"remove {product}, then run the same command again",
        )


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
