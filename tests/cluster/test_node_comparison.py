"""Our node installer beside the shell installer of other packagings, in one run: time, idle CPU, memory, image size.

Times and CPU are printed and kept in `RESULT`; no limit is set on them, for the machine may be busy with anything.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import images, layout, pods, shell_installer, usage, walk
from tests.cluster.plugin_stream import Place
from tests.cluster.progress import say
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

Document = dict[str, Any]

RESULT = layout.ROOT / "build" / "comparison.json"
ROUNDS = 5
# Two readiness probes of ours, and sixty rounds of the shell's loop.
IDLE_SECONDS = 60
OURS, SHELL, LIMITED = "ours", "shell", "limited"
PLACES = {side: Place(bin_dir=f"/opt/cni/bin/{side}", conf_dir=f"/etc/cni/{side}") for side in (OURS, SHELL, LIMITED)}
# On a new node nothing is there; on one that has the plugin, only the token is another one.
REMOVED = {
    "new": "/host/opt/cni/bin/whereabouts /host/etc/cni/net.d/whereabouts.d",
    "again": "/host/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig",
}
# In the containers of both: it notes by the kernel's clock when an installer begins and when it has ended. What others
# have yet to write is written before, so that no installer waits for another's data.
WITNESS = """\
/busybox rm -rf $REMOVED && /busybox sync || exit 1
: > $MARK.began
"$@" || exit 1
: > $MARK.ended
"""
MARKS = "comparison"


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds that a container used so far, and what the shim above it used with all that it started."""

    container: float
    shim: float

    def since(self, before: Used, minutes: float) -> dict[str, float]:
        """Return milliseconds per minute since `before`."""
        used = {"container": self.container - before.container, "shim": self.shim - before.shim}
        return {name: round(seconds * 1000 / minutes, 1) for name, seconds in used.items()}


def test_the_installer_is_compared_with_a_shell_installer(
    cluster: Cluster, package: walk.Package, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shell_installer.ensure_archive()
    for node in cluster.nodes:
        node.load_image(archive)
    sizes = {OURS: _our_size(package), SHELL: images.compressed_size(archive)}
    with _cleaned(cluster):
        cluster.kubectl.apply(*shell_installer.account())
        measured = _measure(cluster, {OURS: _our_spec(cluster), SHELL: shell_installer.pod_spec(PLACES[SHELL])})
    result = {"cpus": os.cpu_count(), "image, compressed bytes": sizes, **measured}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    with capsys.disabled():
        say(f"comparison: {json.dumps(result)}")
    assert sizes[OURS] <= sizes[SHELL] / 2


def _measure(cluster: Cluster, specs: dict[str, Document]) -> Document:
    busy, idle = cluster.nodes
    ready = {side: round(_start(cluster, f"idle-{side}", idle, spec), 1) for side, spec in specs.items()}
    began, before = time.monotonic(), {side: _used(cluster, idle, side) for side in specs}
    times = _install_times(cluster, busy, specs)
    wait_until("they were idle", lambda: time.monotonic() - began >= IDLE_SECONDS)
    minutes = (time.monotonic() - began) / 60
    return {
        "installing, ms": {what: {side: _figures(times[side, what]) for side in PLACES} for what in REMOVED},
        "from the pod's creation until it is ready, s": ready,
        "idle, CPU ms per minute": {side: _used(cluster, idle, side).since(before[side], minutes) for side in specs},
        "idle, memory in KiB": {side: usage.memory(idle, _pod(cluster, side)) for side in specs},
    }


def _our_size(package: walk.Package) -> int:
    release = json.loads((package.project.dist(walk.RELEASED) / "release.json").read_text())
    (ours,) = (each for each in release["packages"] if each["refName"] == walk.REF_NAME)
    platforms = ours["images"][0]["platforms"]
    return next(int(each["compressedBytes"]) for each in platforms if each["platform"] == "linux/amd64")


def _our_spec(cluster: Cluster) -> Document:
    """Return the DaemonSet's pod for directories of its own, and without the control loop, which both have."""
    found = cluster.api.get("daemonsets", walk.DAEMON_SET, namespace=walk.COMPONENTS)
    spec: Document = copy.deepcopy(found["spec"]["template"]["spec"])
    spec["containers"] = [each for each in spec["containers"] if each["name"] == "refresh"]
    _use_place(spec["volumes"], PLACES[OURS])
    return spec


def _use_place(volumes: list[Document], place: Place) -> None:
    paths = {"cni-bin-dir": place.bin_dir, "cni-conf-dir": place.conf_dir}
    changed = [each for each in volumes if each["name"] in paths]
    assert len(changed) == len(paths)
    for volume in changed:
        volume["hostPath"] = {"path": paths[volume["name"]], "type": "DirectoryOrCreate"}


def _start(cluster: Cluster, name: str, node: Node, spec: Document) -> float:
    """Create a pod on a node and return after how many seconds it is ready."""
    metadata = {"name": name, "namespace": walk.COMPONENTS, "labels": {"comparison": "installer"}}
    began = time.monotonic()
    cluster.api.apply(
        "pods", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "nodeName": node.name}}
    )
    pods.wait_running(cluster.api, [name], namespace=walk.COMPONENTS)
    return time.monotonic() - began


@contextmanager
def _cleaned(cluster: Cluster) -> Iterator[None]:
    """Take away, in the end, the pods and all that they put on the nodes."""
    try:
        yield
    finally:
        path = f"/api/v1/namespaces/{walk.COMPONENTS}/pods?labelSelector=comparison"
        cluster.api.request("DELETE", path)
        pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector="comparison")
        left = [f"/var/log/{MARKS}", *(path for place in PLACES.values() for path in (place.bin_dir, place.conf_dir))]
        for node in cluster.nodes:
            node.machine.run(["rm", "-rf", *left])
        for document in shell_installer.account():
            cluster.kubectl("delete", document["kind"], document["metadata"]["name"], "--namespace=kube-system")


def _install_times(cluster: Cluster, node: Node, specs: dict[str, Document]) -> dict[tuple[str, str], list[float]]:
    """Return by side and by what was there before the seconds of each run of each installer.

    All run in one pod, one after the other and in turns, so that a busy moment of the machine meets all alike.
    """
    (ours,) = specs[OURS]["initContainers"]
    shell = shell_installer.container(PLACES[SHELL], "/bin/sh", "/install.sh")
    limited = shell_installer.container(PLACES[LIMITED], "/bin/sh", "/install.sh")
    limited["resources"] = {"limits": shell_installer.LIMITS}
    containers = {OURS: ours, SHELL: shell, LIMITED: limited}
    volumes = {
        OURS: specs[OURS]["volumes"],
        **{side: _renamed(shell_installer.volumes(PLACES[side]), side) for side in (SHELL, LIMITED)},
    }
    for side in (SHELL, LIMITED):
        containers[side]["volumeMounts"] = _renamed(containers[side]["volumeMounts"], side)
    runs = [(f"{side}-{what}-{turn}", side, what) for turn in range(ROUNDS) for what in REMOVED for side in PLACES]
    witness = {"path": str(images.busybox_program()), "type": "File"}
    marks = {"path": f"/var/log/{MARKS}", "type": "DirectoryOrCreate"}
    spec = {
        **specs[OURS],
        "initContainers": [_witnessed(containers[side], name, REMOVED[what]) for name, side, what in runs],
        "containers": pods.template_spec()["containers"],
        "volumes": [
            *(volume for each in volumes.values() for volume in each),
            {"name": "witness", "hostPath": witness},
            {"name": "marks", "hostPath": marks},
        ],
    }
    _start(cluster, "times", node, spec)
    times: dict[tuple[str, str], list[float]] = {}
    for name, side, what in runs:
        times.setdefault((side, what), []).append(_elapsed(node.directory / "log" / MARKS / name))
    return times


def _renamed(documents: list[Document], side: str) -> list[Document]:
    return [{**each, "name": f"{side}-{each['name']}"} for each in documents]


def _witnessed(container: Document, name: str, removed: str) -> Document:
    argv = [*container["command"], *container.get("args", [])]
    env = [{"name": "MARK", "value": f"/marks/{name}"}, {"name": "REMOVED", "value": removed}]
    mounts = [{"name": "witness", "mountPath": "/busybox"}, {"name": "marks", "mountPath": "/marks"}]
    return {
        **{key: value for key, value in container.items() if key != "args"},
        "name": name,
        "command": ["/busybox", "sh", "-c", WITNESS, "sh", *argv],
        "env": [*container["env"], *env],
        "volumeMounts": [*container["volumeMounts"], *mounts],
    }


def _elapsed(mark: Path) -> float:
    began, ended = (mark.with_name(f"{mark.name}.{end}").stat().st_mtime_ns for end in ("began", "ended"))
    return (ended - began) / 1e9


def _figures(seconds: list[float]) -> dict[str, float]:
    values = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(value * 1000, 1) for name, value in values.items()}


def _used(cluster: Cluster, node: Node, side: str) -> Used:
    group = usage.group(node, _pod(cluster, side), "cpuacct")
    shim = wait_until(f"the shim of {side} is found", lambda: _shim(group))
    seconds = sum(map(int, _stat(shim)[11:15])) / os.sysconf("SC_CLK_TCK")
    return Used(int((group / "cpuacct.usage").read_text()) / 1e9, seconds)


def _shim(group: Path) -> int | None:
    """Return the number of the process outside of a container's cgroup that began what is in it.

    Its CPU time with that of all it has waited for is its own, runc's for each probe and the probes', which the
    container's own figure has as well.
    """
    inside = set(map(int, (group / "cgroup.procs").read_text().split()))
    # By age: a probe that is just being started has runc above it.
    parents: dict[int, int] = {}
    for pid in inside:
        try:
            stat = _stat(pid)
        except OSError:
            continue
        if (parent := int(stat[1])) not in inside:
            parents[int(stat[19])] = parent
    return parents[min(parents)] if parents else None


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _pod(cluster: Cluster, side: str) -> Document:
    return cluster.api.get("pods", f"idle-{side}", namespace=walk.COMPONENTS)
