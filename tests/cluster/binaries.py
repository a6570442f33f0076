"""The programs of the cluster, built once from the pinned modules of tools/cluster and kept by content under build/."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.errors import CarvelwrightError
from carvelwright.project.workspace import load_workspace
from carvelwright.report import Recorder
from carvelwright.session import search_of
from carvelwright.tools import toolchain
from tests.cluster import layout
from tests.cluster.errors import ClusterError
from tests.cluster.machine import tail
from tests.cluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carvelwright.tools.toolchain import Search

KUBERNETES_COMPONENTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
KAPP_CONTROLLER_VERSION = "0.51.0"
PROGRESS_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ToolSet:
    """One Go module of tools/cluster and what is taken from it.

    `targets` are what `go build` is told, or the command of Go that is named instead; `links` maps further names to a
    built program; `files` maps a name to a path in the source of a required module, for manifests that belong to the
    programs; `about` is for the line of progress. `modfile` has the requirements, where one program has several.
    """

    name: str
    about: str
    command: tuple[str, ...] = ("build",)
    targets: tuple[str, ...] = (".",)
    ldflags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str, str], ...] = ()
    modfile: str = "go.mod"

    def sources(self) -> list[Path]:
        """Return the files that decide what is built."""
        found = sorted((layout.SOURCES / self.name).iterdir())
        others = {".mod", ".sum"}
        return [path for path in found if path.suffix not in others or path.stem == Path(self.modfile).stem]


def kubernetes(version: str) -> ToolSet:
    """Return all of Kubernetes, in a version of `versions.known()`."""
    return ToolSet(
        "kubernetes",
        f"all of Kubernetes {version} in one program; cold about 6 min",
        # Before 1.31 the components would hold the clouds' clients too.
        tags=("providerless",),
        ldflags=_kubernetes_ldflags(version),
        links=tuple((component, "kubernetes") for component in KUBERNETES_COMPONENTS),
        modfile=f"{version}.mod",
    )


def _kubernetes_ldflags(version: str) -> tuple[str, ...]:
    # Components refuse or misjudge each other when they do not know their version; the module carries none.
    major, minor, _ = version.split(".")
    values = {
        "gitVersion": f"v{version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "archive",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())


ETCD = ToolSet("etcd", "etcd; cold about 1 min")
TOOL_SETS = (
    ToolSet("pause", "the sandbox container"),
    ETCD,
    ToolSet("cni", "CNI plugins; cold about 30 s", targets=("tool",)),
    ToolSet(
        "kapp-controller",
        "kapp-controller; cold about 2 min 30 s",
        targets=("tool",),
        ldflags=(f"-X main.Version={KAPP_CONTROLLER_VERSION}",),
        links=(("kapp-controller", "controller"),),
        files=(("config", "github.com/vmware-tanzu/carvel-kapp-controller", "config"),),
    ),
    ToolSet("carvel", "kapp and vendir; cold about 2 min", targets=("tool",)),
    # Not crane's, which the project uses elsewhere: that one forgets its manifests when it ends.
    ToolSet("registry", "an OCI registry; cold about 1 min"),
    ToolSet("yq", "yq, which the documentation uses; cold about 30 s", targets=("tool",)),
)
# The judge of SBOMs; nothing else needs it.
CYCLONEDX_GOMOD = ToolSet("cyclonedx-gomod", "cyclonedx-gomod; cold about 30 s", targets=("tool",))
WHEREABOUTS = "github.com/k8snetworkplumbingwg/whereabouts"
# Not parts of the cluster: built by the tests that run them.
UPSTREAM_MULTUS = ToolSet(
    "upstream-multus",
    "Multus' own programs, thin and thick; cold about 1 min 30 s",
    targets=("tool",),
    files=(
        (
            "networks-crd.yaml",
            "github.com/k8snetworkplumbingwg/network-attachment-definition-client",
            "artifacts/networks-crd.yaml",
        ),
    ),
)
UPSTREAM_SUITE = ToolSet(
    "upstream-suite",
    "the end-to-end tests of Whereabouts; cold about 1 min",
    command=("test", "-c"),
    targets=(f"{WHEREABOUTS}/e2e",),
    files=(("generators.go", WHEREABOUTS, "e2e/entities/generators.go"),),
)
# What the package's plugin is measured beside. Its module names the program `cmd`.
UPSTREAM_WHEREABOUTS = ToolSet(
    "upstream-whereabouts",
    "Whereabouts' own plugin; cold about 30 s",
    targets=("tool",),
    links=(("upstream-whereabouts", "cmd"),),
)
# The judge of signatures; nothing else needs it.
COSIGN = ToolSet("cosign", "cosign; cold about 6 min", targets=("tool",))


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the built programs lie: one directory for each set of tools. `kubernetes` is the version of that one."""

    directories: dict[str, Path]
    kubernetes: str

    def path(self, name: str) -> Path:
        """Return the program or file called `name`."""
        for directory in self.directories.values():
            if (found := directory / name).exists():
                return found
        raise ClusterError(f"no set of tools has {name}")

    def search_path(self) -> str:
        """Return a PATH that has these programs, the Carvel tools and the host's."""
        return os.pathsep.join(
            [*map(str, self.directories.values()), str(layout.CARVEL_TOOLS), os.environ.get("PATH", os.defpath)]
        )


def ensure(version: str) -> Binaries:
    """Build what is not there yet and return all of it, with this version of Kubernetes.

    The project's own tools must have been built before.
    """
    _link_tools()
    return ensure_sets(version, TOOL_SETS)


def ensure_sets(version: str, others: Iterable[ToolSet]) -> Binaries:
    """Build what is not there yet of the named sets and of this version of Kubernetes; return these."""
    return Binaries({tools.name: ensure_set(tools) for tools in (*others, kubernetes(version))}, version)


def _link_tools() -> None:
    search = search_of(load_workspace(layout.ROOT), dict(os.environ))
    try:
        found = toolchain.find(search)
    except CarvelwrightError as error:
        raise ClusterError(f"{error.message}; make tools builds them") from error
    programs = {name: getattr(found, name).path for name in found.versions()}
    programs["helm"] = _helm(search)
    layout.CARVEL_TOOLS.mkdir(parents=True, exist_ok=True)
    for name, program in programs.items():
        link = layout.CARVEL_TOOLS / f".{name}-{os.getpid()}"
        link.symlink_to(program)
        link.replace(layout.CARVEL_TOOLS / name)


def _helm(search: Search) -> Path:
    """Return helm, which kapp-controller runs for packages of charts; `make tools` builds what this project needs."""
    if not (layout.CARVEL_TOOLS / "helm").exists():
        say("building helm, if it is not there yet: cold about 2 min")
    try:
        return toolchain.find_helm(search, Recorder()).path
    except CarvelwrightError as error:
        raise ClusterError(f"{error.message}: {error.hint}") from error


def ensure_set(tools: ToolSet) -> Path:
    """Build one set of tools if it is not there yet; return the directory that holds it."""
    directory = layout.BIN / f"{tools.name}-{_key(tools)}"
    if directory.is_dir():
        return directory
    layout.BIN.mkdir(parents=True, exist_ok=True)
    say(f"building {tools.name}: {tools.about}")
    # Beside its place and renamed: an interrupted build leaves nothing that looks whole.
    scratch = Path(tempfile.mkdtemp(prefix=f".{tools.name}-", dir=layout.BIN))
    try:
        scratch.chmod(0o755)
        _build(tools, scratch)
        for name, target in tools.links:
            (scratch / name).symlink_to(target)
        for name, module, path in tools.files:
            _copy_source(tools, module, path, scratch / name)
        _move(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"built {tools.name}")
    return directory


def _move(scratch: Path, directory: Path) -> None:
    try:
        scratch.rename(directory)
    except OSError:
        # Another process built the same in the meantime.
        if not directory.is_dir():
            raise


def _key(tools: ToolSet) -> str:
    digest = hashlib.sha256(f"{_go_version()}\0{tools!r}\0{_environment()['GOFLAGS']}".encode())
    for source in tools.sources():
        digest.update(f"\0{source.name}\0{source.stat().st_size}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _build(tools: ToolSet, output: Path) -> None:
    layout.LOGS.mkdir(parents=True, exist_ok=True)
    log = layout.LOGS / f"build-{tools.name}.log"
    # -v names each package as it is compiled: that is the progress.
    target = output / tools.name if tools.targets == (".",) else f"{output}/"
    options = [f"-modfile={tools.modfile}", f"-tags={','.join(tools.tags)}"]
    flags = ["-v", *options, "-ldflags", " ".join(("-s -w", *tools.ldflags)), "-o", str(target)]
    argv = [_go(), *tools.command, *flags, *tools.targets]
    with log.open("wb") as output_log:
        process = subprocess.Popen(
            argv, cwd=layout.SOURCES / tools.name, env=_environment(), stdout=output_log, stderr=subprocess.STDOUT
        )
        try:
            code = None
            while code is None:
                try:
                    code = process.wait(PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"building {tools.name}: {len(log.read_bytes().splitlines())} packages so far")
        finally:
            process.kill()
            process.wait()
    if code != 0:
        raise ClusterError(f"go build of {tools.name} failed; the end of {log}:\n{tail(log)}")


def _copy_source(tools: ToolSet, module: str, path: str, target: Path) -> None:
    argv = [_go(), "list", f"-modfile={tools.modfile}", "-m", "-f", "{{.Dir}}", module]
    done = subprocess.run(
        argv, cwd=layout.SOURCES / tools.name, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise ClusterError(f"{' '.join(argv)} failed: {done.stderr.strip() or 'the module is not downloaded'}")
    source = Path(done.stdout.strip()) / path
    # The module cache is read-only; copies must not be, or nobody can remove them.
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        for directory, _, _ in os.walk(target):
            Path(directory).chmod(0o755)
    else:
        shutil.copyfile(source, target)


def _go() -> str:
    pinned = Path(sys.prefix) / "bin" / "go"
    if not pinned.exists():
        raise ClusterError(f"the pinned Go is not in {sys.prefix}; make the environment (make setup) and run from it")
    return str(pinned)


@cache
def _go_version() -> str:
    return subprocess.run([_go(), "version"], capture_output=True, text=True, check=True, env=_environment()).stdout


def _environment() -> dict[str, str]:
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    return {**os.environ, **settings, "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
