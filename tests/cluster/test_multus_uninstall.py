"""Multus goes and comes back while pods are created each second: each of them starts, at any moment."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from tests.cluster import cleanup, howto, pod_stream
from tests.cluster.pod_stream import PodStream
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from types import TracebackType

    from tests.cluster import walk
    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

PAGE = "install-multus.md"
LOOK_SECONDS = 0.02
CONF, KUBECONFIG = "etc/cni/net.d/00-multus-cni.conf", "etc/cni/net.d/multus-cni.d/multus.kubeconfig"
PLUGIN = "cni-bin/multus"


class Watch:
    """A context manager: within it the files of each node are looked at all the time.

    `gone` has what was missing, by node, in the order in which it went; `broken` when a runtime would have found a
    configuration without what it needs.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.gone: dict[str, list[str]] = {node.name: [] for node in cluster.nodes}
        self.broken: set[str] = set()
        self._nodes = cluster.nodes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for node in self._nodes:
                self._look(node)

    def _look(self, node: Node) -> None:
        for file in (CONF, KUBECONFIG, PLUGIN):
            if not (node.directory / file).exists() and file not in self.gone[node.name]:
                self.gone[node.name].append(file)
        missing = [file for file in (KUBECONFIG, PLUGIN) if not (node.directory / file).exists()]
        # What is missing is looked for first, and once more: on the way in it comes before the configuration.
        if missing and (node.directory / CONF).exists():
            self.broken |= {f"{node.name}: {file}" for file in missing if not (node.directory / file).exists()}


def test_pods_start_at_any_moment_of_an_uninstall_and_a_reinstall(
    cluster: Cluster, multus: walk.Package, bare_nodes: dict[str, str]
) -> None:
    order = {node.name: [CONF, KUBECONFIG, PLUGIN] for node in cluster.nodes}
    with Workload(cluster, "uninstall") as workload:
        workload.add_network(pod_stream.network("uninstall"))
        with PodStream(workload, "uninstall") as stream, Watch(cluster) as watch:
            stream.wait_for_pods(1)
            with_multus = len(stream.seen())
            howto.follow(cluster, PAGE, "Uninstall", "Clean the nodes up")
            assert watch.gone == order
            # What /opt/cni/bin and /etc/cni/net.d hold beside is the other package's.
            left = {node.name: cleanup.listing(node, without="whereabouts") for node in cluster.nodes}
            assert left == bare_nodes
            gone = time.monotonic()
            stream.wait_for_pods(2)
            came = time.monotonic()
            multus.install()
            back = time.monotonic()
            stream.wait_for_pods(2)
        # On leaving the stream each of its pods has been ready.
        assert watch.broken == set()
        seen = stream.seen()
        assert all(each.attached for each in seen[:with_multus])
        without = [each for each in seen if gone < each.created < came and each.ready < came]
        assert without
        assert not any(each.configured for each in without)
        assert [str(each) for each in seen if each.created > back and not each.attached] == []
