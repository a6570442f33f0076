"""Files: whole or not at all, in one order, with one mode."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import stat
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright import files
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_write_replaces_the_content_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new/directory/file"
    files.write_atomic(target, "one")
    files.write_atomic(target, b"two", mode=0o600)
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(target.parent) == ["file"]


def test_the_umask_does_not_count(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        files.write_atomic(tmp_path / "a", "")
        files.copy_file(tmp_path / "a", tmp_path / "b", mode=0o755)
        with files.new_directory(tmp_path / "d"):
            pass
    finally:
        os.umask(former)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "abd"] == [0o644, 0o755, 0o755]


def test_a_write_that_fails_names_file_and_remedy_and_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    files.write_atomic(target, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CarvelwrightError) as caught:
            files.write_atomic(target, "x" * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.lines() == [
        f"cannot write {target}: File too large",
        "    hint: raise the file size limit (ulimit -f), then run the same command again",
    ]
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_plain_write_that_fails_names_file_and_remedy(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CarvelwrightError) as caught:
            files.write_file(tmp_path / "file", b"x" * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.lines() == [
        f"cannot write {tmp_path}/file: File too large",
        "    hint: raise the file size limit (ulimit -f), then run the same command again",
    ]


def test_a_copy_is_for_everybody_to_read_and_for_nobody_to_run(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "source", "content", mode=0o700)
    files.copy_file(tmp_path / "source", tmp_path / "a/target")
    assert (tmp_path / "a/target").read_text() == "content"
    assert stat.S_IMODE((tmp_path / "a/target").stat().st_mode) == 0o644


def test_a_copy_that_fails_names_both_files(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 5000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(CarvelwrightError, match="File too large") as caught:
            files.copy_file(tmp_path / "source", tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"{tmp_path}/source to {tmp_path}/target" in caught.value.message


def test_reading_what_is_not_there_names_it(tmp_path: Path) -> None:
    with pytest.raises(CarvelwrightError) as caught:
        files.read_bytes(tmp_path / "none")
    assert caught.value.lines()[0] == f"cannot read {tmp_path}/none: No such file or directory"
    assert caught.value.exit_code is ExitCode.FILESYSTEM


def test_a_new_directory_takes_its_name_only_when_the_block_ends_well(tmp_path: Path) -> None:
    final = tmp_path / "d"
    with files.new_directory(final) as staging:
        (staging / "one").touch()
        assert not final.exists()
    assert names(final) == ["one"]
    with contextlib.suppress(KeyError), files.new_directory(final) as staging:
        (staging / "two").touch()
        raise KeyError
    assert names(final) == ["one"]
    with files.new_directory(final) as staging:
        (staging / "three").touch()
    assert names(final) == ["three"]
    assert names(tmp_path) == ["d"]


def test_an_os_error_within_a_new_directory_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(CarvelwrightError, match=f"cannot write {tmp_path}/d: No space left"),
        files.new_directory(tmp_path / "d"),
    ):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("link", [True, False])
def test_a_directory_never_takes_the_place_of_a_file_or_a_link(tmp_path: Path, link: bool) -> None:
    final = tmp_path / "d"
    if link:
        (tmp_path / "elsewhere").mkdir()
        final.symlink_to(tmp_path / "elsewhere")
    else:
        final.write_text("old")
    before = names(tmp_path)
    with (
        pytest.raises(
            CarvelwrightError, match=rf"^cannot replace {tmp_path}/\.d\.new\.\w+: Not a directory$"
        ) as caught,
        files.new_directory(final, replace=False),
    ):
        pass
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert names(tmp_path) == before
    assert final.is_symlink() if link else final.read_text() == "old"


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_what_a_living_run_makes_stays_and_no_file_is_left_open(tmp_path: Path) -> None:
    with files.temporary_directory(tmp_path, ".d.new.") as held:
        before = open_files()
        files.remove_leftovers(tmp_path, "d")
        assert held.is_dir()
        assert open_files() == before


def test_where_no_lock_can_be_had_a_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = open_files()
    with pytest.raises(CarvelwrightError, match=r"^cannot write: No locks available$") as caught:
        files.write_atomic(tmp_path / "file", "content")
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert open_files() == before


@pytest.fixture
def no_wait() -> Iterator[None]:
    """Fail instead of waiting for ever."""

    def fail(_signal: int, _frame: object) -> None:
        pytest.fail("waits for ever")

    former = signal.signal(signal.SIGALRM, fail)
    left = signal.alarm(20)
    yield
    signal.alarm(left)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.usefixtures("no_wait")
def test_a_pipe_among_the_leftovers_goes_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".d.new.a")
    files.remove_leftovers(tmp_path, "d")
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_run_go_and_nothing_else_does(tmp_path: Path) -> None:
    for name in (".d.new.x", ".d.former.y", ".d.mine", ".e.new.x", "d"):
        (tmp_path / name / "sub").mkdir(parents=True)
    files.remove_leftovers(tmp_path, "d")
    assert names(tmp_path) == [".d.mine", ".e.new.x", "d"]
    files.remove_leftovers(tmp_path / "none", "d")


def test_a_tree_with_read_only_parts_goes(tmp_path: Path) -> None:
    (tmp_path / "tree/sub/deeper").mkdir(parents=True)
    (tmp_path / "tree/sub/deeper/file").touch()
    for name in ("tree/sub/deeper", "tree/sub", "tree"):
        (tmp_path / name).chmod(0o500)
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "tree")
    assert names(tmp_path) == []


@contextlib.contextmanager
def no_root(directory: Path) -> Iterator[None]:
    """Go on in a directory of one's own, without root's right to read and change whatever its mode is."""
    with contextlib.chdir(directory):
        if os.geteuid():
            yield
            return
        os.chown(directory, 65534, -1)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)


def test_a_tree_goes_whose_parts_nobody_may_read(tmp_path: Path) -> None:
    with no_root(tmp_path):
        for name in ("tree/a/deeper", "tree/b/deeper"):
            Path(name).mkdir(parents=True)
            Path(name, "file").touch()
        for name in ("tree/a/deeper", "tree/b/deeper", "tree/a", "tree/b", "tree"):
            Path(name).chmod(0)
        files.remove_tree(Path("tree"))
    assert names(tmp_path) == []


def test_what_cannot_be_removed_stays_without_an_error(tmp_path: Path) -> None:
    with no_root(tmp_path):
        Path("fixed/tree/sub").mkdir(parents=True)
        Path("fixed").chmod(0o500)
        files.remove_tree(Path("fixed/tree"))
    (tmp_path / "fixed").chmod(0o700)
    assert list((tmp_path / "fixed").rglob("*")) == [tmp_path / "fixed/tree"]


@pytest.mark.parametrize("inside", [True, False])
def test_a_link_goes_and_what_it_points_to_stays_as_it_is(tmp_path: Path, inside: bool) -> None:
    (tmp_path / "kept/sub").mkdir(parents=True)
    (tmp_path / "kept/sub/file").write_text("content")
    for name in ("kept/sub/file", "kept/sub", "kept"):
        (tmp_path / name).chmod(0o500)
    (tmp_path / "tree").mkdir()
    link = tmp_path / ("tree/link" if inside else "link")
    link.symlink_to(tmp_path / "kept")
    files.remove_tree(tmp_path / "tree" if inside else link)
    assert not link.is_symlink()
    assert (tmp_path / "kept/sub/file").read_text() == "content"
    for name in ("kept/sub/file", "kept/sub", "kept"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o500


def test_a_dangling_link_and_a_file_go_as_well(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    (tmp_path / "file").touch()
    for name in ("link", "file", "none"):
        files.remove_tree(tmp_path / name)
    assert names(tmp_path) == []


def test_files_come_sorted_by_their_whole_names(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a.txt", "a-b/c", "B"):
        files.write_atomic(tmp_path / name, "")
    assert [path.relative_to(tmp_path).as_posix() for path in files.walk_files(tmp_path)] == [
        "B",
        "a-b/c",
        "a.txt",
        "a/z",
        "b",
    ]


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "tree/odd"
    odd.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(odd)
    else:
        odd.symlink_to(tmp_path if kind == "link" else tmp_path / "none")
    with pytest.raises(CarvelwrightError, match="symbolic link or a special file") as caught:
        list(files.walk_files(tmp_path / "tree"))
    assert caught.value.lines() == [
        f"{odd} is a symbolic link or a special file",
        "    hint: replace it with a regular file: links, pipes, sockets and devices are not read",
    ]
    assert caught.value.exit_code is ExitCode.CONFIG


def test_a_name_that_is_not_utf8_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(CarvelwrightError) as caught:
        list(files.walk_files(tmp_path))
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.lines() == [
        f"'caf\\udce9' in {tmp_path}: the file's name is not UTF-8",
        "    hint: rename the file: names must be valid UTF-8, so that they are the same on every system",
    ]


trees = st.dictionaries(st.sampled_from(["a", "b", "a b", "c/d", "c/e", "ab/c"]), st.binary(max_size=4), max_size=4)


@given(trees, trees)
def test_tree_digests_are_equal_for_equal_names_and_contents_only(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        digests = []
        for number, tree in enumerate((one, two)):
            root = Path(place, str(number))
            root.mkdir()
            for name, content in tree.items():
                path = root / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o600 if number else 0o755)
                os.utime(path, (number, number))
            digests.append(files.tree_digest(root))
    assert (digests[0] == digests[1]) == (one == two)


def test_junk_and_hidden_files_are_left_out_and_named_by_their_topmost_part(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.yaml~", "b/.DS_Store", "b/c.yaml", ".git/config", ".hidden", "d/.idea/x", "d/e.BAK"):
        files.write_atomic(tmp_path / name, "")
    kept = [path.relative_to(tmp_path).as_posix() for path in files.walk_files(tmp_path, files.is_no_content)]
    assert kept == ["a.yaml", "b/c.yaml", "d/e.BAK"]
    out = [path.relative_to(tmp_path).as_posix() for path in files.left_out(tmp_path, files.is_no_content)]
    assert out == [".git", ".hidden", "a.yaml~", "b/.DS_Store", "d/.idea"]
    assert files.is_junk(".git")
    assert not files.is_junk(".hidden")


def test_what_is_no_plain_file_or_too_large_is_reported_with_what_to_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(CarvelwrightError) as caught:
        files.read_bytes(tmp_path / "fifo")
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.lines() == [
        f"cannot read {tmp_path}/fifo: not a regular file",
        "    hint: replace it with a regular file",
    ]
    assert files.read_bytes(tmp_path / "file") == files.read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(CarvelwrightError) as caught:
        files.read_bytes(tmp_path / "file", 4)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.lines() == [
        f"cannot read {tmp_path}/file: it is larger than 4 bytes",
        "    hint: make it smaller",
    ]


def test_no_more_is_read_of_a_large_file_than_shows_that_it_is_too_large(tmp_path: Path) -> None:
    size = 32 * 1024 * 1024
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        with pytest.raises(CarvelwrightError, match=r"it is larger than 4 bytes$"):
            files.read_bytes(tmp_path / "file", 4)
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_a_directory_is_reported_as_one(tmp_path: Path) -> None:
    with pytest.raises(CarvelwrightError, match=f"^cannot read {tmp_path}: Is a directory$") as caught:
        files.read_bytes(tmp_path)
    assert caught.value.hint is None


def test_a_failure_without_a_file_and_without_a_known_remedy_is_reported(tmp_path: Path) -> None:
    assert files.file_error(OSError("odd"), "read").lines() == ["cannot read: odd"]
    assert files.file_error(OSError("odd"), "read").path is None
    assert files.file_error(OSError(28, "No space left on device", "f"), "write").path == Path("f")
    assert files.file_error(OSError(28, "No space left on device", "f"), "write").lines() == [
        "cannot write f: No space left on device",
        "    hint: free space on that file system, then run the same command again",
    ]
    with (
        pytest.raises(CarvelwrightError, match=f"^cannot write {tmp_path}: odd$"),
        files.reporting_file_errors("write", tmp_path),
    ):
        raise OSError("odd")


def test_writing_needs_no_other_directory_and_a_killed_write_leaves_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    seen: list[str] = []
    real = os.fsync

    def look(handle: int) -> None:
        seen.extend(names(tmp_path / "d"))
        real(handle)

    monkeypatch.setattr(os, "fsync", look)
    files.write_atomic(tmp_path / "d/file", "content")
    (name,) = seen
    (tmp_path / "d" / name).write_text("left by a process that was killed")
    files.remove_leftovers(tmp_path / "d")
    assert names(tmp_path / "d") == ["file"]
    for content in ("one", "two"):
        with files.new_directory(tmp_path / "d/new") as staging:
            assert staging.parent == tmp_path / "d"
            (staging / content).touch()
    assert names(tmp_path / "d/new") == ["two"]
    with pytest.raises(CarvelwrightError, match=f"^cannot copy {tmp_path}/none to {tmp_path}/copy: "):
        files.copy_file(tmp_path / "none", tmp_path / "copy")


def test_what_a_run_killed_right_after_it_replaced_a_directory_leaves_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("d", "staging"):
        (tmp_path / name).mkdir()
    with monkeypatch.context() as killed:
        killed.setattr(files, "remove_tree", lambda _: None)
        files.replace_directory(tmp_path / "staging", tmp_path / "d")
    assert len(names(tmp_path)) == 2
    files.remove_leftovers(tmp_path, "d")
    assert names(tmp_path) == ["d"]


def test_a_digest_of_chosen_files_counts_these_alone(tmp_path: Path) -> None:
    for name in ("both/a", "both/b", "one/a"):
        files.write_atomic(tmp_path / name, name.rpartition("/")[2])
    chosen = files.tree_digest(tmp_path / "both", [tmp_path / "both/a"])
    assert chosen == files.tree_digest(tmp_path / "one")
    assert chosen != files.tree_digest(tmp_path / "both")
    with pytest.raises(CarvelwrightError) as caught:
        files.tree_digest(tmp_path / "both", [tmp_path / "both/c"])
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.lines() == [
        f"cannot read {tmp_path}/both/c: No such file or directory",
        "    hint: check the path",
    ]


def test_a_digest_of_a_tree_is_the_same_for_ever(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a/b.txt", "one\n")
    files.write_atomic(tmp_path / "é", "two\n")
    assert files.tree_digest(tmp_path) == "3d83e75b57bba9b708aefc7fa6861e2f4ad9aa390b08b9c83f1a8d9aa900d5e2"


def test_a_link_among_the_leftovers_stays_and_the_others_go(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / ".d.new.a").symlink_to(tmp_path / "kept")
    (tmp_path / ".d.new.b").mkdir()
    files.remove_leftovers(tmp_path, "d")
    assert names(tmp_path) == [".d.new.a", "kept"]


def test_a_file_is_written_with_its_directories_and_mode_or_named(tmp_path: Path) -> None:
    for content in (b"one", b"other"):
        files.write_file(tmp_path / "a/b/c", content, mode=0o600)
        assert (tmp_path / "a/b/c").read_bytes() == content
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o600
    files.write_file(tmp_path / "a/d", b"")
    assert (tmp_path / "a/d").stat().st_mode & 0o777 == 0o644
    with pytest.raises(CarvelwrightError, match=rf"^cannot write {tmp_path}/a/b: Is a directory") as caught:
        files.write_file(tmp_path / "a/b", b"")
    assert caught.value.exit_code is ExitCode.FILESYSTEM
