"""Step 10 of the walk: many pods with two further interfaces each, created at once over both nodes."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import invariants, layout, pods
from tests.cluster.progress import say
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.cluster.walk import Package

# Of 40 the last was up after 28 s, of 80 after 62 s, of 120 after 113 s. The more there are, the more often the API
# server, which shares two cores with all else, lets a call of Multus time out; the kubelet then tries again.
PODS = 80
RANGES = {"load1": "192.168.40.0/24", "load2": "192.168.41.0/24"}
START_SECONDS = 420
RESULT = layout.BUILD / "load.json"

# Between Multus and macvlan, which calls Whereabouts: the time that a pod waits for one interface with its address.
TIMED = "timed-macvlan"
TIMES = "cni-times.log"
TIMED_PLUGIN = f"""#!/bin/sh
began=$(date +%s%N)
/opt/cni/bin/macvlan
code=$?
echo "$CNI_COMMAND $code $began $(date +%s%N)" >> /var/log/{TIMES}
exit $code
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the plugin: CNI command, exit code, and how long it took."""

    command: str
    code: int
    seconds: float


@pytest.fixture
def timed_cluster(package: Package) -> Iterator[Cluster]:
    """Put the timing plugin on the nodes, with an empty log."""
    cluster = package.cluster
    for node in cluster.nodes:
        _log(node).unlink(missing_ok=True)
        _plugin(node).write_text(TIMED_PLUGIN)
        _plugin(node).chmod(0o755)
    yield cluster
    for node in cluster.nodes:
        _plugin(node).unlink()


def test_each_pod_of_a_crowd_has_addresses_of_its_own(
    timed_cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, names = timed_cluster, [f"load{index}" for index in range(PODS)]
    with Workload(cluster, "load") as workload:
        for name, pool_range in RANGES.items():
            workload.add_network(_timed_network(name, pool_range))
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

    calls = [call for node in cluster.nodes for call in _calls(node)]
    assert sum(call.command == "ADD" and call.code == 0 for call in calls) >= len(ips)
    result = {
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
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    with capsys.disabled():
        say(f"load: {json.dumps(result)}")


def _timed_network(name: str, pool_range: str) -> dict[str, Any]:
    definition = pods.network(name, {"type": "whereabouts", "range": pool_range})
    config = json.loads(definition["spec"]["config"])
    config["plugins"][0]["type"] = TIMED
    return {**definition, "spec": {"config": json.dumps(config)}}


def _holders(cluster: Cluster) -> dict[str, int]:
    """Return how many addresses of the test's ranges each pod holds."""
    pools = [pool for pool in cluster.api.list("ippools") if pool["spec"]["range"] in RANGES.values()]
    return Counter(entry["podref"] for pool in pools for entry in pool["spec"].get("allocations", {}).values())


def _plugin(node: Node) -> Path:
    return node.directory / "cni-bin" / TIMED


def _log(node: Node) -> Path:
    return node.directory / "log" / TIMES


def _calls(node: Node) -> Iterator[Call]:
    for line in _log(node).read_text().splitlines():
        command, code, began, ended = line.split()
        yield Call(command, int(code), (int(ended) - int(began)) / 1e9)


def _figures(calls: Sequence[Call], command: str) -> dict[str, float]:
    done = sorted(call.seconds for call in calls if call.command == command and call.code == 0)
    failed = sum(call.command == command and call.code != 0 for call in calls)
    percentiles = statistics.quantiles(done, n=100, method="inclusive")
    median, late = (round(percentiles[rank - 1], 3) for rank in (50, 95))
    return {"median": median, "p95": late, "max": round(done[-1], 3), "calls": len(done), "failed": failed}
