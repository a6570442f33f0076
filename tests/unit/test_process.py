"""Programs: run, told when they fail, ended with us."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from carvelwright import process
from carvelwright.errors import (
    CarvelwrightError,
    DiskFullError,
    ExitCode,
    FilesystemError,
    ToolFailedError,
    ToolMissingError,
)

PYTHON = sys.executable


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_gives_back_what_the_program_wrote_and_hands_it_its_input() -> None:
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data * 2); sys.stderr.write('é')"
    output = process.run([PYTHON, "-X", "utf8", "-c", code], step="s", timeout=60, stdin=b"\xff" * 200_000)
    assert output.stdout == b"\xff" * 400_000
    assert output.stderr == "é"


# A reader that waits, and one that answers before it has read everything: both block a caller that does one at a time.
SLOW = "import sys, time; time.sleep(0.5); data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data)"
ECHO = (
    "import shutil, sys; sys.stderr.write('x' * 200_000); shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 4096)"
)


@pytest.mark.parametrize("code", [SLOW, ECHO], ids=["slow", "echo"])
@pytest.mark.parametrize("size", [0, 1, 70_000, 20_000_000])
def test_input_and_output_of_any_size_pass_at_any_pace(code: str, size: int) -> None:
    data = os.urandom(size)
    assert process.run([PYTHON, "-c", code], step="s", timeout=60, stdin=data).stdout == data


def test_each_line_of_stderr_is_told_while_the_program_runs(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
sys.stderr.buffer.write("first é\\n".encode()[:7]); sys.stderr.flush(); time.sleep(0.3)
sys.stderr.buffer.write("first é\\n".encode()[7:] + b"second \\xff\\n\\nhalf"); sys.stderr.flush()
while not os.path.exists({str(tmp_path / "heard")!r}): time.sleep(0.01)
sys.stderr.write(" a line")
"""
    heard = []

    def watch(line: str) -> None:
        heard.append(line)
        (tmp_path / "heard").touch()

    output = process.run([PYTHON, "-c", code], step="s", timeout=60, watch=watch)
    assert heard == ["first é", "second �", "", "half a line"]
    assert output.stderr == "first é\nsecond �\n\nhalf a line"


def test_who_waits_is_told_how_long_already() -> None:
    told: list[float] = []
    process.run(["sleep", "0.5"], step="s", timeout=60, waiting=told.append)
    assert len(told) > 1
    assert told == sorted(told)
    assert 0 < told[0] < told[-1]


def test_what_a_watcher_raises_ends_the_program(tmp_path: Path) -> None:
    def watch(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match=r"^\d+$") as caught:
        process.run(["sh", "-c", "echo $$ >&2; exec sleep 600"], step="s", timeout=60, watch=watch)
    assert gone(int(str(caught.value)))


def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    # It holds the pipes open: who waited for their end would wait for it.
    output = process.run(["sh", "-c", "sleep 600 & echo $!; echo words >&2"], step="s", timeout=60)
    assert output.stderr == "words\n"
    wait_for(lambda: gone(int(output.stdout)))


def test_output_before_the_time_limit_is_shown() -> None:
    with pytest.raises(ToolFailedError, match=r"did not end within 0\.5 s and was stopped") as caught:
        process.run(["sh", "-c", "exec >&-; echo so far >&2; exec sleep 600"], step="s", timeout=0.5)
    assert caught.value.code is None
    assert caught.value.stderr == "so far\n"


def test_the_environment_is_the_whole_one() -> None:
    output = process.run(
        [PYTHON, "-c", "import os; print(sorted(os.environ))"], step="s", timeout=60, env={"ONLY": "this"}
    )
    assert b"ONLY" in output.stdout
    assert b"HOME" not in output.stdout


def test_a_program_that_stops_reading_is_no_failure_of_ours() -> None:
    assert process.run([PYTHON, "-c", ""], step="s", timeout=60, stdin=b"x" * 1_000_000).stdout == b""


def test_a_failure_names_step_tool_code_stderr_and_command() -> None:
    with pytest.raises(ToolFailedError) as caught:
        process.run(
            [PYTHON, "-c", "import sys; print('boo', file=sys.stderr); sys.exit(7)"], step="push bundle", timeout=60
        )
    error = caught.value
    assert error.message == f"step push bundle: {Path(PYTHON).name} failed with exit code 7"
    assert error.exit_code is ExitCode.TOOL_FAILED
    assert error.step == "push bundle"
    assert error.details
    assert error.details.splitlines()[0] == "boo"
    assert f"command: {PYTHON} -c" in error.details


def test_a_failure_shows_the_end_of_a_long_stderr() -> None:
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(1000)]; sys.exit(1)"
    with pytest.raises(ToolFailedError) as caught:
        process.run([PYTHON, "-c", code], step="s", timeout=60)
    assert caught.value.details
    lines = caught.value.details.splitlines()
    assert (lines[0], lines[1], lines[40]) == ("…", "line 960", "line 999")
    assert len(lines) == 42


def test_an_end_by_a_signal_is_told_by_its_name() -> None:
    with pytest.raises(ToolFailedError, match="was ended by SIGKILL"):
        process.run([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], step="s", timeout=60)


@pytest.mark.parametrize("word", ["write /x/y: no space left on device", "File too large", "disk quota exceeded"])
def test_a_tool_that_has_no_space_is_a_matter_of_files(word: str) -> None:
    with pytest.raises(FilesystemError) as caught:
        process.run([PYTHON, "-c", "import sys; sys.exit(sys.argv[1])", word], step="s", timeout=60)
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert isinstance(caught.value, DiskFullError)
    assert (caught.value.argv[-1], caught.value.code, caught.value.stderr) == (word, 1, f"{word}\n")
    assert caught.value.hint
    assert "free space" in caught.value.hint


def test_a_program_that_is_not_there_or_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for name in ("none", "text"):
        with pytest.raises(ToolMissingError, match=f"step s: cannot start {tmp_path}/{name}: ") as caught:
            process.run([str(tmp_path / name)], step="s", timeout=60)
        assert caught.value.exit_code is ExitCode.TOOL_MISSING
        assert caught.value.tools == (name,)
        assert caught.value.hint
        assert "carvelwright doctor" in caught.value.hint


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(1000)
"""
    with pytest.raises(ToolFailedError, match=r"did not end within 2 s and was stopped"):
        process.run([PYTHON, "-c", code], step="s", timeout=2)
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: gone(pid))


def test_parallel_calls_return_in_order_and_run_at_once() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def call(number: int) -> int:
        barrier.wait()
        return number

    assert process.in_parallel(*[lambda n=n: call(n) for n in range(3)]) == [0, 1, 2]
    assert process.in_parallel() == []


def test_parallel_failure_is_raised_when_all_have_ended() -> None:
    ended = []

    def slow() -> None:
        time.sleep(0.2)
        ended.append(1)

    def fail() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        process.in_parallel(fail, slow)
    assert ended == [1]


def test_a_background_program_ends_with_the_block_and_its_output_is_kept(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(1000)"
    with process.background([PYTHON, "-c", code], step="s", log=tmp_path / "log") as server:
        wait_for(lambda: (tmp_path / "log").read_text() == "up\n")
        assert server.poll() is None
    assert server.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_programs_that_several_threads_wait_for(tmp_path: Path, number: signal.Signals) -> None:
    def sleep(index: int) -> None:
        code = f"import os, time; open({str(tmp_path)!r} + '/{index}', 'w').write(str(os.getpid())); time.sleep(1000)"
        process.run([PYTHON, "-c", code], step="s", timeout=60)

    def pids() -> list[int]:
        return [int(path.read_text() or 0) for path in tmp_path.iterdir()]

    def send() -> None:
        wait_for(lambda: len(pids()) == 3 and all(pids()))
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(KeyboardInterrupt), process.stopping_children():
        process.in_parallel(*[lambda n=n: sleep(n) for n in range(3)])
    sender.join()
    assert all(gone(pid) for pid in pids())
    assert process.run([PYTHON, "-c", "print(1)"], step="the next one", timeout=60).stdout == b"1\n"


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.stopping_children():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


# Another thread gets the signal, so that no wait of the main thread is ended by it: as if it came just before the wait.
ELSEWHERE = """
import os, signal, sys, threading, time
from carvelwright import process

def signal_elsewhere():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    while not os.path.exists(sys.argv[1]): time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
sleep = ["sh", "-c", 'echo $$ > "$0.tmp"; mv "$0.tmp" "$0"; exec sleep 600', sys.argv[1]]
def tool(): process.run(sleep, step="s", timeout=60)
try:
    with process.stopping_children():
        threading.Thread(target=signal_elsewhere, daemon=True).start()
        CALL
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.parametrize("call", ["tool()", "process.in_parallel(tool)"])
def test_a_signal_that_ends_no_wait_is_heeded_all_the_same(tmp_path: Path, call: str) -> None:
    note = tmp_path / "pid"
    output = subprocess.run([PYTHON, "-c", ELSEWHERE.replace("CALL", call), str(note)], timeout=60, check=False)
    assert output.returncode == 42
    wait_for(lambda: gone(int(note.read_text())))


def test_after_an_interrupt_that_was_caught_programs_run_again(tmp_path: Path) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    sleep = ["sh", "-c", "sleep 600 & echo $! >&2; exec sleep 600"]
    pids: list[int] = []

    def watch(line: str) -> None:
        pids.append(int(line))
        interrupt()

    with process.stopping_children():
        for call in (
            lambda: process.run(sleep, step="s", timeout=60, watch=watch),
            lambda: process.in_parallel(lambda: process.run(sleep, step="s", timeout=60, watch=watch)),
        ):
            with pytest.raises(KeyboardInterrupt):
                call()
            assert process.run(["echo", "again"], step="s", timeout=60).stdout == b"again\n"
            assert process.in_parallel(lambda: process.run(["echo"], step="s", timeout=60).stdout) == [b"\n"]
    assert len(pids) == 2
    wait_for(lambda: all(gone(pid) for pid in pids))


def test_signal_handlers_are_what_they_were_before(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with process.stopping_children():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize(("named", "there"), [("inner", True), ("", True), ("outer", False), ("{root}/outer", True)])
def test_tmpdir_is_seen_from_where_the_program_runs(tmp_path: Path, named: str, there: bool) -> None:
    for name in ("cwd/inner", "outer"):
        (tmp_path / name).mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": named.format(root=tmp_path)}
    run = functools.partial(process.run, ["true"], step="s", timeout=60, env=environment, cwd=tmp_path / "cwd")
    if there:
        assert run().stdout == b""
        return
    with pytest.raises(CarvelwrightError, match=f"^step s: TMPDIR is {named}: no file can be created there") as caught:
        run()
    assert (caught.value.exit_code, caught.value.step) == (ExitCode.FILESYSTEM, "s")


def test_a_thread_that_cannot_handle_signals_runs_programs_and_ends_them(tmp_path: Path) -> None:
    told: list[bytes] = []

    def work() -> None:
        with process.stopping_children():
            told.extend(process.in_parallel(lambda: process.run(["echo", "1"], step="s", timeout=60).stdout))
        told.append(process.run(["echo", "2"], step="s", timeout=60).stdout)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [b"1\n", b"2\n"]


ORPHANS = """
import sys
from pathlib import Path
from carvelwright import process

tree = ["sh", "-c", 'trap "" HUP INT TERM; (trap "" TERM; sleep 600; true) & echo $! > "$0.tmp"; mv "$0.tmp" "$0"; '
        'while :; do :; done', sys.argv[1] + "/run"]
server = ["sh", "-c", 'echo $$ > "$0.tmp"; mv "$0.tmp" "$0"; exec sleep 600', sys.argv[1] + "/background"]
with process.background(server, step="s", log=Path(sys.argv[1], "log")):
    process.in_parallel(lambda: process.run(tree, step="s", timeout=600))
"""


def test_a_kill_9_ends_programs_and_what_they_started(tmp_path: Path) -> None:
    parent = subprocess.Popen([PYTHON, "-c", ORPHANS, str(tmp_path)])
    notes = [tmp_path / "run", tmp_path / "background"]
    wait_for(lambda: all(note.exists() for note in notes))
    members = [pid for note in notes for pid in group_of(int(note.read_text()))]
    assert len(members) >= 6
    parent.kill()
    parent.wait()
    wait_for(lambda: all(gone(pid) for pid in members))


def group_of(pid: int) -> list[int]:
    """Return all processes of a process's group."""
    group = os.getpgid(pid)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
    return found


def test_a_program_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        with pytest.raises(CarvelwrightError):
            process.run([str(tmp_path / "none")], step="s", timeout=60)
        process.run(["true"], step="s", timeout=60)
    assert set(Path("/proc/self/fd").iterdir()) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_thousands_of_calls_do_not_take_thousands_of_threads() -> None:
    counts = process.in_parallel(*[threading.active_count] * 2000)
    assert len(counts) == 2000
    assert max(counts) < 100


def test_a_program_that_writes_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_OUTPUT_BYTES", 3 << 20)
    with pytest.raises(ToolFailedError, match="wrote more than 3 MiB and was stopped") as caught:
        process.run(["cat", "/dev/zero"], step="s", timeout=60)
    assert not caught.value.late


def test_of_words_without_end_the_last_are_kept() -> None:
    script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 1"
    with pytest.raises(ToolFailedError) as caught:
        process.run(["sh", "-c", script], step="s", timeout=60)
    assert len(caught.value.stderr) <= 1 << 20
    assert caught.value.stderr.endswith("the reason\n")


def test_a_program_has_the_memory_that_it_is_given() -> None:
    script = [sys.executable, "-c", "len(bytearray(300 << 20))"]
    process.run(script, step="s", timeout=60)
    with pytest.raises(ToolFailedError):
        process.run(script, step="s", timeout=60, memory=200 << 20)
