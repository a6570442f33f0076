"""A tutorial's page, run as a reader does: each block of commands in the shell that the one before left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# What such a block prints last; a reader runs it in a terminal of its own.
_STAYS = "press Ctrl-C to stop"
_SECONDS = 600
# One of the lines of progress, which come in the order in which the steps end.
_STEP = re.compile(r"  \S.* (?:done|reused) +TIME\b")
# What differs from machine to machine, from run to run, or with the version of the compiler.
_VARYING = (
    (re.compile(r"sha256:[0-9a-f]+"), "sha256:DIGEST"),
    (re.compile(r"\b\d+\.\d\d s\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d)? (?:[KMG]i)?B\b"), "SIZE"),
    (re.compile(r"/\S*/(?=\.venv/bin/|\.cache/carvelwright/)"), "…/"),
    # Whether something was there before is the machine's, too.
    (re.compile(r"^(  \S.* )(?:done|reused)( +TIME)", re.MULTILINE), r"\1done\2"),
    # What was compiled before is the machine's as well.
    (re.compile(r" +\d+ of \d+ packages$", re.MULTILINE), ""),
    (re.compile(r"^  \S.* is running, \d+ s\b.*\n", re.MULTILINE), ""),
    # Columns are as wide as the longest address.
    (re.compile(r"(?<=\S) {2,}"), "  "),
    (re.compile(r" +$", re.MULTILINE), ""),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, and what the page says that they print; `line` is where they begin."""

    line: int
    commands: str
    output: str

    @property
    def stays(self) -> bool:
        """Tell whether it runs until it is stopped."""
        return _STAYS in self.output

    @property
    def fails(self) -> bool:
        """Tell whether the page shows how it fails."""
        return any(line.startswith("error: ") for line in self.output.splitlines())


def blocks(page: str, heading: str = "") -> list[Block]:
    """Return the blocks of commands of a page, each with the output that follows it (none: an empty text).

    `heading`, without its number, is that of the section that is meant (default: all of the page).
    """
    fences = list(_FENCE.finditer(page))
    if heading:
        start = re.search(rf"^## [0-9]+\. {re.escape(heading)}$", page, re.MULTILINE)
        assert start, f"there is no section {heading!r}"
        end = page.find("\n## ", start.end())
        fences = [fence for fence in fences if start.end() < fence.start() < (end if end >= 0 else len(page))]
    found = []
    for fence, after in zip(fences, [*fences[1:], None], strict=True):
        if fence["language"] == "sh":
            output = after["text"] if after and after["language"] == "text" else ""
            found.append(Block(page[: fence.start()].count("\n") + 2, fence["text"], output))
    return found


@dataclass(slots=True)
class Reader:
    """A reader's shell: its directory and its variables stay from block to block."""

    directory: Path
    environment: dict[str, str]
    scratch: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, block: Block) -> str:
        """Run a block and return what it printed, on both streams; AssertionError for another end than the page's."""
        output = self.scratch / f"output-{block.line}"
        process = self._start(block, output)
        if block.stays:
            self._running.append(process)
            _wait_for(output, _STAYS, process)
        else:
            code = process.wait(_SECONDS)
            assert (code != 0) == block.fails, f"line {block.line}: exit code {code}\n{output.read_text()}"
            if code == 0:
                self._remember()
        return output.read_text()

    def stop(self) -> None:
        """Press Ctrl-C in each of the other terminals; AssertionError where that is no proper end."""
        while self._running:
            process = self._running.pop()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) in (0, 130)

    def _start(self, block: Block, output: Path) -> subprocess.Popen[bytes]:
        script = f"set -e\n{block.commands}\npwd > {self.scratch}/pwd\nenv -0 > {self.scratch}/env\n"
        with output.open("wb") as file:
            return subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _remember(self) -> None:
        self.directory = self.directory.__class__((self.scratch / "pwd").read_text().strip())
        pairs = (entry.partition("=") for entry in (self.scratch / "env").read_text().split("\0") if entry)
        self.environment = {name: value for name, _, value in pairs}


@contextlib.contextmanager
def reader(directory: Path, environment: Mapping[str, str], scratch: Path) -> Iterator[Reader]:
    """Give a shell in that directory; what it left running is stopped at the end."""
    opened = Reader(directory, dict(environment), scratch)
    try:
        yield opened
    finally:
        opened.stop()


def compared(text: str) -> list[str]:
    """Return the lines of an output as they are compared: without what varies, lines of progress in one order."""
    for varying, word in _VARYING:
        text = varying.sub(word, text)
    lines = text.splitlines()
    at = [number for number, line in enumerate(lines) if _STEP.match(line)]
    for number, line in zip(at, sorted(lines[number] for number in at), strict=True):
        lines[number] = line
    return lines


def shows(output: str, excerpt: str) -> bool:
    """Tell whether the lines of an excerpt are in an output, one after the other."""
    whole, wanted = compared(output), compared(excerpt)
    return any(whole[start : start + len(wanted)] == wanted for start in range(len(whole) - len(wanted) + 1))


def _wait_for(output: Path, words: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _SECONDS
    while words not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.05)
