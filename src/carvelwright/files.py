"""Files: atomic writes, sorted walks, content keys. Nothing half-written ever has its final name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import glob
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.errors import FilesystemError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import BufferedReader

_HINTS = {
    errno.ENOSPC: "free space on that file system, then run the same command again",
    errno.EDQUOT: "free space within the quota, then run the same command again",
    errno.EFBIG: "raise the file size limit (ulimit -f), then run the same command again",
    errno.EACCES: "grant this user read and write permission",
    errno.EPERM: "grant this user read and write permission",
    errno.EROFS: "use another directory: the file system is read-only",
    errno.ENOENT: "check the path",
}


def file_error(error: OSError, doing: str) -> FilesystemError:
    """Turn an OSError into an error that names the file, the reason and the remedy."""
    name = f" {error.filename}" if error.filename else ""
    hint = _HINTS.get(error.errno or 0)
    # Not str(error): with a file name set and no number it says "[Errno None] None".
    reason = ", ".join(map(str, error.args))
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    return FilesystemError(f"cannot {doing}{name}: {error.strerror or reason}", path=path, hint=hint)


@contextlib.contextmanager
def reporting_file_errors(doing: str, path: Path | None = None) -> Iterator[None]:
    """Report any OSError inside as a failure to do `doing`, to `path` where the error itself names no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and path is not None:
            error.filename = str(path)
        raise file_error(error, doing) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    mode = path.stat().st_mode
    handed = stat.S_ISFIFO(mode) and Path(os.path.realpath(path)).name.startswith("pipe:")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or handed):
        raise FilesystemError(
            f"cannot read {path}: not a regular file",
            path=path,
            hint="replace it with a regular file",
        )
    with path.open("rb") as file:
        yield file


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return a file's content, or say which file cannot be read and why: it is no plain file, or above the limit.

    A pipe from this process's own caller (`<(...)` of a shell) is read as well; a named pipe would block for ever.
    """
    with reporting_file_errors("read"), _opened(path) as file:
        content = file.read(-1 if limit is None else limit + 1)
    if limit is not None and len(content) > limit:
        raise InputError(
            f"cannot read {path}: it is larger than {limit} bytes",
            hint="make it smaller",
        )
    return content


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write beside `path`, sync, rename: at every moment the old content or the new is there, whole."""
    content = data.encode() if isinstance(data, str) else data

    def make() -> Path:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.new.", dir=path.parent)
        os.close(handle)
        return Path(name)

    with reporting_file_errors("write"), contextlib.ExitStack() as cleanup:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = cleanup.enter_context(_held(make))
        cleanup.callback(temporary.unlink, missing_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.rename(path)
        except OSError as error:
            error.filename = str(path)
            raise


@contextlib.contextmanager
def temporary_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new empty directory of a name of its own; it is gone after the block.

    As long as the block runs, in whatever process, `remove_leftovers` leaves it alone.
    """
    with reporting_file_errors("write"), contextlib.ExitStack() as held:
        parent.mkdir(parents=True, exist_ok=True)
        directory = held.enter_context(_held(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=parent))))
        held.callback(remove_tree, directory)
        # mkdtemp gives 0700; what is made is for everybody to read.
        directory.chmod(0o755)
        yield directory


@contextlib.contextmanager
def new_directory(final: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield an empty directory beside `final` that takes its name when the block ends well, and goes away otherwise.

    What `final` held before is replaced as a whole; `replace=False` leaves a directory as it is that another process
    has put there meanwhile.
    """
    with temporary_directory(final.parent, f".{final.name}.new.") as staging:
        with reporting_file_errors("write", final):
            yield staging
        with reporting_file_errors("replace"):
            if replace:
                replace_directory(staging, final)
            else:
                _put(staging, final)


def _put(staging: Path, final: Path) -> None:
    try:
        staging.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or final.is_symlink():
            raise


def replace_directory(staging: Path, final: Path) -> None:
    """Give `staging` the name `final`; a former directory of that name is removed after the swap."""
    if not final.exists():
        staging.rename(final)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{final.name}.former.", dir=final.parent))
    final.rename(former / final.name)
    staging.rename(final)
    remove_tree(former)


@contextlib.contextmanager
def _held(make: Callable[[], Path]) -> Iterator[Path]:
    """Make a file or directory and hold a lock on it while the block runs; the kernel frees it with the process."""
    while True:
        path = make()
        handle = hold(path)
        # Another process may have taken it for a leftover before the lock was held.
        if handle is not None:
            break
    try:
        yield path
    finally:
        os.close(handle)


def hold(path: Path, lock: int = fcntl.LOCK_EX) -> int | None:
    """Lock a file or directory and return its handle; None where another process holds it or has removed it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, lock | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.lstat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def remove_tree(path: Path) -> None:
    """Remove a directory and all in it, also where the Go tool made parts of it read-only; no error if not there.

    Links are removed as links: what they point to stays as it is, content and mode.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    _make_removable(path)
    for parent, directories, _ in os.walk(path):
        for name in directories:
            _make_removable(Path(parent, name))
    shutil.rmtree(path, ignore_errors=True)


def _make_removable(directory: Path) -> None:
    mode = directory.lstat().st_mode
    # Asked of the entry itself: chmod would go through a link.
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        directory.chmod(0o700)


def remove_leftovers(parent: Path, name: str | None = None) -> None:
    """Remove what killed runs left in `parent` under the names that `new_directory` and `write_atomic` use.

    Only for `name` where one is given; never what a process that lives is making.
    """
    for kind in ("new", "former"):
        remove_unheld(parent, f".{'*' if name is None else glob.escape(name)}.{kind}.*")


def remove_unheld(parent: Path, pattern: str) -> None:
    """Remove the entries of a directory of temporary ones whose makers live no more."""
    for leftover in sorted(parent.glob(pattern)):
        with contextlib.suppress(OSError):
            handle = hold(leftover)
            if handle is not None:
                try:
                    remove_tree(leftover)
                finally:
                    os.close(handle)


# What editors, desktops and version control leave beside sources: a digest must not depend on who has what open.
_JUNK = (
    *("*~", "#*#", ".#*", "*.sw[a-p]", "*.kate-swp", ".~lock.*", "*.bak", "*.orig", "*.rej", "*.tmp"),
    *(".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".idea", ".vscode", "__pycache__"),
    *(".git", ".hg", ".svn"),
)


def is_junk(name: str) -> bool:
    """Tell whether a file or directory of that name belongs to an editor, a desktop or version control."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _JUNK)


def is_no_content(name: str) -> bool:
    """Tell whether a file or directory of that name is left out of a bundle: junk, and whatever is hidden."""
    return name.startswith(".") or is_junk(name)


def walk_files(root: Path, skip: Callable[[str], bool] = lambda _: False) -> Iterator[Path]:
    """Yield the files below `root` sorted by their relative POSIX names, so that no order of a file system shows.

    What `skip` says of a name, of a file or of a directory on the way, is left out. A symlink or a special file is an
    error, and a name that is not UTF-8: a bundle cannot hold one.
    """
    for path in sorted(root.rglob("*"), key=lambda item: item.relative_to(root).as_posix()):
        if any(map(skip, path.relative_to(root).parts)):
            continue
        encoded_name(path, root)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise InputError(
                f"{path} is a symbolic link or a special file",
                hint="replace it with a regular file: links, pipes, sockets and devices are not read",
            )
        if path.is_file():
            yield path


def encoded_name(path: Path, root: Path) -> bytes:
    """Return a file's name below `root`, in UTF-8; a name in another encoding is an error."""
    name = path.relative_to(root).as_posix()
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{name!a} in {root}: the file's name is not UTF-8",
            hint="rename the file: names must be valid UTF-8, so that they are the same on every system",
        ) from None


def left_out(root: Path, skip: Callable[[str], bool]) -> list[Path]:
    """Return what `walk_files` leaves out below `root`: the topmost files and directories, sorted."""
    found = []
    for parent, directories, names in os.walk(root):
        found += [Path(parent, name) for name in [*directories, *names] if skip(name)]
        directories[:] = [name for name in directories if not skip(name)]
    return sorted(found)


def tree_digest(root: Path, paths: Iterable[Path] | None = None) -> str:
    """Return a hex digest over names and contents of files (all below `root`, sorted, unless `paths` names them).

    Modes, owners and times do not count.
    """
    total = hashlib.sha256()
    for path in walk_files(root) if paths is None else paths:
        name = encoded_name(path, root)
        total.update(f"{len(name.decode())}:".encode() + name + b":")
        # In pieces: for a large binary, memory takes longer than the digest.
        with reporting_file_errors("read"), _opened(path) as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def write_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file, with the directories it needs, where nobody reads it before it is whole."""
    with reporting_file_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def link_file(source: Path, target: Path) -> None:
    """Give a file another name, with the directories that needs; where that cannot be, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        # Another file system, or a file of another user's.
        copy_file(source, target)


def copy_file(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """Copy content only; the target gets `mode` and the directories it needs."""
    with reporting_file_errors("copy"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            # What is full or forbidden is mostly the target; the library names the source alone.
            error.filename = f"{source} to {target}"
            raise
        target.chmod(mode)
