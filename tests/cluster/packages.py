"""The operator's documents (PackageRepository, PackageInstall, Secret ...) and the wait for what they bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cluster.api import condition, holds
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from tests.cluster.api import Api

RECONCILE_SECONDS = 120


class ReconcileError(Exception):
    """kapp-controller reports that it could not do what was asked; the message is its useful error message."""


def repository(name: str, image: str, *, namespace: str) -> dict[str, Any]:
    """Return a PackageRepository; `image` is the repository bundle."""
    return {
        "apiVersion": "packaging.carvel.dev/v1alpha1",
        "kind": "PackageRepository",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"fetch": {"imgpkgBundle": {"image": image}}},
    }


def install(name: str, package: str, version: str, *, namespace: str, account: str, values: str = "") -> dict[str, Any]:
    """Return a PackageInstall of exactly one version; `values` names a Secret."""
    spec: dict[str, Any] = {
        "serviceAccountName": account,
        # Without the empty object, versions that look like pre-releases would be left out.
        "packageRef": {"refName": package, "versionSelection": {"constraints": version, "prereleases": {}}},
    }
    if values:
        spec["values"] = [{"secretRef": {"name": values}}]
    return {
        "apiVersion": "packaging.carvel.dev/v1alpha1",
        "kind": "PackageInstall",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def values_secret(name: str, text: str, *, namespace: str) -> dict[str, Any]:
    """Return the Secret that holds a values file."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"values.yaml": text}}


def administrator(name: str, *, namespace: str) -> list[dict[str, Any]]:
    """Return a service account that may do everything."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    return [account, binding]


def wait_reconciled(
    api: Api, plural: str, name: str, *, namespace: str, timeout: float = RECONCILE_SECONDS
) -> dict[str, Any]:
    """Wait until the resource's present generation is reconciled and return it; raise `ReconcileError` if it failed."""

    def reconciled() -> dict[str, Any] | None:
        found = api.get(plural, name, namespace=namespace)
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return None
        if holds(found, "ReconcileFailed"):
            raise ReconcileError(status.get("usefulErrorMessage") or condition(found, "ReconcileFailed").get("message"))
        if holds(found, "ReconcileSucceeded"):
            return found
        raise ClusterError(status.get("friendlyDescription", "no status yet"))

    return wait_until(f"{plural} {namespace}/{name} is reconciled", reconciled, timeout=timeout, interval=0.2)


def wait_deleted(api: Api, plural: str, name: str, *, namespace: str, timeout: float = RECONCILE_SECONDS) -> None:
    """Wait until the resource is gone; raise `ReconcileError` if kapp-controller could not remove what it brought."""

    def gone() -> bool:
        found = api.find(plural, name, namespace=namespace)
        if found is None:
            return True
        if holds(found, "DeleteFailed"):
            raise ReconcileError(found["status"].get("usefulErrorMessage", "DeleteFailed"))
        raise ClusterError(found.get("status", {}).get("friendlyDescription", "still there"))

    wait_until(f"{plural} {namespace}/{name} is gone", gone, timeout=timeout, interval=0.2)
