"""How long 40 pods over two nodes take to start, with one further network and without: what Whereabouts adds to it.

For `make bench-pods`; needs root. It raises a cluster of its own. The kinds take turns, since a machine is not the same
from one minute to the next; compare the ratios. It prints the figures and keeps them in `RESULT`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import invariants, layout, measuring, pod_stream, pods, walk
from tests.cluster.errors import ClusterError
from tests.cluster.progress import say
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

RESULT = layout.ROOT / "build" / "pods.json"
PODS, ROUNDS, START_SECONDS = 40, 5, 420
# What there is without Whereabouts: addresses that need nobody but the node.
WITHOUT = "macvlan with host-local"
VALUES = {
    "Whereabouts, lease": "whereabouts: {config: {allocation: lease}}\n",
    "Whereabouts, per-node": "whereabouts: {config: {allocation: per-node}}\n",
}


def main() -> int:
    """Measure all kinds in turn."""
    return measuring.run(_all, RESULT)


def _all(cluster: Cluster) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-pods-") as scratch:
        return _report(_measure(cluster, Path(scratch)))


def _measure(cluster: Cluster, scratch: Path) -> dict[str, list[float]]:
    """Return the seconds of each round, by kind."""
    project = walk.Project.stage(scratch / "project")
    for product in (walk.MULTUS, walk.WHEREABOUTS):
        project.publish(cluster, product.released, product)
    packages = [walk.Package(cluster, project, product) for product in (walk.MULTUS, walk.WHEREABOUTS)]
    packages[0].add_repository(project.repository(walk.WHEREABOUTS.released))
    for each in packages:
        each.install()
    seconds: dict[str, list[float]] = {"no further network": [], WITHOUT: [], **{kind: [] for kind in VALUES}}
    # The first round finds images that are not there yet, and is not counted.
    for number in range(ROUNDS + 1):
        for kind, took in _round(cluster, packages[1]):
            say(f"round {number}: {kind}: {took:.1f} s")
            if number:
                seconds[kind].append(took)
    return seconds


def _round(cluster: Cluster, whereabouts: walk.Package) -> Iterator[tuple[str, float]]:
    with Workload(cluster, "bench") as workload:
        workload.add_network(pod_stream.network("local"))
        yield "no further network", _start(workload)
        yield WITHOUT, _start(workload, "local")
        workload.add_network(pods.network("shared", {"type": "whereabouts", "range": "10.251.0.0/16"}))
        for kind, values in VALUES.items():
            whereabouts.install(values=values)
            yield kind, _start(workload, "shared")
            invariants.check(cluster.api)


def _start(workload: Workload, *networks: str) -> float:
    """Return how long all pods take to run, from the first one that is created; they are gone afterwards."""
    names = [f"pod{index}" for index in range(PODS)]
    began = time.monotonic()
    for index, name in enumerate(names):
        workload.start(name, *networks, node=1 + index % len(workload.cluster.nodes))
    workload.wait_running(*names, timeout=START_SECONDS)
    took = time.monotonic() - began
    if networks and len(set(ips := workload.ips())) != PODS and networks != ("local",):
        raise ClusterError(f"{PODS} pods have the addresses {sorted(ips)}")
    workload.delete(*names)
    return took


def _report(seconds: dict[str, list[float]]) -> dict[str, Any]:
    without = statistics.median(seconds[WITHOUT])
    return {
        "measured": f"{PODS} pods on 2 nodes, from the first that is created until all run; seconds",
        "cpus": os.cpu_count(),
        "rounds": ROUNDS,
        **{
            kind: {
                "median": round(statistics.median(each), 1),
                "min": round(min(each), 1),
                "max": round(max(each), 1),
                "ratio": round(statistics.median(each) / without, 2),
            }
            for kind, each in seconds.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
