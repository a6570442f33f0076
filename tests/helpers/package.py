"""The packages as the server renders them: each staged once, then rendered with values by the real ytt."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from carvelwright.project import config
from carvelwright.report import Recorder
from carvelwright.steps import bundle
from carvelwright.tools import toolchain
from carvelwright.tools.toolchain import Search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from carvelwright.platform import Platform

ROOT = Path(__file__).parents[2]
MULTUS = ROOT / "packages/multus-cni"

Manifest = dict[str, Any]
# Documents for kapp itself, which it does not apply.
KAPP_API = "kapp.k14s.io/v1alpha1"


class RefusedError(Exception):
    """ytt refused the values; the message is what the user sees."""


@dataclass(frozen=True)
class StagedPackage:
    """The bundle's config directory, complete, and the ytt that renders it."""

    config: Path
    ytt: Path

    def text(self, values: Path | None = None) -> str:
        """Return the manifests as YAML; RefusedError carries ytt's message."""
        arguments = [] if values is None else ["--data-values-file", values.name]
        done = subprocess.run(
            [self.ytt, "-f", self.config, *arguments],
            cwd=values.parent if values else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RefusedError(done.stderr)
        return done.stdout

    def manifests(self, values: Path | None = None) -> list[Manifest]:
        """Return the manifests that are applied."""
        return applied(self.text(values))

    def kapp_config(self) -> Manifest:
        """Return what tells kapp how to apply them."""
        (config,) = (document for document in _documents(self.text()) if document["apiVersion"] == KAPP_API)
        return config

    def inspect(self, *arguments: str) -> Any:
        """Return what ytt says of the values schema alone."""
        done = subprocess.run([self.ytt, "-f", self.config, *arguments], capture_output=True, text=True, check=True)
        return YAML(typ="safe").load(done.stdout)

    def openapi(self) -> dict[str, Any]:
        """Return the values schema as it stands in a Package."""
        exported = self.inspect("--data-values-schema-inspect", "-o", "openapi-v3")
        schema: dict[str, Any] = exported["components"]["schemas"]["dataValues"]
        return schema

    def defaults(self) -> dict[str, Any]:
        """Return the default values."""
        values: dict[str, Any] = self.inspect("--data-values-inspect")
        return values


def applied(text: str | bytes) -> list[Manifest]:
    """Return the documents of a rendered package, without those for kapp itself."""
    return [document for document in _documents(text) if document["apiVersion"] != KAPP_API]


def _documents(text: str | bytes) -> list[Manifest]:
    return [document for document in YAML(typ="safe").load_all(text) if document]


def example(name: str, package: str = "whereabouts") -> list[Manifest]:
    """Return the documents of an example."""
    return list(YAML(typ="safe").load_all((ROOT / "examples" / package / name).read_text()))


def stage(target: Path, ytt: Path, platforms: Sequence[Platform] = (), member: Path = ROOT) -> StagedPackage:
    """Stage the newest release of a package of the workspace below `target`, as a build for these platforms does."""
    project = config.load_package(member)
    search = Search(ROOT, project.workspace.tools, project.workspace.go, dict(os.environ))
    bundle.stage_config(
        project,
        project.release(None),
        target,
        platforms=platforms,
        find_go=lambda: toolchain.find_go(search),
        reporter=Recorder(),
    )
    return StagedPackage(target, ytt)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, ytt: Path) -> StagedPackage:
    """Stage Whereabouts' package, once for all tests."""
    return stage(tmp_path_factory.mktemp("package") / "config", ytt)


@pytest.fixture(scope="session")
def multus(tmp_path_factory: pytest.TempPathFactory, ytt: Path) -> StagedPackage:
    """Stage Multus' package, once for all tests."""
    return stage(tmp_path_factory.mktemp("multus") / "config", ytt, member=MULTUS)


def compiled_installer(name: str, target: Path) -> Path:
    """Compile a package's node installer into a directory."""
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    }
    argv = [f"{sys.prefix}/bin/go", "build", "-o", str(target / name), f"./cmd/{name}"]
    subprocess.run(argv, cwd=ROOT / "payload", env=environment, check=True)
    return target / name


def write_values(directory: Path, values: Mapping[str, Any] | str) -> Path:
    """Write a values file."""
    path = directory / "values.yaml"
    if isinstance(values, str):
        path.write_text(values)
    else:
        with path.open("w") as stream:
            YAML(typ="safe").dump(dict(values), stream)
    return path


def nested(path: str, value: object) -> dict[str, Any]:
    """Return values in which only the option of that dotted path is set."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return several values in one; later ones win."""
    out: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            inner = out.get(key)
            out[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return out


def one(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """Return the only manifest of that kind and name."""
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pod_spec(manifest: Manifest) -> dict[str, Any]:
    """Return a workload's pod spec."""
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    """Return all containers of a workload, the initial ones first."""
    spec = pod_spec(manifest)
    return [*spec.get("initContainers", []), *spec["containers"]]
