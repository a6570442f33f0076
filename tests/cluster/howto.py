"""The pages of docs/how-to, followed as an operator does: the commands of their sections, in one shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.cluster import layout

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster

DIRECTORY = layout.ROOT / "docs" / "how-to"
SECONDS = 600
SECTION = re.compile(r"^##+ (?P<title>.*?)\n(?P<text>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str, *titles: str) -> str:
    """Return the commands of the named sections of a page, without those of sections below them."""
    sections = {each["title"]: each["text"] for each in SECTION.finditer((DIRECTORY / page).read_text())}
    return "\n".join(block for title in titles for block in BLOCK.findall(sections[title]))


def follow(cluster: Cluster, page: str, *titles: str, directory: Path = layout.ROOT) -> str:
    """Run the commands of the named sections in `directory`, which has the examples; return what they print."""
    script = f"cd {directory}\n{commands(page, *titles)}"
    return cluster.run_on_network(["bash", "-euxo", "pipefail", "-c", script], timeout=SECONDS)
