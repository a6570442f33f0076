"""An address belongs to one pod: added interfaces, tainted nodes, CHECK and STATUS, metrics, the sample policy."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cluster import kapp_controller, plugin, pods, pools, walk
from tests.cluster.api import ApiError
from tests.cluster.waiting import wait_until
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

ADDED, TAINTED, BY_HAND, MONITORED = "192.168.95.0/24", "192.168.96.0/24", "192.168.97.0/24", "192.168.98.0/24"
MONITORING = """\
ip_reconciler:
  config:
    schedule: "@every 10s"
    log_format: json
    metrics: {enabled: true}
"""
NOT_AVAILABLE = 50


def test_an_interface_added_to_a_running_pod_keeps_its_address(cluster: Cluster, package: walk.Package) -> None:
    """Who adds it tells of it in the pod's annotation only after the plugin was called."""
    package.reconcile_often()
    with Workload(cluster, "added") as workload:
        workload.network("first", range=ADDED)
        workload.run("vm", "first", node=1)
        (first,) = workload.ips("vm")
        added = plugin.Attachment(cluster.nodes[0], "vm", "sandbox-of-vm", "net2")
        conf = plugin.conf(ADDED)
        answer = added.call("ADD", conf)
        assert answer.returncode == 0, answer.stdout
        second = json.loads(answer.stdout)["ips"][0]["address"].partition("/")[0]
        assert second != first
        for _ in range(3):
            pools.wait_reconciled(cluster.api, ADDED)
        assert pools.holders(cluster.api, ADDED) == ["default/vm", "default/vm"]
        workload.run("other", "first", node=2)
        assert not {first, second}.intersection(workload.ips("other"))
        assert added.call("DEL", conf).returncode == 0
        wait_until("it is given back", lambda: pools.holders(cluster.api, ADDED) == ["default/other", "default/vm"])


def test_a_tainted_node_that_answers_keeps_the_addresses_of_pods_that_end(
    cluster: Cluster, package: walk.Package
) -> None:
    """An administrator empties a node; a pod without a toleration has its grace period, in which it runs."""
    reconciler = package.reconcile_often()
    node = next(each for each in cluster.nodes if each.name != reconciler["spec"]["nodeName"])
    with Workload(cluster, "tainted") as workload:
        workload.network("drained", range=TAINTED)
        slow = pods.pod("slow", "drained", node=node.name, labels={"workload": workload.name})
        # Long enough for the reconciler to look twice; once begun, the kubelet does not shorten it.
        slow["spec"]["terminationGracePeriodSeconds"] = 60
        cluster.api.apply("pods", slow)
        workload.wait_running("slow")
        cluster.kubectl("taint", "node", node.name, "e2e=drained:NoExecute")
        try:
            ending = wait_until("the pod is to end", lambda: _ending(cluster, "slow"))
            assert "DisruptionTarget" in {each["type"] for each in ending["status"]["conditions"]}
            for _ in range(2):
                pools.wait_reconciled(cluster.api, TAINTED)
            assert pools.holders(cluster.api, TAINTED) == ["default/slow"]
            assert "inet 192.168.96." in pods.run_on_network(ending, ["ip", "address", "show", "dev", "net1"])
        finally:
            cluster.kubectl("taint", "node", node.name, "e2e-")
        pods.wait_gone(cluster.api, names=["slow"])
        wait_until("it is given back", lambda: pools.holders(cluster.api, TAINTED) == [])
    kapp_controller.wait_ready(cluster)


def _ending(cluster: Cluster, name: str) -> walk.Document | None:
    pod = cluster.api.get("pods", name, namespace="default")
    return pod if "deletionTimestamp" in pod["metadata"] else None


@pytest.fixture
def attachment(cluster: Cluster, package: walk.Package, workload: Workload) -> plugin.Attachment:
    """Give an attachment of a pod that has no network of its own."""
    workload.run("plain", node=1)
    return plugin.Attachment(cluster.nodes[0], "plain", "sandbox-of-plain")


def test_check_compares_the_result_with_pool_and_reservation(cluster: Cluster, attachment: plugin.Attachment) -> None:
    conf = plugin.conf(BY_HAND, version="1.1.0")
    added = attachment.call("ADD", conf)
    assert added.returncode == 0, added.stdout
    result = {**conf, "prevResult": json.loads(added.stdout)}
    try:
        assert attachment.call("CHECK", result).returncode == 0
        other = copy.deepcopy(result)
        other["prevResult"]["ips"][0]["address"] = "192.168.97.77/24"
        checked = attachment.call("CHECK", other)
        assert checked.returncode != 0
        assert "has 192.168.97.1 for net1 of default/plain, which is not in prevResult" in checked.stdout
        held = pools.allocations(cluster.api, BY_HAND)
        pools.allocate(cluster.api, BY_HAND, dict.fromkeys(held))
        assert attachment.call("CHECK", result).returncode != 0
        # DEL frees what the pool has for the interface, and its reservation with it.
        pools.allocate(cluster.api, BY_HAND, held)
    finally:
        assert attachment.call("DEL", conf).returncode == 0


def test_status_says_whether_an_add_can_succeed(cluster: Cluster, attachment: plugin.Attachment) -> None:
    conf = plugin.conf(BY_HAND, version="1.1.0")
    assert attachment.call("STATUS", conf).returncode == 0
    broken = {**conf, "ipam": {**conf["ipam"], "kubernetes": {"kubeconfig": "/nowhere"}}}
    told = attachment.call("STATUS", broken)
    assert told.returncode != 0
    assert json.loads(told.stdout)["code"] == NOT_AVAILABLE
    # A pod can go all the same.
    assert attachment.call("DEL", broken).returncode == 0


def test_metrics_are_scraped_and_logs_are_json(cluster: Cluster, package: walk.Package) -> None:
    package.install(values=MONITORING)
    with Workload(cluster, "monitored") as workload:
        workload.network("monitored", range=MONITORED)
        for node in (1, 2):
            workload.start(f"monitored{node}", "monitored", node=node)
        workload.wait_running("monitored1", "monitored2")
        pools.wait_reconciled(cluster.api, MONITORED)
        service = cluster.api.get("services", walk.RECONCILER, namespace=walk.COMPONENTS)["spec"]["clusterIP"]
        pool = r'\{.*"192\.168\.98\.0/24".*\}'

        def scraped() -> str | None:
            text = cluster.kubectl.execute("monitored1", "wget", "-q", "-O", "-", f"http://{service}:9100/metrics")
            return text if _has(text, f"whereabouts_ippool_allocated_addresses{pool} 2") else None

        text = wait_until("the metrics tell of both", scraped)
        for sample in (
            f"whereabouts_ippool_capacity_addresses{pool} 254",
            f"whereabouts_ippool_lost_addresses{pool} 0",
            "whereabouts_reconciler_last_run_success 1",
        ):
            assert _has(text, sample), sample
    # What the program says before it has read its flags is not of this format.
    logs = cluster.kubectl("logs", f"deployment/{walk.RECONCILER}", f"--namespace={walk.COMPONENTS}").splitlines()
    assert logs
    assert [line for line in logs if not isinstance(json.loads(line), dict)] == []


def _has(text: str, sample: str) -> bool:
    return re.search(f"^{sample}$", text, re.MULTILINE) is not None


@pytest.mark.since("1.30")  # ValidatingAdmissionPolicy in version v1
def test_the_sample_policy_keeps_networks_from_naming_files_of_the_nodes(cluster: Cluster) -> None:
    policy = walk.example("admission-policy.yaml")
    cluster.kubectl.apply(*policy)
    try:
        bad = pods.network("files", {"type": "whereabouts", "range": "192.168.99.0/24", "log_file": "/etc/x"})

        def refused() -> str | None:
            try:
                cluster.api.apply("network-attachment-definitions", bad)
            except ApiError as error:
                return str(error)
            cluster.api.delete("network-attachment-definitions", "files", namespace="default")
            return None

        # A policy takes effect a little after it was created.
        message = wait_until("the network is refused", refused)
        assert "log_file" in message
        good = pods.network("files", {"type": "whereabouts", "range": "192.168.99.0/24"})
        cluster.api.apply("network-attachment-definitions", good)
        cluster.api.delete("network-attachment-definitions", "files", namespace="default")
    finally:
        for document in policy:
            cluster.kubectl("delete", document["kind"].lower(), document["metadata"]["name"])
