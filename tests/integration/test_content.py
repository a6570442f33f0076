"""What becomes part of a package: which files count, which names clash, and what is refused before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright import files
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import content_of, release_of, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PackageProject

BUILD = "package/build.yaml"
JUNK = (
    ".DS_Store",
    "base/deployment.yaml~",
    "base/.deployment.yaml.swp",
    "base/#deployment.yaml#",
    "Thumbs.db",
    ".git/config",
    ".idea/workspace.xml",
    ".hidden.yaml",
    "overlays/._deployment.yaml",
)


def add(directory: Path, *names: str) -> None:
    for name in names:
        files.write_atomic(directory / name, "kind: [\n")


# Which files count


def test_files_of_editors_and_desktops_change_no_digest_and_are_named(built: PackageProject) -> None:
    before, names = release_of(built), {name.partition("/")[0] if name[0] == "." else name for name in JUNK}
    add(built.root / "bundle/config", *JUNK)
    # Emacs marks an open file with a link that leads nowhere.
    (built.root / "bundle/config/base/.#deployment.yaml").symlink_to("me@host.1234")
    add(built.root / "package", "build.yaml~", ".build.yaml.swp", "releases/.DS_Store", "releases/1.yaml~")
    for arguments in (["check"], ["build"]):
        outcome = built.run(*arguments).ok()
        (line,) = [line for line in outcome.err.splitlines() if "left out of the bundle: " in line]
        assert set(line.partition(": ")[2].split(", ")) == {
            f"bundle/config/{name}" for name in (*names, "base/.#deployment.yaml")
        }
    assert built.run("build").ok().out.startswith("up to date")
    # Also where everything is made anew.
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    built.run("build").ok()
    after = release_of(built)
    assert [after[name] for name in ("images", "bundle")] == [before[name] for name in ("images", "bundle")]


EMBEDDING = """package main

import (
	"embed"
	"fmt"
)

//go:embed static
var content embed.FS

func main() {
	entries, _ := content.ReadDir("static")
	for _, entry := range entries {
		fmt.Println(entry.Name())
	}
}
"""


def test_files_of_editors_are_not_compiled_in(hello: PackageProject) -> None:
    (hello.root / "payload/main.go").write_text(EMBEDDING)
    add(hello.root / "payload/static", "page.html")
    hello.replace(BUILD, "platforms: [linux/amd64, linux/arm64]", "platforms: [linux/amd64]")
    hello.run("build").ok()
    wanted, products = release_of(hello)["images"], snapshot(hello.root / "build/payload")
    add(hello.root / "payload/static", "page.html~", "page.swp", "old.tmp/page.html")
    assert hello.run("build").ok().out.startswith("up to date")
    for name in ("payload", "layer", "image"):
        (hello.root / "build" / name).rename(hello.root / "build" / f"former-{name}")
    (hello.root / "build/state.json").unlink()
    hello.run("build").ok()
    assert release_of(hello)["images"] == wanted
    assert snapshot(hello.root / "build/payload") == products
    # What is not an editor's counts.
    add(hello.root / "payload/static", "other.html")
    hello.run("build").ok()
    assert release_of(hello)["images"] != wanted


# Names


def test_every_clash_of_names_is_told_at_once_before_any_work(hello: PackageProject) -> None:
    add(hello.root / "bundle/config", "values-schema.yaml", "release.star", "crds/a.yaml")
    module = """      - directory: payload
        binaries: {hello: ., other: .}
        links: {other: hello}
"""
    image = """  - name: NAME
    title: x
    description: x
    licenses: Apache-2.0
    modules:
      - directory: payload
        binaries: {x: .}
"""
    path = hello.root / BUILD
    text = path.read_text().rstrip("\n") + "\n" + module
    text += image.replace("NAME", "hello") + image.replace("NAME", "package-repository")
    text += """crds:
  - pinnedBy: payload
    goModule: example.com/m
    files: [one/a.yaml, one/b.yaml, two/b.yaml]
"""
    path.write_text(text)
    lines = text.splitlines()

    def at(words: str, nth: int = 0) -> int:
        return [number for number, line in enumerate(lines, 1) if words in line][nth]

    wanted = [
        f"{BUILD}:{at('name: hello', 1)}:11: image 2 has the name of image 1: one overwrites the other",
        f"{BUILD}:{at('name: package-repository')}:11: image 3 has the name of the package repository",
        f"{BUILD}:{at('binaries: {hello: ., other')}:20: a binary of payload has the name of a binary of payload",
        f"{BUILD}:{at('links: {other')}:17: a link of payload has the name of a binary of payload",
        f"{BUILD}:{at('files: [one')}:13: one/a.yaml of example.com/m has the name of bundle/config/crds/a.yaml",
        f"{BUILD}:{at('files: [one')}:37: two/b.yaml of example.com/m has the name of one/b.yaml of example.com/m",
        "bundle/config/values-schema.yaml: this name is reserved for the build",
        "bundle/config/release.star: this name is reserved for the build",
    ]
    for command in ("check", "build"):
        outcome = hello.run(command)
        assert outcome.code == 3, outcome
        for words in wanted:
            assert words in outcome.err, (words, outcome.err)
        assert f"{len(wanted)} problems" in outcome.err
    assert not (hello.root / "build/payload").exists()
    assert not (hello.root / "dist").exists()


# Rules

REFUSED = {
    "a broken line for editors": ("values-schema.yaml", "#@schema/desc", "#! jsonschema: {broken\n#@schema/desc"),
    "an image that is not locked": ("bundle/config/base/deployment.yaml", "image: hello", "image: hullo"),
    "an entrypoint that is no binary": (BUILD, "/usr/local/bin/hello]", "/usr/local/bin/hullo]"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_check_refuses_is_refused_by_build_before_anything_is_pushed(
    hello: PackageProject, registry: str, crane: Path, name: str
) -> None:
    path, old, new = REFUSED[name]
    (hello.root / path).write_text((hello.root / path).read_text().replace(old, new, 1))
    refusals = [hello.run("check"), hello.run("build", "--to", f"{registry}/p")]
    assert [outcome.code for outcome in refusals] == [3, 3], refusals
    told = [outcome.err.partition("error: ")[2] for outcome in refusals]
    assert told[0] == told[1] != ""
    assert content_of(crane, registry) == {}
    assert not (hello.root / "build/payload").exists()
    assert not (hello.root / "dist").exists()


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
EXCESSIVE = {"aliases that multiply": (ALIASES, "too many values"), "brackets": ("a0: " + "[" * 100_000, "nested too")}


@pytest.mark.parametrize("name", EXCESSIVE)
@pytest.mark.parametrize("path", ["bundle/config/base/deployment.yaml", "values-schema.yaml", "values.yaml"])
def test_templates_and_values_that_would_keep_ytt_busy_are_refused_at_once(
    hello: PackageProject, name: str, path: str
) -> None:
    content, told = EXCESSIVE[name]
    file = hello.root / path
    file.write_text((file.read_text() if file.exists() else "") + f"\n{content}")
    commands = [["render", "--file", str(file)]] if path == "values.yaml" else [["check"], ["build"]]
    for command in commands:
        outcome = hello.run(*command)
        assert outcome.code == 3, outcome
        assert outcome.err.count(told) == 1
        assert f"{path}:" in outcome.err
        assert "did not end" not in outcome.err


def test_a_values_schema_that_is_a_dangling_link_is_one_problem_for_check_and_build(hello: PackageProject) -> None:
    schema = hello.root / "values-schema.yaml"
    schema.unlink()
    schema.symlink_to("nowhere")
    for command in ("check", "build"):
        outcome = hello.run(command)
        assert outcome.code == 3
        assert f"{schema.name}: missing" in outcome.err
