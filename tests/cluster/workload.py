"""Networks and pods of one test: made as it goes, gone when it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.cluster import pods
from tests.cluster.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from types import TracebackType

    from tests.cluster.cluster import Cluster
    from tests.cluster.pods import Address

LABEL = "workload"


@dataclass(slots=True)
class Workload:
    """A context manager: on leaving it, its pods, their owners and then their networks are deleted.

    In that order, for without its network a pod's end would not give its addresses back.
    """

    cluster: Cluster
    name: str
    networks: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete_all()
        for network in self.networks:
            self.cluster.api.delete("network-attachment-definitions", network, namespace="default")

    @property
    def selector(self) -> str:
        """The label selector of the pods."""
        return f"{LABEL}={self.name}"

    def network(self, name: str, **ipam: object) -> str:
        """Make a macvlan network whose addresses Whereabouts gives out, with the given options; return its name."""
        self.add_network(pods.network(name, {"type": "whereabouts", **ipam}))
        return name

    def add_network(self, definition: dict[str, Any]) -> None:
        """Apply a NetworkAttachmentDefinition of the namespace `default`."""
        self.cluster.api.apply("network-attachment-definitions", definition)
        self.networks.append(definition["metadata"]["name"])

    def start(self, name: str, *networks: str, node: int | None = None) -> None:
        """Create a pod and do not wait for it; `node` is the number of the node it must run on."""
        where = None if node is None else f"node{node}"
        self.cluster.api.apply("pods", pods.pod(name, *networks, node=where, labels={LABEL: self.name}))

    def run(self, name: str, *networks: str, node: int | None = None) -> None:
        """Create a pod and wait until it is ready."""
        self.start(name, *networks, node=node)
        self.wait_running(name)

    def wait_running(self, *names: str, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until the named pods are ready."""
        pods.wait_running(self.cluster.api, names, timeout=timeout)

    def stateful_set(self, name: str, network: str, replicas: int) -> None:
        """Create a StatefulSet, or scale it; all of its pods come and go at once."""
        labels = {LABEL: self.name}
        template = {"metadata": {"labels": labels, "annotations": {pods.NETWORKS: network}}}
        spec = {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {**template, "spec": pods.template_spec()},
        }
        metadata = {"name": name, "namespace": "default", "labels": labels}
        document = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
        self.cluster.api.apply("statefulsets", document)

    def delete(self, *names: str) -> None:
        """Delete the named pods and wait until they are gone."""
        for name in names:
            self.cluster.api.delete("pods", name, namespace="default")
        pods.wait_gone(self.cluster.api, names=names)

    def delete_all(self) -> None:
        """Delete all pods and what makes them, and wait until they are gone."""
        for plural, group in (("statefulsets", "apis/apps/v1"), ("pods", "api/v1")):
            path = f"/{group}/namespaces/default/{plural}?labelSelector={LABEL}%3D{self.name}"
            self.cluster.api.request("DELETE", path)
        pods.wait_gone(self.cluster.api, selector=self.selector)

    def documents(self) -> list[dict[str, Any]]:
        """Return the pods as the API server has them."""
        return self.cluster.api.list("pods", namespace="default", selector=self.selector)

    def addresses(self) -> set[Address]:
        """Return what the pods announce."""
        return pods.announced(self.documents())

    def ips(self, pod: str | None = None) -> list[str]:
        """Return the addresses of all pods, or of one of them, in order, repeated if given out twice."""
        return sorted(address.ip for address in self.addresses() if pod is None or address.pod == f"default/{pod}")

    def ping(self, source: str, target: str) -> None:
        """Send packets from one pod to an address over net1; raise unless each is answered."""
        pods.ping(self.cluster.kubectl, source, target)
