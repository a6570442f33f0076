"""What one more version costs in a repository of 10, 100 and 1,000: `make bench-growth`.

Against it, in the same run, what is done by hand: the same `imgpkg copy` of the content, kbld over the directory, which
lies ready, and `imgpkg push`; that is what kctrl's `package repository release` runs. kctrl itself runs as well where
PATH has it.
"""

from __future__ import annotations

import hashlib
import http.client
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.catalog.content import Catalog
from carvelwright.catalog.merge import merged
from carvelwright.catalog.records import Action, Record
from carvelwright.catalog.tags import LATEST, Revision
from carvelwright.oci.bundle import write_bundle
from carvelwright.reference import Reference
from tests.conftest import ROOT, PackageProject, free_address
from tests.helpers.proxy import Proxy
from tests.helpers.registries import serve
from tests.torture.setting import find_tools, tool_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carvelwright.catalog.tags import RecordTag
    from carvelwright.tools.toolchain import Toolchain

SIZES = (10, 100, 1000)
RUNS = 5
NAME = "grown.packages.example.com"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Release:
    """A version that is ready to be published: a project with dist/, its archive, its Package file."""

    root: Path
    version: str

    @property
    def archive(self) -> Path:
        return self.root / f"dist/{NAME}-{self.version}.tar"

    @property
    def package(self) -> Path:
        return self.root / f"dist/packages/{NAME}/{self.version}.yml"


@dataclass(frozen=True)
class Bench:
    """Tools, releases and a registry."""

    toolset: Toolchain
    environment: Mapping[str, str]
    releases: Sequence[Release]
    registry: str
    scratch: Path

    def size(self, size: int) -> None:
        """Measure at one size, and print."""
        directory = self.scratch / f"{size}"
        records = self._records(size, directory)
        _seed(records, self.registry, f"n{size}", directory)
        by_hand = self._by_hand_directory(records, directory)
        ways: dict[str, Callable[[Release], list[list[object]]]] = {
            "publish": lambda release: [self._publish(release, self.registry, size)],
            "by hand": lambda release: self._by_hand(release, by_hand, self.registry, size),
        }
        if shutil.which("kctrl"):
            ways["kctrl"] = lambda release: self._kctrl(release, by_hand, self.registry, size)
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        *timed, last = self.releases
        for release in timed:
            for name, commands in ways.items():
                spent[name].append(self._spend(commands(release)))
        self._tell(size, spent)
        # The proxy is as slow as its Python: bytes and times are not of the same run.
        with Proxy(self.registry) as proxy:
            for name, argv in {
                "publish": [self._publish(last, proxy.address, size)],
                "by hand": self._by_hand(last, by_hand, proxy.address, size),
            }.items():
                proxy.log.clear()
                self._spend(argv)
                print(
                    f"{size:5}  {name:8} {len(proxy.log):5} requests   {sum(e.sent for e in proxy.log) / 1e6:7.2f} MB "
                    f"sent   {sum(e.received for e in proxy.log) / 1e6:7.2f} MB received",
                    flush=True,
                )

    @staticmethod
    def _tell(size: int, spent: Mapping[str, list[tuple[float, float]]]) -> None:
        for name, each in spent.items():
            walls, cpus = zip(*each, strict=True)
            ratios = [
                [mine[part] / theirs[part] for mine, theirs in zip(each, spent["by hand"], strict=True)]
                for part in (0, 1)
            ]
            print(
                f"{size:5}  {name:8} {statistics.median(walls):7.2f} s (min {min(walls):.2f})   "
                f"{statistics.median(cpus):6.2f} s of CPU   / by hand: {statistics.median(ratios[0]):.2f}, "
                f"of CPU {statistics.median(ratios[1]):.2f}",
                flush=True,
            )

    def _publish(self, release: Release, registry: str, size: int) -> list[object]:
        return [sys.executable, "-m", "carvelwright", "-C", release.root, "publish", "-q", f"{registry}/n{size}"]

    def _by_hand(self, release: Release, directory: Path, registry: str, size: int) -> list[list[object]]:
        shutil.copyfile(release.package, directory / f"packages/{NAME}/{release.version}.yml")
        to, tag = f"{registry}/hand{size}", release.version.replace("+", "_")
        imgpkg, lock = self.toolset.imgpkg.path, directory / ".imgpkg/images.yml"
        return [
            [imgpkg, "copy", "--tar", release.archive, "--to-repo", f"{to}/{NAME}", "--tty=false"],
            [self.toolset.kbld.path, "-f", directory / "packages", "--imgpkg-lock-output", lock],
            [imgpkg, "push", "-b", f"{to}/package-repository:{tag}", "-f", directory, "--tty=false"],
        ]

    def _kctrl(self, release: Release, directory: Path, registry: str, size: int) -> list[list[object]]:
        copy, *_ = self._by_hand(release, directory, registry, size)
        (directory / "pkgrepo-build.yml").write_text(
            "apiVersion: kctrl.carvel.dev/v1alpha1\nkind: PackageRepositoryBuild\n"
            f"spec: {{export: {{imgpkgBundle: {{image: {registry}/kctrl{size}/package-repository}}}}}}\n"
        )
        release_it = ["kctrl", "package", "repository", "release", "--chdir", directory, "-y", "-v"]
        return [copy, [*release_it, release.version.replace("+", "-")]]

    def _spend(self, commands: list[list[object]]) -> tuple[float, float]:
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for argv in commands:
            subprocess.run(
                [str(part) for part in argv],
                env=self.environment,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - begun, cpu

    def _records(self, size: int, directory: Path) -> dict[RecordTag, Record]:
        """Return so many released versions, as publishers would have recorded them; their bundles are not there."""
        base = self.releases[0]
        text = base.package.read_text()
        old = next(line.split()[-1] for line in text.splitlines() if line.strip().startswith("image: "))
        metadata = (base.root / f"dist/packages/{NAME}/metadata.yml").read_bytes()
        found = {}
        for number in range(size):
            version = f"0.0.{number}+build.1"
            digest = hashlib.sha256(version.encode()).hexdigest()
            bundle = f"{self.registry}/n{size}/{NAME}@sha256:{digest}"
            package = text.replace(old, bundle).replace(base.version, version).encode()
            record = Record(NAME, version, Action.RELEASE, 0, package, metadata, Reference.parse(bundle))
            layout = write_bundle(record.files(), directory / f"records/{number}")
            found[record.tag(layout.digest)] = record
        return found

    @staticmethod
    def _by_hand_directory(records: Mapping[RecordTag, Record], directory: Path) -> Path:
        root = directory / "by-hand"
        (root / ".imgpkg").mkdir(parents=True)
        for name, content in merged(Catalog(), records).files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root


def _seed(records: Mapping[RecordTag, Record], registry: str, path: str, directory: Path) -> None:
    """Write records and the revision that holds them, straight to the registry."""
    place = f"{path}/package-repository"
    client = http.client.HTTPConnection(registry)
    for number, tag in enumerate(records):
        _put(client, place, directory / f"records/{number}", [str(tag)])
    catalog = merged(Catalog(), records)
    layout = write_bundle(catalog.bundle_files(), directory / "revision")
    revision = Revision.after(None, len(records), layout.digest)
    _put(client, place, directory / "revision", [revision.tag, LATEST])
    client.close()


def _put(client: http.client.HTTPConnection, place: str, layout: Path, tags: Sequence[str]) -> None:
    blobs = sorted((layout / "blobs/sha256").iterdir(), key=lambda path: b'"schemaVersion"' in path.read_bytes())
    *parts, manifest = [(blob.name, blob.read_bytes()) for blob in blobs]
    for digest, content in parts:
        location = _ask(client, "POST", f"/v2/{place}/blobs/uploads/", b"", {})
        path = location.partition(client.host)[2].partition("/")[2] if "://" in location else location[1:]
        query = f"{'&' if '?' in path else '?'}digest=sha256:{digest}"
        _ask(client, "PUT", f"/{path}{query}", content, {"Content-Type": "application/octet-stream"})
    for tag in tags:
        _ask(client, "PUT", f"/v2/{place}/manifests/{tag}", manifest[1], {"Content-Type": _MANIFEST})


def _ask(client: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> str:
    client.request(method, path, body, {**headers, "Content-Length": str(len(body))})
    response = client.getresponse()
    answer = response.read()
    assert response.status in (201, 202), f"{method} {path}: {response.status} {answer[:500]!r}"
    return response.headers.get("Location", "")


def _releases(directory: Path, environment: Mapping[str, str]) -> list[Release]:
    """Build versions of a package with this project's values schema, so that its Package is as large."""
    root = directory / "project"
    project = PackageProject(directory, environment)
    project.run("new", "--kind", "yaml", NAME, "--directory", str(root), "--registry", f"{free_address()}/p", "-q").ok()
    shutil.copyfile(ROOT / "values-schema.yaml", root / "values-schema.yaml")
    (root / "bundle/config/overlays/values.yaml").unlink()
    found = []
    for number in range(RUNS + 1):
        (version,) = (root / "package/releases").iterdir()
        version = version.rename(version.with_name(f"1.{number}.0+build.1.yaml"))
        text = yamldoc.load(version).data | {"upstream": f"1.{number}.0", "revision": "build.1"}
        version.write_text(yamldoc.dump(text))
        PackageProject(root, environment).run("build", "-q").ok()
        target = directory / f"release{number}"
        shutil.copytree(root, target, ignore=shutil.ignore_patterns("build"))
        found.append(Release(target, version.stem))
    return found


def main() -> int:
    """Measure at each size."""
    toolset = find_tools()
    environment = tool_environment(toolset)
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    kind = "docker-registry" if shutil.which("docker-registry") else "crane"
    with tempfile.TemporaryDirectory(prefix="growth-") as directory:
        scratch = Path(directory)
        releases = _releases(scratch, environment)
        size = releases[0].package.stat().st_size
        kctrl = "" if shutil.which("kctrl") else "; kctrl is not on PATH"
        print(f"registry: {kind}; a Package of {size / 1000:.0f} KB; {RUNS} versions added each{kctrl}", flush=True)
        with serve(kind, toolset, scratch) as registry:  # type: ignore[arg-type]
            for each in sizes:
                Bench(toolset, environment, releases, registry, scratch).size(each)
    return 0


if __name__ == "__main__":
    # So that the registry ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
