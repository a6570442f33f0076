"""What the demo does, as data: the operator's documented walk, chapter by chapter, as a person would type it.

docs/how-to/walk-on-a-cluster.md is made of it. The clients `tanzu` and `kctrl` are not part of this project: where the
documentation uses them, a step says which of their commands its own stands for.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster import air_gap, layout, pods, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.cluster.cluster import Cluster

REGISTRY = f"{layout.CONTROL_PLANE_IP}:{layout.REGISTRY_PORT}"
PACKAGE = f"package/{walk.REF_NAME}.{walk.RELEASED}"
INSTALL = f"-n {walk.NAMESPACE} packageinstall/whereabouts"
MULTUS = f"-n {walk.NAMESPACE} packageinstall/multus-cni"
STATUS = "{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}"
USEFUL_ERROR = f"kubectl get {INSTALL} -o jsonpath='{{.status.usefulErrorMessage}}'"
RECONCILED = "--for=condition=ReconcileSucceeded --timeout=5m"
FAILED = "--for=condition=ReconcileFailed --timeout=5m"
POOLS = "ippools.whereabouts.cni.cncf.io"
ALLOCATED = '{range .spec.allocations.*}{.podref}{" "}{.ifname}{"\\n"}{end}'


@dataclass(frozen=True, slots=True)
class Step:
    """A shell command, what it shows, and the client's command that it stands for, if any."""

    about: str
    command: str
    stands_for: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that belong together; `during` is what happens to the cluster meanwhile, by no command of theirs."""

    title: str
    about: str
    steps: tuple[Step, ...]
    during: Callable[[Cluster], AbstractContextManager[None]] | None = None


@contextmanager
def _in_the_gap(cluster: Cluster) -> Iterator[None]:
    with air_gap.site_registry(cluster), air_gap.first_registry_gone(cluster):
        air_gap.forget_images(cluster, f"{cluster.registry}/packages/")
        yield


def _values(file: str) -> str:
    """Return the command that gives the package other values."""
    return (
        f"kubectl create secret generic whereabouts-values -n {walk.NAMESPACE} "
        f"--from-file=values.yaml={file} --dry-run=client -o yaml | kubectl apply -f -"
    )


def _version(version: str) -> str:
    """Return the command that asks for a version of the package."""
    patch = f'{{"spec":{{"packageRef":{{"versionSelection":{{"constraints":"{version}"}}}}}}}}'
    return f"kubectl patch {INSTALL} --type=merge -p '{patch}'"


def _run(network: str, *names: str) -> str:
    """Return the commands that run pods on a network and wait for them."""
    run = f"--image=busybox:1.37 --annotations={pods.NETWORKS}={network} -- sleep 1000000"
    wait = f"kubectl wait --for=condition=Ready {' '.join(f'pod/{name}' for name in names)} --timeout=5m"
    return "\n".join([*(f"kubectl run {name} {run}" for name in names), wait])


def _addresses(*names: str) -> str:
    """Return the command that shows what the pods have on net1."""
    return f"for pod in {' '.join(names)}; do kubectl exec $pod -- ip -o address show dev net1 scope global; done"


PUBLISH = Chapter(
    "Publish and list",
    f"{REGISTRY} is the registry that this cluster runs for itself; use your own in its place. "
    f"{walk.NEXT} is a release that the walk adds to the project, to have something to upgrade to.",
    (
        *(
            Step(
                f"Build {product.name} {version} and push it.",
                f"carvelwright build {product.name} --release {version} --to {REGISTRY}/packages",
            )
            for product, version in (
                (walk.MULTUS, walk.MULTUS.released),
                (walk.WHEREABOUTS, walk.RELEASED),
                (walk.WHEREABOUTS, walk.NEXT),
            )
        ),
        Step(
            "Add the repository. Its resource names no tag, so that the cluster follows what is published later.",
            f"kubectl create namespace {walk.NAMESPACE}\n"
            f"carvelwright repository resource {REGISTRY}/packages --follow --name {walk.REPOSITORY} > follow.yml\n"
            f"kubectl apply -n {walk.NAMESPACE} -f follow.yml\n"
            f"kubectl wait -n {walk.NAMESPACE} packagerepository/{walk.REPOSITORY} {RECONCILED}",
            f"tanzu package repository add {walk.REPOSITORY} --url {REGISTRY}/packages/package-repository",
        ),
        Step(
            "What is there.",
            f"kubectl get packages -n {walk.NAMESPACE} "
            "-o custom-columns=NAME:.spec.refName,VERSION:.spec.version,RELEASED-AT:.spec.releasedAt",
            f"tanzu package available list {walk.REF_NAME}",
        ),
        Step(
            "One file with all of it, for sites without a network.",
            f"carvelwright archive {REGISTRY}/packages --all --output packages.tar",
        ),
    ),
)
VALUES = Chapter(
    "Values",
    "The schema in the Package is where every client gets its table and its default values from.",
    (
        Step(
            "What can be set, cut to the width of a page.",
            f"kubectl get -n {walk.NAMESPACE} {PACKAGE} -o jsonpath='{{.spec.valuesSchema.openAPIv3}}' > schema.json\n"
            "carvelwright values table --format text --schema schema.json | tr -s ' ' | cut -c 1-120 | head -n 16",
            f"tanzu package available get {walk.REF_NAME}/{walk.RELEASED} --values-schema",
        ),
        Step(
            "The default values, all of them comments.",
            "carvelwright values defaults --schema schema.json > whereabouts-data-values.yaml\n"
            "head -n 12 whereabouts-data-values.yaml",
            f"tanzu package available get {walk.REF_NAME}/{walk.RELEASED} "
            "--default-values-file-output whereabouts-data-values.yaml",
        ),
        Step(
            "Stripped of its comments nothing is left of the file but a newline: the defaults again.",
            "cp whereabouts-data-values.yaml stripped.yaml\n"
            "yq -i eval '... comments=\"\"' stripped.yaml\n"
            "wc -c stripped.yaml",
        ),
        Step(
            "Uncommented it means the same and can be edited: all three give the same manifests.",
            "cp whereabouts-data-values.yaml uncommented.yaml\n"
            "sed -i 's/^# \\{0,1\\}//' uncommented.yaml\n"
            "head -n 4 uncommented.yaml\n"
            "for file in whereabouts-data-values.yaml stripped.yaml uncommented.yaml; do\n"
            f"  carvelwright render --release {walk.RELEASED} -f $file | sha256sum\n"
            "done",
        ),
        Step(
            "A wrong value is refused before the cluster sees it.",
            "echo 'namespace: default' > wrong.yaml\ncarvelwright render -f wrong.yaml || echo \"exit code $?\"",
        ),
    ),
)
INSTALLED = Chapter(
    "Install",
    "Multus and then Whereabouts, with the same commands. package-install.yaml of "
    "[Multus](../../examples/multus-cni/package-install.yaml) and "
    "[Whereabouts](../../examples/whereabouts/package-install.yaml) holds a Secret with the values and the "
    "PackageInstall, for a service account that may do what this package needs and nothing else.",
    (
        Step(
            "The nodes have the default network only.",
            "kubectl get crd -o name | grep -c network-attachment || true\n"
            "kubectl run before --image=busybox:1.37 -- sleep 1000000\n"
            "kubectl wait --for=condition=Ready pod/before --timeout=5m\n"
            "kubectl exec before -- ls /sys/class/net",
        ),
        Step(
            "Multus, with the least rights that install it.",
            f"carvelwright rbac --package multus-cni --release {walk.MULTUS.released} | kubectl apply -f -\n"
            f"kubectl apply -f examples/multus-cni/package-install.yaml\nkubectl wait {MULTUS} {RECONCILED}",
            f"tanzu package install multus-cni -p {walk.MULTUS.ref_name} -v {walk.MULTUS.released} "
            "--service-account-name multus-cni-installer",
        ),
        Step(
            "Which file of the nodes is the default network, and why.",
            "kubectl rollout status -n kube-system daemonset/multus-cni\n"
            "kubectl exec -n kube-system daemonset/multus-cni -c refresh -- "
            "multus-installer probe state --state-dir=/run/multus",
        ),
        Step(
            "The least rights that install Whereabouts.",
            f"carvelwright rbac --release {walk.RELEASED} -f uncommented.yaml | kubectl apply -f -",
        ),
        Step(
            "The install.",
            f"kubectl apply -f examples/whereabouts/package-install.yaml\nkubectl wait {INSTALL} {RECONCILED}",
            f"tanzu package install whereabouts -p {walk.REF_NAME} -v {walk.RELEASED} "
            "--values-file whereabouts-data-values.yaml --service-account-name whereabouts-installer",
        ),
        Step(
            "What came of it.",
            f"kubectl get {INSTALL}\n"
            "kubectl rollout status -n kube-system daemonset/whereabouts\n"
            "kubectl rollout status -n kube-system deployment/whereabouts-reconciler\n"
            "kubectl get pods -n kube-system -o wide",
            "tanzu package installed get whereabouts",
        ),
        Step(
            "The account may change what belongs to the package, and not its neighbour.",
            f"account=system:serviceaccount:{walk.NAMESPACE}:whereabouts-installer\n"
            "kubectl auth can-i update daemonsets/whereabouts -n kube-system --as=$account\n"
            "kubectl auth can-i update daemonsets/kube-proxy -n kube-system --as=$account || true\n"
            "kubectl auth can-i get secrets -n kube-system --as=$account || true",
        ),
    ),
)
REFUSED = Chapter(
    "Wrong values",
    "Neither client nor server look at the schema: ytt refuses, when kapp-controller renders the package. "
    "Nothing on the cluster changes then.",
    (
        Step(
            "A namespace other than kube-system, and a schedule of four fields.",
            "cat > wrong.yaml <<'EOF'\n"
            "namespace: default\n"
            "ip_reconciler:\n"
            "  config:\n"
            '    schedule: "*/5 * * *"\n'
            "EOF\n"
            f"{_values('wrong.yaml')}\n"
            f"kubectl wait {INSTALL} {FAILED}\n"
            f"{USEFUL_ERROR}",
            "tanzu package installed update whereabouts --values-file wrong.yaml",
        ),
        Step(
            "The right ones again.",
            f"{_values('uncommented.yaml')}\nkubectl wait {INSTALL} {RECONCILED}",
            "tanzu package installed update whereabouts --values-file uncommented.yaml",
        ),
        Step(
            "A key that is not there.",
            "cat > wrong.yaml <<'EOF'\n"
            "whereabouts:\n"
            "  config:\n"
            "    log_lvl: debug\n"
            "EOF\n"
            f"{_values('wrong.yaml')}\n"
            f"kubectl wait {INSTALL} {FAILED}\n"
            f"{USEFUL_ERROR}",
        ),
        Step("The right ones again.", f"{_values('uncommented.yaml')}\nkubectl wait {INSTALL} {RECONCILED}"),
        Step(
            "A value of the wrong type.",
            "cat > wrong.yaml <<'EOF'\n"
            "whereabouts:\n"
            "  config:\n"
            "    resources:\n"
            "      limits:\n"
            "        memory: 1\n"
            "EOF\n"
            f"{_values('wrong.yaml')}\n"
            f"kubectl wait {INSTALL} {FAILED}\n"
            f"{USEFUL_ERROR}",
        ),
        Step(
            "The right ones again. The DaemonSet is in its first generation still: nothing of all this has reached it.",
            f"{_values('uncommented.yaml')}\nkubectl wait {INSTALL} {RECONCILED}\n"
            "kubectl get -n kube-system daemonset/whereabouts -o custom-columns=GENERATION:.metadata.generation",
        ),
    ),
)
USE = Chapter(
    "Pods and a ping",
    "[network.yaml](../../examples/whereabouts/network.yaml) is a macvlan network, "
    "[pods.yaml](../../examples/whereabouts/pods.yaml) are three pods on two nodes.",
    (
        Step(
            "The network and the pods.",
            "kubectl apply -f examples/whereabouts/network.yaml -f examples/whereabouts/pods.yaml\n"
            "kubectl wait --for=condition=Ready pod/pod0 pod/pod1 pod/pod2 --timeout=5m\n"
            "kubectl get pods -o wide",
        ),
        Step("A pod has lo, eth0 and net1.", "kubectl exec pod0 -- ip address show"),
        Step("Its annotation says the same.", f"kubectl get pod pod0 -o jsonpath='{STATUS}'"),
        Step(
            "Over net1 it reaches the other pods, on its own node and on the other one.",
            "for pod in pod1 pod2; do\n"
            f"  ip=$(kubectl get pod $pod -o jsonpath='{STATUS}' | grep -o '192[.]168[.]20[.][0-9]*')\n"
            "  kubectl exec pod0 -- ping -c 3 -I net1 $ip\n"
            "done",
        ),
        Step("What is given out, and to whom.", f"kubectl get {POOLS} -n kube-system -o yaml"),
    ),
)
NETWORKS = Chapter(
    "Other networks",
    "[more-networks.yaml](../../examples/whereabouts/more-networks.yaml) has one of each kind.",
    (
        Step("The networks.", "kubectl apply -f examples/whereabouts/more-networks.yaml"),
        Step("IPv6.", f"{_run('ipv6', 'six1', 'six2')}\n{_addresses('six1', 'six2')}"),
        Step(
            "Dual stack: an address of each family.",
            f"{_run('dual-stack', 'dual1', 'dual2')}\n{_addresses('dual1', 'dual2')}",
        ),
        Step(
            "Two ranges that overlap: each address is reserved in the whole cluster, so none is given out twice.",
            f"{_run('narrow', 'narrow1')}\n{_run('wide', 'wide1')}\n{_addresses('narrow1', 'wide1')}\n"
            "kubectl get overlappingrangeipreservations.whereabouts.cni.cncf.io -n kube-system "
            "-o custom-columns=ADDRESS:.metadata.name,POD:.spec.podref",
        ),
        Step(
            "Two networks of different names may use the same addresses.",
            f"{_run('blue', 'blue1')}\n{_run('red', 'red1')}\n{_addresses('blue1', 'red1')}",
        ),
        Step(
            "An exhausted range. The third pod does not start, and its event says why.",
            f"{_run('tiny', 'tiny1', 'tiny2')}\n"
            f"kubectl run tiny3 --image=busybox:1.37 --annotations={pods.NETWORKS}=tiny -- sleep 1000000\n"
            "until kubectl get events --field-selector=involvedObject.name=tiny3,reason=FailedCreatePodSandBox "
            "-o jsonpath='{.items[*].message}' |\n"
            "  grep -o 'Could not allocate IP in range[^\"]*'; do sleep 1; done\n"
            "kubectl get pod tiny3",
        ),
        Step(
            "When a pod goes, the one that waits has its address.",
            "kubectl delete pod tiny1 --grace-period=1\n"
            "kubectl wait --for=condition=Ready pod/tiny3 --timeout=5m\n"
            f"{_addresses('tiny2', 'tiny3')}",
        ),
        Step(
            "A [StatefulSet](../../examples/whereabouts/stateful-set.yaml), scaled up.",
            "kubectl apply -f examples/whereabouts/stateful-set.yaml\n"
            "kubectl scale statefulset/web --replicas=4\n"
            "kubectl rollout status statefulset/web\n"
            f"{_addresses('web-0', 'web-1', 'web-2', 'web-3')}",
        ),
        Step(
            "And down: the addresses come back.",
            "kubectl scale statefulset/web --replicas=1\n"
            "kubectl wait --for=delete pod/web-1 pod/web-2 pod/web-3\n"
            f"while kubectl get {POOLS} -n kube-system 192.168.25.0-24 -o yaml | grep -q web-[123]; do sleep 1; done\n"
            f"kubectl get {POOLS} -n kube-system 192.168.25.0-24 -o jsonpath='{ALLOCATED}'",
        ),
        Step(
            "Pods that are deleted while all of Whereabouts is down: nobody takes their addresses back.",
            "kubectl patch -n kube-system daemonset/whereabouts --type=merge "
            '-p \'{"spec":{"template":{"spec":{"nodeSelector":{"no":"node"}}}}}\'\n'
            "kubectl scale -n kube-system deployment/whereabouts-reconciler --replicas=0\n"
            "kubectl wait -n kube-system --for=delete pod -l 'name in (whereabouts, whereabouts-reconciler)' "
            "--timeout=5m\n"
            "sleep 15  # for so long the API server may still take the plugin's credentials\n"
            "kubectl delete pod six1 six2 --grace-period=0 --force\n"
            f"kubectl get {POOLS} -n kube-system fd00-20---112 -o jsonpath='{ALLOCATED}'",
        ),
        Step(
            "Other values bring it up again. The reconciler finds what is lost, at once on a schedule like this.",
            "cat > often.yaml <<'EOF'\n"
            "ip_reconciler:\n"
            "  config:\n"
            '    schedule: "@every 10s"\n'
            "EOF\n"
            f"{_values('often.yaml')}\n"
            f"while kubectl get {POOLS} -n kube-system fd00-20---112 -o yaml | grep -q default/six; do sleep 1; done\n"
            f"kubectl get {POOLS} -n kube-system fd00-20---112 -o jsonpath='{{.spec}}{{\"\\n\"}}'\n"
            "kubectl get -n kube-system daemonset/whereabouts deployment/whereabouts-reconciler",
            "tanzu package installed update whereabouts --values-file often.yaml",
        ),
        Step(
            "Enough of these.",
            "kubectl delete statefulset/web pod/dual1 pod/dual2 pod/narrow1 pod/wide1 pod/blue1 pod/red1 pod/tiny2 "
            "pod/tiny3 --grace-period=1",
        ),
    ),
)
UPGRADE = Chapter(
    "Upgrade, and back",
    "The pods of chapter 5 run on.",
    (
        Step(
            "Another version.",
            f"carvelwright rbac --release {walk.NEXT} -f uncommented.yaml | kubectl apply -f -\n"
            f"{_version(walk.NEXT)}\n"
            f"kubectl wait {INSTALL} --for=jsonpath='{{.status.version}}'={walk.NEXT} --timeout=5m\n"
            f"kubectl wait {INSTALL} {RECONCILED}\n"
            "kubectl get pods --all-namespaces -l 'name=whereabouts' -o wide\n"
            "kubectl get pods",
            f"tanzu package installed update whereabouts -v {walk.NEXT}",
        ),
        Step(
            "The way back is refused until the PackageInstall says that it is meant.",
            f"{_version(walk.RELEASED)}\nkubectl wait {INSTALL} {FAILED}\n{USEFUL_ERROR}",
        ),
        Step(
            "Meant.",
            f"kubectl annotate {INSTALL} {walk.DOWNGRADABLE}=\n"
            f"kubectl wait {INSTALL} --for=jsonpath='{{.status.version}}'={walk.RELEASED} --timeout=5m\n"
            f"kubectl wait {INSTALL} {RECONCILED}\n"
            f"kubectl get {INSTALL}\n"
            f"{_addresses('pod0', 'pod1', 'pod2')}",
        ),
    ),
)
REINSTALL = Chapter(
    "Delete, and install again",
    "Pods run on, and nothing is forgotten: CRDs, pools and the plugin on the nodes stay.",
    (
        Step(
            "Away with the package.",
            f"kubectl delete {INSTALL}\n"
            "kubectl get daemonsets,deployments -n kube-system\n"
            "kubectl get crd -o name | grep whereabouts\n"
            f"{_addresses('pod0', 'pod1', 'pod2')}",
            "tanzu package installed delete whereabouts",
        ),
        Step(
            "Installed again, it gives out none of the addresses that are in use.",
            "kubectl apply -f examples/whereabouts/package-install.yaml\n"
            f"kubectl wait {INSTALL} {RECONCILED}\n"
            f"{_run('macvlan-conf', 'pod3')}\n"
            f"{_addresses('pod0', 'pod1', 'pod2', 'pod3')}",
        ),
        Step(
            "To uninstall for good, pods go first.",
            "kubectl delete pod before pod0 pod1 pod2 pod3 --grace-period=1\n"
            f"kubectl delete {INSTALL}\n"
            f"kubectl get {POOLS} -n kube-system 192.168.20.0-24 -o jsonpath='{{.spec}}'",
        ),
    ),
)
GAP = Chapter(
    "Air gap",
    f"Now {REGISTRY} is stopped, a firewall refuses its port, and the nodes have forgotten the package's images. "
    f"{air_gap.SITE} is an empty registry: the site's own.",
    (
        Step(
            "Publish the file to the site's registry. It is verified before, and again where it lies then.",
            f"carvelwright relocate packages.tar {air_gap.SITE}/site/packages",
        ),
        Step(
            "The repository, by its new place.",
            f"kubectl delete -n {walk.NAMESPACE} packagerepository/{walk.REPOSITORY}\n"
            f"carvelwright repository resource {air_gap.SITE}/site/packages --name {walk.REPOSITORY} > site.yml\n"
            f"kubectl apply -n {walk.NAMESPACE} -f site.yml\n"
            f"kubectl wait -n {walk.NAMESPACE} packagerepository/{walk.REPOSITORY} {RECONCILED}\n"
            f"kubectl get packages -n {walk.NAMESPACE}",
        ),
        Step(
            "From here on all is as before. The images come from the site's registry.",
            "kubectl apply -f examples/whereabouts/package-install.yaml\n"
            f"kubectl wait {INSTALL} {RECONCILED}\n"
            "kubectl get pods -n kube-system -l name=whereabouts "
            "-o jsonpath='{range .items[*].spec.containers[*]}{.image}{\"\\n\"}{end}' | sort -u",
        ),
        Step(
            "Pods and a ping.",
            "kubectl apply -f examples/whereabouts/pods.yaml\n"
            "kubectl wait --for=condition=Ready pod/pod0 pod/pod1 pod/pod2 --timeout=5m\n"
            f"ip=$(kubectl get pod pod2 -o jsonpath='{STATUS}' | grep -o '192[.]168[.]20[.][0-9]*')\n"
            "kubectl exec pod0 -- ping -c 3 -I net1 $ip",
        ),
        Step(
            "The other version is there, too.",
            f"{_version(walk.NEXT)}\n"
            f"kubectl wait {INSTALL} --for=jsonpath='{{.status.version}}'={walk.NEXT} --timeout=5m\n"
            f"kubectl wait {INSTALL} {RECONCILED}\n"
            f"kubectl get {INSTALL}",
        ),
    ),
    during=_in_the_gap,
)
LOAD = Chapter(
    "Load",
    "[many-pods.yaml](../../examples/whereabouts/many-pods.yaml): 40 pods with two further interfaces each, at once, "
    "on two nodes that share one machine with all else. `make e2e` measures each single call and writes the times to "
    "`build/cluster/load.json`.",
    (
        Step(
            "All at once.",
            "began=$(date +%s)\n"
            "kubectl apply -f examples/whereabouts/many-pods.yaml\n"
            "kubectl rollout status deployment/many --timeout=5m | tail -n 1\n"
            'echo "$(($(date +%s) - began)) seconds"',
        ),
        Step(
            "Each has two addresses, and none is given out twice: of 80 lines 80 are different.",
            "for pod in $(kubectl get pods -l app=many -o name); do\n"
            f"  kubectl get $pod -o jsonpath='{STATUS}'\n"
            "done | grep -o '192[.]168[.]2[56][.][0-9]*' > addresses\n"
            "wc -l < addresses\n"
            "sort -u addresses | wc -l",
        ),
        Step(
            "And all come back.",
            "kubectl delete deployment/many\n"
            "kubectl wait --for=delete pod -l app=many --timeout=5m > /dev/null\n"
            f"while kubectl get {POOLS} -n kube-system -o yaml | grep -q default/many; do sleep 1; done\n"
            f"kubectl get {POOLS} -n kube-system -o custom-columns=RANGE:.spec.range,ALLOCATIONS:.spec.allocations",
        ),
    ),
)
CHAPTERS = (PUBLISH, VALUES, INSTALLED, REFUSED, USE, NETWORKS, UPGRADE, REINSTALL, GAP, LOAD)
