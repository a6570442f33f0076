"""What the manifests of multus-cni promise, whatever the values."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from carvelwright.platform import Platform
from tests.cluster.versions import known, minor
from tests.helpers.manifests import (
    CLUSTER,
    HERE,
    annotations_of,
    deleted_between,
    granted,
    idle_options,
    node_terms,
    rights,
    roles_and_accounts_without_use,
    workloads,
)
from tests.helpers.package import (
    MULTUS,
    ROOT,
    Manifest,
    StagedPackage,
    compiled_installer,
    containers,
    example,
    merged,
    nested,
    one,
    pod_spec,
    stage,
    write_values,
)
from tests.helpers.package import multus as multus  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from pathlib import Path

OLDEST = minor(known()[0])
NEWEST = kubernetes_validate.latest_version()
GOLDEN = ROOT / "tests/golden/multus-cni"
RIGHTS = "multus-cni.tanzu.vmware.com/rights"
CRDS = "multus-cni.tanzu.vmware.com/crds"

# What the plugin calls, from the code of the pinned module: GetPod; SetNetworkStatus, which updates the pod's status;
# GetNetAttachDef; and its event recorder.
PLUGIN = (
    rights(CLUSTER, "", "pods", "get")
    | rights(CLUSTER, "", "pods/status", "update")
    | rights(CLUSTER, "k8s.cni.cncf.io", "network-attachment-definitions", "get")
    | rights(CLUSTER, "", "events", "create patch")
)
FAREWELL = rights(HERE, "apps", "daemonsets", "get", "multus-cni")
CRD = "network-attachment-definitions.k8s.cni.cncf.io"
PREFLIGHT = (
    rights(CLUSTER, "apiextensions.k8s.io", "customresourcedefinitions", "get", CRD)
    | rights(HERE, "apps", "daemonsets", "list")
    | rights(HERE, "", "events", "create")
)


@pytest.fixture(scope="module")
def defaults(multus: StagedPackage) -> list[Manifest]:
    return multus.manifests()


@pytest.fixture(scope="module")
def everything(multus: StagedPackage) -> list[Manifest]:
    return multus.manifests(GOLDEN / "everything/values.yaml")


@pytest.fixture(scope="module")
def daemonset(defaults: list[Manifest]) -> Manifest:
    return one(defaults, "DaemonSet", "multus-cni")


# --- valid Kubernetes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cleanup-job.yaml", "preflight.yaml", "package-install.yaml"])
def test_examples_are_valid(name: str) -> None:
    for manifest in example(name, "multus-cni"):
        if manifest["kind"] != "PackageInstall":
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(manifest, version, strict=True)


def test_values_of_the_community_package_mean_the_same_as_none(multus: StagedPackage) -> None:
    assert multus.text(ROOT / "examples/multus-cni/values/community-3.8.0.yaml") == multus.text()


def test_everything_is_in_kube_system_and_runs_the_built_image(everything: list[Manifest]) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for manifest in everything:
        expected = None if manifest["kind"] in cluster_wide else "kube-system"
        assert manifest["metadata"].get("namespace") == expected
    assert {c["image"] for workload in workloads(everything) for c in containers(workload)} == {"multus-cni"}


# --- rights ---------------------------------------------------------------------------------------------------------


def test_rights_are_the_table(defaults: list[Manifest], everything: list[Manifest]) -> None:
    scc = rights(HERE, "security.openshift.io", "securitycontextconstraints", "use", "privileged")
    assert granted(defaults, "multus-cni") == PLUGIN | FAREWELL
    assert granted(everything, "multus-cni") == PLUGIN | FAREWELL | scc


@pytest.mark.parametrize("name", ["defaults", "everything"])
def test_every_role_and_account_is_used(name: str, request: pytest.FixtureRequest) -> None:
    assert roles_and_accounts_without_use(request.getfixturevalue(name)) == set()


def test_preflight_and_cleanup_have_what_they_ask_for_and_no_more() -> None:
    *objects, preflight = example("preflight.yaml", "multus-cni")
    assert granted(objects, pod_spec(preflight)["serviceAccountName"]) == PREFLIGHT
    (cleanup,) = example("cleanup-job.yaml", "multus-cni")
    assert pod_spec(cleanup)["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod_spec(cleanup)


# --- pods -----------------------------------------------------------------------------------------------------------


def test_no_container_has_more_than_it_needs(daemonset: Manifest) -> None:
    (job,), preflight = example("cleanup-job.yaml", "multus-cni"), example("preflight.yaml", "multus-cni")[-1]
    for workload in (daemonset, job, preflight):
        spec = pod_spec(workload)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostPID", "hostIPC", "shareProcessNamespace"}
        for container in containers(workload):
            context = {**spec["securityContext"], **container["securityContext"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.keys() & {"privileged", "seLinuxOptions"}
            assert context["runAsUser"] == (65532 if workload is preflight else 0)


def test_values_give_more_rights_on_the_node_where_they_say_so(multus: StagedPackage, tmp_path: Path) -> None:
    options = {"type": "spc_t"}
    values = merged(
        nested("multus.config.cni.dac_override", value=True),
        nested("multus.config.security_context.selinux_options", options),
    )
    for container in containers(one(multus.manifests(write_values(tmp_path, values)), "DaemonSet", "multus-cni")):
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}
        assert context["seLinuxOptions"] == options
        assert "privileged" not in context
    privileged = nested("multus.config.security_context.privileged", value=True)
    for container in containers(one(multus.manifests(write_values(tmp_path, privileged)), "DaemonSet", "multus-cni")):
        context = container["securityContext"]
        assert (context["privileged"], context["allowPrivilegeEscalation"]) == (True, True)


def test_the_pod_is_on_every_node_and_needs_no_pod_network(daemonset: Manifest) -> None:
    spec = pod_spec(daemonset)
    assert spec["hostNetwork"] is True
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["priorityClassName"] == "system-node-critical"


def test_the_refresher_has_time_for_its_farewell_and_tells_where_it_listens(daemonset: Manifest) -> None:
    assert pod_spec(daemonset)["terminationGracePeriodSeconds"] >= 10
    refresh = one_container(daemonset, "refresh")
    (state,) = (argument for argument in refresh["args"] if argument.startswith("--state-dir="))
    assert f"--daemonset=$(MULTUS_NAMESPACE)/{daemonset['metadata']['name']}" in refresh["args"]
    questions = {"startupProbe": "liveness", "readinessProbe": "readiness", "livenessProbe": "liveness"}
    for probe, question in questions.items():
        assert refresh[probe]["exec"]["command"] == [refresh["command"][0], "probe", question, state]
    mounts = {mount["mountPath"]: mount["name"] for mount in refresh["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_spec(daemonset)["volumes"]}
    assert "emptyDir" in volumes[mounts[state.partition("=")[2]]]


def one_container(workload: Manifest, name: str) -> dict[str, Any]:
    (found,) = (container for container in containers(workload) if container["name"] == name)
    return found


def test_pods_go_to_the_architectures_that_were_built(tmp_path: Path, ytt: Path) -> None:
    built = stage(tmp_path / "config", ytt, (Platform.parse("linux/arm64"),), MULTUS)
    arm = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
    (found,) = workloads(built.manifests())
    assert node_terms(found) == [{"matchExpressions": [arm]}]


# --- the installer --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_installer("multus-installer", tmp_path_factory.mktemp("installer"))


def test_the_installer_knows_every_command_and_flag(daemonset: Manifest, installer: Path) -> None:
    asked = []
    jobs = [*example("cleanup-job.yaml", "multus-cni"), example("preflight.yaml", "multus-cni")[-1]]
    for container in (container for workload in (daemonset, *jobs) for container in containers(workload)):
        probes = [probe["exec"]["command"] for key, probe in container.items() if key.endswith("Probe")]
        for command in [container["command"] + container["args"], *probes]:
            done = subprocess.run([installer, *command[1:], "--help"], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), command
            asked.append(command[1])
    assert sorted(asked) == ["cleanup", "install", "preflight", "probe", "probe", "probe", "refresh"]


# What the real plugin says of itself to whoever just starts it.
PLUGIN_SCRIPT = """\
#!/bin/sh
echo "meta-plugin that delegates to other CNI plugins" >&2
echo "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0" >&2
"""
NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}


@pytest.mark.parametrize("case", ["defaults", "everything"])
def test_the_installer_makes_multus_configuration_from_the_values(
    case: str, multus: StagedPackage, installer: Path, tmp_path: Path
) -> None:
    manifests = multus.manifests(GOLDEN / case / "values.yaml")
    settings = one(manifests, "ConfigMap", "multus-cni-conf")["data"]["multus.json"]
    install = one_container(one(manifests, "DaemonSet", "multus-cni"), "install")
    places = {"--bin-dir": "bin", "--conf-dir": "conf", "--config": "multus.json", "--source": "multus"}
    (tmp_path / "multus.json").write_text(settings)
    (tmp_path / "multus").write_text(PLUGIN_SCRIPT)
    (tmp_path / "multus").chmod(0o755)
    for name in ("bin", "conf", "account"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf/10-calico.conflist").write_text(json.dumps(NETWORK))
    (tmp_path / "account/token").write_text("token")
    subject = ("-subj", "/CN=ca", "-keyout", "/dev/null", "-out", tmp_path / "account/ca.crt")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    flags = dict(argument.split("=", 1) for argument in install["args"])
    given = [f"{flag}={tmp_path / places[flag] if flag in places else text}" for flag, text in flags.items()]
    done = subprocess.run(
        [installer, "install", *given, f"--service-account-dir={tmp_path / 'account'}"],
        env={"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "conf/00-multus-cni.conf").read_text())
    assert made["type"] == "multus"
    assert made["delegates"] == [NETWORK]
    assert made["kubeconfig"] == f"{flags['--host-conf-dir']}/multus-cni.d/multus.kubeconfig"
    config = YAML(typ="safe").load((GOLDEN / case / "values.yaml").read_text()).get("multus", {}).get("config", {})
    assert made["binDir"] == config.get("cni", {}).get("bin_dir", "/opt/cni/bin")
    assert made["logLevel"] == config.get("log_level", "error")
    assert made.get("logFile", "") == config.get("log_file", "")
    assert made.get("readinessindicatorfile", "") == config.get("readiness_indicator_file", "")
    assert made.get("namespaceIsolation", False) is config.get("namespace_isolation", False)
    assert made.get("globalNamespaces", "") == ",".join(config.get("global_namespaces", []))


# --- upgrade, removal -----------------------------------------------------------------------------------------------


def test_the_crd_outlives_the_package(everything: list[Manifest]) -> None:
    (crd,) = (m for m in everything if m["kind"] == "CustomResourceDefinition")
    assert crd["metadata"]["name"] == CRD
    assert annotations_of(crd)["kapp.k14s.io/delete-strategy"] == "orphan"
    assert annotations_of(crd)["kapp.k14s.io/change-group"] == CRDS


def test_pods_come_after_the_crd_and_go_before_their_rights(everything: list[Manifest]) -> None:
    found = one(everything, "DaemonSet", "multus-cni")
    rules = {annotations_of(found)[f"kapp.k14s.io/change-rule.{name}"] for name in ("crds", "rights")}
    assert rules == {f"upsert after upserting {CRDS}", f"delete before deleting {RIGHTS}"}
    assert deleted_between(found, RIGHTS)
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    groups = {(m["kind"], annotations_of(m).get("kapp.k14s.io/change-group")) for m in everything}
    assert {(kind, group) for kind, group in groups if kind in kinds} == {(kind, RIGHTS) for kind in kinds}


def test_a_change_of_the_settings_replaces_the_pods_and_one_of_labels_does_not(
    multus: StagedPackage, daemonset: Manifest, tmp_path: Path
) -> None:
    def template(values: dict[str, Any]) -> Any:
        return one(multus.manifests(write_values(tmp_path, values)), "DaemonSet", "multus-cni")["spec"]["template"]

    before = daemonset["spec"]["template"]
    assert template(nested("multus.config.log_level", "debug")) != before
    assert template(nested("labels", {"example.com/a": "b"})) == before
    assert template(nested("daemonset.args", ["--multus-conf-file=auto"])) == before


def test_every_value_does_something(multus: StagedPackage, tmp_path: Path) -> None:
    """Turn each option alone, to its value in the golden case `everything`, and compare the manifests."""
    strategy = "multus.config.update_strategy"
    alone = (nested(f"{strategy}.type", "OnDelete"), nested(f"{strategy}.rolling_update.max_surge", "25%"))
    values = merged(YAML(typ="safe").load((GOLDEN / "everything/values.yaml").read_text()), *alone, unused())
    rollout = nested(f"{strategy}.rolling_update", {"max_surge": 0, "max_unavailable": "50%"})
    needs = {f"{strategy}.rolling_update.max_unavailable": rollout}
    # The arguments of earlier packages say what it does anyway.
    left_out = {"namespace", "daemonset.args"}
    assert idle_options(multus, tmp_path, values, needs=needs, left_out=left_out) == []


def unused() -> dict[str, Any]:
    """Return what the golden case `everything` does not set."""
    preferred = "multus.config.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    return nested(preferred, [{"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}])
