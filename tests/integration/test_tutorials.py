"""The tutorials, each run from its first block to its last: every command ends and prints as the page says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from carvelwright.digest import Digest
from tests.conftest import ROOT, free_address
from tests.helpers import tutorial

if TYPE_CHECKING:
    from pathlib import Path

TUTORIALS = ROOT / "docs/tutorial"
# On the pages and in the examples; a test takes ports of its own, so that several may run on one machine.
_ADDRESS = re.compile(r"127\.0\.0\.1:50\d\d\b")


class Addresses(dict[str, str]):
    """Another address for each that a page or an example has, and always the same one."""

    def __missing__(self, key: str) -> str:
        return self.setdefault(key, free_address())

    def replace_in(self, text: str) -> str:
        return _ADDRESS.sub(lambda match: self[match[0]], text)


def clone(target: Path, addresses: Addresses) -> None:
    """Make what a reader has after `make tools` in a clone, as far as the pages use it."""
    shutil.copytree(ROOT / "examples", target / "examples", ignore=shutil.ignore_patterns("build", "dist"))
    (target / ".venv").symlink_to(ROOT / ".venv")
    texts = {path: path.read_text() for path in (target / "examples").rglob("*") if path.is_file()}
    moved = {path: addresses.replace_in(text) for path, text in texts.items()}
    # What records vendored files has their digests.
    digests = {
        str(Digest.of_bytes(text.encode())): str(Digest.of_bytes(moved[path].encode())) for path, text in texts.items()
    }
    for path, text in moved.items():
        path.write_text(re.sub("sha256:[0-9a-f]{64}", lambda match: digests.get(match[0], match[0]), text))


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, tmp_path: Path, tool_environment: dict[str, str]) -> None:
    addresses = Addresses()
    clone(tmp_path / "clone", addresses)
    # The tests themselves begin with `make tools`, which would install into the environment that they run in.
    text = re.sub("^make tools\n", "", addresses.replace_in(page.read_text()), flags=re.MULTILINE)
    blocks = tutorial.blocks(text)
    assert blocks
    with tutorial.reader(tmp_path / "clone", tool_environment, tmp_path) as reader:
        for block in blocks:
            output = reader.run(block)
            assert tutorial.shows(output, block.output), f"{page.name}:{block.line} now prints:\n{output}"


@pytest.mark.parametrize(
    ("output", "excerpt", "told"),
    [
        ("a\nb\nc\n", "b\nc\n", True),
        ("a\nb\nc\n", "a\nc\n", False),
        ("built, 1.42 s\n", "built, 2.00 s\n", True),
        ("image: hello\n", "image: goodbye\n", False),
        ("  image 127.0.0.1:50000   x@sha256:ab\n", "  image 127.0.0.1:5000  x@sha256:cd\n", False),
        ("image   x@sha256:ab  (1.3 MiB)\n", "image  x@sha256:cd  (2.4 MiB)\n", True),
        ("  b  reused  0.00 s\n  a  done   1.00 s  2 of 9 packages\n", "  a  done  0.10 s\n  b  done  2.00 s\n", True),
        ("  b  reused  0.00 s\n", "  a  done  0.10 s\n", False),
        ("go  ok  1.27.3  /srv/x/.venv/bin/go\n", "go  ok  1.27.3  …/.venv/bin/go\n", True),
        ("go  ok  1.27.4  /srv/x/.venv/bin/go\n", "go  ok  1.27.3  …/.venv/bin/go\n", False),
    ],
)
def test_another_output_is_noticed(output: str, excerpt: str, *, told: bool) -> None:
    assert tutorial.shows(output, excerpt) == told


def test_a_block_that_ends_otherwise_is_noticed(tmp_path: Path) -> None:
    page = "## 1. One\n```sh\ncd /\nexport A=b\n```\n## 2. Two\n```sh\npwd\necho $A\nfalse\n```\n```text\n{}\n```\n"
    with tutorial.reader(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path) as reader:
        first, second = tutorial.blocks(page.format("/"))
        assert reader.run(first) == ""
        with pytest.raises(AssertionError, match="line 8: exit code 1"):
            reader.run(second)
        (failing,) = tutorial.blocks(page.format("error: it"), "Two")
        assert reader.run(failing) == "/\nb\n"
        with pytest.raises(AssertionError, match="line 3: exit code 0"):
            reader.run(replace(first, output="error: it\n"))
    with pytest.raises(AssertionError, match="no section"):
        tutorial.blocks(page, "Three")
