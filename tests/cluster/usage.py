"""What a container uses: its cgroup on the node, and the memory in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cluster import host, layout

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.node import Node


def group(node: Node, pod: dict[str, Any], controller: str) -> Path:
    """Return the cgroup of the only container of a pod."""
    (container,) = pod["status"]["containerStatuses"]
    name = container["containerID"].rpartition("/")[2]
    above = host.CGROUPS / controller / f"{layout.CGROUP_PREFIX}{node.name}" / "kubepods"
    (found,) = above.glob(f"**/pod{pod['metadata']['uid']}/{name}")
    return found


def memory(node: Node, pod: dict[str, Any]) -> dict[str, int]:
    """Return the memory of a pod's only container in KiB: what is its own alone, and what the kubelet counts."""
    found = group(node, pod, "memory")
    stat = {key: int(value) for key, value in map(str.split, (found / "memory.stat").read_text().splitlines())}
    counted = int((found / "memory.usage_in_bytes").read_text()) - stat["total_inactive_file"]
    return {"own": stat["total_rss"] // 1024, "working set": counted // 1024}
