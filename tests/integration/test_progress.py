"""What a person sees while a build works and when it has ended, on a terminal and elsewhere."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from tests.conftest import free_address, registry_at
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(project: PackageProject, *arguments: str, columns: int, code: int = 0) -> str:
    """Run a command with both outputs on a terminal and return what it wrote there."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # Whatever the terminal of the tests is: these would count before the size of this one.
    kept = {name: value for name, value in project.environment.items() if name not in ("COLUMNS", "LINES")}
    environment = {**kept, "TERM": "xterm"}
    command = subprocess.Popen(
        project.command(*arguments), cwd=project.root, env=environment, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            chunk = os.read(screen, 65536)
        except OSError:  # Linux' way to say that the last writer has gone
            break
        if not chunk:
            break
        seen += chunk
    os.close(screen)
    assert command.wait() == code, seen.decode()
    return seen.decode().replace("\r", "\n")


def test_a_terminal_shows_steps_and_a_summary_that_fits(built: PackageProject) -> None:
    (built.root / "build/state.json").unlink()
    (built.root / "bundle/config/base/note.yaml").write_text("# another bundle\n")
    seen = on_terminal(built, "build", columns=100)
    text = ESCAPES.sub("", seen)
    assert re.search(r"^ *push bundle +done +\d+\.\d\d s", text, re.MULTILINE)
    assert re.search(r"^ *push image hello +done +\d+\.\d\d s +\d+\.\d MiB", text, re.MULTILINE)
    summary = text[text.index("built, ") :].splitlines()
    assert max(map(len, summary)) <= 100
    release = release_of(built)
    assert release["bundle"].rpartition("@")[2] in text
    # With its platforms the image does not fit.
    digest = release["images"][0]["reference"].rpartition("@")[2]
    assert digest not in text
    assert f"{digest[:19]}…" in text
    whole = built.run("build").ok()
    assert digest in whole.out
    assert json.loads(built.run("build", "--format", "json").ok().out)["packages"][0]["bundle"] == release["bundle"]


def test_the_next_step_of_who_has_a_cluster_comes_first(
    built: PackageProject, toolset: Toolchain, tmp_path: Path
) -> None:
    following = built.run("build").ok().out.partition("next")[2].splitlines()
    assert following[1].strip() == "carvelwright publish REGISTRY/PATH"
    with registry_at(toolset, free_address(), tmp_path / "registry") as address:
        published = built.run("build", "--to", f"{address}/p").ok().out.partition("next")[2].splitlines()
    url = f"{address}/p/package-repository"
    assert published[1].strip() == f"tanzu package repository add REPOSITORY --url {url} -n my-packages"
    assert not [line for line in published if "carvelwright" in line]


def test_a_compilation_counts_its_packages_and_fails_without_their_names(hello: PackageProject, tmp_path: Path) -> None:
    cold = {"GOCACHE": str(tmp_path / "gocache")}
    # Go's runtime alone: what is imported is compiled, too.
    (hello.root / "payload/main.go").write_text('package main\n\nfunc main() {\n\tprintln("hello")\n}\n')
    outcome = hello.run("build", "--platform", "linux/amd64", environment=cold).ok()
    compiled = re.search(r"compile hello for linux/amd64 +done +\d+\.\d\d s  (\d+) of (\d+) packages", outcome.err)
    assert compiled, outcome.err
    assert compiled[1] == compiled[2]
    assert int(compiled[1]) > 20
    hello.replace("payload/main.go", "func main() {", "func main() {\n\tnonsense")
    outcome = hello.run("build", "--platform", "linux/amd64", environment=cold)
    assert outcome.code == 5
    details = outcome.err.partition("error: ")[2].splitlines()
    assert details[1].split() == ["#", "example.com/hello"]
    assert "undefined: nonsense" in details[2]


def test_words_of_others_do_nothing_to_a_terminal(hello: PackageProject) -> None:
    name = "\x1b[31mred\x07\x9b\u202e"
    (hello.root / f"package/{name}.txt").touch()
    (hello.root / f"bundle/config/.{name}").touch()
    for command in ("check", "build"):
        seen = ESCAPES.sub("", on_terminal(hello, command, columns=80, code=3))
        assert not set(seen) & set("\x1b\x07\x9b\u202e"), seen
        shown = seen.replace("\n", "")
        assert r"package/\x1b[31mred\x07\x9b\u202e.txt: unknown file, which nothing reads" in shown
    assert r"bundle/config/.\x1b[31mred\x07" in hello.run("build").err
