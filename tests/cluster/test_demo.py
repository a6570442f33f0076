"""The demo and the recorded page of the documentation are one: played whole, and nothing is left of it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cluster import demo, layout, machine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.own_cluster

# As long as its slowest step may take, and the rest.
DEMO_SECONDS = 1500
OUTPUT = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)


def test_the_demo_walks_to_its_end_and_records_what_the_documentation_shows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    argv = [sys.executable, "-m", "tests.cluster", "demo", "--record", str(page)]
    played = subprocess.run(
        argv,
        cwd=layout.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert played.returncode == 0, played.stdout[-5000:]
    assert machine.running() == {}
    assert OUTPUT.sub("", page.read_text()) == OUTPUT.sub("", demo.PAGE.read_text())
