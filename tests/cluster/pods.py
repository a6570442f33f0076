"""Test pods with further interfaces: documents to create them, and what they have on their interfaces in truth."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import host, images, layout
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from tests.cluster.api import Api
    from tests.cluster.kubectl import Kubectl

NETWORKS = "k8s.v1.cni.cncf.io/networks"
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One address of one interface of one pod; `pod` is NAMESPACE/NAME, `ip` is without the length of the prefix."""

    pod: str
    interface: str
    ip: str

    def __str__(self) -> str:
        return f"{self.pod} {self.interface} {self.ip}"


def network(name: str, ipam: dict[str, Any], *, namespace: str = "default") -> dict[str, Any]:
    """Return a NetworkAttachmentDefinition: macvlan on the nodes' eth0 with the given IPAM."""
    macvlan = {"type": "macvlan", "capabilities": {"ips": True}, "master": "eth0", "mode": "bridge", "ipam": ipam}
    config = {"cniVersion": "0.3.1", "name": name, "plugins": [macvlan]}
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": json.dumps(config)},
    }


def pod(
    name: str, *networks: str, node: str | None = None, namespace: str = "default", labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a pod that sleeps; each of `networks` becomes an interface, net1 first."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels or {}}
    if networks:
        metadata["annotations"] = {NETWORKS: ",".join(networks)}
    spec = template_spec()
    if node is not None:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def template_spec() -> dict[str, Any]:
    """Return the spec of a pod that sleeps, for templates."""
    container = {
        "name": "sleep",
        "image": images.BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sleep", "infinity"],
    }
    # As process 1, sleep does not heed SIGTERM; nothing is lost by not waiting long for it.
    return {"terminationGracePeriodSeconds": 1, "containers": [container]}


def running(document: dict[str, Any]) -> bool:
    """Tell whether a pod is ready and nobody has asked for its end."""
    status = document.get("status", {})
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions", []))
    return ready and "deletionTimestamp" not in document["metadata"]


def wait_running(
    api: Api, names: Sequence[str], *, namespace: str = "default", timeout: float = PATIENCE_SECONDS
) -> None:
    """Wait until each of the named pods is ready."""

    def all_running() -> bool:
        found = {each["metadata"]["name"]: each for each in api.list("pods", namespace=namespace)}
        late = [name for name in names if name not in found or not running(found[name])]
        if late:
            raise ClusterError("not ready: " + "; ".join(f"{name} ({_why(found.get(name))})" for name in late[:5]))
        return True

    wait_until(f"{len(names)} pods run", all_running, timeout=timeout, interval=0.2)


def wait_gone(
    api: Api,
    *,
    namespace: str = "default",
    selector: str = "",
    names: Container[str] | None = None,
    timeout: float = PATIENCE_SECONDS,
) -> None:
    """Wait until no pod is left that matches the selector and, where names are given, has one of them."""

    def gone() -> bool:
        found = [each["metadata"]["name"] for each in api.list("pods", namespace=namespace, selector=selector)]
        if left := [name for name in found if names is None or name in names]:
            raise ClusterError(f"still there: {', '.join(left[:5])}")
        return True

    wait_until("the pods are gone", gone, timeout=timeout, interval=0.2)


def network_status(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what Multus wrote about the pod's interfaces: name, interface, ips, default ..."""
    text = document["metadata"].get("annotations", {}).get(NETWORK_STATUS, "[]")
    entries: list[dict[str, Any]] = json.loads(text)
    return entries


def announced(documents: Iterable[dict[str, Any]]) -> set[Address]:
    """Return the addresses of all further interfaces as the pods' network-status annotations tell them."""
    return {
        Address(_reference(each), entry["interface"], ip)
        for each in documents
        for entry in network_status(each)
        if not entry.get("default")
        for ip in entry.get("ips", [])
    }


def configured(documents: Iterable[dict[str, Any]]) -> set[Address]:
    """Return the addresses of all further interfaces as the kernel has them, link-local ones left out."""
    wanted = {each["metadata"]["uid"]: _reference(each) for each in documents}
    found: set[Address] = set()
    for uid, group in cgroups():
        if (reference := wanted.pop(uid, None)) is not None:
            found |= {Address(reference, interface, ip) for interface, ip in _interfaces(group)}
    if wanted:
        raise ClusterError(f"no process found of {', '.join(sorted(wanted.values()))}")
    return found


def ping(kubectl: Kubectl, pod: str, ip: str, *, interface: str | None = "net1") -> None:
    """Send three packets over the pod's interface (None: any), and raise unless each is answered.

    On a busy machine the neighbour may be found only after the first was given up, so that others may be lost before.
    """

    def answered() -> bool:
        way = ("-I", interface) if interface else ()
        printed = kubectl.execute(pod, "ping", "-c", "3", "-W", "3", *way, ip)
        if ", 0% packet loss" not in printed:
            raise ClusterError(printed)
        return True

    wait_until(f"{pod} reaches {ip}", answered, interval=0.5)


def run_on_network(document: dict[str, Any], argv: Sequence[str]) -> str:
    """Run a program of the host, as root, on the pod's network; return its output."""
    uid = document["metadata"]["uid"]
    for found, group in cgroups():
        if found == uid:
            return _enter(group, argv)
    raise ClusterError(f"no process found of {_reference(document)}")


def _reference(document: dict[str, Any]) -> str:
    return f"{document['metadata']['namespace']}/{document['metadata']['name']}"


def _why(document: dict[str, Any] | None) -> str:
    if document is None:
        return "not there"
    status = document.get("status", {})
    waiting = [each.get("state", {}).get("waiting", {}) for each in status.get("containerStatuses", [])]
    reasons = [f"{each.get('reason')} {each.get('message', '')}".strip() for each in waiting if each]
    return ", ".join([status.get("phase", "?"), *reasons])


def cgroups() -> Iterable[tuple[str, Path]]:
    """Yield the UID of each pod on any node, and the cgroup of its processes."""
    # Not by glob, which fails where the cgroup of a pod that ends goes away beneath it.
    for top in (host.CGROUPS / "pids").glob(f"{layout.CGROUP_PREFIX}*/kubepods"):
        for parent, names, _ in os.walk(top):
            for name in names:
                if name.startswith("pod"):
                    yield name.removeprefix("pod"), Path(parent) / name


def _interfaces(group: Path) -> set[tuple[str, str]]:
    # By way of the network namespace of any of the pod's processes: exec would cost some 100 ms for each pod.
    return {
        (link["ifname"], entry["local"])
        for link in json.loads(_enter(group, ["ip", "-json", "address", "show"]))
        for entry in link["addr_info"]
        if link["ifname"] not in {"lo", "eth0"} and entry["scope"] != "link"
    }


def _enter(group: Path, argv: Sequence[str]) -> str:
    error = "no process"
    for processes in group.glob("*/cgroup.procs"):
        for pid in processes.read_text().split():
            done = subprocess.run(
                ["nsenter", "--target", pid, "--net", "--", *argv], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return done.stdout
            error = done.stderr.strip()
    raise ClusterError(f"{' '.join(argv)} in the network of {group.name}: {error}")
