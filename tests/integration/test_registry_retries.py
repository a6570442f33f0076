"""Calls of tools on a registry that fails for a while, or for good: each fault, told and bounded."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from carvelwright.digest import Digest
from carvelwright.errors import ExitCode, RegistryError
from carvelwright.oci.layout import ImageLayout
from carvelwright.reference import Reference
from carvelwright.tools import crane, imgpkg
from tests.conftest import free_address, registry_at
from tests.helpers.builds import release_of
from tests.helpers.images import deployment, push_image, yaml_package
from tests.helpers.proxy import Fault, Manners, Proxy
from tests.helpers.registries import any_registry as any_registry  # noqa: PLC0414 - a fixture
from tests.helpers.registries import bundle_directory, impatient, push_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain

LIMIT = 1 << 20


@pytest.fixture
def quick(toolset: Toolchain) -> Toolchain:
    return impatient(toolset)


class Work:
    """What the tools are asked to do at a registry, and the notes that come of it."""

    def __init__(self, toolset: Toolchain, address: str, scratch: Path) -> None:
        self.toolset = toolset
        self.scratch = scratch
        self.notes: list[str] = []
        self.target = Reference.parse(f"{address}/t/p:new")

    def push_bundle(self) -> Digest:
        """Push a bundle with imgpkg."""
        lock = imgpkg.push_bundle(
            self.toolset.imgpkg,
            bundle_directory(self.scratch),
            self.target,
            self.scratch / "lock.yml",
            step="push",
            timeout=120,
            note=self.notes.append,
        )
        assert lock.image.digest
        return lock.image.digest

    def push_layout(self) -> Digest:
        """Push an image with crane; its layout was made before."""
        layout = ImageLayout(self.scratch / "image-0/layout", Digest.parse((self.scratch / "image-digest").read_text()))
        crane.push_layout(self.toolset.crane, layout, self.target, step="push", timeout=120, note=self.notes.append)
        return layout.digest

    def put_tag(self, digest: str, name: str = "new") -> bool:
        """Tag what is there."""
        reference = Reference(self.target.repository, digest=Digest.parse(digest))
        return crane.put_tag(self.toolset.crane, reference, name, step="tag", timeout=120, note=self.notes.append)

    def digest(self, *, expected: bool = False) -> Digest | None:
        """Ask for the digest of the target."""
        return crane.digest(
            self.toolset.crane, self.target, step="ask", timeout=120, note=self.notes.append, expected=expected
        )

    def pull(self, *, expected: bool = False) -> crane.PulledBundle | None:
        """Pull the target, verified."""
        return crane.pull_verified_bundle(
            self.toolset.crane, self.target, LIMIT, step="read", timeout=120, note=self.notes.append, expected=expected
        )

    def copy_to_tar(self) -> None:
        """Copy the target into an archive with imgpkg."""
        imgpkg.copy_to_tar(
            self.toolset.imgpkg,
            self.target,
            self.scratch / "archive.tar",
            step="archive",
            timeout=120,
            note=self.notes.append,
        )


def make_image(toolset: Toolchain, scratch: Path) -> None:
    """Have a layout at hand, by pushing it elsewhere: its blobs are not yet in the registry of the test."""
    with registry_at(toolset, free_address(), scratch / "elsewhere") as address:
        (scratch / "image-digest").write_text(push_image(toolset.crane.path, scratch, f"{address}/t/p:x"))


# Each fault of an upload, so often that the tool by itself gives up.
UPLOAD = {
    "429": Fault("429", method="POST|PATCH|PUT", times=1, retry_after=0),
    "500": Fault("500", method="PUT", path="/manifests/", times=4),
    "503": Fault("503", method="PUT", path="/manifests/", times=4),
    "digest invalid": Fault("400", method="PUT", path="/manifests/", code="DIGEST_INVALID"),
    "reset": Fault("reset", method="PATCH", times=8),
    "cut": Fault("cut", method="PATCH|PUT", path="/blobs/", times=4),
    "401 after it was let in": Fault("401", method="PUT", path="/manifests/new"),
}


@pytest.mark.parametrize("name", UPLOAD)
@pytest.mark.parametrize("push", [Work.push_bundle, Work.push_layout], ids=["imgpkg", "crane"])
def test_an_upload_that_fails_for_a_while_is_completed(
    registry: str, quick: Toolchain, tmp_path: Path, push: Callable[[Work], Digest], name: str
) -> None:
    make_image(quick, tmp_path)
    with Proxy(registry, [UPLOAD[name]]) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        if name.startswith("401"):
            # Let in before, by a push of another tag.
            work.target = work.target.repository.tagged("before")
            push(work)
            work.target = work.target.repository.tagged("new")
        digest = push(work)
        assert proxy.hits()
    assert crane.digest(quick.crane, Reference.parse(f"{registry}/t/p:new"), step="x", timeout=60, note=print) == digest
    # What the tool mends itself needs no word.
    assert all("trying again in " in note for note in work.notes)


# crane repeats some requests by itself, three times each.
READS = [
    (Work.copy_to_tar, Fault("429", method="GET|HEAD", path="/manifests/", times=2)),
    (Work.copy_to_tar, Fault("500", method="GET|HEAD", path="/manifests/", times=2)),
    (Work.copy_to_tar, Fault("reset", method="GET|HEAD", path="/manifests/", times=2)),
    (Work.copy_to_tar, Fault("truncate", method="GET", path="/blobs/", times=2)),
    (Work.pull, Fault("429", method="GET|HEAD", path="/manifests/", times=5)),
    (Work.pull, Fault("500", method="GET|HEAD", path="/manifests/", times=5)),
    (Work.pull, Fault("reset", method="GET|HEAD", path="/manifests/", times=5)),
    (Work.pull, Fault("truncate", method="GET", path="/blobs/", times=2)),
]


@pytest.mark.parametrize(
    ("read", "fault"), READS, ids=lambda value: getattr(value, "kind", getattr(value, "__name__", ""))
)
def test_a_read_that_fails_for_a_while_is_completed(
    registry: str, quick: Toolchain, tmp_path: Path, read: Callable[[Work], object], fault: Fault
) -> None:
    push_bundle(quick, f"{registry}/t/p", tmp_path, "new")
    with Proxy(registry, [fault]) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        done = read(work)
        assert len(proxy.hits()) == fault.times
    if read is Work.pull:
        assert isinstance(done, crane.PulledBundle)
        assert done.files["file"] == b"content"
    else:
        assert (tmp_path / "archive.tar").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["429", "500", "503", "reset"])
def test_a_fault_for_good_is_an_error_of_the_registry_after_bounded_attempts(
    registry: str, toolset: Toolchain, tmp_path: Path, kind: str
) -> None:
    with Proxy(registry, [Fault(kind, method="POST|PUT|PATCH", times=None)]) as proxy:  # type: ignore[arg-type]
        work = Work(impatient(toolset, 2), proxy.address, tmp_path)
        with pytest.raises(RegistryError) as caught:
            work.push_bundle()
    error = caught.value
    assert error.exit_code is ExitCode.REGISTRY
    assert error.message == f"step push: imgpkg failed with exit code 1 at registry {proxy.address}"
    words = {"429": "TOOMANYREQUESTS", "500": "UNKNOWN", "503": "UNAVAILABLE", "reset": "reset by peer"}
    assert words[kind] in str(error.details)
    assert "attempts: 2; the one before ended with: " in str(error.details)
    (note,) = work.notes
    assert note.startswith(f"step push: registry {proxy.address}: ")
    assert "(attempt 2 of 2)" in note


@pytest.mark.parametrize("kind", ["401", "403", "400", "404"])
def test_an_answer_that_is_final_is_asked_for_once(registry: str, quick: Toolchain, tmp_path: Path, kind: str) -> None:
    with Proxy(registry, [Fault(kind, method="POST|PUT|PATCH", times=None)]) as proxy:  # type: ignore[arg-type]
        work = Work(quick, proxy.address, tmp_path)
        with pytest.raises(RegistryError):
            work.push_bundle()
    assert work.notes == []


def test_a_401_that_stays_is_asked_for_twice_and_no_more(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    digest = push_bundle(quick, f"{registry}/t/p", tmp_path)
    with Proxy(registry, [Fault("401", method="PUT", times=None, skip=1)]) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        assert work.put_tag(digest, "first")
        with pytest.raises(RegistryError) as caught:
            work.put_tag(digest, "second")
        assert len(proxy.hits()) == 2
    assert "docker login" in str(caught.value.hint)
    assert len(work.notes) == 1


@pytest.mark.parametrize("first", [Work.push_bundle, Work.digest], ids=["pushed", "asked for what is not there"])
def test_whoever_was_let_in_before_is_asked_again_once(
    registry: str, quick: Toolchain, tmp_path: Path, first: Callable[[Work], object]
) -> None:
    with Proxy(registry) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        first(work)
        # crane asks with HEAD, then with GET.
        with proxy.also(Fault("401", path="/manifests/", times=2)):
            work.digest()
            assert len(proxy.hits()) == 2
    assert len(work.notes) == 1
    assert "UNAUTHORIZED" in work.notes[0]


def test_after_a_429_requests_are_sent_one_at_a_time(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    push_bundle(quick, f"{registry}/t/p", tmp_path, "new")
    log = tmp_path / "log"
    wrapped = tmp_path / "imgpkg"
    wrapped.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {quick.imgpkg.path} "$@"\n')
    wrapped.chmod(0o755)
    tools = impatient(quick)
    object.__setattr__(tools.imgpkg, "path", wrapped)
    with Proxy(registry, [Fault("429", method="GET|HEAD", path="/manifests/", times=1)]) as proxy:
        work = Work(tools, proxy.address, tmp_path)
        work.copy_to_tar()
        work.copy_to_tar()
        copied = work.target.repository.tagged("copied")
        crane.copy(tools.crane, work.target, copied, step="copy", timeout=60, note=print)
    first, *others = log.read_text().splitlines()
    assert "--concurrency" not in first
    assert others
    assert all(line.startswith("copy --concurrency 1 ") for line in others)


def test_the_limit_of_time_is_for_all_attempts_together(registry: str, toolset: Toolchain, tmp_path: Path) -> None:
    push_bundle(toolset, f"{registry}/t/p", tmp_path, "new")
    with Proxy(registry, [Fault("429", path="/manifests/", times=None)]) as proxy:
        target = Reference.parse(f"{proxy.address}/t/p:new")
        notes: list[str] = []
        with pytest.raises(RegistryError) as caught:
            crane.manifest(toolset.crane, target, step="read", timeout=1, note=notes.append)
    # The second attempt would begin too late.
    assert "TOOMANYREQUESTS" in str(caught.value.details) or "did not end within" in caught.value.message
    assert len(notes) <= 1


def test_what_was_just_pushed_is_waited_for(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    with Proxy(registry, manners=Manners(absent=1.5)) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        digest = work.push_bundle()
        work.target = Reference(work.target.repository, digest=digest)
        pulled = work.pull(expected=True)
        assert pulled is not None
        assert pulled.digest == digest
        assert "the registry does not have it yet: " in work.notes[-1]
        work.target = Reference(work.target.repository, digest=Digest.of_bytes(b"never"))
        count = len(proxy.log)
        assert work.pull() is None
        assert len(proxy.log) - count < 5


def test_what_never_comes_is_waited_for_some_seconds_only(registry: str, toolset: Toolchain, tmp_path: Path) -> None:
    push_bundle(toolset, f"{registry}/t/p", tmp_path, "other")
    work = Work(impatient(toolset), registry, tmp_path)
    assert work.digest(expected=True) is None
    assert work.notes
    assert "(for up to 3 s)" in work.notes[0]


# Tags


@pytest.mark.parametrize("kind", ["harbor", "ecr"])
def test_an_immutable_tag_that_is_equal_is_skipped_and_another_refused_with_its_reason(
    any_registry: str, quick: Toolchain, tmp_path: Path, kind: str
) -> None:
    one = push_bundle(quick, f"{any_registry}/t/p", tmp_path, "one")
    (tmp_path / "more").mkdir()
    bundle_directory(tmp_path / "more", "another")
    two = push_bundle_of(quick, f"{any_registry}/t/p:two", tmp_path / "more")
    manners = Manners(immutable=kind, exempt=frozenset(["latest"]))  # type: ignore[arg-type]
    with Proxy(any_registry, manners=manners) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        assert work.put_tag(one) is True
        assert work.put_tag(one) is False
        assert work.put_tag(one, "latest")
        assert work.put_tag(two, "latest")
        with pytest.raises(RegistryError) as caught:
            work.put_tag(two)
    assert "immutable" in str(caught.value.details)
    assert str(caught.value.hint).startswith(f"push under a tag that {proxy.address}/t/p does not have yet")
    assert work.notes == []


def push_bundle_of(toolset: Toolchain, reference: str, scratch: Path) -> str:
    subprocess.run(
        [toolset.imgpkg.path, "push", "-b", reference, "-f", scratch / "bundle", "--tty=false"],
        check=True,
        capture_output=True,
    )
    found = crane.digest(toolset.crane, Reference.parse(reference), step="x", timeout=60, note=print)
    return str(found)


@pytest.mark.parametrize("kind", ["harbor", "ecr"])
def test_a_bundle_is_pushed_again_where_tags_are_immutable_and_another_is_refused(
    any_registry: str, quick: Toolchain, tmp_path: Path, kind: str
) -> None:
    with Proxy(any_registry, manners=Manners(immutable=kind)) as proxy:  # type: ignore[arg-type]
        work = Work(quick, proxy.address, tmp_path)
        assert work.push_bundle() == work.push_bundle() == work.digest()
        (tmp_path / "bundle/file").write_text("something else")
        lock = tmp_path / "lock.yml"
        with pytest.raises(RegistryError) as caught:
            imgpkg.push_bundle(
                quick.imgpkg, tmp_path / "bundle", work.target, lock, step="push", timeout=60, note=print
            )
    assert "immutable" in str(caught.value.details)
    assert str(caught.value.hint).startswith(f"push under a tag that {proxy.address}/t/p does not have yet")


def test_an_image_is_pushed_again_where_tags_are_immutable(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    make_image(quick, tmp_path)
    with Proxy(registry, manners=Manners(immutable="harbor")) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        assert work.push_layout() == work.push_layout()


@pytest.mark.parametrize("kind", ["harbor", "ecr"])
def test_an_immutable_tag_that_another_publisher_wrote_just_before_is_no_failure(
    registry: str, quick: Toolchain, tmp_path: Path, kind: str
) -> None:
    make_image(quick, tmp_path)
    # What is not shown yet is asked for in vain, written, and refused.
    manners = Manners(immutable=kind, absent=0.4)  # type: ignore[arg-type]
    with Proxy(registry, manners=manners) as proxy:
        work = Work(quick, proxy.address, tmp_path)
        found = work.push_layout()
        assert work.push_layout() == found
        assert work.put_tag(str(found), "other") is True
        assert work.put_tag(str(found), "other") is False
        assert [entry for entry in proxy.requests("PUT", "/manifests/") if entry.status in (400, 412)]


def test_a_copy_goes_on_where_another_publisher_copies_the_same_and_tags_are_immutable(
    registry: str, quick: Toolchain, tmp_path: Path
) -> None:
    digest = push_bundle(quick, f"{registry}/t/p", tmp_path, "new")
    own = f"sha256-{digest.rpartition(':')[2]}.imgpkg"
    work = Work(quick, registry, tmp_path)
    # By digest: imgpkg would write a tag, too.
    work.target = Reference.parse(f"{registry}/t/p@{digest}")
    work.copy_to_tar()

    def copy(address: str) -> None:
        target = Reference.parse(f"{address}/t/q:x").repository
        archive, lock = tmp_path / "archive.tar", tmp_path / "copied.yml"
        imgpkg.copy_from_tar(quick.imgpkg, archive, target, lock, step="copy", timeout=60, note=work.notes.append)

    copy(registry)
    # Asked for before the other has written it.
    unseen = Fault("404", method="HEAD|GET", path=f"/manifests/{own}", times=1)
    with Proxy(registry, [unseen], Manners(immutable="harbor")) as proxy:
        copy(proxy.address)
        assert [entry.status for entry in proxy.requests("PUT", f"/manifests/{own}")] == [412]


def test_a_build_is_repeated_where_tags_are_immutable(
    registry: str, toolset: Toolchain, tool_environment: dict[str, str], tmp_path: Path
) -> None:
    push_image(toolset.crane.path, tmp_path, f"{registry}/up/nginx:1")
    package = yaml_package(tmp_path / "package", tool_environment, deployment("a", f"{registry}/up/nginx:1"))
    package.run("images", "update").ok()
    with Proxy(registry, manners=Manners(immutable="harbor", exempt=frozenset(["latest"]))) as proxy:
        digests = []
        for _ in range(2):
            package.run("build", "--to", f"{proxy.address}/p").ok()
            digests.append(release_of(package)["repository"])
            shutil.rmtree(package.root / "dist")
            shutil.rmtree(package.root / "build")
        assert digests[0] == digests[1]
        assert [entry.status for entry in proxy.requests("PUT", "/manifests/latest")] == [201]


# Verified reads


def test_a_flipped_bit_is_never_taken_for_the_content(registry: str, toolset: Toolchain, tmp_path: Path) -> None:
    digest = push_bundle(toolset, f"{registry}/t/p", tmp_path, "new")
    tools = impatient(toolset, 1)
    refused = 0
    for path in ("/manifests/", "/blobs/"):
        for seed in range(12):
            with Proxy(registry, [Fault("flip", method="GET", path=path, times=None)], seed=seed) as proxy:
                work = Work(tools, proxy.address, tmp_path)
                work.target = Reference.parse(f"{proxy.address}/t/p@{digest}")
                with pytest.raises((ValueError, RegistryError)):
                    work.pull()
                refused += 1
    assert refused == 24


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("read", [Work.pull, Work.copy_to_tar], ids=["crane", "imgpkg"])
def test_what_is_damaged_on_the_way_is_read_again_and_what_stays_so_is_told(
    registry: str, toolset: Toolchain, tmp_path: Path, read: Callable[[Work], object], path: str
) -> None:
    digest = push_bundle(toolset, f"{registry}/t/p", tmp_path, "new")

    def work(proxy: Proxy) -> Work:
        found = Work(impatient(toolset, 5), proxy.address, tmp_path)
        found.target = Reference.parse(f"{proxy.address}/t/p@{digest}")
        return found

    with Proxy(registry, [Fault("flip", method="GET", path=path, times=2)]) as proxy:
        once = work(proxy)
        done = read(once)
        assert len(proxy.hits()) == 2
    assert done is None or isinstance(done, crane.PulledBundle)
    # crane is told to read configuration and layer side by side.
    assert [note.rpartition(" ")[2] for note in once.notes] == ["3)", "3)"]
    assert "(attempt 2 of 3)" in once.notes[0]
    assert all("what was read is damaged: " in note and "sha256" in note for note in once.notes)
    with Proxy(registry, [Fault("flip", method="GET", path=path, times=None)]) as proxy:
        always = work(proxy)
        with pytest.raises(RegistryError) as caught:
            read(always)
    assert {note.rpartition("(")[2] for note in always.notes} == {"attempt 2 of 3)", "attempt 3 of 3)"}
    hint = caught.value.hint or ""
    assert hint.startswith(f"run the same command again; if it fails again, what {proxy.address}/t/p holds is damaged")
    assert "attempts: 3; the one before ended with: what was read is damaged" in str(caught.value.details)


@pytest.mark.parametrize("part", ["config", "layer"])
def test_a_bundle_whose_parts_do_not_belong_together_is_refused(
    registry: str, quick: Toolchain, tmp_path: Path, part: str
) -> None:
    """A manifest may name any blobs that are there: the configuration of one image and the layer of another."""
    directory = tmp_path / "mixed"
    work = Work(quick, registry, tmp_path)
    mixed = mix(quick, registry, directory, part)
    work.target = Reference.parse(f"{registry}/t/p@{mixed}")
    with pytest.raises(ValueError, match=r"its layer unpacks to sha256:.*, and its configuration says sha256:"):
        work.pull()


def mix(toolset: Toolchain, registry: str, scratch: Path, part: str) -> str:
    """Push two bundles, and a manifest that takes a part of the second and the rest of the first."""
    import http.client  # noqa: PLC0415
    import json  # noqa: PLC0415

    documents = []
    for content in ("one", "two"):
        (scratch / content).mkdir(parents=True)
        bundle_directory(scratch / content, content)
        push_bundle_of(toolset, f"{registry}/t/p:{content}", scratch / content)
        raw = crane.manifest(
            toolset.crane, Reference.parse(f"{registry}/t/p:{content}"), step="x", timeout=60, note=print
        )
        documents.append(json.loads(raw or b""))
    mixed = dict(documents[0])
    mixed["config" if part == "config" else "layers"] = documents[1]["config" if part == "config" else "layers"]
    body = json.dumps(mixed).encode()
    connection = http.client.HTTPConnection(registry, timeout=30)
    digest = str(Digest.of_bytes(body))
    connection.request("PUT", f"/v2/t/p/manifests/{digest}", body=body, headers={"Content-Type": mixed["mediaType"]})
    assert connection.getresponse().status == http.client.CREATED
    connection.close()
    return digest


def test_a_bundle_that_is_too_large_is_not_fetched(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    push_bundle(quick, f"{registry}/t/p", tmp_path, "new")
    with Proxy(registry) as proxy:
        target = Reference.parse(f"{proxy.address}/t/p:new")
        with pytest.raises(ValueError, match="its layer is larger than 10 bytes"):
            crane.pull_verified_bundle(quick.crane, target, 10, step="read", timeout=60, note=print)
        assert proxy.requests("GET", "/blobs/") == []


def test_an_index_is_no_bundle(registry: str, quick: Toolchain, tmp_path: Path) -> None:
    push_image(quick.crane.path, tmp_path, f"{registry}/t/p:new")
    with pytest.raises(ValueError, match="it is no bundle"):
        Work(quick, registry, tmp_path).pull()


def test_what_is_not_there_is_none(any_registry: str, quick: Toolchain, tmp_path: Path) -> None:
    assert Work(quick, any_registry, tmp_path).pull() is None
