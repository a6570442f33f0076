"""What the operator sees and may ask: preflight, the probes, the audit, and the end of it all."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import cleanup, packages, pods, pools, walk
from tests.cluster.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node
    from tests.cluster.workload import Workload

NETWORKS_CRD = "network-attachment-definitions.k8s.cni.cncf.io"
PLUGIN = "/opt/cni/bin/whereabouts"
SETTINGS = "/etc/cni/net.d/whereabouts.d"
WITHOUT_PREFLIGHT = "ip_reconciler: {config: {preflight: false}}\n"
# The pod's template changes with it.
OTHER_RECONCILER = "ip_reconciler: {config: {log_level: debug}}\n"
FINDINGS = 9


# --- preflight --------------------------------------------------------------------------------------------------------


@contextmanager
def _no_networks(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Take Multus' CRD away; give a function that brings it back, as the end of the context does."""
    definition = cluster.api.get("customresourcedefinitions", NETWORKS_CRD)
    kept = ("name", "annotations", "labels")
    meta = {key: definition["metadata"][key] for key in kept if key in definition["metadata"]}
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta} | {
        "spec": definition["spec"]
    }

    def restore() -> None:
        cluster.kubectl.apply(definition)
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{NETWORKS_CRD}", f"--timeout={PATIENCE_SECONDS}s")
        wait_until("networks can be listed", lambda: cluster.api.list("network-attachment-definitions") == [])

    cluster.kubectl("delete", "crd", NETWORKS_CRD, "--wait")
    try:
        yield restore
    finally:
        restore()


def _last_words(package: walk.Package) -> str | None:
    """Return the termination message of preflight, once it has ended without success."""
    for status in (package.reconciler() or {}).get("status", {}).get("initContainerStatuses", []):
        for state in (status["state"], status["lastState"]):
            if (ended := state.get("terminated")) and ended["exitCode"]:
                return str(ended.get("message", ""))
    return None


def _described(cluster: Cluster) -> str:
    argv = ("describe", "pod", f"--namespace={walk.COMPONENTS}", f"--selector=app={walk.RECONCILER}")
    return cluster.kubectl(*argv)


def _is_ready(package: walk.Package) -> bool:
    return pods.running(package.reconciler() or {})


def test_an_update_is_done_when_the_reconciler_is_another(package: walk.Package) -> None:
    former = package.wait_reconciler()
    package.install(values=OTHER_RECONCILER)
    now = package.reconciler() or {}
    assert pods.running(now)
    assert now["metadata"]["uid"] != former["metadata"]["uid"]


@pytest.mark.parametrize("fresh", [True, False], ids=["install", "update"])
def test_preflight_tells_what_is_missing_and_all_goes_on_when_it_is_there(
    cluster: Cluster, package: walk.Package, fresh: bool
) -> None:
    if fresh:
        package.remove()
    values = None if fresh else OTHER_RECONCILER
    with _no_networks(cluster) as restore:
        package.grant(values=values)
        package.request(values=values)
        message = wait_until("preflight says its last words", lambda: _last_words(package))
        assert f"CRD {NETWORKS_CRD} is missing" in message
        assert "install Multus first" in message
        described = _described(cluster)
        assert re.search(rf"Message: +CRD {re.escape(NETWORKS_CRD)} is missing", described)
        assert re.search(rf"Warning +PreflightFailed .* CRD {re.escape(NETWORKS_CRD)} is missing", described)
        install = cluster.api.get("packageinstalls", "whereabouts", namespace=walk.NAMESPACE)
        assert not packages.settled(install)
        restore()
    # As documented, instead of waiting for the next attempt.
    package.replace_reconciler()
    package.wait()
    assert _is_ready(package)


def test_without_preflight_the_reconciler_starts_all_the_same(cluster: Cluster, package: walk.Package) -> None:
    package.remove()
    with _no_networks(cluster):
        package.install(values=WITHOUT_PREFLIGHT)
        assert _is_ready(package)
        # With it go the rights it needs.
        assert not [name for _, name in package.objects() if name == "whereabouts-preflight"]


def test_preflight_tells_of_an_allocation_without_a_pod_and_lets_it_pass(
    cluster: Cluster, package: walk.Package
) -> None:
    pool_range = "192.168.63.0/24"
    cluster.api.apply("ippools", pools.document(pool_range, {"7": {"id": "", "podref": ""}}))
    try:
        package.replace_reconciler()
        told = "192.168.63.7 (allocation 7) has no podref: nothing releases it"
        described = _described(cluster)
        assert re.search(rf"Message: +warning: pool .*{re.escape(told)}", described)
        assert re.search(rf"Warning +PreflightWarning .*{re.escape(told)}", described)
    finally:
        pools.delete(cluster.api, pool_range)


# --- probes -----------------------------------------------------------------------------------------------------------


def _pod_on(cluster: Cluster, node: Node) -> walk.Document:
    """Return the package's pod on a node, once there is no other."""

    def alone() -> walk.Document | None:
        found = cluster.api.list("pods", namespace=walk.COMPONENTS, selector=f"name={walk.DAEMON_SET}")
        here = [each for each in found if each["spec"].get("nodeName") == node.name]
        return here[0] if len(here) == 1 else None

    return wait_until(f"{node.name} has one pod of the package", alone)


def _probe(cluster: Cluster, pod: walk.Document) -> subprocess.CompletedProcess[str]:
    """Ask as docs/how-to/troubleshooting.md has it."""
    ask = ("whereabouts-installer", "probe", "readiness", "--state-dir=/run/whereabouts")
    return cluster.kubectl.try_run(
        "exec", f"--namespace={walk.COMPONENTS}", pod["metadata"]["name"], "--container=refresh", "--", *ask
    )


@pytest.mark.parametrize(
    "spoil",
    [
        f"rm {PLUGIN}",
        f"echo broken > {PLUGIN}.new; mv {PLUGIN}.new {PLUGIN}",
        f"rm {SETTINGS}/whereabouts.kubeconfig",
        f"echo broken > {SETTINGS}/whereabouts.kubeconfig",
        f"sed -i s/whereabouts/elsewhere/ {SETTINGS}/whereabouts.conf",
        f"rm -r {SETTINGS}",
    ],
    ids=["plugin-deleted", "plugin-replaced", "kubeconfig-deleted", "kubeconfig-edited", "conf-edited", "all-deleted"],
)
def test_what_is_spoilt_on_a_node_is_mended(cluster: Cluster, package: walk.Package, spoil: str) -> None:
    node = cluster.nodes[0]
    pod, sums = _pod_on(cluster, node), _sums(node)
    node.machine.run(["sh", "-euc", spoil])
    wait_until("the files are as they were", lambda: _sums(node) == sums)
    wait_until("the probe is content", lambda: _probe(cluster, pod).returncode == 0)
    # By the refresher, not by a new pod or container.
    now = _pod_on(cluster, node)
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert sum(each["restartCount"] for each in now["status"]["containerStatuses"]) == 0


def _sums(node: Node) -> str:
    """Return the content and the mode of each file; where one is missing, what is there."""
    files = f"{PLUGIN} {SETTINGS}/nodename {SETTINGS}/whereabouts.conf {SETTINGS}/whereabouts.kubeconfig"
    return node.machine.run(["sh", "-c", f"sha256sum {files}; stat -c '%a %U %n' {files}; true"])


def test_a_pod_is_not_ready_while_its_node_cannot_be_mended(cluster: Cluster, package: walk.Package) -> None:
    node, directory = cluster.nodes[1], PLUGIN.rpartition("/")[0]
    _ask_often(cluster)
    try:
        pod = _pod_on(cluster, node)
        # As if the directory belonged to somebody else: root without capabilities cannot write to it then.
        node.machine.run(["sh", "-euc", f"chown 65534 {directory}; rm {PLUGIN}"])
        try:
            refused = wait_until("the probe sees it", lambda: _refusal(cluster, pod))
            assert "/host/opt/cni/bin/whereabouts" in refused
            wait_until("the pod is not ready", lambda: not pods.running(_pod_on(cluster, node)))
            events = cluster.api.list("events", namespace=walk.COMPONENTS)
            about = [each["message"] for each in events if each["involvedObject"]["name"] == pod["metadata"]["name"]]
            assert any("Readiness probe failed" in each and PLUGIN in each for each in about)
        finally:
            node.machine.run(["chown", "0", directory])
        wait_until("the pod is ready again", lambda: pods.running(_pod_on(cluster, node)))
        node.machine.run(["test", "-x", PLUGIN])
    finally:
        # Nobody else knows of the patch; the fixture installs the package again.
        package.remove()


def _ask_often(cluster: Cluster) -> None:
    """Have the kubelet ask for readiness each second, and not just every 30 s as the package has it."""
    refresh = {"name": "refresh", "readinessProbe": {"periodSeconds": 1}}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [refresh]}}}})
    cluster.kubectl("patch", f"--namespace={walk.COMPONENTS}", "daemonset", walk.DAEMON_SET, f"--patch={patch}")
    cluster.kubectl.wait_rollout(f"daemonset/{walk.DAEMON_SET}", namespace=walk.COMPONENTS)


def _refusal(cluster: Cluster, pod: walk.Document) -> str | None:
    asked = _probe(cluster, pod)
    return asked.stderr if asked.returncode else None


# --- audit ------------------------------------------------------------------------------------------------------------


def _audit(cluster: Cluster) -> tuple[int, dict[str, Any]]:
    audit = ("--container=ip-reconciler", "--", "whereabouts-installer", "audit", "--json")
    argv = ("exec", f"--namespace={walk.COMPONENTS}", "deployment/whereabouts-reconciler", *audit)
    done = cluster.kubectl.try_run(*argv)
    # kubectl tells the exit code of the command only where it writes on stderr.
    code = re.search(r"exit code (\d+)", done.stderr)
    return int(code[1]) if code else done.returncode, json.loads(done.stdout)


def test_the_audit_tells_what_is_wrong(cluster: Cluster, package: walk.Package, workload: Workload) -> None:
    pool_range = "192.168.64.0/24"
    workload.network("audited", range=pool_range)
    for node in (1, 2):
        workload.run(f"audited{node}", "audited", node=node)
    code, report = _audit(cluster)
    assert (code, report["findings"]) == (0, [])
    assert report["allocations"] >= 2

    (lost,) = workload.ips("audited1")
    offset = lost.rpartition(".")[2]
    entry = pools.allocations(cluster.api, pool_range)[offset]
    pools.allocate(cluster.api, pool_range, {offset: None})
    try:
        code, report = _audit(cluster)
        assert code == FINDINGS
        found = {each["kind"]: (each["object"], *each["pods"]) for each in report["findings"]}
        # The reservation is left alone, and is no use without the allocation.
        assert found == {
            "loss": (f"{walk.COMPONENTS}/192.168.64.0-24", "default/audited1"),
            "leak": (f"{walk.COMPONENTS}/{lost}", "default/audited1"),
        }
    finally:
        pools.allocate(cluster.api, pool_range, {offset: entry})
    assert _audit(cluster)[0] == 0


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_cleanup_leaves_nodes_as_they_were(
    cluster: Cluster, package: walk.Package, bare_nodes: dict[str, str], workload: Workload
) -> None:
    (image,) = package.images()
    every = len(cluster.nodes)
    installed = {node.name: cleanup.listing(node, without="multus") for node in cluster.nodes}
    workload.network("last", range="192.168.65.0/24")
    with cleanup.account(cluster):
        workload.run("holder", "last")
        ended = cleanup.run(cluster, image)
        assert (ended.failed, ended.log.count("1 addresses are still held, by default/holder")) == (every, every)
        workload.delete_all()
        ended = cleanup.run(cluster, image)
        assert (ended.failed, ended.log.count("the package still runs on this node")) == (every, every)
        assert {node.name: cleanup.listing(node, without="multus") for node in cluster.nodes} == installed

        package.remove()
        pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector="name=whereabouts")
        ended = cleanup.run(cluster, image)
        assert (ended.complete, ended.log.count("the node has no files of the package")) == (every, every)
    assert {node.name: cleanup.listing(node, without="multus") for node in cluster.nodes} == bare_nodes
