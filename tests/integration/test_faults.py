"""Faults from outside: registries that misbehave, full disks, interrupts and kills in the middle of every step."""

from __future__ import annotations

import contextlib
import functools
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import free_address
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import copy_built, release_of, scraps, snapshot, wrap
from tests.helpers.processes import alive_below, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import PackageProject

CHANGE = ("bundle/config/overlays/deployment.yaml", "- #@ data.values.name", "- #@ data.values.name.title()")


def digests(project: PackageProject) -> dict[str, Any]:
    release = release_of(project)
    return {name: release[name] for name in ("images", "bundle", "repository")}


# Registries that misbehave


def answer(status: str, body: str = "", *headers: str) -> Callable[[socket.socket], None]:
    """Answer every request with one status."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", "Connection: close"]

    def handle(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
            data += part
            if data.startswith(b"\x16"):
                # The tools try TLS first; a server that speaks plain HTTP hangs up.
                return
        connection.sendall("\r\n".join([*head, *headers, "", body]).encode())

    return handle


def reset(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


@contextlib.contextmanager
def server(handle: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """Listen on loopback; `handle` gets each connection, None leaves them open without a word."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if handle is None:
                    kept.append(connection)
                    continue
                with contextlib.suppress(OSError), connection:
                    handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def error_body(code: str) -> str:
    return f'{{"errors":[{{"code":"{code}","message":"{code.lower()}"}}]}}'


LOGIN = 'WWW-Authenticate: Basic realm="r"'
REGISTRIES: dict[str, tuple[Callable[[socket.socket], None] | None, str]] = {
    "reset": (reset, "connection reset by peer"),
    "no HTTP": (nonsense, "220 mail.example.com ESMTP"),
    "500": (answer("500 Internal Server Error", "broken"), "500 Internal Server Error"),
    "401": (answer("401 Unauthorized", error_body("UNAUTHORIZED"), LOGIN), "docker login 127.0.0.1:"),
    "403": (answer("403 Forbidden", error_body("DENIED")), "hint: use credentials that may pull from 127.0.0.1:"),
    "hangs": (None, "no complete answer in time"),
}  # fmt: skip


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_registry_that_misbehaves_is_told(built: PackageProject, name: str) -> None:
    handle, words = REGISTRIES[name]
    before = snapshot(built.root / "dist")
    with server(handle) as address:
        outcome = built.run("build", "--to", f"{address}/p", "--registry-timeout", "3" if handle is None else "60")
    assert outcome.code == 6, outcome
    # Tags are listed without a tool, and the rest is crane's.
    assert "error: step read published repository: " in outcome.err
    assert f"registry {address}" in outcome.err.partition("error: ")[2].splitlines()[0]
    assert words.lower() in outcome.err.lower(), outcome.err
    assert "hint: " in outcome.err
    assert snapshot(built.root / "dist") == before
    assert scraps(built) == []


def test_no_registry_at_all_is_told_and_the_next_run_works(built: PackageProject) -> None:
    before = snapshot(built.root / "dist")
    address = free_address()
    outcome = built.run("build", "--to", f"{address}/p", "--registry-timeout", "20")
    assert outcome.code == 6
    assert f"error: step read published repository: registry {address} " in outcome.err
    assert "Connection refused" in outcome.err
    assert "hint: start the registry " in outcome.err
    assert snapshot(built.root / "dist") == before
    assert built.run("build").ok().out.startswith("up to date")


@pytest.mark.parametrize("directory", ["/nowhere/at/all", "/proc", "/dev/null", "/etc/hostname"])
def test_a_temporary_directory_that_takes_no_file_is_named(built: PackageProject, directory: str) -> None:
    built.replace(*CHANGE)
    for command in (["build", "--to", f"{free_address()}/p"], ["render"], ["doctor"]):
        outcome = built.run(*command, environment={"TMPDIR": directory})
        assert outcome.code == 8, outcome
        assert f"TMPDIR is {directory}: no file can be created there: " in outcome.err
        assert "registry" not in outcome.err


def test_a_registry_that_dies_in_the_middle_is_told_and_the_next_run_works(
    built: PackageProject, tmp_path: Path
) -> None:
    wanted = digests(built)
    built.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    before = snapshot(built.root / "dist")
    # The embedded registry is shot at the moment the bundle is to be pushed.
    environment = wrap(tmp_path, built, "imgpkg", "push", 'kill -9 $(cat "$STATE/registry"); exec "$REAL" "$@"')
    environment = wrap(
        tmp_path, built, "crane", "registry", 'echo $$ > "$STATE/registry"; exec "$REAL" "$@"', environment
    )
    outcome = built.run("build", "--registry-timeout", "20", environment=environment)
    assert outcome.code == 6
    assert "connection refused" in outcome.err or "connection reset" in outcome.err or "EOF" in outcome.err
    assert snapshot(built.root / "dist") == before
    assert scraps(built) == []
    built.run("build").ok()
    assert digests(built)["images"] == wanted["images"]


# Full disks


def test_a_full_disk_is_told_with_the_file(built: PackageProject) -> None:
    wanted = digests(built)["images"]
    built.replace(*CHANGE)
    before = snapshot(built.root / "dist")
    for limit in (0, 100, 1000, 20_000, 500_000, 900_000):
        for kind in ("image", "layer", "package", "validated"):
            shutil.rmtree(built.root / "build" / kind, ignore_errors=True)
        done = subprocess.run(
            built.command("build"),
            cwd=built.root,
            env=built.environment,
            preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            check=False,
        )
        text = done.stderr.decode()
        assert done.returncode == 8, (limit, text)
        assert "Traceback" not in text
        assert "too large" in text or "SIGXFSZ" in text
        assert "build/" in text or "dist" in text
        assert "hint: " in text
        assert snapshot(built.root / "dist") == before
    built.run("build").ok()
    assert digests(built)["images"] == wanted
    assert scraps(built) == []


# Interrupts and kills

_UNDISTURBED = pytest.StashKey[dict[str, Any]]()


@pytest.fixture
def undisturbed(built: PackageProject, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The digests that the changed project has when nobody disturbs its build; the address is the template's."""
    stash = request.config.stash
    if _UNDISTURBED not in stash:
        project = copy_built(built, tmp_path / "undisturbed")
        project.replace(*CHANGE)
        project.run("build").ok()
        stash[_UNDISTURBED] = digests(project)
    return stash[_UNDISTURBED]


# Every call of a tool that a build makes when a manifest changed: the tool and its first argument.
CALLS = [
    ("ytt", "-f"),
    ("kbld", "-f"),
    ("crane", "registry"),
    ("crane", "push"),
    ("imgpkg", "push"),
    ("imgpkg", "copy"),
]


def blocking(place: Path) -> str:
    """Let a wrapped tool say that it runs, then wait with the real one for ever."""
    return f'echo $$ >> "{place}/pids"; touch "{place}/reached"; sleep 1000; exit 1'


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_gone(alive: Callable[[], list[Any]]) -> None:
    deadline = time.monotonic() + 60
    while found := alive():
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def pids(place: Path) -> list[int]:
    """Return the tools that `blocking` held up."""
    return [int(pid) for pid in (place / "pids").read_text().split()]


def start(project: PackageProject, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        project.command("build"),
        cwd=project.root,
        env={**project.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def port_is_free(project: PackageProject) -> None:
    host, _, port = str(release_of(project)["registry"]).partition("/")[0].rpartition(":")
    with socket.create_server((host, int(port))):
        pass


@pytest.mark.parametrize("call", CALLS, ids="-".join)
def test_ends_in_the_middle_of_a_tool(
    built: PackageProject, tmp_path: Path, undisturbed: dict[str, Any], call: tuple[str, str]
) -> None:
    built.replace(*CHANGE)
    before = snapshot(built.root / "dist")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for name in ("reached", "pids"):
            (tmp_path / name).unlink(missing_ok=True)
        build = start(built, wrap(tmp_path, built, *call, blocking(tmp_path)))
        wait_for((tmp_path / "reached").exists, build)
        build.send_signal(number)
        _, err = build.communicate(timeout=60)
        ended_well(built, build, err.decode(), number)
        assert snapshot(built.root / "dist") == before
        wait_until_gone(lambda: [pid for pid in pids(tmp_path) if running(pid)])
        wait_until_gone(lambda: alive_below(built.root))
    built.run("build").ok()
    assert scraps(built) == []
    assert digests(built) == undisturbed


# For each dataclass that is imported Python executes code from a string.
INTERRUPTED_IN_TEXT = """
import sys
from carvelwright.cli import main
import carvelwright.cli.main
def run(_arguments):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        print("answered", flush=True)
    return 130
sys.modules["carvelwright.cli.main"].run = run
main()
"""


def test_an_interrupt_that_was_answered_leaves_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IN_TEXT)
    argv = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "answered\n", "")


def test_an_end_while_the_payload_is_compiled(built: PackageProject, tmp_path: Path) -> None:
    before = snapshot(built.root / "dist")
    built.replace("payload/main.go", '", "', '"; "')
    # A compile cache of its own makes Go compile its whole library: seconds with processes of the go command's own.
    for number in (signal.SIGINT, signal.SIGKILL):
        build = start(built, {"GOCACHE": str(tmp_path / f"gocache-{number.name}")})
        wait_for(lambda: any("compile" in command for command in alive_below(built.root / "payload")), build)
        build.send_signal(number)
        _, err = build.communicate(timeout=60)
        ended_well(built, build, err.decode(), number)
        wait_until_gone(lambda: alive_below(built.root))
        assert snapshot(built.root / "dist") == before
    built.run("build").ok()
    assert scraps(built) == []


def ended_well(project: PackageProject, build: subprocess.Popen[bytes], err: str, number: signal.Signals) -> None:
    if number == signal.SIGKILL:
        assert build.returncode == -signal.SIGKILL
        return
    assert build.returncode == 130, err
    assert "error: interrupted; finished steps are kept" in err
    assert "Traceback" not in err
    assert alive_below(project.root) == []
    assert scraps(project) == []
    port_is_free(project)


def test_a_kill_between_the_renames_leaves_nothing_for_ever(built: PackageProject) -> None:
    before = snapshot(built.root / "dist")
    (built.root / ".dist.former.x").mkdir()
    (built.root / "dist").rename(built.root / ".dist.former.x/dist")
    (built.root / ".dist.new.y").mkdir()
    (built.root / ".dist.new.y/half").touch()
    built.run("build").ok()
    assert scraps(built) == []
    assert set(snapshot(built.root / "dist")) == set(before)


def test_two_builds_at_once(built: PackageProject, tmp_path: Path) -> None:
    built.replace(*CHANGE)
    action = 'echo x > "$STATE/reached"; while [ ! -e "$STATE/go" ]; do sleep 0.05; done'
    first = start(built, wrap(tmp_path, built, "imgpkg", "push", action))
    wait_for((tmp_path / "reached").exists, first)
    second = built.run("build")
    assert second.code == 8
    assert "error: another build is running in " in second.err
    assert "hint: wait until it has ended" in second.err
    (tmp_path / "go").touch()
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert out.startswith(b"built, ")
    assert built.run("build").ok().out.startswith("up to date")


def test_a_reader_that_goes_away_is_no_failure(built: PackageProject) -> None:
    build = start(built, {})
    assert build.stdout
    build.stdout.close()
    assert build.stderr
    err = build.stderr.read()
    build.stderr.close()
    assert build.wait(timeout=60) == 0
    assert err == b""


@pytest.mark.parametrize("taken", ["build", "build/scratch"])
@pytest.mark.parametrize("command", ["build", "check", "render", "rbac"])
def test_a_project_that_cannot_be_written_is_the_same_fault_in_every_command(
    hello: PackageProject, command: str, taken: str
) -> None:
    (hello.root / taken).parent.mkdir(exist_ok=True)
    (hello.root / taken).write_text("a file where a directory has to be")
    outcome = hello.run(command)
    assert outcome.code == 8, outcome
    assert f"error: {taken} is not a directory" in outcome.err
