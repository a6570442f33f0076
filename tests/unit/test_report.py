"""Progress: plain lines to a file, what runs now on a terminal."""

from __future__ import annotations

import io

import pytest

from carvelwright.report import StreamReporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_tell_name_state_and_seconds() -> None:
    stream = io.StringIO()
    reporter = StreamReporter(stream)
    with reporter.step("compile"):
        pass
    with reporter.step("push") as step:
        step.reuse()
    with pytest.raises(RuntimeError), reporter.step("archive"):
        raise RuntimeError
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [["compile", "done"], ["push", "reused"], ["archive", "failed"]]
    assert all(line.endswith(" s") and float(line.split()[2]) < 5 for line in lines)
    assert "\x1b" not in stream.getvalue()
    assert [(record.name, record.reused) for record in reporter.records] == [("compile", False), ("push", True)]


def test_a_terminal_shows_what_runs_now() -> None:
    stream = Terminal()
    reporter = StreamReporter(stream)
    with reporter.step("one"), reporter.step("two"):
        assert stream.getvalue().endswith("  one, two …")
    assert stream.getvalue().rpartition("\x1b[K")[2].split()[:2] == ["one", "done"]


def test_quiet_writes_nothing_but_keeps_records() -> None:
    stream = Terminal()
    reporter = StreamReporter(stream, quiet=True)
    with reporter.step("one"):
        pass
    assert stream.getvalue() == ""
    assert len(reporter.records) == 1
