"""Where a build keeps what it makes: everything below the project's build/, named by content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carvelwright import files
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.report import Step

_KEY_DIGITS = 24


def content_key(*parts: Any) -> str:
    """Return a short name for some plain data; equal data gives equal names."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True, slots=True)
class Workspace:
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

        `step` is told when the directory is reused.
        """
        final = self.build / kind / key
        if final.is_dir():
            if step is not None:
                step.reuse()
            return final
        files.remove_leftovers(final.parent, final.name)
        with files.new_directory(final) as staging:
            make(staging)
        return final

    def remember(self, kind: str, key: str, compute: Callable[[], Any]) -> Any:
        """Return a JSON value kept under build/KIND/KEY.json, computed if it is not there."""
        path = self.build / kind / f"{key}.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads(path.read_bytes())
        value = compute()
        files.write_atomic(path, json.dumps(value))
        return value

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Yield a directory of this process's own below build/scratch, empty at first and gone after the block.

        What processes that are no more left there is removed.
        """
        parent = self.build / "scratch"
        for leftover in parent.glob("*.*"):
            if not _lives(leftover.suffix.removeprefix(".")):
                files.remove_tree(leftover)
        directory = parent / f"{name}.{os.getpid()}"
        with files.reporting_file_errors("write"):
            directory.mkdir(parents=True)
        try:
            with files.reporting_file_errors("write", directory):
                yield directory
        finally:
            files.remove_tree(directory)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold build/.lock while the block runs; CarvelwrightError where another build holds it.

        The kernel frees the lock when its holder ends in whatever way, so none is ever stale.
        """
        with files.reporting_file_errors("write"):
            self.build.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.build / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CarvelwrightError(
                f"another build is running in {self.root}",
                exit_code=ExitCode.FILESYSTEM,
                hint="wait until it has ended",
            ) from None
        else:
            yield
        finally:
            os.close(handle)


def _lives(pid: str) -> bool:
    """Tell whether a process is still there; a number that another process got since counts as alive."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
