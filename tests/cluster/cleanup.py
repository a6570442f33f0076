"""What nodes hold in their CNI directories, and the documented jobs that take the package's files from them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster import walk
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

# Where the package writes by default, and what is around it.
CNI_DIRECTORIES = ("/etc/cni", "/opt")


def listing(node: Node, *directories: str, without: str = "") -> str:
    """Return kind, mode, owner, size and path of everything in a node's directories (default: those of CNI).

    Left out is what has the word `without` in its path: it belongs to another package.
    """
    # A directory's size tells how full it once was.
    wanted = ("-type", "d", "-printf", r"%y %m %U:%G - %p\n", "-o", "-printf", r"%y %m %U:%G %s %p\n")
    found = node.machine.run(["find", *(directories or CNI_DIRECTORIES), *wanted])
    lines = (line for line in found.splitlines() if not without or without not in line)
    return "\n".join(sorted(lines, key=lambda line: line.split()[-1]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the jobs ended: on how many nodes with success and with failure, and what their containers said."""

    complete: int
    failed: int
    log: str


@contextmanager
def account(cluster: Cluster) -> Iterator[None]:
    """Let the account of the jobs exist."""
    manifests = str(walk.EXAMPLES / "cleanup.yaml")
    cluster.kubectl.apply_file(manifests)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", manifests)


def run(
    cluster: Cluster,
    image: str,
    *,
    bin_dir: str = "/opt/cni/bin",
    conf_dir: str = "/etc/cni/net.d",
    product: walk.Product = walk.WHEREABOUTS,
) -> Outcome:
    """Run the example's job on each node to its end, and remove it."""
    label = f"app={product.name}-cleanup"
    text = (product.examples / "cleanup-job.yaml").read_text()
    text = text.replace("image: IMAGE", f"image: {image}")
    text = text.replace("path: /opt/cni/bin", f"path: {bin_dir}").replace("path: /etc/cni/net.d", f"path: {conf_dir}")
    for node in cluster.nodes:
        cluster.kubectl("create", "-f", "-", stdin=text.replace("nodeName: NODE", f"nodeName: {node.name}"))
    try:
        complete, failed = wait_until("the cleanup jobs end", lambda: _ended(cluster, label), interval=0.5)
        log = cluster.kubectl("logs", "--namespace=kube-system", f"--selector={label}", "--prefix", "--tail=-1")
        return Outcome(complete, failed, log)
    finally:
        cluster.kubectl("delete", "--namespace=kube-system", "jobs", f"--selector={label}", "--wait")


def _ended(cluster: Cluster, label: str) -> tuple[int, int] | None:
    shown = cluster.kubectl("get", "--namespace=kube-system", "jobs", f"--selector={label}", "--output=json")
    ends = [
        condition["type"]
        for job in json.loads(shown)["items"]
        for condition in job.get("status", {}).get("conditions", [])
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True"
    ]
    return (ends.count("Complete"), ends.count("Failed")) if len(ends) == len(cluster.nodes) else None
