"""The example of a chart and an existing image: its upstream, its author, and the operator who installs it.

Upstream's registry is on the loopback of the control plane alone, where the author works. No node reaches it: images
that run there come from the registry that the package is published to.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from tests.cluster import layout, packages, pods, walk
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until
from tests.helpers import tutorial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

EXAMPLE = layout.ROOT / "examples/chart-package"
UPSTREAM = layout.ROOT / "examples/chart-upstream/serve.sh"
TUTORIAL = layout.ROOT / "docs/tutorial/chart-package.md"
NEXT_VERSION = "The next version"
REF_NAME = "signboard.packages.example.com"
NAME = "signboard"
FIRST, NEXT = "1.0.0+build.1", "1.1.0+build.1"
NAMESPACE = "boards"


@contextmanager
def upstream(cluster: Cluster) -> Iterator[None]:
    """Serve upstream's chart and image where the author reaches them, at the address that the example names."""
    machine = cluster.control_plane.machine
    daemon = machine.start("upstream", ["/bin/sh", str(UPSTREAM)], env=_environment(cluster))
    try:

        def serves() -> bool:
            daemon.check()
            return "serving" in daemon.log.read_text()

        wait_until("upstream serves", serves)
        yield
    finally:
        machine.stop("upstream")


@dataclass(frozen=True, slots=True)
class Author:
    """A copy of the example, and the commands that are run in it."""

    root: Path
    cluster: Cluster

    @classmethod
    def stage(cls, root: Path, cluster: Cluster) -> Author:
        """Copy the example, and build what it needs beside: the cluster's network leads to nothing to download."""
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("build", "dist"))
        doctor = [sys.executable, "-m", "carvelwright", "--project", str(root), "doctor", "--install"]
        done = subprocess.run(doctor, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(doctor)}: {done.stderr}")
        return cls(root, cluster)

    def run(self, *arguments: str) -> str:
        """Run carvelwright and return its output."""
        return self._shell(sys.executable, "-m", "carvelwright", *arguments)

    def follow_tutorial(self, heading: str) -> None:
        """Run the commands of a section of the tutorial."""
        for block in tutorial.blocks(TUTORIAL.read_text(), heading):
            self._shell("sh", "-ec", block.commands)

    def publish(self) -> walk.Document:
        """Publish beside Whereabouts; return the PackageRepository of all that is published."""
        target = f"{self.cluster.registry}/packages"
        self.run("build", "--to", target)
        (repository,) = walk.documents(self.run("repository", "resource", target, "--name", f"{NAME}-repository"))
        return repository

    def rights(self, values: str) -> list[walk.Document]:
        """Return what `carvelwright rbac` says that the installing service account needs."""
        (self.root / "build/values.yaml").write_text(values)
        return walk.documents(self.run("rbac", "--namespace", NAMESPACE, "-f", "build/values.yaml"))

    def image(self) -> str:
        """Return the image that is locked, as it was published beside the bundle."""
        (locked,) = yamldoc.load(self.root / "package/images.lock.yaml").data["images"]
        return f"{self.cluster.registry}/packages/{REF_NAME}@{locked['image'].partition('@')[2]}"

    def _shell(self, *argv: str) -> str:
        variables = [f"{name}={value}" for name, value in _environment(self.cluster).items()]
        return self.cluster.run_on_network(["env", "-C", str(self.root), *variables, *argv])


@dataclass(slots=True)
class Operator:
    """Installs the package in a namespace of its own, with the least rights."""

    cluster: Cluster
    author: Author

    def add_repository(self, document: walk.Document) -> None:
        """Apply the PackageRepository and wait for it."""
        resource = {**document, "metadata": {**document["metadata"], "namespace": NAMESPACE}}
        self.cluster.kubectl.apply(resource)
        name = resource["metadata"]["name"]
        packages.wait_reconciled(self.cluster.api, "packagerepositories", name, namespace=NAMESPACE)

    def listed(self) -> list[tuple[str, str]]:
        """Return name and version of each package that there is in the namespace."""
        found = self.cluster.api.list("packages", namespace=NAMESPACE)
        return sorted((each["spec"]["refName"], each["spec"]["version"]) for each in found)

    def grant(self, values: str) -> None:
        """Give the installing account the rights that it needs for these values, and no more."""
        self.cluster.kubectl.apply(*self.author.rights(values))

    def request(self, version: str, values: str) -> walk.Document:
        """Ask for a version with values, and wait for what comes of it; return the PackageInstall."""
        # A name of its own, so that the PackageInstall has a new generation, which one can wait for.
        secret = f"{NAME}-{hashlib.sha256(values.encode()).hexdigest()[:8]}"
        account = f"{NAME}-installer"
        install = packages.install(NAME, REF_NAME, version, namespace=NAMESPACE, account=account, values=secret)
        self.cluster.kubectl.apply(packages.values_secret(secret, values, namespace=NAMESPACE), install)
        return packages.wait_installed(self.cluster.api, NAME, namespace=NAMESPACE)

    def install(self, version: str, values: str) -> walk.Document:
        """Install, change or upgrade the package; return the PackageInstall."""
        self.grant(values)
        return self.request(version, values)

    def remove(self) -> None:
        """Delete the PackageInstall, if there is one, and wait until it is gone."""
        self.cluster.api.delete("packageinstalls", NAME, namespace=NAMESPACE)
        packages.wait_deleted(self.cluster.api, "packageinstalls", NAME, namespace=NAMESPACE)

    def boards(self) -> list[walk.Document]:
        """Return the pods that run, without those that are about to end."""
        found = self.cluster.api.list("pods", namespace=NAMESPACE, selector=f"app={NAME}")
        return [pod for pod in found if pods.running(pod)]

    def shown(self, pod: walk.Document) -> list[str]:
        """Return the lines that a pod shows, as a node gets them."""
        url = f"http://{pod['status']['podIP']}:8080/"
        return self.cluster.nodes[0].machine.run(["busybox", "wget", "-q", "-O", "-", url]).splitlines()

    def wait_shown(self, *lines: str, by: int) -> None:
        """Wait until that many pods run, and all of them show these lines."""

        def show() -> bool:
            seen = [self.shown(pod) for pod in self.boards()]
            if seen != [list(lines)] * by:
                raise ClusterError(f"shown: {seen}")
            return True

        wait_until(f"{by} pods show {lines}", show, interval=0.5)

    def objects(self) -> set[str]:
        """Return all that is in the namespace, as KIND/NAME; without events, which only tell."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
        return set(self.cluster.kubectl("get", wanted, f"--namespace={NAMESPACE}", "--output=name").split())


def _environment(cluster: Cluster) -> dict[str, str]:
    """Return the variables that commands find their programs and caches with."""
    environment = cluster.environment()
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return {"PATH": path, "HOME": environment["HOME"]}
