"""kubectl as the cluster's administrator: for what the API alone does not do, and for people to read along."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.errors import ClusterError
from tests.cluster.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.machine import Machine


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl on the control plane's network, with the host's files."""

    machine: Machine
    program: Path
    kubeconfig: Path

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command."""
        return self.machine.on_network([str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments])

    def try_run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return its end, whatever it was."""
        # What kubectl itself waits for with patience comes to its own end before.
        patience = 2 * PATIENCE_SECONDS
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=patience, check=False
        )

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return its output; raise with its words when it fails."""
        done = self.try_run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply documents on the server's side."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def apply_file(self, path: Path | str) -> None:
        """Apply a file, or each file of a directory."""
        self("apply", "--server-side", "--force-conflicts", "-f", os.fspath(path))

    def wait_rollout(self, workload: str, *, namespace: str) -> None:
        """Wait until a workload (KIND/NAME) is as its specification has it."""
        self("rollout", "status", workload, f"--namespace={namespace}", f"--timeout={PATIENCE_SECONDS}s")

    def execute(self, pod: str, *argv: str, namespace: str = "default") -> str:
        """Run a command in a pod's first container and return its output."""
        return self("exec", "--namespace", namespace, pod, "--", *argv)
