"""The one place for every component's flags and configuration; each function returns data and starts nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import images, layout
from tests.cluster.versions import numbers

if TYPE_CHECKING:
    from tests.cluster.binaries import Binaries
    from tests.cluster.pki import Authority

# Before, kube-proxy does nftables at most behind a feature gate.
NFTABLES_SINCE = (1, 31)
ETCD = "http://127.0.0.1:2379"
# Whose requests the API server records, and where: a JSON document in each line.
AUDIT_POLICY = Path(__file__).with_name("audit-policy.yaml")
AUDIT_LOG = layout.LOGS / "audit.jsonl"
# The file of the default network, in the CNI configuration directory of each node.
DEFAULT_NETWORK = "10-bridge.conflist"


@dataclass(frozen=True, slots=True)
class ControlPlaneFlags:
    """Command lines of the control plane."""

    binaries: Binaries
    ca: Authority
    front_proxy: Authority
    directory: Path

    def etcd(self) -> list[str]:
        """Return etcd, without TLS on the loopback of its own network namespace, and without waiting for the disk."""
        peer = "http://127.0.0.1:2380"
        return [
            str(self.binaries.path("etcd")),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def apiserver(self) -> list[str]:
        """Return kube-apiserver."""
        pki = self.ca.directory
        return [
            str(self.binaries.path("kube-apiserver")),
            f"--etcd-servers={ETCD}",
            f"--advertise-address={layout.CONTROL_PLANE_IP}",
            f"--secure-port={layout.API_PORT}",
            f"--service-cluster-ip-range={layout.SERVICE_CIDR}",
            f"--tls-cert-file={self.ca.crt('apiserver')}",
            f"--tls-private-key-file={self.ca.key('apiserver')}",
            f"--client-ca-file={self.ca.crt()}",
            "--authorization-mode=Node,RBAC",
            # The second as OpenShift has it: who names an owner must be allowed to hold up its end.
            "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            f"--kubelet-client-certificate={self.ca.crt('apiserver-kubelet')}",
            f"--kubelet-client-key={self.ca.key('apiserver-kubelet')}",
            f"--kubelet-certificate-authority={self.ca.crt()}",
            # Otherwise exec and logs look up the nodes' names in a DNS that is not there.
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={self.front_proxy.crt()}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={self.front_proxy.crt('front-proxy-client')}",
            f"--proxy-client-key-file={self.front_proxy.key('front-proxy-client')}",
            # No kube-proxy runs beside the API server: it must reach aggregated APIs by the pods' addresses.
            "--enable-aggregator-routing=true",
            "--profiling=false",
            f"--audit-policy-file={AUDIT_POLICY}",
            f"--audit-log-path={AUDIT_LOG}",
            # In MB; by default it would begin a new file at 100.
            "--audit-log-maxsize=10000",
        ]

    def controller_manager(self, kubeconfig: Path) -> list[str]:
        """Return kube-controller-manager."""
        return [
            str(self.binaries.path("kube-controller-manager")),
            *self._client(kubeconfig),
            f"--root-ca-file={self.ca.crt()}",
            f"--service-account-private-key-file={self.ca.directory / 'service-accounts.key'}",
            "--use-service-account-credentials",
            # It makes this directory, which by default lies outside of what is the machine's own.
            f"--flex-volume-plugin-dir={self.directory / 'volume-plugins'}",
            f"--cluster-signing-cert-file={self.ca.crt()}",
            f"--cluster-signing-key-file={self.ca.key()}",
        ]

    def scheduler(self, kubeconfig: Path) -> list[str]:
        """Return kube-scheduler."""
        return [str(self.binaries.path("kube-scheduler")), *self._client(kubeconfig)]

    def api_socket(self, kubeconfig: Path, socket: Path) -> list[str]:
        """Return `kubectl proxy` on a socket file, by which the tests reach the API from outside of the network."""
        return [
            str(self.binaries.path("kubectl")),
            f"--kubeconfig={kubeconfig}",
            "proxy",
            f"--unix-socket={socket}",
        ]

    def registry(self, address: str, storage: Path) -> list[str]:
        """Return an OCI registry over plain HTTP, which finds again what it held when it was stopped."""
        return [str(self.binaries.path("registry")), address, str(storage)]

    @staticmethod
    def _client(kubeconfig: Path) -> list[str]:
        kinds = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        flags = [f"--{kind}={kubeconfig}" for kind in kinds]
        return [*flags, "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"]


def containerd_config() -> str:
    """Return containerd's configuration, in TOML."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # Without CAP_SYS_RESOURCE, runc cannot lower the score that kubelet asks for.
  restrict_oom_score_adj = true
  max_concurrent_downloads = 4
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def registry_hosts(registry: str) -> str:
    """Return the hosts.toml that sends pulls to a plain-HTTP registry."""
    return f'server = "http://{registry}"\n\n[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n'


def kubelet_config(name: str, ca: Authority, cgroup_root: str) -> str:
    """Return kubelet's configuration, in JSON."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(ca.crt())},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(ca.crt(name)),
            "tlsPrivateKeyFile": str(ca.key(name)),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            # Processes without CAP_SYS_RESOURCE cannot lower their score.
            "oomScoreAdj": 0,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup_root}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # No DNS in this cluster: everything goes by addresses.
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            "maxPods": 250,
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "4s",
            "logging": {"verbosity": 1},
        }
    )


def kubelet(binaries: Binaries, name: str, address: str, config: Path, kubeconfig: Path) -> list[str]:
    """Return kubelet."""
    return [
        str(binaries.path("kubelet")),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={name}",
        f"--node-ip={address}",
        "--cert-dir=/var/lib/kubelet/pki",
    ]


def kube_proxy_config(name: str, kubeconfig: Path, version: str) -> str:
    """Return kube-proxy's configuration, in JSON, for this version of Kubernetes."""
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables" if numbers(version) >= NFTABLES_SINCE else "iptables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "hostnameOverride": name,
            "clusterCIDR": layout.POD_CIDR,
            "oomScoreAdj": 0,
            # These settings belong to the whole host and cannot be written from a network namespace.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )


def kube_proxy(binaries: Binaries, config: Path) -> list[str]:
    """Return kube-proxy."""
    return [str(binaries.path("kube-proxy")), f"--config={config}"]


def default_network(pods: str) -> str:
    """Return the node's CNI configuration: a bridge for the pods' first interface, in range `pods`, as JSON."""
    bridge = {
        "type": "bridge",
        "bridge": "cbr0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return _json({"cniVersion": "0.4.0", "name": "cbr0", "plugins": [bridge, portmap]})


def node_mounts(name: str, directory: Path) -> str:
    """Return the fstab of a node: its own /etc, /opt, /run, /var/lib and /var/log, so that the host's stay untouched.

    The directories that hold images and pods lie on the disk, since overlayfs cannot be stacked on itself at will; the
    build directory is bound to its own path again, in case the checkout lies in one of the directories just covered.
    """
    build = layout.BUILD
    lines = [
        f"{build} /mnt none rbind",
        f"overlay /etc overlay lowerdir=/etc,upperdir={directory}/etc,workdir={directory}/etc.work",
        *(f"tmpfs {path} tmpfs mode=0755" for path in ("/opt", "/run", "/var/lib", "/var/log")),
        f"/mnt {build} none rbind,x-mount.mkdir",
        *(f"{directory}/{leaf} /var/lib/{leaf} none bind,x-mount.mkdir" for leaf in ("containerd", "kubelet")),
        f"{directory}/cni-bin /opt/cni/bin none bind,x-mount.mkdir",
        f"{directory}/log /var/log none bind",
        # kubelet writes these, and they hold for the whole host: it finds files that have the values it wants already.
        *(f"{directory}/sysctl/{key} /proc/sys/{key} none bind" for key in KUBELET_SYSCTLS),
    ]
    return f"# mounts of {name}\n" + "\n".join(lines) + "\n"


KUBELET_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2)
