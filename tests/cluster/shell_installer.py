"""What our node installer is measured against: the shell installer that today's packagings share, in words of our own.

It does what upstream's does: kubeconfig and configuration by `cat >` in place, the plugin by `cp -f`, and then the md5
sums of token and CA once a second. Its image is upstream's too, with busybox for Alpine: the four programs of the
pinned module, each a static binary of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import images, layout
from tests.cluster.errors import ClusterError
from tests.cluster.progress import say

if TYPE_CHECKING:
    from tests.cluster.plugin_stream import Place

Document = dict[str, Any]

NAME = "shell-installer"
NAMESPACE = "kube-system"
IMAGE = f"localhost/{NAME}:1"
UPSTREAM = "github.com/k8snetworkplumbingwg/whereabouts"
# What upstream calls the program of each of its main packages.
PROGRAMS = {
    "cmd": "whereabouts",
    "cmd/controlloop": "ip-control-loop",
    "cmd/reconciler": "ip-reconciler",
    "cmd/nodeslicecontroller": "node-slice-controller",
}
# The payload's own flags, so that what is compiled for one is found in Go's cache by the other.
SETTINGS = {
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
}
LDFLAGS = "-s -w"
# As upstream's manifest has it.
LIMITS = {"cpu": "100m", "memory": "200Mi"}

COMMON = """\
account=/var/run/secrets/kubernetes.io/serviceaccount
target=/host/etc/cni/net.d/whereabouts.d
host_target=$HOST_CONF_DIR/whereabouts.d

write_kubeconfig() {
    touch $target/whereabouts.kubeconfig
    chmod 600 $target/whereabouts.kubeconfig
    cat > $target/whereabouts.kubeconfig <<END
apiVersion: v1
kind: Config
clusters:
- name: this
  cluster:
    server: https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
    certificate-authority-data: $(base64 $account/ca.crt | tr -d '\\n')
users:
- name: plugin
  user:
    token: "$(cat $account/token)"
contexts:
- name: plugin
  context: {cluster: this, user: plugin, namespace: $NAMESPACE}
current-context: plugin
END
}

sum() {
    md5sum "$1" | awk '{print $1}'
}
"""
INSTALL = """\
set -eu
. /common.sh
mkdir -p $target
write_kubeconfig
touch $target/whereabouts.conf
chmod 600 $target/whereabouts.conf
cat > $target/whereabouts.conf <<END
{
  "datastore": "kubernetes",
  "configuration_path": "$host_target",
  "kubernetes": {"kubeconfig": "$host_target/whereabouts.kubeconfig"}
}
END
printf %s "$NODENAME" > $target/nodename
chmod 600 $target/nodename
cp -f /whereabouts /host/opt/cni/bin/
"""
WATCH = """\
set -eu
. /common.sh
token=$(sum $account/token)
ca=$(sum $account/ca.crt)
while true; do
    token_now=$(sum $account/token)
    ca_now=$(sum $account/ca.crt)
    if [ "$token_now" != "$token" ] || [ "$ca_now" != "$ca" ]; then
        write_kubeconfig
        token=$token_now
        ca=$ca_now
    fi
    sleep 1
done
"""
MOUNTS = ({"name": "bin", "mountPath": "/host/opt/cni/bin"}, {"name": "conf", "mountPath": "/host/etc/cni/net.d"})


def ensure_archive() -> Path:
    """Return the image as a docker archive, made if it is not there yet."""
    programs = ensure_programs()
    base = images.busybox(IMAGE)
    return images.ensure_archive(
        replace(
            base,
            files={**base.files, **{name: programs / name for name in PROGRAMS.values()}},
            texts={**base.texts, "common.sh": COMMON, "install.sh": INSTALL, "watch.sh": WATCH},
            # The level of our own image, whose size is compared with this one's.
            compression=6,
        )
    )


def container(place: Place, *command: str) -> Document:
    """Return the container that installs and then watches; `command` replaces what it does."""
    field = {"NODENAME": "spec.nodeName", "NAMESPACE": "metadata.namespace"}
    return {
        "name": "installer",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": list(command) or ["/bin/sh", "-c", "/bin/sh /install.sh && exec /bin/sh /watch.sh"],
        "env": [
            {"name": "HOST_CONF_DIR", "value": place.conf_dir},
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in field.items()),
        ],
        "securityContext": {"privileged": True},
        "volumeMounts": list(MOUNTS),
    }


def volumes(place: Place) -> list[Document]:
    """Return the host's directories that the container mounts."""
    paths = {"bin": place.bin_dir, "conf": place.conf_dir}
    return [{"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, path in paths.items()]


def pod_spec(place: Place) -> Document:
    """Return the spec of a pod that installs into `place`."""
    return {
        "hostNetwork": True,
        "serviceAccountName": NAME,
        "tolerations": [{"operator": "Exists"}],
        # As process 1 of its container a shell does not heed SIGTERM: upstream's pods end only when they are killed.
        "terminationGracePeriodSeconds": 1,
        "containers": [container(place)],
        "volumes": volumes(place),
    }


def daemon_set(place: Place, *, roll: int) -> Document:
    """Return the DaemonSet; each new `roll` replaces all pods, by Kubernetes' default strategy, which upstream uses."""
    labels = {"name": NAME}
    template = {"metadata": {"labels": labels, "annotations": {"roll": str(roll)}}, "spec": pod_spec(place)}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def account() -> list[Document]:
    """Return the service account whose token the plugin uses, with its rights."""
    role, group = {"name": NAME}, "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": role,
            "rules": [
                {"apiGroups": ["whereabouts.cni.cncf.io"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        },
    ]


def ensure_programs() -> Path:
    """Return the directory with upstream's four programs, built if they are not there yet."""
    module = max((layout.ROOT / "payload").glob("v*/go.mod"))
    directory = layout.BIN / f"upstream-{_key(module)}"
    if directory.is_dir():
        return directory
    say("building upstream's four programs; from cold caches about 1 min 30 s")
    layout.BIN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".upstream-", dir=layout.BIN) as scratch:
        output = Path(scratch) / "programs"
        output.mkdir()
        packages = [f"{UPSTREAM}/{package}" for package in PROGRAMS]
        argv = [_go(), "build", "-ldflags", LDFLAGS, "-o", f"{output}/", *packages]
        done = subprocess.run(
            argv, cwd=module.parent, env={**os.environ, **SETTINGS}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
        for package, name in PROGRAMS.items():
            # Go names a program after the last part of its package's path.
            (output / package.rpartition("/")[2]).rename(output / name)
        output.rename(directory)
    return directory


def _key(module: Path) -> str:
    version = subprocess.run([_go(), "version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(f"{version}{PROGRAMS}{SETTINGS}{LDFLAGS}".encode())
    for file in (module, module.with_name("go.sum")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _go() -> str:
    return str(Path(sys.prefix) / "bin" / "go")
