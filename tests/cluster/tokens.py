"""The token that the plugin has on a node, and whether the API server still takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import yamldoc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.api import Api


def token_of(kubeconfig: Path) -> str:
    """Return the token of a kubeconfig with one user."""
    token: str = yamldoc.load(kubeconfig).data["users"][0]["user"]["token"]
    return token


def is_void(api: Api, token: str) -> bool:
    """Tell whether the API server refuses a token."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    answer = api.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    return not answer["status"].get("authenticated")
