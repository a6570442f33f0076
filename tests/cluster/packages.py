"""The operator's documents (PackageRepository, PackageInstall, Secret ...) and the wait for what they bring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.cluster.api import condition, holds
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from tests.cluster.api import Api

# How long the status of a PackageInstall may lag behind that of its App.
MIRROR_SECONDS = 5
# kapp-controller's process 1 reaps orphans, and when busy now and then a tool that it waits for; it tries again then.
REAPED = "waitid: no child processes"


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


def wait_reconciled(api: Api, plural: str, name: str, *, namespace: str) -> dict[str, Any]:
    """Wait until the resource's present generation is reconciled and return it; raise `ReconcileError` if it failed."""

    def reconciled() -> dict[str, Any] | None:
        found = api.get(plural, name, namespace=namespace)
        if not settled(found):
            raise ClusterError(found.get("status", {}).get("friendlyDescription", "no status yet"))
        return _successful(found)

    return wait_until(f"{plural} {namespace}/{name} is reconciled", reconciled, interval=0.2)


def wait_installed(api: Api, name: str, *, namespace: str) -> dict[str, Any]:
    """Do what `wait_reconciled` does for a PackageInstall, whose status may still be that of the App as it was before.

    By the time that a PackageInstall has observed its new generation it has passed it on to the App, so the App is
    what tells. It knows nothing of what the PackageInstall itself refuses, though: if the two do not agree in a while,
    that is what happened.
    """
    disagree_since: float | None = None

    def reconciled() -> dict[str, Any] | None:
        nonlocal disagree_since
        found, app = (api.find(plural, name, namespace=namespace) or {} for plural in ("packageinstalls", "apps"))
        if not settled(found) or (app and not settled(app)):
            disagree_since = None
            raise ClusterError(found.get("status", {}).get("friendlyDescription", "no status yet"))
        if failed(found) != failed(app):
            disagree_since = disagree_since or time.monotonic()
            if time.monotonic() - disagree_since < MIRROR_SECONDS:
                return None
        return _successful(found)

    return wait_until(f"PackageInstall {namespace}/{name} is reconciled", reconciled, interval=0.2)


def settled(resource: dict[str, Any]) -> bool:
    """Tell whether kapp-controller is done with the present generation, well or not."""
    if not resource or resource.get("status", {}).get("observedGeneration") != resource["metadata"]["generation"]:
        return False
    return holds(resource, "ReconcileSucceeded") or failed(resource)


def failed(resource: dict[str, Any]) -> bool:
    """Tell whether kapp-controller could not do what the resource asks for."""
    return holds(resource, "ReconcileFailed")


def _successful(resource: dict[str, Any]) -> dict[str, Any]:
    if failed(resource):
        message = resource["status"].get("usefulErrorMessage") or condition(resource, "ReconcileFailed").get(
            "message", ""
        )
        raise ClusterError(message) if REAPED in message else ReconcileError(message)
    return resource


def wait_deleted(api: Api, plural: str, name: str, *, namespace: str) -> None:
    """Wait until the resource is gone; raise `ReconcileError` if kapp-controller could not remove what it brought."""

    def gone() -> bool:
        found = api.find(plural, name, namespace=namespace)
        if found is None:
            return True
        if holds(found, "DeleteFailed"):
            raise ReconcileError(found["status"].get("usefulErrorMessage", "DeleteFailed"))
        raise ClusterError(found.get("status", {}).get("friendlyDescription", "still there"))

    wait_until(f"{plural} {namespace}/{name} is gone", gone, interval=0.2)
