"""Other packagings of Whereabouts, to migrate from: the names, kinds, selectors, labels, CRDs and rights of each.

Words and programs are our own: their DaemonSet runs the shell installer that `shell_installer` describes.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from tests.cluster import layout, packages, shell_installer, walk
from tests.cluster.plugin_stream import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

Document = dict[str, Any]

COMMUNITY = "whereabouts.community.tanzu.vmware.com"
COMMUNITY_VERSION = "0.5.4"
COMMUNITY_VALUES = layout.ROOT / "tests/golden/render/community-0.5.4/values.yaml"
ADMINISTRATOR = "whereabouts-default-sa"
CRON_JOB = "ip-reconciler"
GROUP = "rbac.authorization.k8s.io"
# The installer ends, the loop that watches the token and the control loop stay.
RUN = "/bin/sh /install.sh && { /bin/sh /watch.sh & exec /ip-control-loop -log-level debug; }"
WRITES = ["get", "list", "watch", "create", "update", "patch", "delete"]


def community(crds: Iterable[Document]) -> list[Document]:
    """Return the community package 0.5.4 as one Package with its manifests inside, and the objects of its install."""
    objects = [
        *map(_before_interface_names, _plain(crds, without="nodeslicepools")),
        *_rights("whereabouts", "whereabouts-cni"),
        _daemon_set("whereabouts", {"name": "whereabouts"}, {"app": "whereabouts", "tier": "node"}),
        _cron_job(),
    ]
    values = COMMUNITY_VALUES.read_text()
    files = {
        # As JSON: ytt takes no plain comments.
        "schema.yaml": f"#@data/values-schema\n---\n{json.dumps(yamldoc.load(COMMUNITY_VALUES).data)}\n",
        **{f"{number}.yaml": json.dumps(each) for number, each in enumerate(objects)},
    }
    template = {"fetch": [{"inline": {"paths": files}}], "template": [{"ytt": {}}], "deploy": [{"kapp": {}}]}
    package = {
        "apiVersion": "data.packaging.carvel.dev/v1alpha1",
        "kind": "Package",
        "metadata": {"name": f"{COMMUNITY}.{COMMUNITY_VERSION}", "namespace": walk.NAMESPACE},
        "spec": {"refName": COMMUNITY, "version": COMMUNITY_VERSION, "template": {"spec": template}},
    }
    secret = packages.values_secret("whereabouts-values", values, namespace=walk.NAMESPACE)
    install = packages.install(
        "whereabouts",
        COMMUNITY,
        COMMUNITY_VERSION,
        namespace=walk.NAMESPACE,
        account=ADMINISTRATOR,
        values="whereabouts-values",
    )
    return [package, *packages.administrator(ADMINISTRATOR, namespace=walk.NAMESPACE), secret, install]


def upstream(crds: Iterable[Document]) -> list[Document]:
    """Return upstream's manifests of 0.9.4: DaemonSet, reconciler and CRDs."""
    return [
        *_plain(crds),
        *_rights("whereabouts", "whereabouts-cni"),
        _schedule("whereabouts-config"),
        _daemon_set("whereabouts", {"name": "whereabouts"}, {"app": "whereabouts", "tier": "node"}),
        _reconciler("whereabouts", {"name": "whereabouts-reconciler"}, {"app": "whereabouts-reconciler"}),
    ]


def chart(crds: Iterable[Document], name: str, release: str) -> list[Document]:
    """Return what upstream's Helm chart makes of a release, with the record that Helm keeps of it.

    `name` is its "fullname", which all objects have: `RELEASE-whereabouts-chart`, or that of its override.
    """
    own = {"app": "whereabouts-chart", "app.kubernetes.io/name": "whereabouts-chart"}
    own["app.kubernetes.io/instance"] = release
    helm = {**own, "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "whereabouts-chart-0.1.1"}
    record = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": f"sh.helm.release.v1.{release}.v1",
            "namespace": walk.COMPONENTS,
            "labels": {"owner": "helm", "name": release},
        },
    }
    objects = [
        *_rights(name, name),
        _schedule(f"{name}-config"),
        _daemon_set(name, {"name": "whereabouts", **own}, {}),
        _reconciler(name, {"name": f"{name}-reconciler", **own}, {}),
    ]
    for each in objects:
        if each["kind"] in {"ServiceAccount", "DaemonSet", "Deployment"}:
            each["metadata"]["labels"] = helm
    return [*_plain(crds), *objects, record]


def _plain(crds: Iterable[Document], *, without: str = "") -> list[Document]:
    """Return the CRDs without what our package adds to upstream's."""
    kept = [copy.deepcopy(each) for each in crds if not without or not each["metadata"]["name"].startswith(without)]
    for each in kept:
        each["metadata"] = {"name": each["metadata"]["name"]}
    return kept


def _before_interface_names(crd: Document) -> Document:
    """Return a CRD as it was before 0.8: the API server drops the interface's name from whatever is stored.

    The older release also requires `containerid` of a reservation. The plugin of 0.9.4, which stands in for that of
    0.5.4 here, does not write it.
    """
    (version,) = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    if "allocations" in spec["properties"]:
        entry = spec["properties"]["allocations"]["additionalProperties"]
        entry["required"].remove("podref")
    else:
        entry = spec
        del entry["required"]
    del entry["properties"]["ifname"]
    return crd


def _rights(account: str, role: str) -> list[Document]:
    """Return an account with upstream's rights: one ClusterRole for plugin, control loop and reconciler."""
    rules = [
        {
            "apiGroups": ["whereabouts.cni.cncf.io"],
            "resources": ["ippools", "overlappingrangeipreservations", "nodeslicepools"],
            "verbs": WRITES,
        },
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": ["k8s.cni.cncf.io"],
            "resources": ["network-attachment-definitions"],
            "verbs": ["get", "list", "watch"],
        },
        {
            "apiGroups": ["", "events.k8s.io"],
            "resources": ["events"],
            "verbs": ["create", "patch", "update", "get"],
        },
    ]
    return [
        _named("v1", "ServiceAccount", account),
        {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": account},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": walk.COMPONENTS}],
        },
    ]


def _daemon_set(name: str, selector: dict[str, str], labels: dict[str, str]) -> Document:
    place = Place()
    container = shell_installer.container(place, "/bin/sh", "-c", RUN)
    container["name"] = "whereabouts"
    container["env"].append(_own_namespace())
    container["resources"] = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"memory": "200Mi"}}
    spec = {
        **shell_installer.pod_spec(place),
        "serviceAccountName": name,
        "containers": [container],
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
    }
    return {
        **_named("apps/v1", "DaemonSet", name, labels),
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {**labels, **selector}}, "spec": spec},
        },
    }


def _reconciler(account: str, selector: dict[str, str], labels: dict[str, str]) -> Document:
    container = {
        "name": "reconciler",
        "image": shell_installer.IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/ip-reconciler"],
        "args": ["-log-level", "debug"],
        "env": [_own_namespace()],
        "volumeMounts": [{"name": "schedule", "mountPath": "/cron-schedule"}],
    }
    items = [{"key": "cron-expression", "path": "config"}]
    name = f"{account}-reconciler"
    volume = {"name": "schedule", "configMap": {"name": f"{account}-config", "items": items}}
    spec = {
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [volume],
    }
    return {
        **_named("apps/v1", "Deployment", name, labels),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": {**labels, **selector}}, "spec": spec},
        },
    }


def _cron_job() -> Document:
    container = {
        "name": "whereabouts",
        "image": shell_installer.IMAGE,
        "imagePullPolicy": "Never",
        # The reconciler of 0.9.4 would not end.
        "command": ["/bin/true"],
    }
    pod = {"serviceAccountName": "whereabouts", "restartPolicy": "OnFailure", "containers": [container]}
    job = {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": "whereabouts"}}, "spec": pod}}
    return {
        **_named("batch/v1", "CronJob", CRON_JOB, {"app": "whereabouts", "tier": "node"}),
        "spec": {
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 0,
            "schedule": "*/5 * * * *",
            "jobTemplate": {"spec": job},
        },
    }


def _schedule(name: str) -> Document:
    return {**_named("v1", "ConfigMap", name), "data": {"cron-expression": "30 4 * * *"}}


def _named(version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> Document:
    metadata = {"name": name, "namespace": walk.COMPONENTS, "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _own_namespace() -> Document:
    return {"name": "WHEREABOUTS_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
