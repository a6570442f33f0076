"""When kapp calls a Deployment of the package done: the rule in bundle/config/kapp.yaml, run by ytt as kapp runs it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.package import StagedPackage

CALL = """\
#@ load("resource.star", "is_done")
#@ load("@ytt:data", "data")
result: #@ is_done(data.values)
"""
PROGRESSING = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "is progressing"}
AVAILABLE = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "has minimum"}
STUCK = {
    "type": "Progressing",
    "status": "False",
    "reason": "ProgressDeadlineExceeded",
    "message": 'ReplicaSet "r" has timed out progressing.',
}


@pytest.fixture
def judge(package: StagedPackage, tmp_path: Path) -> Any:
    (rule,) = package.kapp_config()["waitRules"]
    (tmp_path / "resource.star").write_text(rule["ytt"]["funcContractV1"]["resource.star"])
    (tmp_path / "call.yaml").write_text(CALL)

    def ask(status: dict[str, Any]) -> dict[str, Any]:
        values = tmp_path / "values.yaml"
        with values.open("w") as stream:
            YAML(typ="safe").dump({"kind": "Deployment", "spec": {"replicas": 1}, "status": status}, stream)
        files = [argument for name in ("resource.star", "call.yaml") for argument in ("-f", tmp_path / name)]
        argv = [package.ytt, *files, "--data-values-file", values]
        # As kapp does since 0.64.
        argv += ["--data-value", "startTime=1", "--data-value", "currentTime=2"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        result: dict[str, Any] = YAML(typ="safe").load(done.stdout)["result"]
        return result

    return ask


def test_it_is_for_all_deployments_and_nothing_else(package: StagedPackage) -> None:
    (rule,) = package.kapp_config()["waitRules"]
    (matcher,) = rule["resourceMatchers"]
    assert matcher == {"apiVersionKindMatcher": {"apiVersion": "apps/v1", "kind": "Deployment"}}
    # Before that the status says nothing of the update.
    assert rule["supportsObservedGeneration"] is True


@pytest.mark.parametrize(
    ("status", "left"),
    [
        ({}, "0 there, 0 updated, 0 available"),
        # kapp's own rule would be done here: the pod is the former one.
        (
            {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "conditions": [AVAILABLE, PROGRESSING]},
            "1 there, 0 updated, 1 available",
        ),
        ({"unavailableReplicas": 1, "conditions": [PROGRESSING]}, "0 there, 0 updated, 0 available"),
        ({"replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1}, "1 there, 1 updated, 0 available"),
        ({"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}, "2 there, 1 updated, 1 available"),
    ],
    ids=["new", "former-pod", "no-pod", "new-pod-starts", "both"],
)
def test_it_is_not_done_before_its_own_pod_is_there(judge: Any, status: dict[str, Any], left: str) -> None:
    assert judge(status) == {"done": False, "successful": False, "message": f"Waiting for 1 replicas: {left}"}


def test_it_is_done_when_its_own_pod_is_available(judge: Any) -> None:
    status = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    assert judge({**status, "conditions": [AVAILABLE, PROGRESSING]})["done"] is True
    assert judge(status) == {"done": True, "successful": True, "message": ""}


def test_it_has_failed_when_its_pod_does_not_come_in_time(judge: Any) -> None:
    said = f"Deployment is not progressing: ProgressDeadlineExceeded, message: {STUCK['message']}"
    for status in ({"unavailableReplicas": 1}, {"replicas": 1, "availableReplicas": 1}):
        assert judge({**status, "conditions": [STUCK]}) == {"done": True, "successful": False, "message": said}
