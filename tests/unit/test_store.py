"""build/: reused by content, whole or not there, one build at a time."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from carvelwright import files
from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.report import StreamReporter
from carvelwright.store import Store, content_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_equal_data_gives_equal_keys_whatever_the_order_of_its_parts() -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert len({content_key(*parts) for parts in (["a", "b"], ["ab"], [["a"], "b"], ["b", "a"], [], [None], [""])}) == 7


def test_a_product_is_made_once_and_then_reused(tmp_path: Path) -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        (target / "file").write_text("x")

    reporter = StreamReporter(io.StringIO())
    for _ in range(2):
        with reporter.step("s") as step:
            assert (Store(tmp_path).product("kind", "key", step, make) / "file").read_text() == "x"
    assert len(made) == 1
    assert [record.reused for record in reporter.records] == [False, True]


def test_a_product_that_fails_is_not_there_and_leftovers_of_a_killed_one_go(tmp_path: Path) -> None:
    store, reporter = Store(tmp_path), StreamReporter(io.StringIO())
    (tmp_path / "build/kind/.key.new.killed/sub").mkdir(parents=True)

    def fail(target: Path) -> None:
        (target / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError), reporter.step("s") as step:
        store.product("kind", "key", step, fail)
    assert list((tmp_path / "build/kind").iterdir()) == []
    assert reporter.records == ()


def test_a_value_is_remembered_and_a_damaged_one_is_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.remember("v", "k", lambda: {"n": 1}) == {"n": 1}
    assert store.remember("v", "k", lambda: {"n": 2}) == {"n": 1}
    (tmp_path / "build/v/k.json").write_text('{"n":')
    assert store.remember("v", "k", lambda: {"n": 3}) == {"n": 3}


def test_scratch_is_empty_at_first_and_gone_after_also_after_a_failure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    # No process has this number: it is above the kernel's largest.
    (tmp_path / "build/scratch/s.99999999/old").mkdir(parents=True)
    with contextlib.suppress(RuntimeError), store.scratch("s") as directory:
        assert list(directory.iterdir()) == []
        (directory / "new").touch()
        raise RuntimeError
    assert not directory.exists()
    assert list((tmp_path / "build/scratch").iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from carvelwright.store import Store
with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_build_at_a_time_and_no_lock_outlives_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CarvelwrightError, match="another build is running") as caught, Store(tmp_path).locked():
            pass
        assert caught.value.exit_code is ExitCode.FILESYSTEM
        assert str(tmp_path) in caught.value.message
        holder.kill()
    with Store(tmp_path).locked(), pytest.raises(CarvelwrightError), Store(tmp_path).locked():
        pass
    with Store(tmp_path).locked():
        pass


def test_a_waiting_build_gets_the_lock_when_its_holder_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    with holder:
        assert holder.stdout.readline() == b"held\n"
        threading.Timer(0.3, holder.stdin.close).start()
        with Store(tmp_path).locked(wait=True):
            assert holder.wait() == 0


# Several processes in one build/


def test_what_a_living_process_makes_is_no_leftover(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def make(target: Path) -> None:
        (target / "file").touch()
        with store.scratch("s") as outer, store.scratch("s") as inner:
            assert outer != inner
            store.product("kind", "other", None, lambda other: (other / "file").touch())
            store.remember("kind", "value", lambda: 1)
            store.remove_leftovers()
            assert outer.is_dir()
            assert inner.is_dir()
        assert (target / "file").exists()

    assert (store.product("kind", "key", None, make) / "file").exists()
    assert sorted(path.name for path in (tmp_path / "build/kind").iterdir()) == ["key", "other", "value.json"]


def test_a_product_that_another_process_finished_first_stays_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    inodes = []

    def theirs(target: Path) -> None:
        (target / "file").write_text("theirs")

    def make(target: Path) -> None:
        (target / "file").write_text("mine")
        other = store.product("kind", "key", None, theirs)
        inodes.append(other.stat().st_ino)

    made = store.product("kind", "key", None, make)
    assert made.stat().st_ino == inodes[0]
    assert (made / "file").read_text() == "theirs"
    assert [path.name for path in made.parent.iterdir()] == ["key"]


def _product_of(content: str) -> Callable[[Path], None]:
    def make(target: Path) -> None:
        (target / "file").write_text(content)

    return make


@pytest.mark.parametrize("content", ["made", "something else"])
def test_a_product_without_a_seal_is_made_again(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    old = store.product("kind", "key", None, _product_of(content))
    before = old.stat().st_ino
    files.remove_tree(tmp_path / "build/seals")
    (tmp_path / "build/seals/kind/key").mkdir(parents=True)
    (tmp_path / "build/seals/kind/key/.half.new.killed").touch()
    made = store.product("kind", "key", None, _product_of("made"))
    assert (made / "file").read_text() == "made"
    # What is equal stays where another process may read it.
    assert (made.stat().st_ino == before) == (content == "made")
    again = StreamReporter(io.StringIO())
    with again.step("s") as step:
        store.product("kind", "key", step, _product_of("made"))
    assert [record.reused for record in again.records] == [True]


def test_a_product_with_another_seal_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.product("kind", "key", None, _product_of("made"))
    (made / "file").write_text("changed")
    with pytest.raises(CarvelwrightError, match="differs from what was built") as caught:
        store.product("kind", "key", None, _product_of("made"))
    assert caught.value.hint == f"remove {made}, then run the same command again"
    assert (made / "file").read_text() == "changed"


CROWD = """
import random, sys
from pathlib import Path
from carvelwright.store import Store
workspace, seed = Store(Path(sys.argv[1])), int(sys.argv[2])
random.seed(seed)
def make(target):
    for name in ("a", "b"):
        (target / name).mkdir()
        (target / name / "file").write_text(name)
for number in range(30):
    key = str(number)
    with workspace.scratch("s") as scratch:
        (scratch / "file").write_text(str(seed))
        made = workspace.product("kind", key, None, make)
        assert {path.read_text() for path in made.glob("*/file")} == {"a", "b"}, made
        assert workspace.remember("value", key, lambda: number) == number
        if random.random() < 0.3:
            workspace.remove_leftovers()
        assert (scratch / "file").read_text() == str(seed)
"""


@pytest.mark.parametrize("old", [None, "a", "c"])
def test_processes_that_make_the_same_at_once_do_not_disturb_each_other(tmp_path: Path, old: str | None) -> None:
    for number in range(30 if old else 0):
        # As an older carvelwright leaves it: without a seal.
        (tmp_path / f"build/kind/{number}/{old}").mkdir(parents=True)
        (tmp_path / f"build/kind/{number}/{old}/file").write_text(str(old))
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, tmp_path, str(seed)], stderr=subprocess.PIPE)
        for seed in range(4)
    ]
    ends = [(process.communicate()[1].decode(), process.returncode) for process in crowd]
    assert ends == [("", 0)] * 4
    assert len(list((tmp_path / "build/kind").iterdir())) == 30
    assert list((tmp_path / "build/scratch").iterdir()) == []
    assert list(tmp_path.glob("build/*/.*")) == []


# What is not ours


@pytest.mark.parametrize("place", ["build", "build/kind", "build/kind/key"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_what_the_build_did_not_make_is_refused_and_kept(tmp_path: Path, place: str, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    stranger = tmp_path / "project" / place
    stranger.parent.mkdir(parents=True)
    if kind == "file":
        stranger.write_text("mine")
    else:
        stranger.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    before = stranger.lstat()
    with pytest.raises(CarvelwrightError, match=str(stranger)) as caught:
        Store(tmp_path / "project").product("kind", "key", None, lambda target: (target / "file").touch())
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.hint == "move it to another place, then run the same command again"
    assert stranger.lstat().st_ino == before.st_ino
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


def test_a_build_that_is_a_file_is_refused_by_all(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("mine")
    store = Store(tmp_path)
    with pytest.raises(CarvelwrightError, match="is not a directory"), store.locked():
        pass
    with pytest.raises(CarvelwrightError, match="is not a directory"), store.scratch("s"):
        pass
    with pytest.raises(CarvelwrightError, match="is not a directory"):
        store.remember("kind", "key", lambda: 1)
    assert (tmp_path / "build").read_text() == "mine"
