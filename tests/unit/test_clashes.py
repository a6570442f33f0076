"""Names that two things of a project would have at one place: each is told with its place in build.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from carvelwright.errors import Location, Problem
from carvelwright.project import clashes

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = """\
refName: x.example.com
images:
  - name: one
    modules:
      - directory: a
        binaries: {run: ., stop: ./stop}
        links: {go: run}
      - directory: b
        binaries: {other: .}
  - name: two
    modules:
      - directory: a
        binaries: {run: .}
"""
CRDS = """\
crds:
  - goModule: example.com/a
    files: [crds/one.yaml, crds/two.yaml]
  - goModule: example.com/b
    files: [three.yaml]
"""


def problems(tmp_path: Path, text: str) -> list[Problem]:
    schema = tmp_path / "values-schema.yaml"
    if not schema.exists():
        schema.write_text("#@data/values-schema\n---\na: 1\n")
    return clashes.problems(yamldoc.parse(text, tmp_path / "build.yaml"), tmp_path / "bundle", schema)


def told(tmp_path: Path, text: str) -> list[tuple[str, str | None, str]]:
    found = problems(tmp_path, text)
    assert all((problem.expected, problem.hint) == ("another name", None) for problem in found)
    return [(p.message, p.found, str(p.location).rpartition("build.yaml:")[2]) for p in found]


def test_names_of_their_own_do_not_clash(tmp_path: Path) -> None:
    assert problems(tmp_path, IMAGES + CRDS) == []
    assert problems(tmp_path, "refName: x.example.com\n") == []
    (tmp_path / "bundle/crds").mkdir(parents=True)
    (tmp_path / "bundle/crds/four.yaml").touch()
    (tmp_path / "bundle/values.yaml").touch()
    assert problems(tmp_path, IMAGES + CRDS) == []


@pytest.mark.parametrize(
    ("old", "new", "what", "owner", "name", "place"),
    [
        ("name: two", "name: one", "image 2", "image 1", "one", "10:11"),
        ("name: two", "name: x.example.com", "image 2", "the bundle", "x.example.com", "10:11"),
        ("name: one", "name: package-repository", "image 1", "the package repository", "package-repository", "3:11"),
        ("{go: run}", "{stop: run}", "a link of a", "a binary of a", "stop", "7:17"),
        ("{other: .}", "{run: .}", "a binary of b", "a binary of a", "run", "9:20"),
        ("{other: .}", "{go: .}", "a binary of b", "a link of a", "go", "9:20"),
    ],
)
def test_clashes_of_images_and_their_files(
    tmp_path: Path, old: str, new: str, what: str, owner: str, name: str, place: str
) -> None:
    assert old in IMAGES
    assert told(tmp_path, IMAGES.replace(old, new)) == [
        (f"{what} has the name of {owner}: one overwrites the other", name, place)
    ]


def test_existing_images_are_named_once_and_hold_no_programs_of_ours(tmp_path: Path) -> None:
    text = IMAGES + "  - image: r.example.com/a:1\n  - image: r.example.com/b:1\n"
    assert problems(tmp_path, text) == []
    assert told(tmp_path, text.replace("/b:1", "/a:1")) == [
        ("image 4 has the name of image 3: one overwrites the other", "r.example.com/a:1", "15:12")
    ]


def test_clashes_of_crds_with_each_other_and_with_files_of_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle/crds").mkdir(parents=True)
    (tmp_path / "bundle/crds/two.yaml").touch()
    assert told(tmp_path, IMAGES + CRDS.replace("three.yaml", "three.yaml, d/one.yaml")) == [
        (
            f"crds/two.yaml of example.com/a has the name of {tmp_path}/bundle/crds/two.yaml: one overwrites the other",
            "two.yaml",
            "16:28",
        ),
        (
            "d/one.yaml of example.com/b has the name of crds/one.yaml of example.com/a: one overwrites the other",
            "one.yaml",
            "18:25",
        ),
    ]


def test_every_clash_is_told_at_once(tmp_path: Path) -> None:
    text = IMAGES.replace("name: two", "name: one").replace("{go: run}", "{run: stop}") + CRDS.replace("three", "one")
    assert [name for _, name, _ in told(tmp_path, text)] == ["one", "run", "one.yaml"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("values-schema.yaml", "rename the file: the build copies the project's values schema to this path"),
        ("release.star", "rename the file: the build writes release.star for the templates"),
        (
            "carvelwright",
            "rename the directory: the build copies the parts of carvelwright's library here that are loaded",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory", "broken link"])
def test_names_that_the_build_writes_itself(tmp_path: Path, name: str, hint: str, kind: str) -> None:
    path = tmp_path / "bundle" / name
    path.parent.mkdir()
    if kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    assert problems(tmp_path, IMAGES) == [Problem("this name is reserved for the build", Location(path), hint=hint)]


def test_a_library_beside_the_schema_that_has_the_name_of_the_builds_own(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    library = tmp_path / "release.star"
    library.write_text("x = 1\n")
    assert problems(tmp_path, IMAGES) == []
    (tmp_path / "values-schema.yaml").write_text('#@ load("release.star", "x")\n#@data/values-schema\n---\na: 1\n')
    hint = "rename the file: the build writes release.star for the templates"
    assert problems(tmp_path, IMAGES) == [Problem("this name is reserved for the build", Location(library), hint=hint)]


def test_a_file_in_the_place_of_the_crds_matters_where_there_are_some(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/crds").touch()
    expected = "a directory: the build stages the CRDs there"
    assert problems(tmp_path, IMAGES + CRDS) == [
        Problem("not a directory", Location(tmp_path / "bundle/crds"), expected=expected)
    ]
    assert problems(tmp_path, IMAGES) == []
    assert problems(tmp_path, IMAGES + "crds: []\n") == []
