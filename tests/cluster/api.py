"""The Kubernetes API for the tests: plain HTTP over a socket file that `kubectl proxy` serves as administrator."""

from __future__ import annotations

import http.client
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 120
GROUPS = {
    "namespaces": "api/v1",
    "nodes": "api/v1",
    "pods": "api/v1",
    "events": "api/v1",
    "secrets": "api/v1",
    "services": "api/v1",
    "configmaps": "api/v1",
    "serviceaccounts": "api/v1",
    "daemonsets": "apis/apps/v1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "clusterroles": "apis/rbac.authorization.k8s.io/v1",
    "apiservices": "apis/apiregistration.k8s.io/v1",
    "customresourcedefinitions": "apis/apiextensions.k8s.io/v1",
    "network-attachment-definitions": "apis/k8s.cni.cncf.io/v1",
    "ippools": "apis/whereabouts.cni.cncf.io/v1alpha1",
    "overlappingrangeipreservations": "apis/whereabouts.cni.cncf.io/v1alpha1",
    "nodeslicepools": "apis/whereabouts.cni.cncf.io/v1alpha1",
    "packages": "apis/data.packaging.carvel.dev/v1alpha1",
    "packagemetadatas": "apis/data.packaging.carvel.dev/v1alpha1",
    "packagerepositories": "apis/packaging.carvel.dev/v1alpha1",
    "packageinstalls": "apis/packaging.carvel.dev/v1alpha1",
    "apps": "apis/kappctrl.k14s.io/v1alpha1",
}


class ApiError(ClusterError):
    """The API server answered with an error; `status` is the HTTP status, 0 when it did not answer at all."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        # A socket's path holds 107 bytes at most; by way of the directory's descriptor any checkout's path fits.
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


@dataclass(frozen=True, slots=True)
class Api:
    """Reads and writes resources by their plural names; documents are plain dictionaries."""

    path: Path

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """Return the decoded answer (text, where it is not JSON); raise `ApiError` on any status from 300."""
        connection = _SocketConnection(self.path)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": content_type, "Accept": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status >= http.client.MULTIPLE_CHOICES:
            raise ApiError(answer.status, f"{method} {path}: {answer.status}: {_message(text)}")
        return json.loads(text) if answer.headers.get_content_type() == "application/json" else text

    def get(self, plural: str, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """Return one resource."""
        found: dict[str, Any] = self.request("GET", _path(plural, namespace, name))
        return found

    def find(self, plural: str, name: str, *, namespace: str | None = None) -> dict[str, Any] | None:
        """Return one resource, or None when there is none."""
        try:
            return self.get(plural, name, namespace=namespace)
        except ApiError as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise

    def list(self, plural: str, *, namespace: str | None = None, selector: str = "") -> list[dict[str, Any]]:
        """Return all resources of a kind, of every namespace unless one is named."""
        query = f"?labelSelector={quote(selector)}" if selector else ""
        found: list[dict[str, Any]] = self.request("GET", _path(plural, namespace) + query)["items"]
        return found

    def delete(self, plural: str, name: str, *, namespace: str | None = None) -> None:
        """Ask for the removal of a resource; it is no error when there is none."""
        try:
            self.request("DELETE", _path(plural, namespace, name))
        except ApiError as error:
            if error.status != http.client.NOT_FOUND:
                raise

    def apply(self, plural: str, document: dict[str, Any]) -> dict[str, Any]:
        """Create or change a resource by server-side apply."""
        meta = document["metadata"]
        path = _path(plural, meta.get("namespace"), meta["name"]) + "?fieldManager=tests&force=true"
        applied: dict[str, Any] = self.request("PATCH", path, document, content_type="application/apply-patch+yaml")
        return applied

    def merge(self, plural: str, name: str, change: dict[str, Any], *, namespace: str | None = None) -> None:
        """Change what a resource has, by a merge patch: None takes a key away."""
        path = _path(plural, namespace, name)
        self.request("PATCH", path, change, content_type="application/merge-patch+json")

    def ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        return bool(self.request("GET", "/readyz") == "ok")


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the condition of type `kind`; an empty dictionary while there is none."""
    conditions = resource.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def holds(resource: dict[str, Any], kind: str) -> bool:
    """Tell whether the condition of type `kind` is true."""
    return condition(resource, kind).get("status") == "True"


def _path(plural: str, namespace: str | None, name: str | None = None) -> str:
    parts = [GROUPS[plural]]
    if namespace is not None:
        parts += ["namespaces", quote(namespace)]
    parts.append(plural)
    if name is not None:
        parts.append(quote(name))
    return "/" + "/".join(parts)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500]
