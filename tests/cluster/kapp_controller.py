"""kapp-controller as an ordinary Deployment, from its module's own manifests and an image of ours by digest."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.api import condition, holds
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster

NAMESPACE = "kapp-controller"
# PackageRepositories of this namespace serve all others.
GLOBAL_NAMESPACE = "kapp-controller-packaging-global"
API_SERVICE = "v1alpha1.data.packaging.carvel.dev"

OVERLAY = """#@ load("@ytt:overlay", "overlay")
#@ load("@ytt:data", "data")
#@overlay/match by=overlay.subset({"kind": "Deployment"})
---
spec:
  template:
    spec:
      containers:
      #@overlay/match by=overlay.all, expects="1+"
      - image: #@ data.values.image
"""
SCHEMA = "#@data/values-schema\n#@overlay/match-child-defaults missing_ok=True\n---\nimage: ''\n"


def push_image(cluster: Cluster, archive: Path) -> str:
    """Push the image to the cluster's registry and return its reference by digest."""
    crane, target = str(layout.CARVEL_TOOLS / "crane"), f"{cluster.registry}/kapp-controller:1"
    pushed = cluster.run_on_network([crane, "push", "--insecure", str(archive), target])
    return pushed.split()[-1]


def install(cluster: Cluster, image: str) -> None:
    """Apply the manifests; `wait_ready` waits for what they bring up."""
    directory = layout.RUN / "kapp-controller"
    directory.mkdir(exist_ok=True)
    overlay, schema = directory / "overlay.yaml", directory / "schema.yaml"
    overlay.write_text(OVERLAY)
    schema.write_text(SCHEMA)
    argv = [str(layout.CARVEL_TOOLS / "ytt")]
    for path in (cluster.binaries.path("config"), schema, overlay):
        argv += ["-f", str(path)]
    # Its client of the priority and fairness API is older than what Kubernetes 1.32 took away.
    argv += ["--data-value-yaml", "enableApiPriorityAndFairness=false", "--data-value", f"image={image}"]
    rendered = subprocess.run(argv, capture_output=True, text=True, check=False)
    if rendered.returncode != 0:
        raise ClusterError(f"ytt of kapp-controller's manifests failed: {rendered.stderr}")
    manifests = directory / "manifests.yaml"
    manifests.write_text(rendered.stdout)
    cluster.kubectl.apply_file(manifests)


def restart(cluster: Cluster) -> None:
    """Replace the pod, and with it what it keeps of former fetches."""
    cluster.kubectl("rollout", "restart", f"--namespace={NAMESPACE}", "deployment/kapp-controller")
    cluster.kubectl.wait_rollout("deployment/kapp-controller", namespace=NAMESPACE)
    wait_ready(cluster)

    def discovered() -> bool:
        # It fails for as long as the API server has what it found while there was no pod.
        cluster.kubectl("api-resources")
        return True

    wait_until("the APIs can be listed again", discovered, interval=1)


def wait_ready(cluster: Cluster) -> None:
    """Wait until the API server serves packages through kapp-controller."""

    def available() -> bool:
        service = cluster.api.get("apiservices", API_SERVICE)
        if not holds(service, "Available"):
            raise ClusterError(str(condition(service, "Available").get("message", "no condition yet")))
        return cluster.api.list("packages") is not None

    wait_until("kapp-controller serves packages", available)
