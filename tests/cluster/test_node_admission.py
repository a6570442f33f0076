"""What the cluster must admit: the Pod Security level of each workload, the NetworkPolicy, and images by a policy."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import layout, pods, walk
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

ENFORCE = "pod-security.kubernetes.io/enforce"
# From the widest to the narrowest.
LEVELS = ("privileged", "baseline", "restricted")
# The narrowest level that admits a workload's pods, as docs/explanation/security.md has it.
NEEDS = {
    "whereabouts": "privileged",
    "whereabouts-reconciler": "restricted",
    "whereabouts-controller": "restricted",
    "whereabouts-cleanup-": "privileged",
    "multus-cni": "privileged",
    "multus-cni-cleanup-": "privileged",
}
EVERYTHING = "network_policy: {enabled: true}\nnode_slice_controller: {enabled: true}\n"


@pytest.fixture(scope="module")
def workloads(published: walk.Package) -> dict[str, walk.Document]:
    """Give by name everything that makes pods: what the packages render to, and the examples' cleanup jobs."""
    documents = [
        *published.project.render(EVERYTHING),
        *published.project.render("", walk.MULTUS),
        *walk.example("cleanup-job.yaml"),
        *walk.example("cleanup-job.yaml", walk.MULTUS),
    ]
    return {
        each["metadata"].get("name") or each["metadata"]["generateName"]: each
        for each in documents
        if "template" in each.get("spec", {})
    }


@contextmanager
def _namespace(cluster: Cluster, level: str, name: str) -> Iterator[str]:
    """Make a namespace of a level, with the accounts that the workloads name. It is gone some time after the end."""
    document = walk.namespace(name)
    document["metadata"]["labels"] = {ENFORCE: level}
    accounts = [account.rstrip("-") for account in NEEDS]
    try:
        cluster.kubectl.apply(document)
        cluster.kubectl.apply(
            *(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}
                for account in accounts
            )
        )
        yield name
    finally:
        cluster.api.delete("namespaces", name)


def _create_pod(cluster: Cluster, workload: walk.Document, namespace: str) -> str:
    """Ask the API server to create a workload's pod, without creating it; return why it does not, or an empty text."""
    template = workload["spec"]["template"]
    metadata = {**template["metadata"], "name": "pod", "namespace": namespace}
    spec = {key: value for key, value in template["spec"].items() if key != "nodeName"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    done = cluster.kubectl.try_run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    return done.stderr if done.returncode else ""


def test_every_workload_has_a_level(workloads: dict[str, walk.Document]) -> None:
    assert set(workloads) == set(NEEDS)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_admits_what_is_documented(cluster: Cluster, workloads: dict[str, walk.Document], level: str) -> None:
    with _namespace(cluster, level, f"level-{level}") as namespace:
        for name, workload in workloads.items():
            refused = _create_pod(cluster, workload, namespace)
            if LEVELS.index(level) <= LEVELS.index(NEEDS[name]):
                assert refused == "", name
            else:
                assert f'violates PodSecurity "{level}:latest"' in refused, name


def test_nothing_but_host_network_and_host_path_needs_privileged(
    cluster: Cluster, workloads: dict[str, walk.Document]
) -> None:
    with _namespace(cluster, "baseline", "why-baseline-refuses") as namespace:
        for name in (name for name, level in NEEDS.items() if level == "privileged"):
            refused = _create_pod(cluster, workloads[name], namespace)
            (_, said) = refused.split('"baseline:latest": ')
            assert re.findall(r"(?:^|, )([A-Za-z ]+) \(", said) == ["host namespaces", "hostPath volumes"]


def test_of_a_level_on_kube_system_the_operator_is_warned(cluster: Cluster, package: walk.Package) -> None:
    def label(level: str) -> str:
        argv = ("label", "--dry-run=server", "--overwrite", "namespace", walk.COMPONENTS, f"{ENFORCE}={level}")
        return cluster.kubectl.try_run(*argv).stderr

    for level in ("baseline", "restricted"):
        warned = label(level)
        assert f'existing pods in namespace "kube-system" violate the new PodSecurity enforce level "{level}' in warned
        # Pods with the same violations are told together, by the name of one of them.
        assert re.search(r"Warning: (?:whereabouts|multus-cni)-[a-z0-9]{5}\b.*host namespaces", warned)
        assert "whereabouts-reconciler" not in warned
    assert label("privileged") == ""


def test_a_level_on_kube_system_keeps_new_pods_of_the_daemon_set_out(cluster: Cluster, package: walk.Package) -> None:
    def refused() -> str | None:
        found = [each["message"] for each in cluster.api.list("events", namespace="kube-system") if _about(each)]
        return next((message for message in found if 'violates PodSecurity "baseline:latest"' in message), None)

    def label(value: str) -> None:
        cluster.kubectl("label", "--overwrite", "namespace", walk.COMPONENTS, value)

    found = cluster.api.list("pods", namespace=walk.COMPONENTS, selector="name=whereabouts")
    label(f"{ENFORCE}=baseline")
    try:
        cluster.api.delete("pods", found[0]["metadata"]["name"], namespace=walk.COMPONENTS)
        message = wait_until("the DaemonSet tells why", refused)
        assert "host namespaces (hostNetwork=true)" in message
    finally:
        label(f"{ENFORCE}-")
    cluster.kubectl.wait_rollout("daemonset/whereabouts", namespace="kube-system")


def _about(event: dict[str, Any]) -> bool:
    return bool(event["reason"] == "FailedCreate" and event["involvedObject"]["name"] == walk.DAEMON_SET)


def test_the_network_policy_is_for_the_deployments_only(cluster: Cluster, package: walk.Package) -> None:
    """No network plugin enforces it here: what is shown is that it is accepted, and for which pods it is."""
    package.install(values=EVERYTHING + "ip_reconciler: {config: {preflight: false}}\n")
    cluster.kubectl("get", "networkpolicy", "--namespace=kube-system", "whereabouts")
    shown = cluster.kubectl("get", "networkpolicy", "--namespace=kube-system", "whereabouts", "--output=json")
    policy = json.loads(shown)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    assert policy["egress"] == [{"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}]
    (expression,) = policy["podSelector"]["matchExpressions"]
    selector = f"{expression['key']} in ({','.join(expression['values'])})"
    chosen = cluster.api.list("pods", namespace=walk.COMPONENTS, selector=selector)
    names = {re.sub(r"-[a-z0-9]+-[a-z0-9]{5}$", "", each["metadata"]["name"]) for each in chosen}
    assert names == {"whereabouts-reconciler", "whereabouts-controller"}
    assert all(pods.running(each) and not each["spec"].get("hostNetwork") for each in chosen)


IMAGE_POLICY = layout.ROOT / "examples/admission/images-by-digest.yaml"
ENFORCED = "package-images"


@pytest.mark.since("1.30")  # ValidatingAdmissionPolicy in version v1
def test_the_image_policy_admits_the_packages_by_digest_and_nothing_else(
    cluster: Cluster, package: walk.Package, multus: walk.Package
) -> None:
    package.install(values=EVERYTHING + "ip_reconciler: {config: {preflight: false}}\n")
    text = IMAGE_POLICY.read_text().replace("registry.example.com/team/packages/", f"{cluster.registry}/packages/")
    workloads = [
        document
        for each in (package, multus)
        for (kind, _), document in each.objects().items()
        if kind in {"DaemonSet", "Deployment"}
    ]
    own = workloads[0]["spec"]["template"]["spec"]["containers"][0]["image"]
    policy = walk.documents(text)
    cluster.kubectl.apply(*policy)
    cluster.kubectl("label", "--overwrite", "namespace", walk.COMPONENTS, f"{ENFORCED}=enforce")
    try:

        def refused(image: str) -> str:
            return _create_pod(cluster, _with_image(workloads[0], image), walk.COMPONENTS)

        # A policy takes effect a little after it was created.
        message = wait_until("a foreign image is refused", lambda: refused("docker.io/library/busybox:1"))
        assert f"not by digest from {cluster.registry}/packages/: docker.io/library/busybox:1" in message
        for image in (
            f"{own.partition('@')[0]}:latest",
            f"{own.partition('@')[0]}",
            f"{own[:-1]}",
            own.replace(f"{cluster.registry}/packages/", f"{cluster.registry}/other/"),
            f"docker.io/library/busybox@{own.partition('@')[2]}",
        ):
            assert f": {image}" in refused(image), image
        assert refused("registry.k8s.io/pause:3.10") == ""
        for workload in workloads:
            assert _create_pod(cluster, workload, walk.COMPONENTS) == "", workload["metadata"]["name"]
        # Really, and not only asked.
        for name in ("daemonset/whereabouts", "daemonset/multus-cni", "deployment/whereabouts-reconciler"):
            cluster.kubectl("rollout", "restart", name, f"--namespace={walk.COMPONENTS}")
            cluster.kubectl.wait_rollout(name, namespace=walk.COMPONENTS)
        # A pod that is admitted gets no other image later, nor one for debugging.
        pod = cluster.api.list("pods", namespace=walk.COMPONENTS, selector="name=whereabouts")[0]["metadata"]["name"]
        about = (f"pod/{pod}", f"--namespace={walk.COMPONENTS}")
        container = workloads[0]["spec"]["template"]["spec"]["containers"][0]["name"]
        changed = cluster.kubectl.try_run("set", "image", *about, f"{container}=docker.io/library/busybox:1")
        assert "not by digest from" in changed.stderr
        debugged = cluster.kubectl.try_run("debug", *about, "--image=docker.io/library/busybox:1")
        assert "not by digest from" in debugged.stderr
        # Other namespaces are left alone.
        foreign = _with_image(workloads[0], "docker.io/library/busybox:1")
        assert "not by digest" not in _create_pod(cluster, foreign, walk.NAMESPACE)
    finally:
        cluster.kubectl("label", "namespace", walk.COMPONENTS, f"{ENFORCED}-")
        for document in policy:
            cluster.kubectl("delete", document["kind"].lower(), document["metadata"]["name"])


def _with_image(workload: walk.Document, image: str) -> walk.Document:
    """Return a workload whose first container has another image."""
    template = workload["spec"]["template"]
    first, *others = template["spec"]["containers"]
    spec = {**template["spec"], "containers": [{**first, "image": image}, *others]}
    return {**workload, "spec": {**workload["spec"], "template": {**template, "spec": spec}}}
