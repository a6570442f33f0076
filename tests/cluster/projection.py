"""The token that a package's pod is given on a node, rotated in the kubelet's stead, and each former one made void."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.tokens import token_of
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

CORE = "/api/v1/namespaces/kube-system"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is: the service account, the label of its pods, and the kubeconfig below a node's directory."""

    account: str
    selector: str
    kubeconfig: Path


WHEREABOUTS = Holder("whereabouts", "name=whereabouts", Path("etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig"))
MULTUS = Holder("multus-cni", "name=multus-cni", Path("etc/cni/net.d/multus-cni.d/multus.kubeconfig"))


@dataclass(frozen=True, slots=True)
class Token:
    """A token that its Secret keeps valid: it is void as soon as that is deleted."""

    secret: str
    text: str


@dataclass(slots=True)
class Projection:
    """The token of the package's pod on one node, in the kubelet's stead.

    The kubelet itself would not ask for another before eight of ten minutes have passed, and what it got could not be
    made void while the pod lives. So this is what it does, in the same steps: a token of the TokenRequest API lies in a
    new directory beside the former one, and `..data` is renamed over. What the refresher sees and what the API server
    says are the same. Now and then the kubelet looks at the volume and puts its own token back: one rotation more.
    """

    cluster: Cluster
    node: Node
    holder: Holder
    volume: Path
    issued: list[Token] = field(default_factory=list)
    superseded: dict[Token, float] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster, node: Node, holder: Holder = WHEREABOUTS) -> Projection:
        """Return the projected volume of the package's pod on a node."""
        uid = pod_uid(cluster, node, holder)
        volumes = node.machine.root / "var/lib/kubelet/pods" / uid / "volumes/kubernetes.io~projected"
        (volume,) = volumes.glob("kube-api-access-*")
        return cls(cluster, node, holder, volume)

    def projected(self) -> str:
        """Return the token that the pod is given."""
        return (self.volume / "token").read_text()

    def on_host(self) -> str:
        """Return the token that the plugin uses."""
        return token_of(self.node.directory / self.holder.kubeconfig)

    def rotate(self) -> None:
        """Give the pod a new token."""
        former = self.issued[-1:]
        self.issued.append(self._issue())
        self.project(self.issued[-1].text)
        self.superseded |= dict.fromkeys(former, time.time())

    def project(self, token: str) -> None:
        """Replace the content of the volume at one stroke."""
        former = (self.volume / "..data").readlink()
        directory = self.volume / f"..{time.time_ns()}"
        shutil.copytree(self.volume / former, directory)
        (directory / "token").write_text(token)
        link = self.volume / "..data_tests"
        link.symlink_to(directory.name)
        link.rename(self.volume / "..data")
        shutil.rmtree(self.volume / former, ignore_errors=True)

    def wait_taken_over(self) -> None:
        """Wait until the plugin uses the token that the pod is given."""
        wait_until(f"{self.node.name} has the token", lambda: self.on_host() == self.projected())

    def revoke(self, tokens: list[Token]) -> None:
        """Make tokens void."""
        for token in tokens:
            self.cluster.api.delete("secrets", token.secret, namespace="kube-system")
            self.superseded.pop(token, None)

    def _issue(self) -> Token:
        name = f"rotated-{self.node.name}-{time.time_ns()}"
        metadata = {"name": name, "namespace": "kube-system"}
        self.cluster.api.apply("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        bound = {"apiVersion": "v1", "kind": "Secret", "name": name}
        request = {"spec": {"audiences": [], "boundObjectRef": bound, "expirationSeconds": 3600}}
        answer = self.cluster.api.request("POST", f"{CORE}/serviceaccounts/{self.holder.account}/token", request)
        return Token(name, answer["status"]["token"])


@contextmanager
def projections(cluster: Cluster, holder: Holder = WHEREABOUTS) -> Iterator[list[Projection]]:
    """Give the tokens of all nodes; afterwards each is the kubelet's own again."""
    found = [Projection.of(cluster, node, holder) for node in cluster.nodes]
    own = [each.projected() for each in found]
    try:
        yield found
    finally:
        for each, token in zip(found, own, strict=True):
            each.project(token)
        for each in found:
            each.wait_taken_over()
            each.revoke(each.issued)


def pod_uid(cluster: Cluster, node: Node, holder: Holder = WHEREABOUTS) -> str:
    """Return the UID of the package's pod on a node, the one that stays."""
    (uid,) = (
        pod["metadata"]["uid"]
        for pod in cluster.api.list("pods", namespace="kube-system", selector=holder.selector)
        if pod["spec"]["nodeName"] == node.name and "deletionTimestamp" not in pod["metadata"]
    )
    return str(uid)
