"""The examples beside the package: what they watch and refuse is what the package has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.helpers.package import ROOT, StagedPackage, example, nested, one, write_values
from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = kubernetes_validate.latest_version()


def test_monitoring_example_finds_the_service(package: StagedPackage, tmp_path: Path) -> None:
    monitor, rule = example("monitoring.yaml")
    values = nested("ip_reconciler.config.metrics.enabled", value=True)
    service = one(package.manifests(write_values(tmp_path, values)), "Service", "whereabouts-reconciler")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    told = (ROOT / "docs/how-to/monitor.md").read_text()
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert f"| {alert['alert']} |" in told
        names = re.findall(r"whereabouts_[a-z_]+", alert["expr"])
        assert names
        assert all(f"`{name}`" in told for name in names)


def refused_by_policy(config: str) -> list[str]:
    """Return what the example's admission policy says, as far as Python can tell what its expressions do."""
    (policy, _) = example("admission-policy.yaml")
    refused = []
    for validation in policy["spec"]["validations"]:
        *guard, search = validation["expression"].split(" || ")
        (pattern,) = re.findall(r"^!variables\.config\.matches\(r'(.*)'\)$", search)
        assert guard in ([], ["!variables.config.contains('whereabouts')"])
        if (not guard or "whereabouts" in config) and re.search(pattern, config):
            refused.append(validation["message"])
    return refused


NETWORK = '{"type": "macvlan", "ipam": {"type": "whereabouts", "range": "10.0.0.0/24"%s}}'


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        (', "log_file": "/etc/passwd"', "log_file"),
        (', "LOG_FILE" : "/etc/passwd"', "log_file"),
        (', "kubernetes": {"kubeconfig": "/tmp/x"}', "kubeconfig"),
        (', "configuration_path": "/tmp"', "configuration_path"),
        (r', "log\u005ffile": "/etc/passwd"', "escape"),
        (', "\N{KELVIN SIGN}ubernetes": {"\N{KELVIN SIGN}ubeconfig": "/tmp/x"}', "ASCII"),
        (', "con\N{LATIN SMALL LETTER LONG S}figuration_path": 1', "ASCII"),
    ],
)
def test_admission_policy_refuses_what_names_files(setting: str, word: str) -> None:
    """The cluster tests ask a real API server; this says which spellings are meant."""
    assert word in " ".join(refused_by_policy(NETWORK % setting))


@pytest.mark.parametrize("name", ["network.yaml", "more-networks.yaml"])
def test_admission_policy_takes_the_example_networks(name: str) -> None:
    for network in example(name):
        assert refused_by_policy(network["spec"]["config"]) == []


def test_admission_policy_leaves_other_plugins_alone() -> None:
    assert refused_by_policy('{"type": "ovs", "configuration_path": "/etc/cni/net.d/ovs.d/ovs.conf"}') == []
    assert refused_by_policy('{"ipam": {"type": "where\\u0061bouts", "log_file": "/etc/passwd"}}') != []


def test_admission_policy_is_valid() -> None:
    policy, binding = example("admission-policy.yaml")
    for manifest in (policy, binding):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
