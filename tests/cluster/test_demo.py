"""The demo and the recorded page of the documentation are one: played whole, and nothing is left of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.cluster import command, demo, machine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.own_cluster

# As long as its slowest step may take, and the rest.
DEMO_SECONDS = 1500
OUTPUT = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)


def test_the_demo_walks_to_its_end_and_records_what_the_documentation_shows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command.run("demo", "--record", str(page), timeout=DEMO_SECONDS)
    assert machine.running() == {}
    assert OUTPUT.sub("", page.read_text()) == OUTPUT.sub("", demo.PAGE.read_text())
