"""Multus thin, as the package has it, beside upstream's thick: memory, the time of an ADD, and a restart.

For `make bench-multus`; needs root. It raises a cluster of its own, prints the figures and keeps them in `RESULT`.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import cleanup, layout, measuring, pod_stream, pods, sandbox, upstream_multus, usage, walk
from tests.cluster.errors import ClusterError
from tests.cluster.pod_stream import PodStream
from tests.cluster.progress import say
from tests.cluster.sandbox import Sandbox
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

Document = dict[str, Any]

RESULT = layout.ROOT / "build" / "multus-comparison.json"
CALLS = 20
# One call after the other while the daemon is down and comes up again.
DOWN_SECONDS = 15


def main() -> int:
    """Measure all, one after the other on the same nodes."""
    return measuring.run(_all, RESULT)


def _all(cluster: Cluster) -> Document:
    return {"cpus": os.cpu_count(), "thin, the package": _ours(cluster), **_upstream(cluster)}


def _ours(cluster: Cluster) -> Document:
    with tempfile.TemporaryDirectory(prefix="bench-multus-") as scratch:
        project = walk.Project.stage(Path(scratch) / "project")
        project.publish(cluster, walk.MULTUS.released, walk.MULTUS)
        package = walk.Package(cluster, project, walk.MULTUS)
        package.add_repository(project.repository(walk.MULTUS.released))
        package.install()
        (image,) = package.images()
        measured = _measure(cluster, "multus-cni", lambda _: _restart(cluster, "multus-cni"))
        package.remove()
        pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector="name=multus-cni")
        cleanup.run(cluster, image, product=walk.MULTUS)
    return measured


def _upstream(cluster: Cluster) -> Document:
    found = {}
    for name, limited in (("thick, with upstream's limits", True), ("thick, without limits", False)):

        def manifests(roll: int, *, limited: bool = limited) -> list[Document]:
            made = copy.deepcopy(upstream_multus.thick(roll=roll))
            if not limited:
                del made[-1]["spec"]["template"]["spec"]["containers"][0]["resources"]
            return made

        def roll(number: int, manifests: Callable[[int], list[Document]] = manifests) -> None:
            upstream_multus.apply(cluster, manifests(number))

        upstream_multus.install(cluster, manifests(0))
        found[name] = _measure(cluster, "multus", roll)
        upstream_multus.remove(cluster)
    return found


def _restart(cluster: Cluster, name: str) -> None:
    cluster.kubectl("rollout", "restart", f"daemonset/{name}", f"--namespace={walk.COMPONENTS}")
    cluster.kubectl.wait_rollout(f"daemonset/{name}", namespace=walk.COMPONENTS)


def _measure(cluster: Cluster, label: str, roll: Callable[[int], None]) -> Document:
    """Measure what runs on the first node; `roll` replaces all pods with that label."""
    say(f"measuring {label}")
    node = cluster.nodes[0]
    result: Document = {"idle, memory in KiB": usage.memory(node, _pod(cluster, node, label))}
    with Workload(cluster, "bench") as workload:
        workload.add_network(pod_stream.network("bench"))
        workload.run("holder", "bench", node=1)
        result |= _calls(node)
        result["after the calls, memory in KiB"] = usage.memory(node, _pod(cluster, node, label))
        result["its process killed"] = _killed(cluster, node, label)
        result["one rollout, pods created each second"] = _rolled(workload, roll)
    return result


def _calls(node: Node) -> Document:
    """Return how long an ADD with one further network takes, and the most memory that one of its processes has."""
    seconds, memory = [], []
    for _ in range(CALLS):
        took, peak, failed = _add(node)
        if failed:
            raise ClusterError(f"ADD: {failed}")
        seconds.append(took)
        memory.append(peak)
    values = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {
        "ADD, ms": {name: round(value * 1000) for name, value in values.items()},
        "ADD, largest process in KiB": max(memory),
    }


def _add(node: Node) -> tuple[float, int, str]:
    """Call ADD for a new sandbox, and then DEL.

    Return the seconds of the ADD, the most memory that one of its processes had in KiB, and why it failed if it did.
    """
    conf = sandbox.configuration(node)
    with Sandbox(node, "holder", f"by-hand-{time.monotonic_ns()}") as by_hand, tempfile.TemporaryFile() as answer:
        began = time.monotonic()
        process = subprocess.Popen(
            by_hand.argv(conf),
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=subprocess.DEVNULL,
            env=by_hand.environment("ADD"),
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(conf).encode())
        process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - began
        by_hand.call("DEL", conf)
        answer.seek(0)
        said = answer.read().decode(errors="replace")
    return took, used.ru_maxrss, said if process.returncode else ""


def _killed(cluster: Cluster, node: Node, label: str) -> Document:
    """Kill the process of the DaemonSet's pod, and call ADD until its container runs again for a while."""
    before = _pod(cluster, node, label)
    for pid in (usage.group(node, before, "pids") / "cgroup.procs").read_text().split():
        os.kill(int(pid), 9)
    began, failures, calls = time.monotonic(), [], 0
    while time.monotonic() - began < DOWN_SECONDS:
        calls += 1
        if _add(node)[2]:
            failures.append(time.monotonic() - began)
    wait_until("it runs again", lambda: pods.running(_pod(cluster, node, label)))
    return {"calls": calls, "failed": len(failures), "the last after, s": round(max(failures, default=0), 1)}


def _rolled(workload: Workload, roll: Callable[[int], None]) -> Document:
    with _streamed(workload) as stream:
        roll(1)
        stream.wait_for_pods(1)
    return {"pods": len(stream.seen()), "without net1": len(stream.missed())}


@contextmanager
def _streamed(workload: Workload) -> Iterator[PodStream]:
    with PodStream(workload, "bench") as stream:
        stream.wait_for_pods(1)
        yield stream


def _pod(cluster: Cluster, node: Node, label: str) -> Document:
    """Return the pod with a label on a node, once there is one."""

    def alone() -> Document | None:
        found = cluster.api.list("pods", namespace=walk.COMPONENTS, selector=f"name={label}")
        here = [each for each in found if each["spec"].get("nodeName") == node.name]
        return here[0] if len(here) == 1 and here[0]["status"].get("containerStatuses") else None

    return wait_until(f"{node.name} has one pod {label}", alone)


if __name__ == "__main__":
    sys.exit(main())
