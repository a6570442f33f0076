"""Programs: run, told when they fail, ended with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from carvelwright import process
from carvelwright.errors import CarvelwrightError, ExitCode

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
    output = process.run([PYTHON, "-X", "utf8", "-c", code], step="s", stdin=b"\xff" * 200_000)
    assert output.stdout == b"\xff" * 400_000
    assert output.stderr == "é"


def test_the_environment_is_the_whole_one() -> None:
    output = process.run([PYTHON, "-c", "import os; print(sorted(os.environ))"], step="s", env={"ONLY": "this"})
    assert b"ONLY" in output.stdout
    assert b"HOME" not in output.stdout


def test_a_program_that_stops_reading_is_no_failure_of_ours() -> None:
    assert process.run([PYTHON, "-c", ""], step="s", stdin=b"x" * 1_000_000).stdout == b""


def test_a_failure_names_step_tool_code_stderr_and_command() -> None:
    with pytest.raises(process.ToolFailedError) as caught:
        process.run([PYTHON, "-c", "import sys; print('boo', file=sys.stderr); sys.exit(7)"], step="push bundle")
    error = caught.value
    assert error.message == f"step push bundle: {Path(PYTHON).name} failed with exit code 7"
    assert error.exit_code is ExitCode.TOOL_FAILED
    assert error.step == "push bundle"
    assert error.details
    assert error.details.splitlines()[0] == "boo"
    assert f"command: {PYTHON} -c" in error.details


def test_a_failure_shows_the_end_of_a_long_stderr() -> None:
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(1000)]; sys.exit(1)"
    with pytest.raises(process.ToolFailedError) as caught:
        process.run([PYTHON, "-c", code], step="s")
    assert caught.value.details
    lines = caught.value.details.splitlines()
    assert (lines[0], lines[1], lines[40]) == ("…", "line 960", "line 999")
    assert len(lines) == 42


def test_an_end_by_a_signal_is_told_by_its_name() -> None:
    with pytest.raises(process.ToolFailedError, match="was ended by SIGKILL"):
        process.run([PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"], step="s")


@pytest.mark.parametrize("word", ["write /x/y: no space left on device", "File too large", "disk quota exceeded"])
def test_a_tool_that_has_no_space_is_a_matter_of_files(word: str) -> None:
    with pytest.raises(process.ToolFailedError) as caught:
        process.run([PYTHON, "-c", "import sys; sys.exit(sys.argv[1])", word], step="s")
    assert caught.value.exit_code is ExitCode.FILESYSTEM
    assert caught.value.hint
    assert "free space" in caught.value.hint


def test_a_program_that_is_not_there_or_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for name in ("none", "text"):
        with pytest.raises(CarvelwrightError, match=f"step s: cannot start {tmp_path}/{name}: ") as caught:
            process.run([str(tmp_path / name)], step="s")
        assert caught.value.exit_code is ExitCode.TOOL_MISSING
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
    with pytest.raises(process.ToolFailedError, match=r"did not end within 2 s and was stopped"):
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
        process.run([PYTHON, "-c", code], step="s")

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
    assert process.run([PYTHON, "-c", "print(1)"], step="the next one").stdout == b"1\n"


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
def tool(): process.run(["sh", "-c", 'echo $$ > "$0.tmp"; mv "$0.tmp" "$0"; exec sleep 600', sys.argv[1]], step="s")
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
