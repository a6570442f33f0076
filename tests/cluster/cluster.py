"""The cluster as a whole: raised on entering the context, gone without a trace on leaving it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from tests.cluster import binaries as programs
from tests.cluster import host, images, kapp_controller, layout, machine
from tests.cluster.control_plane import NAME as CONTROL_PLANE
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import Kubectl
from tests.cluster.machine import Machine
from tests.cluster.node import Node
from tests.cluster.progress import say
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType, TracebackType

    from tests.cluster.api import Api

    Handler = Callable[[int, FrameType | None], None] | signal.Handlers


class Cluster:
    """A control plane, `nodes` nodes with the default network only, a registry and kapp-controller.

    `kubernetes` is the version of the control plane and of the nodes, one of `versions.known()`.
    Ctrl-C and SIGTERM leave the context like any error: everything is torn down, and then the process ends.
    """

    def __init__(self, kubernetes: str, nodes: int = 2) -> None:
        if not 1 <= nodes <= layout.MAX_NODES:
            raise ClusterError(f"{nodes} nodes: between 1 and {layout.MAX_NODES} are possible")
        self.binaries = programs.ensure(kubernetes)
        self.control_plane = ControlPlane(self.binaries)
        self.nodes = [Node(index, self.control_plane) for index in range(1, nodes + 1)]
        self.registry = f"{layout.CONTROL_PLANE_IP}:{layout.REGISTRY_PORT}"
        self._guard = ExitStack()
        self._stack = ExitStack()

    @classmethod
    def attach(cls) -> Cluster:
        """Return the cluster of this checkout that an earlier process raised and kept."""
        found = {name: pid for name, pids in machine.running().items() if (pid := machine.first_process(pids))}
        if CONTROL_PLANE not in found or not layout.RUNNING_VERSION.exists():
            raise ClusterError("no cluster of this checkout is up: make cluster-up")
        cluster = cls(layout.RUNNING_VERSION.read_text().strip(), nodes=len(found) - 1)
        cluster.control_plane = ControlPlane(cluster.binaries, Machine.attach(CONTROL_PLANE, found[CONTROL_PLANE]))
        cluster.nodes = [
            Node(node.index, cluster.control_plane, Machine.attach(node.name, found[node.name]))
            for node in cluster.nodes
        ]
        return cluster

    @property
    def api(self) -> Api:
        """The Kubernetes API, as administrator."""
        return self.control_plane.api

    @property
    def kubectl(self) -> Kubectl:
        """kubectl, as administrator."""
        return Kubectl(self.control_plane.machine, self.binaries.path("kubectl"), self.control_plane.kubeconfig)

    def environment(self) -> dict[str, str]:
        """Return the environment for commands that use the cluster."""
        return {**os.environ, "PATH": self.binaries.search_path(), "KUBECONFIG": str(self.control_plane.kubeconfig)}

    def run_on_network(self, argv: Sequence[str], *, timeout: float = 300) -> str:
        """Run a program of the host where it reaches the registry and the API server; return its output."""
        done = subprocess.run(
            self.control_plane.machine.on_network(argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self.environment(),
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def __enter__(self) -> Self:
        with ExitStack() as guard:
            guard.enter_context(host.lock())
            host.refuse_kept()
            guard.enter_context(terminated_like_interrupted())
            for leftover in host.clean():
                say(f"removed what an earlier run left: {leftover}")
            archives = images.ensure(self.binaries)
            shutil.rmtree(layout.LOGS, ignore_errors=True)
            began = time.monotonic()
            with ExitStack() as stack:
                # Entered first, so left last: it also finds what a part had made when it failed half-way.
                stack.callback(_clean_undisturbed)
                self._raise(stack, archives)
                self._stack = stack.pop_all()
            self._guard = guard.pop_all()
        say(f"the cluster of {len(self.nodes)} nodes is ready after {time.monotonic() - began:.1f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard, undisturbed():
            self._stack.close()

    def keep(self) -> None:
        """Let the cluster live on after the context and this process."""
        host.keep()
        self._stack.pop_all()

    def machines(self) -> list[Machine]:
        """Return every machine, the control plane's first."""
        return [self.control_plane.machine, *(node.machine for node in self.nodes)]

    def check(self) -> None:
        """Raise when any daemon has ended by itself."""
        for each in self.machines():
            each.check()

    def _raise(self, stack: ExitStack, archives: images.Images) -> None:
        stack.enter_context(self.control_plane)
        layout.RUNNING_VERSION.write_text(f"{self.binaries.kubernetes}\n")
        for node in self.nodes:
            stack.enter_context(node)
        say("the machines are made")
        image = self._push(archives)
        for node in self.nodes:
            for archive in (archives.pause, archives.busybox):
                node.load_image(archive)
        self.control_plane.start_controllers()
        say("the API server is ready")
        for node in self.nodes:
            node.start_kubelet()
        kapp_controller.install(self, image)
        for node in self.nodes:
            node.wait_ready()
        say("the nodes are ready")
        kapp_controller.wait_ready(self)

    def _push(self, archives: images.Images) -> str:
        def pushed() -> str:
            self.control_plane.machine.check()
            return kapp_controller.push_image(self, archives.kapp_controller)

        return wait_until("the registry takes an image", pushed)


def _clean_undisturbed() -> None:
    with undisturbed():
        host.clean()


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into the exception of Ctrl-C, which leaves every context properly."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled({signal.SIGTERM: interrupt, signal.SIGHUP: interrupt}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP: a second one must not leave half of the cluster behind."""
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)):
        yield


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread gets signals, and only it may say what they do.
        yield
        return
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
