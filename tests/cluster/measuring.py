"""What benches have in common that raise a cluster of their own: it is raised, measured, and the figures are kept."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from tests.cluster import host, versions
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.machine import DaemonEnded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(measure: Callable[[Cluster], dict[str, Any]], result: Path) -> int:
    """Measure on a fresh cluster, print the figures and keep them in a file; return the exit code."""
    try:
        host.check()
        with Cluster(versions.chosen(os.environ)) as cluster:
            figures = measure(cluster)
    except (ClusterError, DaemonEnded) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(result.read_text())
    return 0
