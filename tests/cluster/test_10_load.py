"""Step 10 of the walk: many pods with two further interfaces each, created at once over both nodes."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import invariants, layout, pools
from tests.cluster.progress import say
from tests.cluster.recorder import Recorder, network
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cluster.cluster import Cluster
    from tests.cluster.recorder import Call

# Of 40 the last was up after 28 s, of 80 after 62 s, of 120 after 113 s. The more there are, the more often the API
# server, which shares two cores with all else, lets a call of Multus time out; the kubelet then tries again.
PODS = 60
RANGES = {"load1": "192.168.40.0/24", "load2": "192.168.41.0/24"}
START_SECONDS = 420
RESULT = layout.BUILD / "load.json"


@pytest.mark.usefixtures("package")
def test_each_pod_of_a_crowd_has_addresses_of_its_own(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(cluster) as recorded:
        result = _load(cluster, recorded)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    with capsys.disabled():
        say(f"load: {json.dumps(result)}")


def _load(cluster: Cluster, recorded: Recorder) -> dict[str, Any]:
    names = [f"load{index}" for index in range(PODS)]
    with Workload(cluster, "load") as workload:
        for name, pool_range in RANGES.items():
            # At the package's own level: what is measured is what an operator has.
            workload.add_network(network(name, range=pool_range, log_level="verbose"))
        began = time.monotonic()
        for index, name in enumerate(names):
            workload.start(name, *RANGES, node=1 + index % len(cluster.nodes))
        workload.wait_running(*names, timeout=START_SECONDS)
        up = time.monotonic() - began
        ips = workload.ips()
        assert len(ips) == len(RANGES) * PODS
        assert len(set(ips)) == len(ips)
        invariants.check(cluster.api)
        assert _holders(cluster) == {f"default/{name}": len(RANGES) for name in names}
        retried = sum(
            event.get("count", 1)
            for event in cluster.api.list("events", namespace="default")
            if event.get("reason") == "FailedCreatePodSandBox" and event["involvedObject"].get("name") in names
        )
        began = time.monotonic()
    down = time.monotonic() - began
    invariants.check(cluster.api)
    assert _holders(cluster) == {}

    recorded.wait_idle()
    calls = recorded.calls()
    assert sum(call.command == "ADD" and call.code == 0 for call in calls) >= len(ips)
    return {
        "measured": "one ADD or DEL of macvlan with Whereabouts as its IPAM, as Multus waits for it; seconds",
        "pods": PODS,
        "interfaces": len(ips),
        "nodes": len(cluster.nodes),
        "cpus": os.cpu_count(),
        "sandboxes_retried": retried,
        "all_up": round(up, 1),
        "all_down": round(down, 1),
        **{command.lower(): _figures(calls, command) for command in ("ADD", "DEL")},
    }


def _holders(cluster: Cluster) -> dict[str, int]:
    """Return how many addresses of the test's ranges each pod holds."""
    return Counter(pools.holders(cluster.api, *RANGES.values()))


def _figures(calls: Sequence[Call], command: str) -> dict[str, float]:
    done = sorted(call.seconds for call in calls if call.command == command and call.code == 0)
    failed = sum(call.command == command and call.code != 0 for call in calls)
    percentiles = statistics.quantiles(done, n=100, method="inclusive")
    median, late = (round(percentiles[rank - 1], 3) for rank in (50, 95))
    return {"median": median, "p95": late, "max": round(done[-1], 3), "calls": len(done), "failed": failed}
