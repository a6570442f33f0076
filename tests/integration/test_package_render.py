"""What the package's manifests promise, whatever the values."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from carvelwright.platform import Platform
from carvelwright.project import config
from tests.cluster.versions import known, minor
from tests.helpers.manifests import (
    CLUSTER,
    HERE,
    WORKLOADS,
    Right,
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
from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

OLDEST = minor(known()[0])
NEWEST = kubernetes_validate.latest_version()


SLICES = nested("node_slice_controller.enabled", value=True)
POLICY = nested("network_policy.enabled", value=True)
METRICS = nested("ip_reconciler.config.metrics.enabled", value=True)
NOT_PRIVILEGED = nested("whereabouts.config.security_context.privileged", value=False)
PREFLIGHT_ON = nested("ip_reconciler.config.preflight", value=True)
PREFLIGHT_OFF = nested("ip_reconciler.config.preflight", value=False)


@pytest.fixture(scope="module")
def defaults(package: StagedPackage) -> list[Manifest]:
    return package.manifests()


@pytest.fixture(scope="module")
def everything(package: StagedPackage, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Render the golden case `everything` with preflight and without the last resort, privileged containers."""
    values = merged(golden_values("everything"), PREFLIGHT_ON, NOT_PRIVILEGED)
    return package.manifests(write_values(tmp_path_factory.mktemp("everything"), values))


def golden_values(case: str) -> dict[str, Any]:
    """Return the values of a golden case."""
    values: dict[str, Any] = YAML(typ="safe").load((ROOT / "tests/golden/render" / case / "values.yaml").read_text())
    return values


# --- valid Kubernetes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("pods.yaml", ["Pod"] * 3),
        ("package-install.yaml", ["Namespace", "Secret", "PackageInstall"]),
        ("cleanup.yaml", ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"]),
        ("cleanup-job.yaml", ["Job"]),
    ],
)
def test_examples_are_valid(name: str, kinds: list[str]) -> None:
    manifests = example(name)
    assert [manifest["kind"] for manifest in manifests] == kinds
    for manifest in manifests:
        if manifest["kind"] != "PackageInstall":
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(manifest, version, strict=True)


def test_names_that_others_rely_on(defaults: list[Manifest]) -> None:
    assert {m["metadata"]["name"] for m in workloads(defaults)} == {"whereabouts", "whereabouts-reconciler"}
    reconciler = one(defaults, "Deployment", "whereabouts-reconciler")
    assert reconciler["spec"]["template"]["metadata"]["labels"]["app"] == "whereabouts-reconciler"


def test_every_image_is_the_one_that_is_built(everything: list[Manifest]) -> None:
    images = {container["image"] for workload in workloads(everything) for container in containers(workload)}
    assert images == {"whereabouts"}


def test_everything_is_in_kube_system(everything: list[Manifest]) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for manifest in everything:
        expected = None if manifest["kind"] in cluster_wide else "kube-system"
        assert manifest["metadata"].get("namespace") == expected


# --- rights ---------------------------------------------------------------------------------------------------------

WB, NAD, CORE, LEASES = "whereabouts.cni.cncf.io", "k8s.cni.cncf.io", "", "coordination.k8s.io"
EXTENSIONS = "apiextensions.k8s.io"
# What each binary really uses, from its code: the table that the package must not go beyond.
PLUGIN = (
    rights(HERE, WB, "ippools", "get list create patch")
    | rights(HERE, WB, "overlappingrangeipreservations", "get create delete")
    | rights(HERE, WB, "nodeslicepools", "get")
    | rights(HERE, LEASES, "leases", "create")
)
OWN_LEASE = rights(HERE, LEASES, "leases", "get update watch", "whereabouts")
ANY_LEASE = rights(HERE, LEASES, "leases", "get update watch")
CONTROL_LOOP = (
    rights(CLUSTER, CORE, "nodes", "get")
    | rights(CLUSTER, CORE, "pods", "get list watch")
    | rights(CLUSTER, CORE, "events", "create patch")
    | rights(CLUSTER, WB, "ippools", "list watch")
    | rights(CLUSTER, NAD, "network-attachment-definitions", "list watch")
)
RECONCILER = (
    rights(CLUSTER, WB, "ippools", "delete list patch")
    | rights(CLUSTER, WB, "overlappingrangeipreservations", "list delete")
    | rights(CLUSTER, CORE, "pods", "get list")
    | rights(CLUSTER, CORE, "nodes", "list")
    # Preflight and audit, which run with this account too.
    | rights(CLUSTER, NAD, "network-attachment-definitions", "list")
)
# Besides, preflight lists pools and reservations, as the reconciler does.
PREFLIGHT = (
    # Their schemas; the first is Multus's, without which the control loop waits for ever. No list: the names are known.
    rights(CLUSTER, EXTENSIONS, "customresourcedefinitions", "get", "network-attachment-definitions.k8s.cni.cncf.io")
    | rights(CLUSTER, EXTENSIONS, "customresourcedefinitions", "get", "ippools.whereabouts.cni.cncf.io")
    | rights(CLUSTER, EXTENSIONS, "customresourcedefinitions", "get", "nodeslicepools.whereabouts.cni.cncf.io")
    | rights(
        CLUSTER,
        EXTENSIONS,
        "customresourcedefinitions",
        "get",
        "overlappingrangeipreservations.whereabouts.cni.cncf.io",
    )
    # What it found, as Events of its own pod. A name for what is created cannot be granted.
    | rights(HERE, CORE, "events", "create")
)
NODE_SLICES = (
    rights(HERE, WB, "nodeslicepools", "create update delete")
    | rights(CLUSTER, WB, "nodeslicepools", "list watch")
    | rights(CLUSTER, CORE, "nodes", "list watch")
    # What is wrong with a network attachment, told on it.
    | rights(CLUSTER, CORE, "events", "create patch")
    | rights(CLUSTER, NAD, "network-attachment-definitions", "list watch")
    | rights(CLUSTER, NAD, "network-attachment-definitions/finalizers", "update")
)


def test_rights_are_the_table(defaults: list[Manifest]) -> None:
    assert granted(defaults, "whereabouts") == PLUGIN | OWN_LEASE | CONTROL_LOOP
    assert granted(defaults, "whereabouts-reconciler") == RECONCILER | PREFLIGHT
    assert granted(defaults, "whereabouts-controller") == set()


def test_rights_with_node_slices_are_the_table(everything: list[Manifest]) -> None:
    assert granted(everything, "whereabouts") == PLUGIN | ANY_LEASE | CONTROL_LOOP | may_use("privileged")
    assert granted(everything, "whereabouts-reconciler") == RECONCILER | PREFLIGHT | may_use("nonroot-v2")
    assert granted(everything, "whereabouts-controller") == NODE_SLICES | may_use("nonroot-v2")


def may_use(scc: str) -> set[Right]:
    """Return the right to a SecurityContextConstraints of OpenShift."""
    return rights(HERE, "security.openshift.io", "securitycontextconstraints", "use", scc)


def test_a_right_to_a_scc_is_granted_to_those_whom_the_value_names(package: StagedPackage, tmp_path: Path) -> None:
    manifests = package.manifests(write_values(tmp_path, nested("openshift.node_scc", "hostaccess")))
    assert granted(manifests, "whereabouts") == PLUGIN | OWN_LEASE | CONTROL_LOOP | may_use("hostaccess")
    assert granted(manifests, "whereabouts-reconciler") == RECONCILER | PREFLIGHT
    manifests = package.manifests(write_values(tmp_path, nested("openshift.controllers_scc", "nonroot")))
    assert granted(manifests, "whereabouts") == PLUGIN | OWN_LEASE | CONTROL_LOOP
    assert granted(manifests, "whereabouts-reconciler") == RECONCILER | PREFLIGHT | may_use("nonroot")


def test_without_preflight_its_rights_go_too(package: StagedPackage, tmp_path: Path) -> None:
    manifests = package.manifests(write_values(tmp_path, PREFLIGHT_OFF))
    assert granted(manifests, "whereabouts-reconciler") == RECONCILER
    assert not any("preflight" in str(manifest) for manifest in manifests)
    spec = pod_spec(one(manifests, "Deployment", "whereabouts-reconciler"))
    assert "initContainers" not in spec
    assert [volume["name"] for volume in spec["volumes"]] == ["cron-schedule"]


def test_cleanup_may_only_ask_for_pools() -> None:
    manifests = example("cleanup.yaml")
    assert granted(manifests, "whereabouts-cleanup") == rights(CLUSTER, WB, "ippools", "list")
    assert pod_spec(example("cleanup-job.yaml")[0])["serviceAccountName"] == "whereabouts-cleanup"


def test_every_role_and_account_is_used(everything: list[Manifest]) -> None:
    assert roles_and_accounts_without_use(everything) == set()


# --- pods -----------------------------------------------------------------------------------------------------------

WRITES_HOST_FILES = {"install", "refresh"}


def test_no_container_has_more_than_it_needs(everything: list[Manifest]) -> None:
    for workload in workloads(everything):
        spec = pod_spec(workload)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostPID", "hostIPC", "shareProcessNamespace"}
        for container in containers(workload):
            context = {**spec["securityContext"], **container["securityContext"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert "privileged" not in context
            if container["name"] in WRITES_HOST_FILES:
                assert context["runAsUser"] == 0
            else:
                assert context["runAsNonRoot"] is True
                assert context["runAsUser"] == context["runAsGroup"] == 65532
                assert "add" not in context["capabilities"]


def test_capabilities_are_added_only_where_the_value_says(defaults: list[Manifest], everything: list[Manifest]) -> None:
    def added(manifests: list[Manifest]) -> dict[str, list[str]]:
        pairs = [(c["name"], c["securityContext"]["capabilities"]) for w in workloads(manifests) for c in containers(w)]
        return {name: capabilities["add"] for name, capabilities in pairs if "add" in capabilities}

    assert added(defaults) == {}
    assert added(everything) == {"install": ["DAC_OVERRIDE"], "refresh": ["DAC_OVERRIDE"]}


def test_selinux_options_and_privileged_reach_the_containers_that_write_and_no_other(
    everything: list[Manifest], package: StagedPackage, tmp_path: Path
) -> None:
    for container in (c for workload in workloads(everything) for c in containers(workload)):
        options = {"user": "system_u", "role": "system_r", "type": "spc_t", "level": "s0"}
        expected = options if container["name"] in WRITES_HOST_FILES else None
        assert container["securityContext"].get("seLinuxOptions") == expected
    values = merged(
        nested("whereabouts.config.security_context", {"privileged": True, "selinux_options": {"type": "t"}})
    )
    for workload in workloads(package.manifests(write_values(tmp_path, values))):
        for container in containers(workload):
            context = container["securityContext"]
            writes = container["name"] in WRITES_HOST_FILES
            # The API server refuses a privileged container that may not gain privileges.
            assert (context.get("privileged", False), context["allowPrivilegeEscalation"]) == (writes, writes)
            assert context.get("seLinuxOptions") == ({"type": "t"} if writes else None)


def test_host_directories_are_mounted_only_where_they_are_written(everything: list[Manifest]) -> None:
    for workload in workloads(everything):
        host = {volume["name"] for volume in pod_spec(workload)["volumes"] if "hostPath" in volume}
        for container in containers(workload):
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert bool(host & mounts.keys()) == (container["name"] in WRITES_HOST_FILES)
            writable = {name for name, mount in mounts.items() if name not in host and not mount.get("readOnly")}
            assert writable == ({"state"} if container["name"] == "refresh" else set())


def test_only_the_daemonset_uses_the_hosts_network(everything: list[Manifest]) -> None:
    on_host = [m["metadata"]["name"] for m in workloads(everything) if pod_spec(m).get("hostNetwork")]
    assert on_host == ["whereabouts"]


def test_tokens_are_mounted_by_pods_not_by_accounts(everything: list[Manifest]) -> None:
    accounts = [m for m in everything if m["kind"] == "ServiceAccount"]
    assert [account["automountServiceAccountToken"] for account in accounts] == [False] * 3
    assert all(pod_spec(workload)["automountServiceAccountToken"] is True for workload in workloads(everything))


def test_pods_end_quickly_and_tell_why_they_failed(everything: list[Manifest]) -> None:
    for workload in workloads(everything):
        assert pod_spec(workload)["terminationGracePeriodSeconds"] <= 5
        for container in containers(workload):
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_there_is_one_of_what_elects_no_leader(everything: list[Manifest]) -> None:
    deployments = [m["spec"] for m in everything if m["kind"] == "Deployment"]
    assert [(spec["replicas"], spec["strategy"]) for spec in deployments] == [(1, {"type": "Recreate"})] * 2


def test_no_cpu_limit_and_enough_memory_by_default(package: StagedPackage, tmp_path: Path) -> None:
    for workload in workloads(package.manifests(write_values(tmp_path, SLICES))):
        for container in containers(workload):
            assert container["resources"]["limits"].keys() == {"memory"}
            if container["name"] not in WRITES_HOST_FILES:
                assert container["resources"]["requests"]["memory"] == "100Mi"


def test_priority_by_default(defaults: list[Manifest]) -> None:
    classes = {m["kind"]: pod_spec(m)["priorityClassName"] for m in workloads(defaults)}
    assert classes == {"DaemonSet": "system-node-critical", "Deployment": "system-cluster-critical"}


def test_daemonset_is_everywhere_by_default(defaults: list[Manifest]) -> None:
    spec = pod_spec(one(defaults, "DaemonSet", "whereabouts"))
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_only_the_refresher_has_something_to_probe(everything: list[Manifest]) -> None:
    """Upstream's programs have no health endpoint, and to ask whether their process runs would prove nothing."""
    probed = {
        (container["name"], key)
        for workload in workloads(everything)
        for container in containers(workload)
        for key in container
        if key.endswith("Probe")
    }
    assert probed == {("refresh", "startupProbe"), ("refresh", "readinessProbe"), ("refresh", "livenessProbe")}


def refresher(manifests: list[Manifest]) -> dict[str, Any]:
    found = containers(one(manifests, "DaemonSet", "whereabouts"))
    return next(container for container in found if container["name"] == "refresh")


def test_probes_ask_where_the_refresher_listens(everything: list[Manifest]) -> None:
    container = refresher(everything)
    volumes = {volume["name"]: volume for volume in pod_spec(one(everything, "DaemonSet", "whereabouts"))["volumes"]}
    paths = {mount["mountPath"] for mount in container["volumeMounts"] if "emptyDir" in volumes[mount["name"]]}
    (flag,) = (argument for argument in container["args"] if argument.startswith("--state-dir="))
    assert paths == {flag.partition("=")[2]}
    questions = {"startupProbe": "liveness", "readinessProbe": "readiness", "livenessProbe": "liveness"}
    for probe, question in questions.items():
        assert container[probe]["exec"]["command"] == [container["command"][0], "probe", question, flag]
        # The probe gives up by itself after 3 s, and says why.
        assert container[probe]["timeoutSeconds"] > 3


def test_probes_start_fast_and_idle_cheap(everything: list[Manifest]) -> None:
    """A rolling update waits for each new pod; but a probe is a process, on each node, for ever."""
    container = refresher(everything)
    assert container["startupProbe"]["periodSeconds"] == 1
    assert container["startupProbe"]["failureThreshold"] >= 60
    assert "initialDelaySeconds" not in str(container)
    each_minute = sum(60 / container[probe]["periodSeconds"] for probe in ("readinessProbe", "livenessProbe"))
    assert each_minute < 2.5


def test_preflight_is_told_the_limits(package: StagedPackage, tmp_path: Path) -> None:
    def limits(values: Mapping[str, Any]) -> set[str]:
        manifests = package.manifests(write_values(tmp_path, values))
        preflight, _ = containers(one(manifests, "Deployment", "whereabouts-reconciler"))
        return {argument.removeprefix("--limit=") for argument in preflight["args"] if argument.startswith("--limit=")}

    loop, reconciler = "whereabouts.config.resources.limits", "ip_reconciler.config.resources.limits"
    assert limits({}) == {f"{loop}.memory=1Gi", f"{reconciler}.memory=1Gi"}
    low = merged(nested(f"{loop}.memory", "50Mi"), nested(f"{loop}.cpu", "100m"), nested(f"{reconciler}.memory", ""))
    assert limits(low) == {f"{loop}.memory=50Mi", f"{loop}.cpu=100m"}


def test_preflight_comes_before_the_reconciler_and_nowhere_else(everything: list[Manifest]) -> None:
    initial = {
        m["metadata"]["name"]: [c["name"] for c in pod_spec(m).get("initContainers", [])] for m in workloads(everything)
    }
    assert initial == {
        "whereabouts": ["install"],
        "whereabouts-reconciler": ["preflight"],
        "whereabouts-controller": [],
    }
    preflight, reconciler = containers(one(everything, "Deployment", "whereabouts-reconciler"))
    assert preflight["resources"] == reconciler["resources"]


def test_nothing_guards_single_pods_against_disruption(everything: list[Manifest]) -> None:
    """A budget of one would keep a node from being drained for ever, one of none protects nothing."""
    assert not any(manifest["kind"] == "PodDisruptionBudget" for manifest in everything)


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_installer("whereabouts-installer", tmp_path_factory.mktemp("installer"))


def test_the_installer_knows_every_command_and_flag(everything: list[Manifest], installer: Path) -> None:
    asked = []
    for workload in [*workloads(everything), *example("cleanup-job.yaml")]:
        for container in containers(workload):
            probes = [probe["exec"]["command"] for key, probe in container.items() if key.endswith("Probe")]
            commands: list[list[str]] = [container["command"] + container["args"], *probes]
            for command in commands:
                if command[0] == "/usr/local/bin/whereabouts-installer":
                    done = subprocess.run(
                        [installer, *command[1:], "--help"], capture_output=True, text=True, check=False
                    )
                    assert (done.returncode, done.stderr) == (0, ""), command
                    asked.append(command[1])
    assert sorted(asked) == ["cleanup", "install", "preflight", "probe", "probe", "probe", "refresh"]


def test_cleanup_looks_where_the_package_installs(defaults: list[Manifest]) -> None:
    (job,) = example("cleanup-job.yaml")
    (cleanup,), install = containers(job), containers(one(defaults, "DaemonSet", "whereabouts"))[0]
    flags = dict(argument.split("=", 1) for argument in install["args"])
    assert cleanup["args"] == [f"{name}={flags[name]}" for name in ("--bin-dir", "--conf-dir")]
    assert cleanup["securityContext"] == install["securityContext"]
    mounted = {mount["name"]: mount["mountPath"] for mount in cleanup["volumeMounts"]}
    assert mounted.items() <= {mount["name"]: mount["mountPath"] for mount in install["volumeMounts"]}.items()

    def host_paths(workload: Manifest) -> dict[str, str]:
        volumes = pod_spec(workload)["volumes"]
        return {volume["name"]: volume["hostPath"]["path"] for volume in volumes if "hostPath" in volume}

    assert host_paths(job) == host_paths(one(defaults, "DaemonSet", "whereabouts"))


# --- whereabouts.conf -----------------------------------------------------------------------------------------------


def conf(manifests: list[Manifest], edition: str) -> dict[str, Any]:
    text = one(manifests, "ConfigMap", "whereabouts-cni-conf")["data"][edition]
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_plugins_conf(everything: list[Manifest]) -> None:
    assert conf(everything, "whereabouts.conf") == {
        "allocation": "per-node",
        "datastore": "kubernetes",
        "kubernetes": {"kubeconfig": "/etc/kubernetes/cni/net.d/whereabouts.d/whereabouts.kubeconfig"},
        "configuration_path": "/etc/kubernetes/cni/net.d/whereabouts.d",
        "log_level": "debug",
        "log_file": "/var/log/whereabouts.log",
        "leader_lease_duration": 3000,
        "leader_renew_deadline": 2000,
        "leader_retry_period": 300,
    }


def test_plugins_conf_names_the_allocation_also_by_default(defaults: list[Manifest]) -> None:
    assert conf(defaults, "whereabouts.conf")["allocation"] == "lease"


def test_controllers_conf_leaves_their_logging_alone(everything: list[Manifest]) -> None:
    controllers = conf(everything, "controllers.conf")
    assert not controllers.keys() & {"allocation", "log_level", "log_file", "configuration_path"}
    assert controllers["kubernetes"]["kubeconfig"]
    assert controllers["leader_retry_period"] == 300


def test_conf_is_where_each_program_looks(everything: list[Manifest]) -> None:
    found: dict[tuple[str, str], str] = {}
    for workload in workloads(everything):
        volumes = {volume["name"]: volume for volume in pod_spec(workload)["volumes"]}
        for container in containers(workload):
            for mount in container["volumeMounts"]:
                assert "subPath" not in mount, "a subPath does not follow changes"
                items = volumes[mount["name"]].get("configMap", {}).get("items", [])
                found |= {(container["name"], f"{mount['mountPath']}/{item['path']}"): item["key"] for item in items}
    assert found == {
        ("install", "/etc/whereabouts/whereabouts.conf"): "whereabouts.conf",
        ("refresh", "/etc/whereabouts/whereabouts.conf"): "whereabouts.conf",
        ("preflight", "/etc/whereabouts/whereabouts.conf"): "whereabouts.conf",
        ("ip-control-loop", "/etc/cni/net.d/whereabouts.d/whereabouts.conf"): "controllers.conf",
        ("node-slice-controller", "/etc/cni/net.d/whereabouts.d/whereabouts.conf"): "controllers.conf",
        ("ip-reconciler", "/cron-schedule/config"): "cron-expression",
    }


def test_installer_is_told_the_mounted_and_the_real_directory(everything: list[Manifest]) -> None:
    workload = one(everything, "DaemonSet", "whereabouts")
    paths = {volume["name"]: volume.get("hostPath") for volume in pod_spec(workload)["volumes"]}
    assert paths["cni-bin-dir"] == {"path": "/var/lib/cni/bin", "type": "Directory"}
    assert paths["cni-conf-dir"] == {"path": "/etc/kubernetes/cni/net.d", "type": "DirectoryOrCreate"}
    for container in containers(workload):
        if container["name"] in WRITES_HOST_FILES:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            flags = dict(argument.split("=", 1) for argument in container["args"])
            assert flags["--bin-dir"] == mounts["cni-bin-dir"]
            assert flags["--conf-dir"] == mounts["cni-conf-dir"]
            assert flags["--host-conf-dir"] == "/etc/kubernetes/cni/net.d"
            assert flags["--config"] == f"{mounts['whereabouts-conf']}/whereabouts.conf"


def templates(manifests: Iterable[Manifest]) -> dict[str, Any]:
    return {m["metadata"]["name"]: m["spec"]["template"] for m in workloads(manifests)}


def changed_pods(package: StagedPackage, directory: Path, values: Mapping[str, Any]) -> set[str]:
    """Return the workloads whose pods are replaced when these values are set, with node slices on before and after."""
    before = templates(package.manifests(write_values(directory, SLICES)))
    after = templates(package.manifests(write_values(directory, merged(SLICES, values))))
    return {name for name, template in after.items() if template != before[name]}


@pytest.mark.parametrize(
    ("path", "value", "replaced"),
    [
        ("whereabouts.config.log_level", "debug", {"whereabouts"}),
        ("whereabouts.config.log_file", "/var/log/x.log", {"whereabouts"}),
        ("whereabouts.config.allocation", "per-node", {"whereabouts"}),
        ("whereabouts.config.leader_election.retry_period", 250, {"whereabouts", "whereabouts-controller"}),
        ("ip_reconciler.config.schedule", "@hourly", set()),
        ("labels", {"example.com/a": "b"}, set()),
        ("annotations", {"example.com/a": "b"}, set()),
    ],
)
def test_which_pods_a_change_replaces(
    path: str, value: object, replaced: set[str], package: StagedPackage, tmp_path: Path
) -> None:
    assert changed_pods(package, tmp_path, nested(path, value)) == replaced


# --- upgrade, removal -----------------------------------------------------------------------------------------------


CRDS = "whereabouts.tanzu.vmware.com/crds"
RIGHTS = "whereabouts.tanzu.vmware.com/rights"


def test_crds_outlive_the_package(everything: list[Manifest]) -> None:
    crds = [m for m in everything if m["kind"] == "CustomResourceDefinition"]
    assert {crd["spec"]["names"]["kind"] for crd in crds} == {
        "IPPool",
        "NodeSlicePool",
        "OverlappingRangeIPReservation",
    }
    for crd in crds:
        assert annotations_of(crd)["kapp.k14s.io/delete-strategy"] == "orphan"
        assert annotations_of(crd)["kapp.k14s.io/change-group"] == CRDS
        assert "subresources" not in crd["spec"]["versions"][0]


def test_pods_come_after_crds_and_go_before_rights(everything: list[Manifest]) -> None:
    for workload in workloads(everything):
        rules = {annotations_of(workload)[f"kapp.k14s.io/change-rule.{name}"] for name in ("crds", "rights")}
        assert rules == {f"upsert after upserting {CRDS}", f"delete before deleting {RIGHTS}"}
    groups = {(m["kind"], annotations_of(m).get("kapp.k14s.io/change-group")) for m in everything}
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    assert {kind for kind, group in groups if group == RIGHTS} == set(kinds)
    assert not any(kind in kinds and group != RIGHTS for kind, group in groups)


def test_kapp_deletes_the_daemonsets_pods_between_it_and_the_rights(everything: list[Manifest]) -> None:
    daemonset = one(everything, "DaemonSet", "whereabouts")
    assert deleted_between(daemonset, RIGHTS)


def test_the_plugin_has_its_rights_at_each_moment_of_a_migration(everything: list[Manifest]) -> None:
    of_the_plugin = f"{RIGHTS}-of-the-plugin"
    groups = {
        m["kind"] for m in everything if annotations_of(m).get("kapp.k14s.io/change-group.plugin") == of_the_plugin
    }
    assert groups == {"Role", "RoleBinding"}
    # Upstream's manifests give the rights of the Role by a ClusterRole of the name of ours, which grants less.
    (wide,) = (m for m in everything if (m["kind"], m["metadata"]["name"]) == ("ClusterRole", "whereabouts-cni"))
    assert annotations_of(wide)["kapp.k14s.io/change-rule.plugin"] == f"upsert after upserting {of_the_plugin}"


def test_nothing_is_versioned_by_kapp(everything: list[Manifest]) -> None:
    assert not any("kapp.k14s.io/versioned" in annotations_of(manifest) for manifest in everything)


def test_selectors_never_change(defaults: list[Manifest], everything: list[Manifest]) -> None:
    expected = {
        "whereabouts": {"name": "whereabouts"},
        "whereabouts-reconciler": {"name": "whereabouts-reconciler"},
        "whereabouts-controller": {"app": "whereabouts-controller"},
    }
    for manifests in (defaults, everything):
        for workload in workloads(manifests):
            selector = workload["spec"]["selector"]["matchLabels"]
            assert selector == expected[workload["metadata"]["name"]]
            assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def test_pods_go_to_the_architectures_that_were_built(tmp_path: Path, ytt: Path) -> None:
    built = stage(tmp_path / "config", ytt, (Platform.parse("linux/arm64"),))
    arm = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
    manifests = workloads(built.manifests(write_values(tmp_path, SLICES)))
    assert len(manifests) == 3
    for manifest in manifests:
        assert node_terms(manifest) == [{"matchExpressions": [arm]}]


def test_each_term_of_the_values_keeps_to_the_architectures(package: StagedPackage, tmp_path: Path) -> None:
    ours = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}
    disk = {"key": "example.com/disk", "operator": "Exists"}
    one_node = {"key": "metadata.name", "operator": "In", "values": ["one"]}
    required = nested(
        "whereabouts.config.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        [{"matchExpressions": [disk]}, {"matchFields": [one_node]}],
    )
    rendered = package.manifests(write_values(tmp_path, required))
    assert node_terms(one(rendered, "DaemonSet", "whereabouts")) == [
        {"matchExpressions": [disk, ours]},
        {"matchFields": [one_node], "matchExpressions": [ours]},
    ]


def test_metrics_are_served_reached_and_found_on_one_port(everything: list[Manifest], defaults: list[Manifest]) -> None:
    assert not any(manifest["kind"] == "Service" for manifest in defaults)
    service = one(everything, "Service", "whereabouts-reconciler")["spec"]
    reconciler = one(everything, "Deployment", "whereabouts-reconciler")
    (port,) = service["ports"]
    *_, container = containers(reconciler)
    assert service["selector"].items() <= reconciler["spec"]["template"]["metadata"]["labels"].items()
    assert "-metrics-address=:9101" in container["args"]
    assert container["ports"] == [{"name": port["targetPort"], "containerPort": port["port"], "protocol": "TCP"}]
    (ingress,) = one(everything, "NetworkPolicy", "whereabouts")["spec"]["ingress"]
    assert ingress == {"ports": [{"protocol": "TCP", "port": 9101}]}


def test_network_policy_selects_the_deployments_pods(everything: list[Manifest]) -> None:
    (expression,) = one(everything, "NetworkPolicy", "whereabouts")["spec"]["podSelector"]["matchExpressions"]
    pods = {m["spec"]["template"]["metadata"]["labels"]["app"]: m["kind"] for m in everything if m["kind"] in WORKLOADS}
    assert expression["key"] == "app"
    assert {app for app, kind in pods.items() if kind == "Deployment"} == set(expression["values"])


# --- values ---------------------------------------------------------------------------------------------------------


# What an option depends on, where it shows in no manifest by itself.
ROLLOUT = nested("whereabouts.config.update_strategy.rolling_update", {"max_surge": 0, "max_unavailable": "50%"})
NEEDS = {
    "ip_reconciler.config.metrics.port": METRICS,
    "network_policy.api_server": POLICY,
    "node_slice_controller.config.": SLICES,
    "whereabouts.config.update_strategy.rolling_update.max_unavailable": ROLLOUT,
}
ONLY_ONE_VALUE = {"namespace"}
# Where the value of the golden case `everything` is refused without others of that case.
ALONE = {
    "whereabouts.config.leader_election.renew_deadline": 900,
    "node_slice_controller.config.resources.requests.memory": "200Mi",
    "whereabouts.config.update_strategy.type": "OnDelete",
    "whereabouts.config.update_strategy.rolling_update.max_surge": "25%",
}


def test_every_value_does_something(package: StagedPackage, tmp_path: Path) -> None:
    """Turn each option alone, to its value in the golden case `everything`, and compare the manifests."""
    values = merged(golden_values("everything"), *(nested(path, value) for path, value in ALONE.items()))
    assert idle_options(package, tmp_path, values, needs=NEEDS, left_out=ONLY_ONE_VALUE) == []


# Fields of the templates that no value sets, and why: a new field is set by a value, or stands here.
FIXED = {
    r"spec\.(selector|podSelector)\..*": "immutable, and the package's own pods",
    r"spec\.(replicas|strategy\.type)": "two at once would do harm",
    r"spec\.(minReadySeconds|progressDeadlineSeconds)": "how long the pods take does not depend on the site",
    r"spec\.policyTypes.*|spec\.egress\[0\]\.ports\[0\]\.protocol": "what the policy is for",
    r"spec\.template\.metadata\.labels\.(app|name|tier)": "selectors and other programs rely on them",
    r"spec\.template\.metadata\.labels\.app\.kubernetes\.io/[a-z-]+": "what the release says of itself",
    r"spec\.template\.spec\.affinity\..*\.matchExpressions\[0\]\..*": "what the release was built for",
    r"spec\.template\.metadata\.annotations\.kubectl\.kubernetes\.io/default-container": "a default of kubectl's",
    r"spec\.template\.metadata\.annotations\.kapp\.k14s\.io/.*": "the order of an uninstall",
    r"spec\.template\.spec\.(hostNetwork|enableServiceLinks|serviceAccountName|automountServiceAccountToken)": "needs",
    r"spec\.template\.spec\.terminationGracePeriodSeconds": "the programs end at once",
    r".*\.securityContext\..*": "the least that works; what a site may need more, DAC_OVERRIDE, is a value",
    r".*ontainers\[[a-z-]+\]\.name": "what is meant by each container's values",
    r".*\.image": "pinned by digest; another registry comes with the relocated bundle",
    r".*\.(command|args)\[.*": "what the image's programs are asked to do",
    r".*\.env\[.*": "facts of the pod",
    r".*\.(startup|readiness|liveness)Probe\..*": "the installer's own times",
    r".*\.terminationMessagePolicy": "last words are always wanted",
    r".*\.volumeMounts\[.*": "where the image's programs look",
    r".*\.volumes\[.*\.(name|type|emptyDir\..*|configMap\..*)": "what is mounted; the host's directories are values",
    r"data\.(whereabouts|controllers)\.conf\.datastore": "the only one that works",
}


def fields(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Give every field below a value with its path; a list's items go by name, or by flag, where they have one."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from fields(child, f"{at}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            if isinstance(child, str) and child.startswith("-"):
                flag, _, setting = child.partition("=")
                yield f"{at}[{flag}]", setting
            else:
                yield from fields(child, f"{at}[{child.get('name', index) if isinstance(child, dict) else index}]")
    elif isinstance(value, str) and value.startswith("{"):
        yield from fields(json.loads(value), at)
    else:
        yield at, value


def template_fields(manifests: list[Manifest]) -> dict[str, Any]:
    """Return all fields that say how something runs: KIND NAME PATH."""
    return dict(
        item
        for manifest in manifests
        for part in ("spec", "data")
        if manifest["kind"] in (*WORKLOADS, "NetworkPolicy", "ConfigMap") and part in manifest
        for item in fields(manifest[part], f"{manifest['kind']} {manifest['metadata']['name']} {part}")
    )


def test_every_field_is_set_by_a_value_or_fixed_for_a_reason(
    package: StagedPackage, everything: list[Manifest], tmp_path: Path
) -> None:
    base = template_fields(package.manifests(write_values(tmp_path, merged(SLICES, POLICY))))
    on_delete = nested("whereabouts.config.update_strategy.type", "OnDelete")
    nothing = merged(golden_values("nothing"), POLICY, on_delete)
    others = [template_fields(everything), template_fields(package.manifests(write_values(tmp_path, nothing)))]
    untouched = [path for path, value in base.items() if all(other.get(path) == value for other in others)]
    reasons = {path: [fixed for fixed in FIXED if re.fullmatch(fixed, path.split(" ")[2])] for path in untouched}
    loose = [path for path, found in reasons.items() if not found]
    assert not loose, "\n".join(loose)
    assert {fixed for found in reasons.values() for fixed in found} == FIXED.keys(), "a reason without a field"


QUANTITIES = (
    "10Mi",
    "10485761",
    "20000k",
    "99.5Mi",
    "100Mi",
    "102400Ki",
    "102401Ki",
    "105M",
    "0.1G",
    "0.1Gi",
    "1Gi",
    "2G",
)


def in_bytes(quantity: str) -> float:
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    number = quantity.rstrip("kKMGi")
    return float(number) * units.get(quantity[len(number) :], 1)


@pytest.mark.parametrize("limit", QUANTITIES)
def test_default_request_is_never_above_a_limit(limit: str, package: StagedPackage, tmp_path: Path) -> None:
    values = nested("ip_reconciler.config.resources.limits.memory", limit)
    *_, container = containers(
        one(package.manifests(write_values(tmp_path, values)), "Deployment", "whereabouts-reconciler")
    )
    expected = "100Mi" if in_bytes(limit) >= in_bytes("100Mi") else limit
    assert container["resources"] == {"limits": {"memory": limit}, "requests": {"cpu": "100m", "memory": expected}}


@pytest.mark.parametrize(("limit", "request_"), [("50m", "50m"), ("0.05", "0.05"), ("0.1", "100m"), ("1", "100m")])
def test_default_cpu_request_is_never_above_a_limit(
    limit: str, request_: str, package: StagedPackage, tmp_path: Path
) -> None:
    values = nested("ip_reconciler.config.resources.limits.cpu", limit)
    *_, container = containers(
        one(package.manifests(write_values(tmp_path, values)), "Deployment", "whereabouts-reconciler")
    )
    assert container["resources"]["requests"]["cpu"] == request_


def test_own_labels_win_over_nothing_and_null_clears_the_defaults(package: StagedPackage, tmp_path: Path) -> None:
    def labels(values: Mapping[str, Any]) -> Any:
        found = one(package.manifests(write_values(tmp_path, values)), "ConfigMap", "whereabouts-config")
        return found["metadata"].get("labels")

    ours = labels({})
    assert labels({"labels": {"a": "b"}}) == {**ours, "a": "b"}
    assert labels({"labels": {"app.kubernetes.io/part-of": "net"}}) == {**ours, "app.kubernetes.io/part-of": "net"}
    assert labels({"labels": None}) == ours
    annotated = one(package.manifests(write_values(tmp_path, {"annotations": None})), "ConfigMap", "whereabouts-config")
    assert "annotations" not in annotated["metadata"]


COMPONENTS = {
    "DaemonSet whereabouts": "node",
    "ServiceAccount whereabouts": "node",
    "ConfigMap whereabouts-cni-conf": "node",
    "Deployment whereabouts-reconciler": "reconciler",
    "Service whereabouts-reconciler": "reconciler",
    "ConfigMap whereabouts-config": "reconciler",
    "Role whereabouts-preflight": "preflight",
    "Deployment whereabouts-controller": "node-slice-controller",
    "NetworkPolicy whereabouts": "network-policy",
    "CustomResourceDefinition ippools.whereabouts.cni.cncf.io": "crds",
}


def test_every_object_and_pod_has_the_recommended_labels(everything: list[Manifest]) -> None:
    version = str(config.load_package(ROOT).release(None).version)
    found = {}
    for manifest in everything:
        labelled = [manifest["metadata"]]
        labelled += [manifest["spec"]["template"]["metadata"]] if manifest["kind"] in WORKLOADS else []
        for metadata in labelled:
            labels = {key.removeprefix("app.kubernetes.io/"): value for key, value in metadata["labels"].items()}
            found[f"{manifest['kind']} {manifest['metadata']['name']}"] = labels["component"]
            assert labels["name"] == labels["part-of"] == "whereabouts"
            assert labels["managed-by"] == "carvel"
            assert labels["version"] == version.replace("+", "_")
    assert COMPONENTS.items() <= found.items()
