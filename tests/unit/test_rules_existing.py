"""What check says of the images of a package: each message whole, with its place and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from carvelwright.errors import Location, Problem, Severity
from carvelwright.platform import Platform
from carvelwright.project import workspace
from carvelwright.project.config import BUILD_FILE, BUNDLE_CONFIG, RENDERS_DIRECTORY, Package
from carvelwright.project.images import LOCK_FILE, DeclaredImage, GoImage, LockedImage
from carvelwright.reference import Reference
from carvelwright.rules.existing import problems
from carvelwright.steps.existing import Rendering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
BY_DIGEST = f"quay.io/team/a@{ONE}"
RENDER_HINT = (
    f"add a values file that turns the option on to {RENDERS_DIRECTORY}/, or name the image under `images` in "
    f"{BUILD_FILE}; then run `carvelwright images update`"
)
TEXT_HINT = (
    "to lock it, add a searchRule for its field to a kbld Config document in bundle/config; to carry it only, name it "
    f"under `images` in {BUILD_FILE}; then run `carvelwright images update`"
)
KBLD = {"apiVersion": "kbld.k14s.io/v1alpha1", "kind": "Config"}


def locked(name: str, *platforms: str) -> LockedImage:
    wanted = Reference.of_image(name)
    return LockedImage(name, Reference.parse(f"{wanted.repository}@{ONE}"), wanted.tag, platforms or ("linux/amd64",))


def built(name: str) -> GoImage:
    return GoImage(name, name, name, "MIT", None, (), ())


def package(
    root: Path, *images: GoImage | LockedImage, files: Mapping[str, str | bytes] | None = None, declared: str = ""
) -> Package:
    """Return a package of given images, for linux/amd64, with files in bundle/config."""
    (root / BUNDLE_CONFIG).mkdir(parents=True)
    for name, text in (files or {}).items():
        path = root / BUNDLE_CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Package(
        workspace=workspace.alone(root, {"registry": "r.example.com/team", "go": "1.27.3"}),
        root=root,
        ref_name="web.example.com",
        platforms=(Platform.parse("linux/amd64"),),
        images=images,
        declared=(DeclaredImage(declared, None),) if declared else (),
        renders=(),
        crds=(),
        upstream=None,
        metadata={},
        releases=(),
    )


def found(project: Package, *used: str, documents: Sequence[Any] = ()) -> list[Problem]:
    """Return what is told of a package whose only rendering uses given images."""
    return problems(project, [Rendering(None, b"", used)], documents)


def warning(message: str, where: Location, hint: str) -> Problem:
    return Problem(message, where, hint=hint, severity=Severity.WARNING)


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec}


def unlocked(name: str, where: Location) -> Problem:
    return warning(f"Thing one: {name!r} looks like an image and is not locked", where, TEXT_HINT)


def test_nothing_is_told_of_a_package_whose_images_are_used_and_locked(tmp_path: Path) -> None:
    project = package(
        tmp_path,
        built("web"),
        locked("nginx:1"),
        locked("redis:7"),
        files={"0.yaml": "image: web\nimage: nginx:1\nsidecar: {image: 'redis:7'}\n"},
        declared="redis:7",
    )
    document = thing(image="nginx:1", sidecarImage="redis:7")
    assert found(project, "nginx:1", "web", documents=[None, "text", KBLD, document]) == []


@pytest.mark.parametrize("key", ["overrides", "sources", "destinations"])
@pytest.mark.parametrize("kind", ["Config", "Sources"])
def test_what_makes_kbld_look_elsewhere_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    empty: dict[str, Any] = {"overrides": [], "sources": [], "destinations": []}
    documents = [KBLD | empty, thing() | {key: [{}]}, KBLD | {"kind": kind, "searchRules": [{}], key: [{}]}, KBLD]
    assert found(package(tmp_path), documents=documents) == [
        Problem(
            f"a kbld {kind} has {key}: in the cluster they come before the locked images",
            Location(tmp_path / BUNDLE_CONFIG),
            expected="keys and searchRules only",
            hint="write each image itself in the manifests",
        )
    ]


# Where the image stands: the name may be a part of another one.
PLACES: dict[str, tuple[Mapping[str, str | bytes], str, int | None]] = {
    "in no file": ({}, "", None),
    "only as a part": ({"0.yaml": "- x/NAME\n- NAME-b\n- NAME/b\n"}, "", None),
    "after parts": ({"0.yaml": "- x/NAME\n- NAME.b\n- NAME\n"}, "0.yaml", 3),
    "first of two": ({"a/1.yaml": "\n- NAME", "b.yaml": "- NAME"}, "a/1.yaml", 2),
    "not hidden": ({".a.yaml": "- NAME", "b.yaml": "- NAME"}, "b.yaml", 1),
    "beside bytes that are no text": ({"0.bin": b"\xff\xfe\n", "1.yaml": b"\xff\n- NAME"}, "1.yaml", 2),
}


def at(root: Path, case: str, name: str) -> tuple[dict[str, str | bytes], Location]:
    """Return the files of a case for an image, and the place that has to be told."""
    texts, file, line = PLACES[case]
    files: dict[str, str | bytes] = {
        path: text.replace("NAME", name) if isinstance(text, str) else text.replace(b"NAME", name.encode())
        for path, text in texts.items()
    }
    return files, Location(root / BUNDLE_CONFIG / file, line)


@pytest.mark.parametrize("case", PLACES)
def test_an_image_that_is_not_locked_is_told_where_it_stands(tmp_path: Path, case: str) -> None:
    files, where = at(tmp_path, case, "team/a:1")
    assert found(package(tmp_path, files=files), "team/a:1") == [
        Problem(
            "image 'team/a:1' is not locked",
            where,
            expected=f"an image of {LOCK_FILE}, or one that the project builds: none",
            hint="run `carvelwright images update team/a:1`, or correct the name",
        )
    ]


@pytest.mark.parametrize("case", PLACES)
def test_platforms_are_not_known_of_a_digest_that_is_not_locked(tmp_path: Path, case: str) -> None:
    files, where = at(tmp_path, case, BY_DIGEST)
    other = locked(f"quay.io/team/b@{ONE}")
    assert found(package(tmp_path, other, files=files), BY_DIGEST, other.name) == [
        warning(
            f"image {BY_DIGEST!r} is not in {LOCK_FILE}: its platforms are not known",
            where,
            f"run `carvelwright images update {BY_DIGEST}`",
        )
    ]


def test_a_platform_that_a_locked_image_lacks_is_told_of_the_lock(tmp_path: Path) -> None:
    project = package(tmp_path, locked("nginx:1", "linux/arm64", "linux/s390x"), files={"0.yaml": "image: nginx:1\n"})
    assert found(project, "nginx:1") == [
        Problem(
            "image 'nginx:1' is not there for linux/amd64",
            Location(tmp_path / LOCK_FILE),
            found="it offers linux/arm64, linux/s390x",
            expected=f"the platforms of {BUILD_FILE}",
            hint=f"use an image that offers linux/amd64, or set its `platforms` under `images` in {BUILD_FILE}",
        )
    ]


def test_images_that_no_manifest_uses_are_told(tmp_path: Path) -> None:
    project = package(tmp_path, built("web"), built("idle"), locked("nginx:1"), locked("redis:7"), locked("old:1"))
    both = [Rendering(None, b"", ("web",)), Rendering(tmp_path / "more.yaml", b"", ("nginx:1", "redis:7"))]
    assert problems(project, both, []) == [
        warning(
            "no manifest uses the locked image 'old:1'",
            Location(tmp_path / LOCK_FILE),
            "run `carvelwright images update` to drop it",
        ),
        warning(
            "no manifest uses image 'idle'",
            Location(tmp_path / BUNDLE_CONFIG),
            f"use it in a manifest, or remove it from {BUILD_FILE}; if an option brings it, add a values file that "
            f"turns the option on to {RENDERS_DIRECTORY}/",
        ),
    ]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("image: nginx:2", ["nginx:2"]),
        ("- image: 'nginx:2'", ["nginx:2"]),
        ('{"name": "a", "image": "nginx:2"}', ["nginx:2"]),
        ("{image: nginx:2, init: {image: busybox}}", ["nginx:2", "busybox"]),
        ("image: nginx:2 # kept", ["nginx:2"]),
        ("image: Nginx", []),
        ("image: nginx:1", []),
        ("image: web", []),
        ("image: #@ data.values.image", []),
        ("sidecarImage: nginx:2", []),
    ],
)
def test_an_image_behind_an_option_is_told_at_its_line(tmp_path: Path, line: str, names: Sequence[str]) -> None:
    files = {"a/0.yaml": f"#! about it\n\n{line}\n", "a/.1.yaml": "image: nginx:3\n"}
    project = package(tmp_path, built("web"), locked("nginx:1"), files=files)
    where = Location(tmp_path / BUNDLE_CONFIG / "a/0.yaml", 3)
    told = [warning(f"image {name!r} is in no rendering", where, RENDER_HINT) for name in names]
    assert found(project, "nginx:1", "web") == told


@pytest.mark.parametrize("case", PLACES)
def test_a_text_that_looks_like_an_image_is_told_once_where_it_stands(tmp_path: Path, case: str) -> None:
    files, where = at(tmp_path, case, "quay.io/team/a:1")
    configuration = KBLD | {"note": "quay.io/team/unseen:1"}
    documents = [configuration, thing(first="quay.io/team/a:1"), thing(again="quay.io/team/a:1")]
    assert found(package(tmp_path, files=files), documents=documents) == [unlocked("quay.io/team/a:1", where)]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({"sidecarImage": ["nginx:1", "redis:7"]}, ["nginx:1", "redis:7"]),
        ({"sidecarImages": ["nginx:1"]}, []),
        ({"sidecarImage": "nginx"}, []),
        ({"sidecarImage": "Nginx:1"}, []),
        ({"name": "web", "sidecarImage": "nginx:1"}, ["nginx:1"]),
        ({"name": "RELATED_IMAGE_WEB", "value": "nginx:1", "other": "redis:7"}, ["nginx:1"]),
        ({"name": 7, "value": "nginx:1"}, []),
        ({"text": "https://quay.io/team/a:1 quay.io/team/b:2"}, ["quay.io/team/b:2"]),
        ({"text": "docker://quay.io/team/c:3,docker.io/team/d:4"}, ["quay.io/team/c:3", "docker.io/team/d:4"]),
        ({"text": [f"--web=quay.io/team/a@{TWO}"]}, [f"quay.io/team/a@{TWO}"]),
        ({"args": ["--image=nginx:1", "--image=nginx"]}, ["nginx:1"]),
        ({"description": ["quay.io/team/a:1"], "deeper": {"imageURL": "nginx:1"}}, ["nginx:1"]),
    ],
)
def test_which_texts_look_like_images(tmp_path: Path, spec: Mapping[str, Any], names: Sequence[str]) -> None:
    where = Location(tmp_path / BUNDLE_CONFIG)
    assert found(package(tmp_path), documents=[thing(**spec)]) == [unlocked(name, where) for name in names]


@pytest.mark.parametrize("document", [["nginx:1"], "nginx:1", {"spec": {"image": "nginx:1"}}])
def test_documents_of_any_shape_are_looked_at(tmp_path: Path, document: Any) -> None:
    told = [problem.message for problem in found(package(tmp_path), documents=[document])]
    named = ["object: 'nginx:1' looks like an image and is not locked"]
    assert told == (named if isinstance(document, dict) else [])
