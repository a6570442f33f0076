"""Our reader of go.mod against Go's own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carvelwright.errors import ConfigError
from carvelwright.tools import gomod, toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from carvelwright.tools.tool import Tool


@functools.cache
def find_go() -> Tool:
    return toolchain.find_go(Search(Path(), (), "1.27.3", dict(os.environ)))


def by_go(text: str) -> Any:
    """Return what `go mod edit -json` reads; None where Go refuses the file."""
    go = find_go()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "go.mod"
        path.write_text(text)
        argv = go.argv("mod", "edit", "-json", path)
        done = subprocess.run(argv, env=dict(go.environment), capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def by_us(text: str) -> gomod.GoMod:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "go.mod"
        path.write_text(text)
        return gomod.load(path)


def same(theirs: Any, ours: gomod.GoMod) -> bool:
    assert {k: r.version for k, r in ours.requirements.items()} == {
        r["Path"]: r["Version"] for r in theirs.get("Require") or []
    }
    assert {(k, r.path, r.version) for k, r in ours.replacements.items()} == {
        ((r["Old"]["Path"], r["Old"].get("Version")), r["New"]["Path"], r["New"].get("Version"))
        for r in theirs.get("Replace") or []
    }
    assert ours.tools == {tool["Path"] for tool in theirs.get("Tool") or []}
    return True


PATHS = st.sampled_from(
    [
        "example.com/a",
        "example.com/b",
        "example.com/D",
        "example.com/e-f",
        "gopkg.in/x.v1",
        "example.com/quoted+odd~name",
        "example.com/replace",
    ]
)
VERSIONS = st.sampled_from(["v1.2.3", "v1.0.0-rc.1", "v1.0.0-20240402203627-beb83fbf25e4"])
COMMENTS = st.sampled_from(["", " // indirect", " // require example.com/z v1.0.0", "//x", "\t // a ) ("])


def quoted(word: str, style: int) -> str:
    return (word, f'"{word}"', f"`{word}`")[style]


@st.composite
def lines(draw: st.DrawFn, verb: str) -> str:
    style = draw(st.integers(0, 2))
    end = "/cmd" if verb == "tool" else ""
    path, version = quoted(draw(PATHS) + end, style), draw(VERSIONS)
    match verb:
        case "require" | "exclude":
            text = f"{path} {version}"
        case "replace":
            old = draw(st.sampled_from([path, f"{path}\t{version}"]))
            text = f"{old} => {draw(st.sampled_from(['../x', './y', 'example.com/new v1.5.0']))}"
        case "retract":
            text = draw(st.sampled_from(["v1.0.0", "[v1.0.0, v1.2.0]", "[ v1.0.0,v1.2.0 ]"]))
        case _:
            text = path
    return text + draw(COMMENTS)


@st.composite
def go_mods(draw: st.DrawFn) -> str:
    text = "// a comment: require example.com/none v1.0.0\nmodule example.com/m\n\ngo 1.25\n"
    for verb in draw(st.lists(st.sampled_from(["require", "exclude", "replace", "retract", "tool"]), max_size=7)):
        inside = draw(st.lists(lines(verb), min_size=1, max_size=3))
        if draw(st.booleans()):
            text += f"{verb} (\n" + "".join(f"\t{line}\n\n" for line in inside) + ")\n"
        else:
            text += "".join(f"{verb} {line}\n" for line in inside)
    return text


def consistent(theirs: Any) -> bool:
    """Leave out what a later line contradicts: one module with two versions, or replaced twice."""
    required = [r["Path"] for r in theirs.get("Require") or []]
    replaced = [(r["Old"]["Path"], r["Old"].get("Version")) for r in theirs.get("Replace") or []]
    return len(set(required)) == len(required) and len(set(replaced)) == len(replaced)


@settings(max_examples=20, deadline=None)
@given(go_mods())
def test_reads_what_go_reads(text: str) -> None:
    theirs = by_go(text)
    assume(theirs is not None and consistent(theirs))
    assert same(theirs, by_us(text))


@pytest.mark.parametrize(
    "name",
    [
        "payload/go.mod",
        "payload/v0.9.4/go.mod",
        "src/carvelwright/pins/carvel/go.mod",
        "src/carvelwright/pins/crane/go.mod",
    ],
)
def test_reads_our_own_as_go_does(repository_root: Path, name: str) -> None:
    text = (repository_root / name).read_text()
    assert same(by_go(text), by_us(text))


@pytest.mark.parametrize("line", ["require example.com/a", "replace a b c => d", "replace a =>", "tool a b"])
def test_a_line_that_go_refuses_is_named(line: str) -> None:
    text = f"module m\n\n{line}\n"
    assert by_go(text) is None
    with pytest.raises(ConfigError) as caught:
        by_us(text)
    (problem,) = caught.value.problems
    assert problem.excerpt == line
    assert problem.location
    assert problem.location.line == 3
