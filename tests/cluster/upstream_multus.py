"""Multus as upstream deploys it, thin or thick: what our package is compared with, and what it is migrated from.

The programs are upstream's, built from the same version as the package's plugin; the manifests are in words of our own,
with the names, kinds, labels, rights, mounts and limits of upstream's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from tests.cluster import binaries, images, pods, walk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster

Document = dict[str, Any]

NAME = "kube-multus-ds"
ACCOUNT = "multus"
IMAGE = "localhost/upstream-multus:1"
GROUP = "rbac.authorization.k8s.io"
CRD = "network-attachment-definitions.k8s.cni.cncf.io"
PROGRAMS = "usr/src/multus-cni/bin"
CONF = "/host/etc/cni/net.d"
LIMITS = {"cpu": "100m", "memory": "50Mi"}
# What it leaves on a node.
LEFT = (
    "/etc/cni/net.d/00-multus.conf",
    "/etc/cni/net.d/multus.d",
    "/etc/cni/multus",
    "/opt/cni/bin/multus",
    "/opt/cni/bin/multus-shim",
    "/opt/cni/bin/passthru",
    "/run/multus",
)


def ensure_archive() -> Path:
    """Return the image as a docker archive, made if it is not there yet."""
    built = binaries.ensure_set(binaries.UPSTREAM_MULTUS)
    # The daemon asks who it runs as.
    base = replace(images.busybox(IMAGE), command=())
    # As in any distribution: the runtime names the pods' namespaces by it.
    links = {**base.links, "var/run": "/run"}
    programs = ("install_multus", "multus", "multus-daemon", "multus-shim", "thin_entrypoint")
    files = {f"{PROGRAMS}/{name}": built / name for name in programs}
    return images.ensure_archive(
        replace(base, files={**base.files, **files, f"{PROGRAMS}/passthru": built / "passthru-cni"}, links=links)
    )


def crd() -> Document:
    """Return the CRD that upstream's manifests bring."""
    found: Document = yamldoc.load(binaries.ensure_set(binaries.UPSTREAM_MULTUS) / "networks-crd.yaml").data
    return found


def thick(*, roll: int = 0) -> list[Document]:
    """Return the manifests with a daemon; each new `roll` replaces all pods."""
    settings = {
        "chrootDir": "/hostroot",
        "cniVersion": "0.4.0",
        "logLevel": "verbose",
        "logToStderr": True,
        "cniConfigDir": CONF,
        "multusAutoconfigDir": CONF,
        "multusConfigFile": "auto",
        "socketDir": "/host/run/multus/",
    }
    config = {**_named("v1", "ConfigMap", "multus-daemon-config"), "data": {"daemon-config.json": json.dumps(settings)}}
    mounts = {
        "cni": (CONF, "/etc/cni/net.d"),
        # Where the node has it, since the daemon passes the path on.
        "cnibin": ("/opt/cni/bin", "/opt/cni/bin"),
        "host-run": ("/host/run", "/run"),
        "host-var-lib-cni-multus": ("/var/lib/cni/multus", "/var/lib/cni/multus"),
        "host-var-lib-kubelet": ("/var/lib/kubelet", "/var/lib/kubelet"),
        "host-run-k8s-cni-cncf-io": ("/run/k8s.cni.cncf.io", "/run/k8s.cni.cncf.io"),
        "host-run-netns": ("/run/netns", "/run/netns"),
        "hostroot": ("/hostroot", "/"),
        "multus-conf-dir": ("/etc/cni/multus/net.d", "/etc/cni/multus/net.d"),
    }
    seen = {"host-var-lib-kubelet", "host-run-netns", "hostroot"}
    container = {
        "command": [f"/{PROGRAMS}/multus-daemon"],
        "env": [{"name": "MULTUS_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "volumeMounts": [
            *(
                {"name": name, "mountPath": inside, "mountPropagation": "HostToContainer" if name in seen else "None"}
                for name, (inside, _) in mounts.items()
            ),
            {"name": "daemon-config", "mountPath": "/etc/cni/net.d/multus.d", "readOnly": True},
        ],
    }
    volumes = [
        *({"name": name, "hostPath": {"path": path}} for name, (_, path) in mounts.items()),
        {"name": "daemon-config", "configMap": {"name": "multus-daemon-config"}},
    ]
    verbs = ["get", "list", "update", "watch"]
    return [*_account(verbs), config, _daemon_set("thick", container, volumes, roll=roll, host_pid=True)]


def thin(*, roll: int = 0) -> list[Document]:
    """Return the manifests with a plugin alone, with the flag that has the entry point watch the token."""
    mounts = {"cni": (CONF, "/etc/cni/net.d"), "cnibin": ("/host/opt/cni/bin", "/opt/cni/bin")}
    container = {
        "command": [f"/{PROGRAMS}/thin_entrypoint"],
        "args": [
            "--multus-conf-file=auto",
            f"--multus-autoconfig-dir={CONF}",
            f"--cni-conf-dir={CONF}",
            "--cleanup-config-on-exit=true",
        ],
        "volumeMounts": [{"name": name, "mountPath": inside} for name, (inside, _) in mounts.items()],
    }
    volumes = [{"name": name, "hostPath": {"path": path}} for name, (_, path) in mounts.items()]
    return [*_account(["get", "update"]), _daemon_set("thin", container, volumes, roll=roll)]


def install(cluster: Cluster, manifests: list[Document]) -> None:
    """Load the image, apply the manifests with the CRD, and wait until each node has the configuration."""
    archive = ensure_archive()
    for node in cluster.nodes:
        node.load_image(archive)
    cluster.kubectl.apply(crd())
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
    apply(cluster, manifests)


def apply(cluster: Cluster, manifests: list[Document]) -> None:
    """Apply the manifests, and wait until the pods are those."""
    cluster.kubectl.apply(*manifests)
    cluster.kubectl.wait_rollout(f"daemonset/{NAME}", namespace=walk.COMPONENTS)


def remove(cluster: Cluster) -> None:
    """Delete all but the CRD, and what is left on the nodes."""
    for document in thick():
        kind, name = document["kind"].lower(), document["metadata"]["name"]
        cluster.kubectl("delete", kind, name, f"--namespace={walk.COMPONENTS}", "--ignore-not-found")
    pods.wait_gone(cluster.api, namespace=walk.COMPONENTS, selector="name=multus")
    for node in cluster.nodes:
        node.machine.run(["rm", "-rf", *LEFT])


def _account(pod_verbs: list[str]) -> list[Document]:
    rules = [
        {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": pod_verbs},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    ]
    role = {"apiVersion": f"{GROUP}/v1", "metadata": {"name": ACCOUNT}}
    return [
        _named("v1", "ServiceAccount", ACCOUNT),
        {**role, "kind": "ClusterRole", "rules": rules},
        {
            **role,
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": walk.COMPONENTS}],
        },
    ]


def _daemon_set(
    kind: str, container: Document, volumes: list[Document], *, roll: int, host_pid: bool = False
) -> Document:
    labels = {"tier": "node", "app": "multus", "name": "multus"}
    common = {"image": IMAGE, "imagePullPolicy": "Never", "securityContext": {"privileged": True}}
    installer = {
        **common,
        "name": "install-multus-binary",
        "command": [f"/{PROGRAMS}/install_multus", "-d", "/host/opt/cni/bin", "-t", kind],
        "volumeMounts": [{"name": "cnibin", "mountPath": "/host/opt/cni/bin", "mountPropagation": "Bidirectional"}],
    }
    resources = {"requests": LIMITS, "limits": LIMITS}
    spec = {
        "hostNetwork": True,
        "hostPID": host_pid,
        "serviceAccountName": ACCOUNT,
        "tolerations": [{"operator": "Exists", "effect": effect} for effect in ("NoSchedule", "NoExecute")],
        "terminationGracePeriodSeconds": 10,
        "initContainers": [installer],
        "containers": [{**common, "name": "kube-multus", "resources": resources, **container}],
        "volumes": volumes,
    }
    template = {"metadata": {"labels": labels, "annotations": {"roll": str(roll)}}, "spec": spec}
    return {
        **_named("apps/v1", "DaemonSet", NAME, labels),
        "spec": {
            "selector": {"matchLabels": {"name": "multus"}},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": template,
        },
    }


def _named(version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> Document:
    metadata = {"name": name, "namespace": walk.COMPONENTS, "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
