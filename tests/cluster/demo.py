"""The documented way from the published package to a ping, command by command, as a person would type it.

The clients `tanzu` and `kctrl` are not part of this project: where the documentation uses them, a step says which of
their commands its own stands for.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import images, layout, walk
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

PACKAGE = f"package/{walk.REF_NAME}.{walk.RELEASED}"
STATUS = "{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}"
RECONCILED = "--for=condition=ReconcileSucceeded --timeout=2m"


@dataclass(frozen=True, slots=True)
class Step:
    """A shell command, what it shows, and the client's command that it stands for, if any."""

    about: str
    command: str
    stands_for: str = ""


def publish(registry: str) -> Iterator[Step]:
    """Give the author's part."""
    for version in (walk.RELEASED, walk.NEXT):
        yield Step(
            f"Build {version} and push it to the cluster's registry; what was built before is used again.",
            f"carvelwright build --release {version} --to {registry}/packages",
        )


CHOOSE = (
    Step(
        "The repository that the build describes in dist/.",
        f"kubectl create namespace {walk.NAMESPACE}\n"
        f"kubectl apply -n {walk.NAMESPACE} -f dist/package-repository.yml\n"
        f"kubectl wait -n {walk.NAMESPACE} packagerepository/whereabouts-repository {RECONCILED}",
        "tanzu package repository add",
    ),
    Step(
        "What is there.",
        f"kubectl get packages -n {walk.NAMESPACE} "
        "-o custom-columns=NAME:.spec.refName,VERSION:.spec.version,RELEASED-AT:.spec.releasedAt",
        f"tanzu package available list {walk.REF_NAME}",
    ),
    Step(
        "What can be set: the schema as the API server has it, as the client's table.",
        f"kubectl get -n {walk.NAMESPACE} {PACKAGE} -o jsonpath='{{.spec.valuesSchema.openAPIv3}}' > schema.json\n"
        "carvelwright values table --format text --schema schema.json | head -n 16",
        f"tanzu package available get {walk.REF_NAME}/{walk.RELEASED} --values-schema",
    ),
    Step(
        "The default values, all of them comments.",
        "carvelwright values defaults --schema schema.json > whereabouts-data-values.yaml\n"
        "head -n 12 whereabouts-data-values.yaml",
        f"tanzu package available get {walk.REF_NAME}/{walk.RELEASED} --default-values-file-output …",
    ),
    Step(
        "Uncommented they mean the same, and can be edited.",
        "sed -i 's/^# \\{0,1\\}//' whereabouts-data-values.yaml\n"
        "carvelwright render -f whereabouts-data-values.yaml | grep '^kind:' | sort | uniq -c",
    ),
    Step(
        "A wrong value is refused before the cluster sees it.",
        "echo 'namespace: default' > wrong.yaml\ncarvelwright render -f wrong.yaml || echo \"exit code $?\"",
    ),
)
INSTALL = (
    Step(
        "The least rights that install it.",
        f"carvelwright rbac --release {walk.RELEASED} -f whereabouts-data-values.yaml | kubectl apply -f -",
    ),
    Step(
        "The install.",
        "kubectl apply -f examples/whereabouts/package-install.yaml\n"
        f"kubectl wait -n {walk.NAMESPACE} packageinstall/whereabouts {RECONCILED}",
        f"tanzu package install whereabouts -p {walk.REF_NAME} -v {walk.RELEASED} --values-file …",
    ),
    Step(
        "What came of it.",
        f"kubectl get -n {walk.NAMESPACE} packageinstall/whereabouts\n"
        "kubectl rollout status -n kube-system daemonset/whereabouts\n"
        "kubectl rollout status -n kube-system deployment/whereabouts-reconciler\n"
        "kubectl get pods -n kube-system -o wide",
        "tanzu package installed get whereabouts",
    ),
)
USE = (
    Step(
        "A macvlan network and three pods on two nodes; with the image that this cluster has.",
        "kubectl apply -f examples/whereabouts/network.yaml\n"
        f"sed 's,busybox:1.37,{images.BUSYBOX},' examples/whereabouts/pods.yaml | kubectl apply -f -\n"
        "kubectl wait --for=condition=Ready pod/pod0 pod/pod1 pod/pod2\n"
        "kubectl get pods -o wide",
    ),
    Step("A pod has lo, eth0 and net1.", "kubectl exec pod0 -- ip address show"),
    Step("Its annotation says the same.", f"kubectl get pod pod0 -o jsonpath='{STATUS}'\necho"),
    Step(
        "Over net1 it reaches the other pods, on its own node and on the other one.",
        "for pod in pod1 pod2; do\n"
        f"  ip=$(kubectl get pod $pod -o jsonpath='{STATUS}' | grep -o '192[.]168[.]20[.][0-9]*')\n"
        "  kubectl exec pod0 -- ping -c 3 -I net1 $ip\n"
        "done",
    ),
    Step("What is given out, and to whom.", "kubectl get ippools.whereabouts.cni.cncf.io -n kube-system -o yaml"),
)
CHANGE = (
    Step(
        "Another version; the pods stay.",
        f"carvelwright rbac --release {walk.NEXT} -f whereabouts-data-values.yaml | kubectl apply -f -\n"
        f"kubectl patch -n {walk.NAMESPACE} packageinstall/whereabouts --type=merge -p "
        f'\'{{"spec":{{"packageRef":{{"versionSelection":{{"constraints":"{walk.NEXT}"}}}}}}}}\'\n'
        f"kubectl wait -n {walk.NAMESPACE} packageinstall/whereabouts "
        f"--for=jsonpath='{{.status.version}}'={walk.NEXT}\n"
        f"kubectl wait -n {walk.NAMESPACE} packageinstall/whereabouts {RECONCILED}\n"
        "kubectl get pods --all-namespaces -o wide",
        f"tanzu package installed update whereabouts -v {walk.NEXT}",
    ),
    Step(
        "Away with it: pods first, then the package. Pools stay, so that no address is ever given out twice.",
        "kubectl delete -f examples/whereabouts/pods.yaml -f examples/whereabouts/network.yaml\n"
        f"kubectl delete -n {walk.NAMESPACE} packageinstall/whereabouts\n"
        "kubectl get daemonsets,deployments -n kube-system\n"
        "kubectl get ippools.whereabouts.cni.cncf.io -n kube-system",
        "tanzu package installed delete whereabouts",
    ),
)


def play(cluster: Cluster) -> None:
    """Walk all steps, each command printed before its output; raise at the first that fails."""
    directory = layout.RUN / "demo"
    walk.Project.stage(directory)
    (directory / "examples").symlink_to(layout.ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), cluster.binaries.search_path()])
    environment = {**cluster.environment(), "PATH": path}
    for number, step in enumerate((*publish(cluster.registry), *CHOOSE, *INSTALL, *USE, *CHANGE), start=1):
        _show(number, step)
        argv = cluster.control_plane.machine.on_network(["sh", "-ec", step.command])
        done = subprocess.run(argv, cwd=directory, env=environment, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise ClusterError(f"step {number} ended with exit code {done.returncode}: {shlex.quote(step.command)}")


def _show(number: int, step: Step) -> None:
    lines = [f"\n# {number}. {step.about}"]
    if step.stands_for:
        lines.append(f"#    This is: {step.stands_for}")
    first, *further = step.command.splitlines()
    sys.stdout.write("\n".join([*lines, f"$ {first}", *(f"  {line}" for line in further)]) + "\n")
    sys.stdout.flush()
