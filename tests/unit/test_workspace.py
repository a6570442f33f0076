"""build/: reused by content, whole or not there, one build at a time."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.report import StreamReporter
from carvelwright.workspace import Workspace, content_key

if TYPE_CHECKING:
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
            assert (Workspace(tmp_path).product("kind", "key", step, make) / "file").read_text() == "x"
    assert len(made) == 1
    assert [record.reused for record in reporter.records] == [False, True]


def test_a_product_that_fails_is_not_there_and_leftovers_of_a_killed_one_go(tmp_path: Path) -> None:
    workspace, reporter = Workspace(tmp_path), StreamReporter(io.StringIO())
    (tmp_path / "build/kind/.key.new.killed/sub").mkdir(parents=True)

    def fail(target: Path) -> None:
        (target / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError), reporter.step("s") as step:
        workspace.product("kind", "key", step, fail)
    assert list((tmp_path / "build/kind").iterdir()) == []
    assert reporter.records == ()


def test_a_value_is_remembered_and_a_damaged_one_is_computed_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.remember("v", "k", lambda: {"n": 1}) == {"n": 1}
    assert workspace.remember("v", "k", lambda: {"n": 2}) == {"n": 1}
    (tmp_path / "build/v/k.json").write_text('{"n":')
    assert workspace.remember("v", "k", lambda: {"n": 3}) == {"n": 3}


def test_scratch_is_empty_at_first_and_gone_after_also_after_a_failure(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    # No process has this number: it is above the kernel's largest.
    (tmp_path / "build/scratch/s.99999999/old").mkdir(parents=True)
    with contextlib.suppress(RuntimeError), workspace.scratch("s") as directory:
        assert list(directory.iterdir()) == []
        (directory / "new").touch()
        raise RuntimeError
    assert not directory.exists()
    assert list((tmp_path / "build/scratch").iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from carvelwright.workspace import Workspace
with Workspace(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_build_at_a_time_and_no_lock_outlives_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CarvelwrightError, match="another build is running") as caught, Workspace(tmp_path).locked():
            pass
        assert caught.value.exit_code is ExitCode.FILESYSTEM
        assert str(tmp_path) in caught.value.message
        holder.kill()
    with Workspace(tmp_path).locked(), pytest.raises(CarvelwrightError), Workspace(tmp_path).locked():
        pass
    with Workspace(tmp_path).locked():
        pass
