"""Vendored files against the record of them: whatever differs is named, with what was found and what was expected."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any, cast

import pytest

from carvelwright.digest import Digest
from carvelwright.errors import Severity
from carvelwright.project import vendored
from carvelwright.report import StreamReporter
from carvelwright.rules.vendored import vendored_files
from carvelwright.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carvelwright.errors import Problem
    from tests.conftest import PackageProject

RECORD, CONFIG, LOCK = "package/vendored.lock.yaml", "vendir.yml", "vendir.lock.yml"
CHART = "bundle/config/chart"
HEAD = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\n"
TEXT = HEAD + "directories:\n- path: {}/\n  contents: [{{path: ., manual: {{}}}}]\n"


def put(root: Path, directory: str = CHART) -> None:
    """Write what `vendor` leaves: vendir.yml, its lock, a file and its record."""
    (root / directory / "templates").mkdir(parents=True)
    (root / directory / "templates/a.yaml").write_text("a")
    (root / directory / ".helmignore").write_text("of no bundle")
    (root / CONFIG).write_text(TEXT.format(directory))
    (root / LOCK).write_text("locked")
    config, lock = (Digest.of_bytes((root / name).read_bytes()) for name in (CONFIG, LOCK))
    (root / RECORD).write_text(vendored.Record(config, lock, {directory: vendored.tree(root / directory)}).text())


def problems(project: PackageProject) -> list[Problem]:
    session = open_session(project.root, project.environment, StreamReporter(io.StringIO()))
    return vendored_files(session, cast("Any", None))


def test_what_is_as_recorded_is_no_problem(hello: PackageProject) -> None:
    assert problems(hello) == []
    put(hello.root)
    assert problems(hello) == []
    assert vendored.load_record(hello.root / RECORD).trees == {CHART: {"templates/a.yaml": Digest.of_bytes(b"a")}}
    (hello.root / CHART / "templates/.a.yaml.swp").write_text("of an editor")
    assert problems(hello) == []


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


A, B = Digest.of_bytes(b"a"), Digest.of_bytes(b"b")
DAMAGE: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "no record": (lambda root: (root / RECORD).unlink(), RECORD, ["missing", "hint: run `carvelwright vendor`,"]),
    "no lock": (
        lambda root: (root / LOCK).unlink(),
        LOCK,
        ["changed since files were vendored", "found: no file", f"expected: {Digest.of_bytes(b'locked')}"],
    ),
    "another lock": (
        edit(LOCK, "locked", "b"),
        LOCK,
        [f"found: {B}", f"as {RECORD} has it", "hint: run `carvelwright vendor`,"],
    ),
    "another vendir.yml": (
        edit(CONFIG, "kind", "# more\nkind"),
        CONFIG,
        ["changed since files were vendored", "hint: run `carvelwright vendor`,"],
    ),
    "no vendir.yml": (lambda root: (root / CONFIG).unlink(), RECORD, ["there is no vendir.yml"]),
    "a wrong vendir.yml": (edit(CONFIG, "manual", "manuel"), f"{CONFIG}:5", ["unknown key 'manuel'"]),
    "a changed file": (
        edit(f"{CHART}/templates/a.yaml", "a", "b"),
        f"{CHART}/templates/a.yaml",
        ["changed since it was vendored", f"found: {B}", f"expected: {A}", "hint: run `carvelwright vendor --locked`"],
    ),
    "an extra file": (
        lambda root: (root / CHART / "b").write_text("b"),
        f"{CHART}/b",
        [f"not in {RECORD}: vendir did not write it", f"found: {B}", "expected: no file"],
    ),
    "a lost file": (
        lambda root: (root / CHART / "templates/a.yaml").unlink(),
        f"{CHART}/templates/a.yaml",
        ["missing: it was vendored", "found: no file"],
    ),
    "a lost directory": (lambda root: shutil.rmtree(root / CHART), CHART, ["missing: it was vendored"]),
    "a link": (lambda root: (root / CHART / "c").symlink_to("b"), f"{CHART}/c", ["is a symbolic link"]),
    "a record of another directory": (
        edit(RECORD, f"path: {CHART}", "path: other"),
        CHART,
        ["not in package/vendored"],
    ),
    "an unknown key of the record": (
        lambda root: (root / RECORD).write_text((root / RECORD).read_text() + "more: 1\n"),
        f"{RECORD}:",
        ["unknown key 'more'"],
    ),
    "a record of no digests": (edit(RECORD, "lock: sha256:", "lock: md5:"), f"{RECORD}:", ["wrong value of lock"]),
}


@pytest.mark.parametrize(("damage", "place", "told"), DAMAGE.values(), ids=DAMAGE)
def test_what_differs_is_named(
    hello: PackageProject, damage: Callable[[Path], object], place: str, told: list[str]
) -> None:
    put(hello.root)
    damage(hello.root)
    first, *more = problems(hello)
    text = "\n".join(first.lines())
    assert text.startswith(f"{hello.root / place}")
    assert [words for words in told if words not in text] == []
    assert first.severity is Severity.ERROR
    # The record of another directory: that one is not there.
    assert len(more) == (place == CHART and "not in" in told[0])


@pytest.mark.parametrize(("directory", "read"), [("payload/third_party", True), ("third_party", False)])
def test_a_directory_that_nothing_reads_is_a_warning(hello: PackageProject, directory: str, *, read: bool) -> None:
    put(hello.root, directory)
    found = problems(hello)
    assert [problem.severity for problem in found] == ([] if read else [Severity.WARNING])
    assert [problem.message for problem in found] == ([] if read else ["nothing of the package reads third_party"])
