"""Standard output and error that nobody reads, that are closed or full: the exit code says what became of the work."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import release_of

if TYPE_CHECKING:
    from tests.conftest import PackageProject

SCHEMA = '{"type": "object", "properties": {"level": {"type": "string", "default": "low"}}}'


def shell(project: PackageProject, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `carvelwright` is the real command; its code is that of the pipe's first part."""
    command = f'carvelwright() {{ {shlex.join([sys.executable, "-m", "carvelwright"])} "$@"; }}; set -o pipefail; '
    (project.root / "schema.json").write_text(SCHEMA)
    done = subprocess.run(
        ["bash", "-c", command + line],
        cwd=project.root,
        env=dict(project.environment),
        capture_output=True,
        check=False,
        timeout=120,
    )
    for words in (b"Traceback", b"Exception ignored", b"BrokenPipe"):
        assert words not in done.stdout + done.stderr
    return done


GOOD = ["--version", "build --help", "build --dry-run", "values defaults --schema schema.json"]
WRONG = {"bogus": 2, "": 2, "values defaults --schema none.json": 2, "--project none check": 3}


@pytest.mark.parametrize("command", GOOD)
def test_output_that_cannot_be_written_is_a_failure_with_its_reason(hello: PackageProject, command: str) -> None:
    assert shell(hello, f"carvelwright {command}").returncode == 0
    for redirection, reason in ((">&-", b"it is closed"), (">/dev/full", b"No space left on device")):
        done = shell(hello, f"carvelwright {command} {redirection}")
        assert done.returncode == 8, done
        assert b"error: cannot write to standard output: " + reason in done.stderr
        assert b"hint: " in done.stderr
    assert shell(hello, f"carvelwright {command} <&- >&- 2>&-").returncode == 8


@pytest.mark.parametrize("command", GOOD)
def test_a_reader_that_goes_away_leaves_the_code_of_the_work(hello: PackageProject, command: str) -> None:
    done = shell(hello, f"carvelwright {command} | true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert shell(hello, f"carvelwright {command} 2>&-").returncode == 0


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_keeps_its_code_when_nobody_can_be_told(hello: PackageProject, command: str) -> None:
    for redirection in ("2>/dev/full", "<&- >&- 2>&-", "2>&1 | true"):
        done = shell(hello, f"carvelwright {command} {redirection}")
        assert done.returncode == WRONG[command], (redirection, done)


def test_check_tells_the_truth_to_a_reader_that_went_away(hello: PackageProject) -> None:
    hello.replace("package/build.yaml", "platforms:", "platfroms:")
    for redirection in ("| true", ">/dev/full", ">&- 2>&-"):
        assert shell(hello, f"carvelwright check --format json {redirection}").returncode == 3


def test_a_build_goes_on_without_those_who_watch_it(built: PackageProject) -> None:
    for number, redirection in enumerate(("2>&1 | true", "2>/dev/full", ">&- 2>&-")):
        built.replace(
            "package/metadata.yaml", f"displayName: {'Hello' + '!' * number}", f"displayName: Hello{'!' * (number + 1)}"
        )
        (built.root / "dist/release.json").unlink()
        done = shell(built, f"carvelwright build {redirection}")
        assert done.returncode == (0 if "|" in redirection else 8), (redirection, done)
        assert release_of(built)["version"]
        assert (
            f"Hello{'!' * (number + 1)}"
            in (built.root / "dist/packages/hello.packages.example.com/metadata.yml").read_text()
        )


def test_a_document_is_whole_on_a_pipe_that_does_not_block(hello: PackageProject) -> None:
    names = ", ".join(f'"a{number}": {{"type": "string", "default": "x"}}' for number in range(2000))
    (hello.root / "large.json").write_text(f'{{"type": "object", "properties": {{{names}}}}}')
    unblock = "import fcntl, os, sys; fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK); fcntl.fcntl(1, 1031, 4096)"
    start = f'{unblock}; from carvelwright.cli import main; sys.argv = ["carvelwright", *sys.argv[1:]]; main()'
    line = f"{shlex.join([sys.executable, '-c', start])} values defaults --schema large.json | (sleep 1; cat)"
    done = shell(hello, line)
    assert done.returncode == 0
    assert done.stdout.count(b": x\n") == 2000
