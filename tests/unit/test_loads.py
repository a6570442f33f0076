"""What a values schema loads: found as ytt finds it, staged only where it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright import files
from carvelwright.project import loads

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "#@data/values-schema\n---\na: 1\n"
LIBRARY_FILES = {
    "options.lib.yml",
    "overlays.lib.yml",
    "overlays.star",
    "quantities.star",
    "rules.star",
    "schedule.star",
}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return write(tmp_path / "values-schema.yaml", SCHEMA)


def write(path: Path, text: str) -> Path:
    files.write_file(path, text.encode())
    return path


def staged(schema: Path) -> set[str]:
    return set(loads.staged(schema, schema.parent / "config"))


@pytest.mark.parametrize(
    ("statement", "file"),
    [
        ('#@ load("a.star", "x")\n', "a.star"),
        ("  #@load('/a.star', 'x')\n", "a.star"),
        ('#@ load("lib/a.lib.yml", "x")\n', "lib/a.lib.yml"),
        ('#@ load("@tools:a.star", "x")\n', "_ytt_lib/tools/a.star"),
        ('#@ load("@example.com/tools:/deep/a.star", "x")\n', "_ytt_lib/example.com/tools/deep/a.star"),
    ],
)
def test_what_a_schema_loads_from_beside_it_is_staged(schema: Path, statement: str, file: str) -> None:
    write(schema.parent / file, "x = 1\n")
    assert staged(schema) == {schema.name}
    write(schema, statement + SCHEMA)
    assert staged(schema) == {schema.name, file}
    assert set(loads.of_schema(schema, schema.read_bytes())) == {schema.name, file}


def test_files_load_further_files_by_their_own_directory_and_root(schema: Path) -> None:
    write(schema, '#@ load("lib/a.star", "x")\n#@ load("@tools:b.star", "y")\n' + SCHEMA)
    write(schema.parent / "lib/a.star", 'load(\n    "c.star", "z")\nload("/d.star", "z")\n')
    write(schema.parent / "_ytt_lib/tools/b.star", 'load("/e.star", "z")\n')
    for name in ("lib/c.star", "c.star", "d.star", "e.star", "_ytt_lib/tools/e.star"):
        write(schema.parent / name, "z = 1\n")
    wanted = {"lib/a.star", "lib/c.star", "d.star", "_ytt_lib/tools/b.star", "_ytt_lib/tools/e.star"}
    assert staged(schema) == {schema.name, *wanted}


def test_what_is_named_in_a_comment_or_leads_out_is_not_staged(schema: Path) -> None:
    write(schema.parent / "a.star", '# load("b.star", "x")\nx = \'load("b.star", "x")\'\n')
    write(schema.parent / "b.star", "x = 1\n")
    write(schema, '#! load("b.star", "x")\n#@ load("a.star", "x")\n#@ load("@ytt:data", "data")\n' + SCHEMA)
    write(schema, schema.read_text() + '#@ load("./b.star", "x")\n#@ load("config/../b.star", "x")\n')
    assert staged(schema) == {schema.name, "a.star"}


def test_files_that_load_each_other_are_read_once(schema: Path) -> None:
    write(schema, '#@ load("a.star", "x")\n' + SCHEMA)
    write(schema.parent / "a.star", 'load("b.star", "x")\n')
    write(schema.parent / "b.star", 'load("a.star", "x")\n')
    assert staged(schema) == {schema.name, "a.star", "b.star"}


def test_parts_of_the_library_are_staged_for_whoever_loads_them(schema: Path) -> None:
    config = schema.parent / "config"
    write(config / "overlays/lib.star", 'load("/carvelwright/quantities.star", "milli_cpu")\n')
    assert staged(schema) == {schema.name, "carvelwright/quantities.star", "carvelwright/rules.star"}
    write(schema, '#@ load("/carvelwright/options.lib.yml", "resources")\n' + SCHEMA)
    write(config / "overlays/lib.star", "")
    names = {"options.lib.yml", "quantities.star", "rules.star"}
    assert staged(schema) == {schema.name, *(f"carvelwright/{name}" for name in names)}
    assert list(loads.problems(schema, config)) == []


def test_the_library_of_the_bundle_is_found_and_not_staged_again(schema: Path) -> None:
    config = schema.parent / "config"
    write(schema, '#@ load("/overlays/lib.star", "x")\n' + SCHEMA)
    write(config / "overlays/lib.star", "x = 1\n")
    assert set(loads.of_schema(schema, schema.read_bytes(), config)) == {schema.name, "overlays/lib.star"}
    assert staged(schema) == {schema.name}
    assert loads.place(schema, config, "overlays/lib.star") == config / "overlays/lib.star"


def test_a_private_library_of_the_bundle_has_its_own_root(schema: Path) -> None:
    config = schema.parent / "config"
    write(config / "_ytt_lib/tools/a.star", 'load("/b.star", "x")\nload("/carvelwright/mine.star", "y")\n')
    write(schema.parent / "b.star", "x = 1\n")
    assert staged(schema) == {schema.name}
    assert list(loads.problems(schema, config)) == []


def test_two_files_for_one_place_in_the_bundle_are_reported(schema: Path) -> None:
    config = schema.parent / "config"
    write(schema, '#@ load("lib.star", "x")\n' + SCHEMA)
    write(config / "lib.star", "x = 1\n")
    assert list(loads.problems(schema, config)) == []
    write(schema.parent / "lib.star", "x = 1\n")
    (problem,) = loads.problems(schema, config)
    assert problem.message == f"{config / 'lib.star'} has the same name in the bundle"
    assert str(problem.location) == str(schema.parent / "lib.star")


@pytest.mark.parametrize("place", ["values-schema.yaml", "config/overlays/a.yaml"])
def test_a_file_that_the_library_does_not_have_is_reported_with_its_line(schema: Path, place: str) -> None:
    # The project's own file of that name is not taken for one of the library.
    write(schema.parent / "carvelwright/rule.star", "x = 1\n")
    path = write(schema.parent / place, '#! A\n#@ load("/carvelwright/rule.star", "x")\n' + SCHEMA)
    (problem,) = loads.problems(schema, schema.parent / "config")
    assert problem.message == "carvelwright's library has no file rule.star; did you mean rules.star?"
    assert str(problem.location) == f"{path}:2"
    assert set((problem.expected or "").split(", ")) == LIBRARY_FILES
