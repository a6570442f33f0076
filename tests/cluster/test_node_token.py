"""The plugin's token is rotated every few seconds and each former one made void, while pods come and go."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import host, recorder, walk
from tests.cluster.churn import Churn
from tests.cluster.errors import ClusterError
from tests.cluster.recorder import Recorder
from tests.cluster.tokens import KUBECONFIG, is_void, token_of
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

RANGE = "192.168.95.0/24"
ROTATIONS = 5
# How long a token is good after its successor was projected. The kubelet asks for a successor when a fifth of the
# lifetime is left: two minutes of the ten that are the least.
OVERLAP_SECONDS = 15
LIMIT_SECONDS = 10
CORE = "/api/v1/namespaces/kube-system"


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
    volume: Path
    issued: list[Token] = field(default_factory=list)
    superseded: dict[Token, float] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster, node: Node) -> Projection:
        """Return the projected volume of the package's pod on a node."""
        uid = _pod_uid(cluster, node)
        volumes = node.machine.root / "var/lib/kubelet/pods" / uid / "volumes/kubernetes.io~projected"
        (volume,) = volumes.glob("kube-api-access-*")
        return cls(cluster, node, volume)

    def projected(self) -> str:
        """Return the token that the pod is given."""
        return (self.volume / "token").read_text()

    def on_host(self) -> str:
        """Return the token that the plugin uses."""
        return token_of(self.node.directory / KUBECONFIG)

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

    def revoke_due(self, calls: Recorder) -> bool:
        """Make the tokens void whose time is over, by the clock and for each call that began within it.

        Tell whether that was all but the last.
        """
        # Before the calls are read, so that none which began in time is missing among them.
        now = time.time()
        began = [call.began for call in calls.calls() if call.running and call.node == self.node.name]
        ends = {token: at + OVERLAP_SECONDS for token, at in self.superseded.items()}
        self.revoke([token for token, end in ends.items() if end < now and not any(at < end for at in began)])
        return not self.superseded

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
        answer = self.cluster.api.request("POST", f"{CORE}/serviceaccounts/whereabouts/token", request)
        return Token(name, answer["status"]["token"])


@contextmanager
def _projections(cluster: Cluster) -> Iterator[list[Projection]]:
    """Give the tokens of all nodes; afterwards each is the kubelet's own again."""
    found = [Projection.of(cluster, node) for node in cluster.nodes]
    own = [each.projected() for each in found]
    try:
        yield found
    finally:
        for each, token in zip(found, own, strict=True):
            each.project(token)
        for each in found:
            each.wait_taken_over()
            each.revoke(each.issued)


def test_no_call_fails_while_tokens_are_rotated_and_void(cluster: Cluster, package: walk.Package) -> None:
    with (
        Recorder(cluster) as calls,
        Workload(cluster, "token") as workload,
        _projections(cluster) as tokens,
    ):
        workload.add_network(recorder.network("token", range=RANGE))
        for node in (1, 2):
            workload.run(f"steady{node}", "token", node=node)
        with Churn(workload, calls, "token") as churn:
            for _ in range(ROTATIONS):
                began = time.time()
                for each in tokens:
                    each.rotate()
                wait_until("pods come and go", partial(_both_since, calls, began))
                for each in tokens:
                    each.revoke_due(calls)
            for each in tokens:
                wait_until("the former tokens are due", partial(each.revoke_due, calls))
                for token in each.issued[:-1]:
                    wait_until(f"{token.secret} is void", partial(is_void, cluster.api, token.text))
            wait_until("pods come and go", partial(_both_since, calls, time.time()))
        assert churn.problems() == []
        assert [str(call) for call in calls.calls() if call.refused] == []
        for each in tokens:
            each.wait_taken_over()


def test_calls_fail_when_nobody_takes_the_token_over(cluster: Cluster, package: walk.Package) -> None:
    """Without this the test above could not fail."""
    with (
        Recorder(cluster, limit=LIMIT_SECONDS) as calls,
        Workload(cluster, "stale") as workload,
        _projections(cluster) as tokens,
    ):
        workload.add_network(recorder.network("stale", range=RANGE))
        workload.run("goes", "stale", node=1)
        rotated = next(each for each in tokens if each.node.index == 1)
        rotated.rotate()
        rotated.wait_taken_over()
        assert calls.problems() == []
        with _stopped(_refresher(cluster, rotated.node)):
            rotated.rotate()
            (former,) = rotated.issued[:-1]
            rotated.revoke([former])
            wait_until(f"{former.secret} is void", partial(is_void, cluster.api, former.text))
            workload.start("comes", "stale", node=1)
            cluster.api.delete("pods", "goes", namespace="default")
            wait_until("an ADD and a DEL are refused", partial(_refused, calls))
        workload.wait_running("comes")


def _both_since(calls: Recorder, began: float) -> bool:
    """Tell whether an ADD and a DEL that began after a time have ended."""
    return {call.command for call in calls.calls() if call.began > began and not call.running} == {"ADD", "DEL"}


def _refused(calls: Recorder) -> bool:
    """Tell whether an ADD and a DEL have failed because of the token; raise with what all calls say if not."""
    if {call.command for call in calls.calls() if call.refused and call.problem()} != {"ADD", "DEL"}:
        raise ClusterError("; ".join(f"{call}: {call.code}: {call.last_words()}" for call in calls.calls()))
    return True


def _pod_uid(cluster: Cluster, node: Node) -> str:
    (uid,) = (
        pod["metadata"]["uid"]
        for pod in cluster.api.list("pods", namespace="kube-system", selector=f"name={walk.DAEMON_SET}")
        if pod["spec"]["nodeName"] == node.name and "deletionTimestamp" not in pod["metadata"]
    )
    return str(uid)


def _refresher(cluster: Cluster, node: Node) -> int:
    """Return the process that takes tokens over, by its number on the host."""
    for processes in (host.CGROUPS / "pids").glob(f"**/pod{_pod_uid(cluster, node)}/*/cgroup.procs"):
        for pid in processes.read_text().split():
            if b"refresh" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
    raise ClusterError(f"no refresher runs on {node.name}")


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # The kubelet replaces it in the end, for it does not answer.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
