"""Published package repositories: small versions, released in a moment; commands are run where there is no project."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.places import Places
from carvelwright.catalog.records import Action, Record
from carvelwright.oci.bundle import write_bundle
from carvelwright.reference import Reference, Repository
from carvelwright.report import Recorder
from carvelwright.steps import render
from carvelwright.uses import commit, remote
from tests.conftest import PackageProject
from tests.helpers.builds import call
from tests.helpers.images import push_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.uses.remote import Opened

NAME, OTHER = "app.example.com", "other.example.com"
SCHEMA = b'#@data/values-schema\n---\n#@schema/desc "How much is said."\nmode: quiet\n'


@dataclass
class Published:
    """A registry, a target in it, and a directory that is no project, in which commands are run."""

    registry: str
    project: PackageProject
    toolset: Toolchain
    target: str
    schemas: dict[bytes, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def packages(self) -> str:
        """The OCI repository of the package repository."""
        return f"{self.target}/package-repository"

    @property
    def scratch(self) -> Path:
        """A directory of its own for each test, in which nothing is looked at."""
        return self.project.root.parent

    def opened(self, target: str | None = None) -> AbstractContextManager[Opened]:
        """Open the repository as commands do."""
        around = remote.Surroundings(self.project.root, self.project.environment, Recorder())
        return remote.opened(around, Places(Repository.parse(target or self.target)), 60, "test")

    def bundle(self, place: str, text: str, content: Mapping[str, bytes] | None = None) -> str:
        """Push a bundle with one image beside it, each with the tag that imgpkg gives; returns it by digest."""
        image = push_image(self.toolset.crane.path, self.scratch / "images", f"{place}:image", text=text)
        self.crane("tag", f"{place}@{image}", f"sha256-{image.partition(':')[2]}.imgpkg")
        lock = locks.ImagesLock((locks.LockEntry(Reference.parse(f"{place}@{image}"), "app"),))
        files = {
            locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode(),
            "config/values-schema.yaml": SCHEMA,
            "config/app.yaml": f"text: {text}\n".encode(),
        }
        return self.push(place, {**files, **(content or {})})

    def push(self, place: str, content: Mapping[str, bytes]) -> str:
        """Push a bundle of these files; returns it by digest."""
        directory = self.scratch / f"bundle-{len(list(self.scratch.glob('bundle-*')))}"
        layout = write_bundle(content, directory)
        self.crane("push", str(directory), f"{place}:sha256-{layout.digest.hex}.imgpkg")
        return f"{place}@{layout.digest}"

    def document(self, version: str, bundle: str, ref_name: str = NAME, schema: bytes = SCHEMA) -> dict[str, Any]:
        """Return a Package."""
        if schema not in self.schemas:
            path = self.scratch / "values-schema.yaml"
            path.write_bytes(schema)
            self.schemas[schema] = render.export_file(path, schema, self.toolset).openapi
        return resources.package(
            ref_name,
            PackageVersion.parse(version),
            released_at="2026-11-01T00:00:00Z",
            release_notes=f"Notes of {version}.",
            static={},
            values_schema=self.schemas[schema],
            bundle=Reference.parse(bundle),
        )

    def release(self, version: str, ref_name: str = NAME, *, bundle: str | None = None, schema: bytes = SCHEMA) -> str:
        """Publish a version; returns its bundle."""
        bundle = bundle or self.bundle(f"{self.target}/{ref_name}", f"{ref_name} {version}")
        record = self.record(version, ref_name, bundle=bundle, schema=schema)
        with self.opened() as opened:
            wanted = commit.Version(record, Repository.parse(f"{self.target}/{ref_name}"), None)
            commit.commit(commit.jobs([wanted], opened.remote.look(), opened.scratch), opened.remote, opened.tools)
        return bundle

    def record(self, version: str, ref_name: str = NAME, *, bundle: str, schema: bytes = SCHEMA) -> Record:
        """Return the record of a release."""
        package = yamldoc.dump(self.document(version, bundle, ref_name, schema)).encode()
        metadata = yamldoc.dump(resources.package_metadata(ref_name, {"displayName": ref_name})).encode()
        date = "2026-11-01T00:00:00Z"
        return Record(ref_name, version, Action.RELEASE, 0, package, metadata, Reference.parse(bundle), date)

    def leave_record(self, record: Record) -> str:
        """Push a record and stop there, as a publisher that was killed; returns its tag."""
        with self.opened() as opened:
            return str(opened.remote.push_record(record))

    def foreign(self, files: Mapping[str, str], bundles: tuple[str, ...] = (), tag: str = "1.0.0") -> None:
        """Publish a repository as others do: files, a lock, and a tag."""
        lock = yamldoc.dump(locks.extended_lock((), [Reference.parse(bundle) for bundle in bundles])).encode()
        content = {locks.IMAGES_LOCK: lock, **{name: text.encode() for name, text in files.items()}}
        reference = self.push(self.packages, content)
        self.crane("tag", reference, tag)

    def crane(self, *arguments: str) -> str:
        """Run crane."""
        return call(self.toolset.crane.path, *arguments).decode().strip()

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --format json; returns what it printed."""
        outcome = self.project.run(*arguments, "--format", "json")
        assert outcome.code == code, outcome
        return json.loads(outcome.out)

    def states(self) -> dict[str, str]:
        """Return the state of each version as `list` has it."""
        found = self.json("repository", "list", self.target)
        return {f"{each['refName']}/{each['version']}": each["state"] for each in found["versions"]}

    def clients_see(self) -> list[str]:
        """Return the files of packages/ at the tag that clients follow, as imgpkg pulls them."""
        tags = [tag for tag in self.crane("ls", self.packages).split() if tag[0].isdigit()]
        highest = max(tags, key=lambda tag: [int(part) for part in tag.split(".")])
        place = self.scratch / f"pulled-{len(list(self.scratch.glob('pulled-*')))}"
        call(self.toolset.imgpkg.path, "pull", "-b", f"{self.packages}:{highest}", "-o", place, "--tty=false")
        assert self.crane("digest", f"{self.packages}:latest") == self.crane("digest", f"{self.packages}:{highest}")
        return sorted(path.relative_to(place / "packages").as_posix() for path in place.glob("packages/*/*"))


@pytest.fixture
def published(registry: str, toolset: Toolchain, tool_environment: dict[str, str], tmp_path: Path) -> Published:
    """An empty target in a registry of its own."""
    root = tmp_path / "work/no-project"
    root.mkdir(parents=True)
    return Published(registry, PackageProject(root, tool_environment), toolset, f"{registry}/p")
