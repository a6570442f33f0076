"""One machine of the cluster: network, mount, UTS and PID namespaces, and the daemons that run in them."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAIL_LINES = 15
TAIL_WIDTH = 300
PROC = Path("/proc")


def start_time(pid: int, proc: Path = PROC) -> str | None:
    """Return when `pid` began, in clock ticks since boot; None when it is gone or a zombie.

    Together with the number it identifies a process: numbers are used again. `proc` may be that of another namespace.
    """
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(") ")[2].split()
    return None if state in "ZX" else fields[18]


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last `lines` lines of a log, each cut to a readable length, or a note that there is none."""
    try:
        return "\n".join(line[:TAIL_WIDTH] for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that runs in a machine until it is stopped; `pid` is its number on the host."""

    name: str
    pid: int
    began: str
    log: Path
    pidfile: Path
    # The entering process waits for the daemon; it must be reaped by us when we are its parent.
    parent: subprocess.Popen[bytes] | None = field(default=None, compare=False)

    @classmethod
    def read(cls, pidfile: Path, log: Path) -> Daemon:
        """Return the daemon that an earlier process started and noted in `pidfile`."""
        pid, began = pidfile.read_text().split()
        return cls(name=pidfile.stem, pid=int(pid), began=began, log=log, pidfile=pidfile)

    def alive(self) -> bool:
        """Tell whether the process that was started still runs."""
        if self.parent is not None:
            self.parent.poll()
        return start_time(self.pid) == self.began

    def check(self) -> None:
        """Raise with the tail of its log when the daemon has ended."""
        if not self.alive():
            raise DaemonEnded(f"{self.name} has ended; the end of {self.log}:\n{tail(self.log)}")

    def stop(self, *, sig: signal.Signals = signal.SIGTERM, timeout: float = 10) -> None:
        """Send `sig` and wait for the end; a daemon that does not heed it within `timeout` seconds is killed."""
        for attempt in (sig, signal.SIGKILL):
            if not self.alive():
                break
            os.kill(self.pid, attempt)
            try:
                wait_until(f"{self.name} ends", lambda: not self.alive(), timeout=timeout)
            except ClusterError:
                if attempt is signal.SIGKILL:
                    raise
        if self.parent is not None:
            self.parent.wait(timeout)
        self.pidfile.unlink(missing_ok=True)


class DaemonEnded(Exception):  # noqa: N818 - it is an event; and no ClusterError, so that nobody waits for a dead daemon
    """A daemon ended by itself."""


@dataclass(slots=True)
class Machine:
    """Namespaces held by the process `pid` (as the host counts), process 1 of its own PID namespace."""

    name: str
    pid: int
    daemons: dict[str, Daemon] = field(default_factory=dict)
    holder: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, name: str, pause: Path) -> Machine:
        """Make new namespaces; `pause` is a program that does nothing but reap orphans, which process 1 inherits."""
        (layout.RUN / name).mkdir(parents=True, exist_ok=True)
        layout.LOGS.mkdir(parents=True, exist_ok=True)
        with (layout.LOGS / f"{name}.log").open("wb") as log:
            holder = subprocess.Popen(
                ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--uts", "--net", str(pause)],
                env={"PATH": PATH, layout.MARKER: name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        pid = wait_until(f"the namespaces of {name}", lambda: _running_child(holder, pause), interval=0.01)
        machine = cls(name=name, pid=pid, holder=holder)
        machine.run(["hostname", name])
        machine.run(["ip", "link", "set", "lo", "up"])
        return machine

    @classmethod
    def attach(cls, name: str, pid: int) -> Machine:
        """Return a machine that an earlier process made, with the daemons noted in its directory."""
        machine = cls(name=name, pid=pid)
        for pidfile in sorted((layout.RUN / name).glob("*.pid")):
            machine.daemons[pidfile.stem] = Daemon.read(pidfile, machine.log(pidfile.stem))
        return machine

    @property
    def directory(self) -> Path:
        """The machine's own files, on the host."""
        return layout.RUN / self.name

    def log(self, daemon: str) -> Path:
        """Return the log file of one of the machine's daemons."""
        return layout.LOGS / f"{self.name}-{daemon}.log"

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in all of the machine's namespaces."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--net", "--pid", "--", *argv]

    def on_network(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in the machine's network, with the host's files."""
        return ["nsenter", "--target", str(self.pid), "--net", "--", *argv]

    @property
    def root(self) -> Path:
        """The machine's root directory, as the host reaches it."""
        return PROC / str(self.pid) / "root"

    def run(self, argv: Sequence[str]) -> str:
        """Run a command in the machine to its end and return its output; raise with its words when it fails."""
        done = subprocess.run(
            self.inside(argv),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            env={"PATH": PATH},
        )
        if done.returncode != 0:
            raise ClusterError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Daemon:
        """Start a daemon in the machine; its output goes to the log, its number to a pidfile."""
        if (old := self.daemons.get(name)) is not None and old.alive():
            raise ClusterError(f"{self.name}: {name} runs already, as process {old.pid}")
        log, pidfile = self.log(name), self.directory / f"{name}.pid"
        with log.open("ab") as output:
            parent = subprocess.Popen(
                self.inside(argv),
                env={"PATH": PATH, "HOME": "/root", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Path(argv[0])
        try:
            pid = wait_until(f"{name} starts", lambda: _running_child(parent, program), interval=0.01)
        except DaemonEnded as error:
            raise DaemonEnded(f"{self.name}: {name} did not start: {error}; {log}:\n{tail(log)}") from None
        daemon = Daemon(name, pid, start_time(pid) or "", log, pidfile, parent)
        pidfile.write_text(f"{daemon.pid} {daemon.began}\n")
        self.daemons[name] = daemon
        return daemon

    def stop(self, name: str, *, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop one daemon."""
        self.daemons.pop(name).stop(sig=sig)

    def stop_all(self) -> None:
        """Kill every process but the first at one stroke, as when the power goes; the namespaces stay."""

        def ended() -> bool:
            # Process 1 and the shell are spared; that there is nobody else is no error. The shell itself looks who
            # process 1 is, so that all of the host can never be meant.
            self.run(["sh", "-c", '[ "$(cat /proc/1/comm)" = pause ] && { kill -KILL -1 || true; }'])
            # Containers have PID namespaces of their own, but the machine's /proc shows their processes too.
            proc = self.root / "proc"
            return [pid for pid in _processes(proc) if start_time(pid, proc) is not None] == [1]

        wait_until(f"all of {self.name} has ended", ended)
        for daemon in self.daemons.values():
            daemon.stop()
        self.daemons.clear()

    def mounts(self) -> list[Path]:
        """Return where something is mounted in the machine, in the order in which it was."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        # Blanks and the like are written as octal numbers.
        return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]

    def check(self) -> None:
        """Raise when any of the daemons has ended by itself."""
        for daemon in self.daemons.values():
            daemon.check()

    def destroy(self) -> None:
        """Kill process 1 and with it, by the kernel's hand, every process, mount and network device of the machine."""
        kill([self.pid])
        for parent in (self.holder, *(daemon.parent for daemon in self.daemons.values())):
            if parent is not None:
                parent.wait(timeout=30)
        self.daemons.clear()


def _processes(proc: Path = PROC) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _pid_namespaces(pid: int) -> set[str]:
    """Return the PID namespaces of a process and of its future children.

    Who enters a machine has the machine's for its children only; who is about to end has its own only.
    """
    found = set()
    for kind in ("pid", "pid_for_children"):
        try:
            found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
        except OSError:
            continue
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _running_child(parent: subprocess.Popen[bytes], program: Path) -> int | None:
    """Return the number of the child of `parent` once it runs `program`; None until then."""
    if (code := parent.poll()) is not None:
        raise DaemonEnded(f"it ended with exit code {code}")
    for child in _children(parent.pid):
        try:
            if Path(f"/proc/{child}/exe").samefile(program):
                return child
        except OSError:
            continue
    return None


def _children(pid: int) -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return


def kill(pids: Sequence[int]) -> None:
    """Kill the processes that hold machines and wait until nobody is left in the machines' PID namespaces.

    Who enters a machine just then is a child of ours without being one of its processes yet: it is killed as well.
    """
    namespaces = set().union(*map(_pid_namespaces, pids)) - _pid_namespaces(os.getpid())
    for pid in pids:
        _kill(pid)

    def empty() -> bool:
        left = [pid for pid in _processes() if start_time(pid) is not None and _pid_namespaces(pid) & namespaces]
        for pid in left:
            _kill(pid)
        return not left

    wait_until("nobody is left in the machines", empty, interval=0.02)


def running() -> dict[str, list[int]]:
    """Return the cluster's machines on this host, of any checkout: name to the processes that hold it."""
    found: dict[str, list[int]] = {}
    wanted = f"{layout.MARKER}=".encode()
    for pid in _processes():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        for variable in environment.split(b"\0"):
            if variable.startswith(wanted):
                found.setdefault(variable[len(wanted) :].decode(), []).append(pid)
    return found


def first_process(pids: Sequence[int]) -> int | None:
    """Return which of `pids` is process 1 of a PID namespace of its own."""
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return None
