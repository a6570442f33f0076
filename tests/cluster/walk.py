"""The operator's walk: the packages published from a copy of this repository's project, and installed as documented.

`Project` stands for the author (build, publish, a further release), `Package` for the operator (rights, install,
change, delete). Both use carvelwright, imgpkg and kubectl only, and the manifests of `examples/`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carvelwright import yamldoc
from tests.cluster import images, invariants, layout, packages, pods
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

Document = dict[str, Any]

EXAMPLES = layout.ROOT / "examples" / "whereabouts"
REF_NAME = "whereabouts.tanzu.vmware.com"
RELEASED = "0.9.4+vmware.2-tkg.1"
NEXT = "0.9.4+vmware.3-tkg.1"
REPOSITORY = "whereabouts-repository"
NAMESPACE = "my-packages"
COMPONENTS = "kube-system"
DAEMON_SET = "whereabouts"
RECONCILER = "whereabouts-reconciler"
DEPLOYMENTS = (RECONCILER,)
# kapp puts it on everything that belongs to an app.
APP_LABEL = "kapp.k14s.io/app"
DOWNGRADABLE = "packaging.carvel.dev/downgradable"

RELEASE = """\
upstream: {upstream}
revision: {revision}
releasedAt: 2026-12-07T00:00:00Z
releaseNotes: The same again, to upgrade to.
"""


@dataclass(frozen=True, slots=True)
class Product:
    """One of the packages of this repository, by the first segment of its refName, with its two versions.

    `released` is the repository's newest, `further` a release that the walk adds to it; `directory` has its sources.
    """

    name: str
    released: str
    further: str
    directory: str

    @property
    def ref_name(self) -> str:
        """The package's full name."""
        return f"{self.name}.tanzu.vmware.com"

    @property
    def examples(self) -> Path:
        """The directory of its examples."""
        return layout.ROOT / "examples" / self.name

    def release(self, version: str) -> str:
        """Return the release file of a version of the walk's own."""
        upstream, _, revision = version.partition("+")
        return RELEASE.format(upstream=upstream, revision=revision)


WHEREABOUTS = Product("whereabouts", RELEASED, NEXT, ".")
MULTUS = Product("multus-cni", "4.2.4+vmware.1-tkg.1", "4.2.4+vmware.2-tkg.1", "packages/multus-cni")
# Often enough that a test may wait for the reconciler; the shortest that the values allow.
RECONCILED_OFTEN = 'ip_reconciler: {config: {schedule: "@every 10s"}}\n'
BUILD_SECONDS = 1800
# Named by content, so that a copy of the project uses what the repository has; without its seal a product is refused.
SHARED_PRODUCTS = ("tools", "payload", "layer", "image", "crds", "seals")


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the workspace, in which each package has a release more than the repository's."""

    root: Path

    @classmethod
    def stage(cls, root: Path) -> Project:
        """Copy the sources to `root`, and what was built of them."""
        for name in ("package", "bundle", "payload", "packages", "tools"):
            shutil.copytree(layout.ROOT / name, root / name)
        for name in ("carvelwright.yaml", "values-schema.yaml"):
            shutil.copy(layout.ROOT / name, root)
        for product in (WHEREABOUTS, MULTUS):
            release = root / product.directory / "package" / "releases" / f"{product.further}.yaml"
            release.write_text(product.release(product.further))
        for kind in SHARED_PRODUCTS:
            if (made := layout.ROOT / "build" / kind).is_dir():
                shutil.copytree(made, root / "build" / kind, symlinks=True)
        project = cls(root)
        # The cluster's network leads nowhere else, so what a build downloads must be there before.
        for module in sorted([*(root / "payload").rglob("go.mod"), *(root / "packages").rglob("go.mod")]):
            _run([str(Path(sys.prefix) / "bin" / "go"), "mod", "download"], module.parent)
        return project

    def dist(self, version: str) -> Path:
        """Return where `publish` left what it made of a version."""
        return self.root / f"dist-{version}"

    def values_file(self, version: str, product: Product = WHEREABOUTS) -> Path:
        """Return the default values that `publish` made for a version."""
        return self.dist(version) / product.name / f"{product.name}-data-values.yaml"

    def repository(self, version: str) -> Document:
        """Return the PackageRepository, by digest, of what was published when a version had joined it."""
        (document,) = documents((self.root / f"repository-{version}.yml").read_text())
        return document

    def run(self, *arguments: str) -> str:
        """Run carvelwright on this project and return its output."""
        return _run(self._command(*arguments), self.root)

    def publish(self, cluster: Cluster, version: str, product: Product = WHEREABOUTS) -> None:
        """Build a version and push it to the cluster's registry, where it joins what is published already."""
        argv = self._command("build", product.name, "--release", version, "--to", f"{cluster.registry}/packages")
        cluster.run_on_network(argv, timeout=BUILD_SECONDS)
        (self.root / "dist").rename(self.dist(version))
        resource = self.resource(cluster, f"{cluster.registry}/packages")
        (self.root / f"repository-{version}.yml").write_text(resource)

    def resource(self, cluster: Cluster, target: str, *options: str) -> str:
        """Return the PackageRepository of what is published at a target, as YAML."""
        argv = self._command("repository", "resource", target, "--name", REPOSITORY, *options)
        return cluster.run_on_network(argv)

    def archive(self, cluster: Cluster) -> Path:
        """Write all that is published into one file."""
        file = self.root / "packages.tar"
        argv = self._command("archive", f"{cluster.registry}/packages", "--all", "--output", str(file))
        cluster.run_on_network(argv)
        return file

    def rights(
        self, version: str, values: str, *, replacing: str = "", product: Product = WHEREABOUTS
    ) -> list[Document]:
        """Return what `carvelwright rbac` says that the installing service account needs.

        `replacing` are the values of what is installed until then.
        """
        argv = ["rbac", "--package", product.name, "--release", version, "--namespace", NAMESPACE]
        for option, text in (("-f", values), ("--replacing", replacing)):
            file = self.root / f"values{option}.yaml"
            file.write_text(text)
            argv += [option, str(file)]
        return documents(self.run(*argv))

    def render(self, values: str, product: Product = WHEREABOUTS) -> list[Document]:
        """Return what the released version of a package renders to."""
        file = self.root / "values-render.yaml"
        file.write_text(values)
        argv = ("render", "--package", product.name, "--release", product.released, "-f", str(file))
        return documents(self.run(*argv))

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "carvelwright", "--project", str(self.root), *arguments]


@dataclass(slots=True)
class Package:
    """A package on a cluster. It is as `examples/` has it, unless a test changes it; `restore` takes that back."""

    cluster: Cluster
    project: Project
    product: Product = WHEREABOUTS
    # Of these values there may be objects that others do not bring.
    granted: str = ""
    # What kapp labels its objects with, once it was installed.
    app: str = ""

    def add_repository(self, document: Document) -> None:
        """Make the namespace and apply the PackageRepository that a build wrote, then wait for it."""
        self.cluster.kubectl.apply(namespace(NAMESPACE))
        resource = {**document, "metadata": {**document["metadata"], "namespace": NAMESPACE}}
        self.cluster.kubectl.apply(resource)
        packages.wait_reconciled(
            self.cluster.api, "packagerepositories", resource["metadata"]["name"], namespace=NAMESPACE
        )

    def install(self, version: str = "", values: str | None = None, *, downgrade: bool = False) -> Document:
        """Install the package, or change what is installed, and wait until it is reconciled; return the PackageInstall.

        `version` is by default what is released, `values` the text of a values file (default: the example's). The
        service account has the rights that `carvelwright rbac` prints for it and no more. `packages.ReconcileError`
        when kapp-controller fails.
        """
        self.grant(version, values)
        self.request(version, values, downgrade=downgrade)
        return self.wait()

    def grant(self, version: str = "", values: str | None = None) -> None:
        """Give the installing service account what it needs for these values, in place of those of the last time."""
        secret, _ = wanted(version, values, product=self.product)
        text = secret["stringData"]["values.yaml"]
        version = version or self.product.released
        rights = self.project.rights(version, text, replacing=self.granted, product=self.product)
        self.cluster.kubectl.apply(*rights)
        self.granted = text

    def request(self, version: str = "", values: str | None = None, *, downgrade: bool = False) -> None:
        """Ask for another version or other values with the rights that were granted; `wait` for what comes of it."""
        self.cluster.kubectl.apply(*wanted(version, values, downgrade=downgrade, product=self.product))

    def wait(self) -> Document:
        """Wait until what was asked for is there; return the PackageInstall."""
        return packages.wait_installed(self.cluster.api, self.product.name, namespace=NAMESPACE)

    def reconcile_often(self) -> Document:
        """Have the reconciler look every 10 s from now on; return its pod.

        One that runs hears of another schedule only when the kubelet gets round to it, up to 90 s later.
        """
        self.install(values=RECONCILED_OFTEN)
        return self.replace_reconciler()

    def replace_reconciler(self) -> Document:
        """Delete the reconciler's pod, wait for the one in its place and return that."""
        former = wait_until("there is a reconciler", self.reconciler)
        self.cluster.api.delete("pods", former["metadata"]["name"], namespace=COMPONENTS)
        return self.wait_reconciler()

    def wait_reconciler(self) -> Document:
        """Wait until the reconciler's pod is ready and return it."""

        def ready() -> Document | None:
            pod = self.reconciler()
            return pod if pod and pods.running(pod) else None

        return wait_until("the reconciler is ready", ready)

    def reconciler(self) -> Document | None:
        """Return the reconciler's pod; None while there is none that stays."""
        found = self.cluster.api.list("pods", namespace=COMPONENTS, selector=f"app={RECONCILER}")
        return next((pod for pod in found if "deletionTimestamp" not in pod["metadata"]), None)

    def remove(self) -> None:
        """Delete the PackageInstall and wait until kapp-controller has removed what it brought."""
        self._remember_app()
        self.request_removal()
        packages.wait_deleted(self.cluster.api, "packageinstalls", self.product.name, namespace=NAMESPACE)

    def request_removal(self) -> None:
        """Delete the PackageInstall and do not wait."""
        self.cluster.api.delete("packageinstalls", self.product.name, namespace=NAMESPACE)

    def restore(self) -> None:
        """Install the example again if anything else is there."""
        _, install = wanted(product=self.product)
        found = self.cluster.api.find("packageinstalls", self.product.name, namespace=NAMESPACE)
        if found is not None and found["spec"] == install["spec"]:
            if packages.settled(found) and not packages.failed(found):
                return
            # Asked for the same once more, kapp-controller would try again only in its own time.
            self.grant()
            self.remove()
        self.install(downgrade=True)

    def default_values(self, version: str) -> str:
        """Return what the client makes of the schema that the API server has; carvelwright does so to the byte."""
        package = self.cluster.api.get("packages", f"{self.product.ref_name}.{version}", namespace=NAMESPACE)
        file = self.project.root / "schema.json"
        file.write_text(json.dumps(package["spec"]["valuesSchema"]["openAPIv3"]))
        return self.project.run("values", "defaults", "--schema", str(file))

    def images(self) -> set[str]:
        """Return every image that the package's workloads name."""
        return {
            container["image"]
            for (kind, _), document in self.objects().items()
            if kind in {"DaemonSet", "Deployment"}
            for key in ("initContainers", "containers")
            for container in document["spec"]["template"]["spec"].get(key, [])
        }

    def objects(self) -> dict[tuple[str, str], Document]:
        """Return by kind and name what the package has on the cluster, without what the cluster itself writes to it."""
        kinds = (
            "daemonsets,deployments,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,crd"
        )
        self._remember_app()
        argv = ("get", kinds, f"--namespace={COMPONENTS}", f"--selector={APP_LABEL}={self.app}", "--output=json")
        found = json.loads(self.cluster.kubectl(*argv))["items"]
        return {(each["kind"], each["metadata"]["name"]): _declared(each) for each in found}

    def _remember_app(self) -> None:
        record = self.cluster.api.find("configmaps", f"{self.product.name}.app", namespace=NAMESPACE)
        if record is not None:
            self.app = json.loads(record["data"]["spec"])["labelValue"]


def wanted(
    version: str = "", values: str | None = None, *, downgrade: bool = False, product: Product = WHEREABOUTS
) -> tuple[Document, Document]:
    """Return Secret and PackageInstall: the example's, with another version or other values."""
    found = documents((product.examples / "package-install.yaml").read_text())
    _, secret, install = (copy.deepcopy(each) for each in found)
    install["spec"]["packageRef"]["versionSelection"]["constraints"] = version or product.released
    if values is not None:
        # A name of its own: the PackageInstall then has a new generation, so that nobody takes the old state for new.
        name = f"{product.name}-values-{hashlib.sha256(values.encode()).hexdigest()[:8]}"
        secret["metadata"]["name"] = name
        secret["stringData"]["values.yaml"] = values
        install["spec"]["values"] = [{"secretRef": {"name": name}}]
    if downgrade:
        install["metadata"].setdefault("annotations", {})[DOWNGRADABLE] = ""
    return secret, install


def example(name: str, product: Product = WHEREABOUTS) -> list[Document]:
    """Return the documents of an example; its pods run the image that the nodes have."""
    found = documents((product.examples / name).read_text())
    for document in found:
        for container in document["spec"].get("containers", []) if document["kind"] == "Pod" else []:
            container["image"] = images.BUSYBOX
    return found


@contextmanager
def example_pods(cluster: Cluster) -> Iterator[dict[str, Document]]:
    """Apply the network and the pods of the examples; give the pods by name once they run; remove all at the end."""
    network, created = example("network.yaml"), example("pods.yaml")
    names = [document["metadata"]["name"] for document in created]
    try:
        cluster.kubectl.apply(
            *({**each, "metadata": {**each["metadata"], "namespace": "default"}} for each in network + created)
        )
        pods.wait_running(cluster.api, names)
        yield {name: cluster.api.get("pods", name, namespace="default") for name in names}
    finally:
        for name in names:
            cluster.api.delete("pods", name, namespace="default")
        pods.wait_gone(cluster.api, selector=f"app in ({','.join(names)})")
        # Without a grace period a pod is gone before the node has taken down its network.
        invariants.check(cluster.api)
        for document in network:
            cluster.api.delete("network-attachment-definitions", document["metadata"]["name"], namespace="default")


def address(pod: Document, interface: str = "net1") -> str:
    """Return the address of a pod's further interface as its annotation tells it."""
    (entry,) = (each for each in pods.network_status(pod) if each.get("interface") == interface)
    (ip,) = entry["ips"]
    return str(ip)


def documents(text: str) -> list[Document]:
    """Return the documents of a YAML text."""
    return [document for document in yamldoc.load_all_text(text, Path("manifests")) if document]


def namespace(name: str) -> Document:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _declared(resource: Document) -> Document:
    """Return a resource without its status and what the API server counts."""
    meta = {
        key: value for key, value in resource["metadata"].items() if key not in {"resourceVersion", "managedFields"}
    }
    return {key: value for key, value in resource.items() if key != "status"} | {"metadata": meta}


def _run(argv: list[str], directory: Path) -> str:
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
