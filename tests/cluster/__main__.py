"""The cluster for people: `python -m tests.cluster up|down|status|run|demo`; KUBERNETES=VERSION chooses the version."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import binaries, host, versions
from tests.cluster.cluster import Cluster, terminated_like_interrupted
from tests.cluster.demo import play
from tests.cluster.errors import ClusterError
from tests.cluster.machine import DaemonEnded
from tests.cluster.progress import say


def build(_arguments: argparse.Namespace) -> int:
    """Build the programs and nothing else; needs no root."""
    for directory in binaries.ensure(versions.chosen(os.environ)).directories.values():
        say(f"built: {directory}")
    return 0


def up(arguments: argparse.Namespace) -> int:
    """Raise a cluster and leave it."""
    with Cluster(versions.chosen(os.environ), arguments.nodes) as cluster:
        _keep(cluster)
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Raise a cluster, walk the documented steps on it, and take it down."""
    if arguments.record and not arguments.record.parent.is_dir():
        raise ClusterError(f"--record {arguments.record}: there is no directory {arguments.record.parent}")
    with Cluster(versions.chosen(os.environ)) as cluster:
        play(cluster, arguments.record)
        if arguments.keep:
            _keep(cluster)
    return 0


def _keep(cluster: Cluster) -> None:
    cluster.keep()
    say("try: .venv/bin/python -m tests.cluster run kubectl get pods --all-namespaces")
    say("end: make cluster-down")


def down(_arguments: argparse.Namespace) -> int:
    """Remove whatever cluster runs on this machine."""
    with host.lock():
        removed = host.clean()
    for part in removed:
        say(f"removed: {part}")
    if not removed:
        say("nothing was up")
    return 0


def status(_arguments: argparse.Namespace) -> int:
    """Say what runs; exit code 1 when nothing does or a daemon has ended."""
    cluster = Cluster.attach()
    for machine in cluster.machines():
        for daemon in machine.daemons.values():
            sys.stdout.write(f"{machine.name:14} {daemon.name:24} {daemon.pid if daemon.alive() else 'ended'}\n")
    sys.stdout.write(cluster.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide"))
    cluster.check()
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run a command on the control plane's network, with the cluster's programs in PATH and its kubeconfig."""
    cluster = Cluster.attach()
    argv = cluster.control_plane.machine.on_network(arguments.command)
    return subprocess.run(argv, env=cluster.environment(), check=False).returncode


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the command line's meaning; argparse ends the process when it has none."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for action in (build, up, down, status, run, demo):
        command = commands.add_parser(action.__name__, help=action.__doc__)
        command.set_defaults(action=action)
        if action is up:
            command.add_argument("--nodes", type=int, default=2, help="how many nodes (default: 2)")
        if action is demo:
            command.add_argument("--keep", action="store_true", help="leave the cluster up afterwards")
            command.add_argument(
                "--record", type=Path, metavar="FILE", help="write commands and output there as Markdown"
            )
        if action is run:
            command.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    arguments = parser.parse_args(argv)
    if arguments.action is run and not arguments.command:
        parser.error("run: which command?")
    return arguments


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = parse(sys.argv[1:])
    try:
        if arguments.action is not build:
            host.check()
        with terminated_like_interrupted():
            return int(arguments.action(arguments))
    except (ClusterError, DaemonEnded) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the cluster is torn down\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
