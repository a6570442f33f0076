"""Progress: plain lines to a file, what runs now on a terminal."""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING

import pytest

from carvelwright.report import Recorder, StepRecord, StreamReporter, line, printable
from carvelwright.terminal import TerminalReporter

if TYPE_CHECKING:
    from collections.abc import Callable

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shown_in(reporter: Recorder) -> None:
    with reporter.step("compile") as step:
        step.count_packages(3, 7)
    with reporter.step("push") as step:
        step.describe("16.4 MiB")
    with reporter.step("image") as step:
        step.reuse()
    with pytest.raises(RuntimeError), reporter.step("archive"):
        raise RuntimeError


def test_plain_lines_name_step_state_seconds_and_detail() -> None:
    stream = io.StringIO()
    shown_in(StreamReporter(stream))
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["compile", "done"],
        ["push", "done"],
        ["image", "reused"],
        ["archive", "failed"],
    ]
    assert lines[0].endswith(" s  3 of 7 packages")
    assert lines[1].endswith(" s  16.4 MiB")
    assert float(lines[2].split()[2]) < 5
    assert "\x1b" not in stream.getvalue()


def test_records_hold_what_ended_well() -> None:
    recorder = Recorder()
    shown_in(recorder)
    assert [(record.name, record.reused) for record in recorder.records] == [
        ("compile", False),
        ("push", False),
        ("image", True),
    ]


def test_a_step_that_takes_long_is_reported_again_and_again() -> None:
    stream = io.StringIO()
    reporter = StreamReporter(stream, interval=0.01)
    with reporter.step("compile") as step:
        step.count_packages(212, 774)
        while stream.getvalue().count("compile is running, 0 s, 212 of 774 packages\n") < 3:
            time.sleep(0.01)
    told = stream.getvalue()
    time.sleep(0.05)
    assert stream.getvalue() == told, "a step that ended is still reported"


def test_a_terminal_shows_what_runs_and_leaves_what_ended() -> None:
    stream = io.StringIO()
    reporter = TerminalReporter(stream, {"TERM": "xterm", "COLUMNS": "100"})
    with reporter.step("one"), reporter.step("two") as step:
        step.count_packages(3, 7)
        expected = re.compile(r"one +0:00:0\d.*two +0:00:0\d +3 of 7 packages", re.DOTALL)
        wait_for(lambda: expected.search(ESCAPES.sub("", stream.getvalue())) is not None)
        before = len(stream.getvalue())
    ended = ESCAPES.sub("", stream.getvalue()[before:])
    assert re.search(r"two +done +0\.\d\d s  3 of 7 packages", ended)
    assert re.search(r"one +done +0\.\d\d s", ended)


def test_a_line_is_never_wider_than_a_narrow_terminal_makes_of_it() -> None:
    stream = io.StringIO()
    with TerminalReporter(stream, {"TERM": "xterm", "COLUMNS": "20"}).step("a step with a name of some length"):
        pass
    # One line, whatever the width: the terminal itself wraps it, and whoever copies it gets one line.
    assert re.search(r"a step with a name of some length +done +0\.\d\d s\n", ESCAPES.sub("", stream.getvalue()))


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_unless_they_are_not_wanted(environment: dict[str, str], coloured: bool) -> None:
    stream = io.StringIO()
    shown_in(TerminalReporter(stream, {"TERM": "xterm-256color", **environment}))
    assert ("\x1b[32m" in stream.getvalue()) == coloured
    assert ("\x1b[1;31m" in stream.getvalue()) == coloured


def test_the_line_of_a_long_compilation_fits_a_terminal_of_80_columns() -> None:
    record = StepRecord("compile whereabouts for linux/arm64", 1234.5, reused=False)
    assert len(line(record, "done", "1000 of 1000 packages")) <= 80


def test_a_text_is_shown_without_what_would_move_a_cursor_or_ring() -> None:
    assert printable("é\t日本\n  x") == "é\t日本\n  x"
    assert printable("\x1b]0;a\x07\r\x00\x7f\x9b\u202e\u2028") == r"\x1b]0;a\x07\r\x00\x7f\x9b\u202e\u2028"
