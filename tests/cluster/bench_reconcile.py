"""One run of the reconciler against etcd and an API server on loopback, for `make bench-reconcile`; needs no root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster import layout, loopback, versions
from tests.cluster.binaries import ETCD, WHEREABOUTS, ensure_sets
from tests.cluster.errors import ClusterError
from tests.cluster.progress import say

MODULE = layout.ROOT / "payload" / "v0.9.4"
GO = str(Path(sys.prefix) / "bin" / "go")
ENVIRONMENT = {
    **os.environ,
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
}


def main() -> int:
    """Raise the API server, run the benchmark, and take all down; return the benchmark's exit code."""
    try:
        binaries = ensure_sets(versions.chosen(os.environ), (ETCD,))
        with (
            tempfile.TemporaryDirectory(prefix="bench-reconcile-") as scratch,
            loopback.api_server(binaries, Path(scratch)) as server,
        ):
            server.kubectl("apply", *(f"--filename={each}" for each in _crds()))
            server.kubectl("wait", "--for=condition=Established", "crd", "--all")
            say("seeding and running: about two minutes")
            argv = [GO, "test", "-run=^$", "-bench=^BenchmarkReconcile$", "-benchtime=1x", "-timeout=20m", "."]
            environment = {**ENVIRONMENT, "RECONCILE_KUBECONFIG": str(server.kubeconfig)}
            return subprocess.run(argv, cwd=MODULE, env=environment, check=False).returncode
    except ClusterError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _crds() -> list[Path]:
    argv = [GO, "list", "-m", "-f", "{{.Dir}}", WHEREABOUTS]
    done = subprocess.run(argv, cwd=MODULE, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip() or 'the module is not downloaded'}")
    # Other manifests lie beside them.
    return sorted((Path(done.stdout.strip()) / "doc" / "crds").glob("whereabouts.cni.cncf.io_*.yaml"))


if __name__ == "__main__":
    sys.exit(main())
