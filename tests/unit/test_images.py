"""Existing images: how names are read, and what a lock file may hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright import yamldoc
from carvelwright.errors import ConfigError, Location, Problem
from carvelwright.platform import Platform
from carvelwright.project.config import load_package
from carvelwright.project.images import (
    LOCK_FILE,
    DeclaredImage,
    GoImage,
    GoModule,
    LockedImage,
    declared_image,
    go_image,
    lock_text,
    locked_images,
)
from carvelwright.reference import Reference
from carvelwright.rules.existing import problems
from carvelwright.steps import existing
from carvelwright.steps.existing import Rendering
from tests.helpers.builds import call

if TYPE_CHECKING:
    from tests.conftest import PackageProject

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
HUB = "index.docker.io"
NAMES = {
    "nginx": f"{HUB}/library/nginx:latest",
    "nginx:1.27": f"{HUB}/library/nginx:1.27",
    "team/app:1": f"{HUB}/team/app:1",
    "docker.io/nginx": f"{HUB}/library/nginx:latest",
    "docker.io/team/app": f"{HUB}/team/app:latest",
    "index.docker.io/library/nginx:1": f"{HUB}/library/nginx:1",
    "quay.io/team/app:v1": "quay.io/team/app:v1",
    "localhost:5000/app": "localhost:5000/app:latest",
    f"nginx@{ONE}": f"{HUB}/library/nginx@{ONE}",
    f"quay.io/team/app:v1@{ONE}": f"quay.io/team/app@{ONE}",
}


@pytest.mark.parametrize(("name", "meant"), NAMES.items())
def test_names_are_read_as_docker_and_kbld_do(name: str, meant: str) -> None:
    assert str(Reference.of_image(name)) == meant


def test_kbld_reads_names_with_a_digest_the_same(kbld: Path) -> None:
    names = [*(name for name in NAMES if "@" in name), *(f"{name}@{ONE}" for name in NAMES if "@" not in name)]
    manifests = "".join(f"---\napiVersion: v1\nkind: K{n}\nimage: {name}\n" for n, name in enumerate(names))
    documents = yamldoc.load_all_text(call(kbld, "-f", "-", stdin=manifests.encode()).decode(), Path("kbld"))
    assert [document["image"] for document in documents] == [str(Reference.of_image(name)) for name in names]


@pytest.mark.parametrize(
    "name", ["", "Nginx", "a b", "nginx:", "nginx@sha256:1", "quay.io/", "http://a.b/c", "-", "localhost/app", "a//b"]
)
def test_what_names_no_image_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not an image: ") as caught:
        Reference.of_image(name)
    assert repr(name) in str(caught.value)


@given(st.sampled_from(list(NAMES)))
def test_a_full_name_is_read_as_it_is(name: str) -> None:
    full = Reference.of_image(name)
    assert Reference.of_image(str(full)) == full


def test_any_variant_of_an_architecture_will_do() -> None:
    image = LockedImage("a", Reference.parse(f"r.io/a@{ONE}"), "latest", ("linux/arm/v7", "linux/arm64/v8"))
    wanted = [Platform.parse(f"linux/{name}") for name in ("amd64", "arm", "arm64")]
    assert image.lacks(wanted) == wanted[:1]


def entry(**changed: Any) -> dict[str, Any]:
    whole = {"name": "nginx:1.27", "image": f"{HUB}/library/nginx@{ONE}", "tag": "1.27", "platforms": ["linux/amd64"]}
    return {key: value for key, value in (whole | changed).items() if value is not None}


def lock(*entries: dict[str, Any]) -> str:
    return yamldoc.dump({"schemaVersion": 1, "kind": "LockedImages", "images": list(entries)})


def test_a_lock_reads_back_and_is_sorted() -> None:
    text = lock_text(locked_images(yamldoc.parse(lock(entry(name="nginx:2", tag="2"), entry()), Path("lock")))[0])
    document = yamldoc.parse(text, Path("lock"))
    assert [image["name"] for image in document.data["images"]] == ["nginx:1.27", "nginx:2"]
    assert lock_text(locked_images(document)[0]) == text


def test_the_lock_files_whole_text() -> None:
    images = [
        LockedImage("nginx:2", Reference.parse(f"{HUB}/library/nginx@{TWO}"), "2", ("linux/amd64", "linux/arm/v7")),
        LockedImage(f"nginx@{ONE}", Reference.parse(f"{HUB}/library/nginx@{ONE}"), None, ("linux/amd64",)),
        LockedImage("a:1", Reference.parse(f"{HUB}/library/a@{ONE}"), "1", ()),
    ]
    text = f"""\
# Made by `carvelwright images update`. Commit it: builds take the images' digests from here.
---
schemaVersion: 1
kind: LockedImages
images:
- name: a:1
  image: {HUB}/library/a@{ONE}
  tag: '1'
  platforms: []
- name: nginx:2
  image: {HUB}/library/nginx@{TWO}
  tag: '2'
  platforms:
  - linux/amd64
  - linux/arm/v7
- name: nginx@{ONE}
  image: {HUB}/library/nginx@{ONE}
  platforms:
  - linux/amd64
"""
    assert lock_text(images) == text
    assert locked_images(yamldoc.parse(text, Path("lock"))) == (sorted(images, key=lambda image: image.name), [])


NGINX = f"{HUB}/library/nginx"
GOOD = {"name": "good:1", "image": f"{HUB}/library/good@{ONE}", "tag": "1"}
BY_DIGEST_ALONE = "not a reference by digest alone"
# What is wrong with an entry: the entry, the place and the value that are told, the message.
FAULTS: dict[str, tuple[dict[str, Any], tuple[int, int], str, str]] = {
    "no image": (
        entry(name="Nginx"),
        (10, 9),
        "Nginx",
        "not an image: 'Nginx' (expected NAME[:TAG][@sha256:DIGEST], lower-case)",
    ),
    "no reference": (
        entry(image="nginx"),
        (11, 10),
        "nginx",
        "not an image reference: 'nginx' (expected REGISTRY/PATH[:TAG][@sha256:DIGEST])",
    ),
    "no digest": (entry(image=NGINX), (11, 10), NGINX, BY_DIGEST_ALONE),
    "a tag and a digest": (
        entry(image=f"{NGINX}:1.27@{ONE}"),
        (11, 10),
        f"{NGINX}:1.27@{ONE}",
        BY_DIGEST_ALONE,
    ),
    "another repository": (
        entry(image=f"{NGINX}s@{ONE}"),
        (11, 10),
        f"{NGINX}s@{ONE}",
        f"not in the repository of nginx:1.27: {NGINX}",
    ),
    "another digest": (
        entry(name=f"nginx@{TWO}", tag=None),
        (11, 10),
        f"{NGINX}@{ONE}",
        f"another digest than that of nginx@{TWO}",
    ),
    "another tag": (entry(tag="1.28"), (12, 8), "1.28", "not the tag of nginx:1.27: 1.27"),
    "no tag": (entry(tag=None), (10, 3), "no tag", "not the tag of nginx:1.27: 1.27"),
    "a tag beside a digest": (
        entry(name=f"nginx@{ONE}"),
        (12, 8),
        "1.27",
        f"not the tag of nginx@{ONE}: none, it has a digest",
    ),
    "twice": (entry(**GOOD), (10, 9), "good:1", "the same image twice"),
}


@pytest.mark.parametrize(("wrong", "place", "value", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_lock_is_told_whole_and_the_rest_is_read(
    wrong: dict[str, Any], place: tuple[int, int], value: str, message: str
) -> None:
    text = lock(entry(**GOOD), wrong, entry(name="nginx:2", tag="2"))
    read, found = locked_images(yamldoc.parse(text, Path("lock")))
    assert [image.name for image in read] == ["good:1", "nginx:2"]
    hint = f"restore the file, or remove the entry and run `carvelwright images update {wrong['name']}`"
    excerpt = text.splitlines()[place[0] - 1].strip()
    assert found == [Problem(message, Location(Path("lock"), *place), value, None, hint, excerpt)]


WRONG = {
    "another repository": (lock(entry(image=f"{HUB}/library/other@{ONE}")), "not in the repository of nginx:1.27"),
    "no digest": (lock(entry(image=f"{HUB}/library/nginx")), "wrong value of images[0].image"),
    "an unknown key": (lock(entry(size=1)), "unknown key 'size' in images[0]"),
    "no platforms": (lock(entry(platforms=None)), "missing key 'platforms' in images[0]"),
    "no platform": (lock(entry(platforms=["amd64"])), "wrong value of images[0].platforms[0]"),
    "another version": (lock().replace("1", "2"), "wrong value of schemaVersion"),
    "another kind": (lock().replace("LockedImages", "ImagesLock"), "wrong value of kind"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_a_lock_file_is_read_strictly(hello: PackageProject, text: str, told: str) -> None:
    (hello.root / LOCK_FILE).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_package(hello.root)
    assert all(
        problem.location and problem.location.file.name == "images.lock.yaml" for problem in caught.value.problems
    )
    assert told in "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ("  - image: Nginx\n", "build.yaml:8:12: wrong value of images[0].image: not an image: 'Nginx'"),
        ("  - {image: nginx, title: x}\n", "an existing image has the keys image and platforms only"),
        ("  - {image: nginx, platforms: [amd64]}\n", "wrong value of images[0].platforms[0]"),
        ("  - image: nginx\n  - image: nginx\n", "image 2 has the name of image 1"),
        ("  - name: nginx\n", "missing key 'title' in images[0]"),
    ],
)
def test_declared_images_are_checked(hello: PackageProject, images: str, told: str) -> None:
    build = hello.root / "package/build.yaml"
    build.write_text(build.read_text().partition("images:")[0] + "images:\n" + images)
    with pytest.raises(ConfigError) as caught:
        load_package(hello.root)
    assert told in "\n".join(caught.value.lines())


def test_an_image_without_platforms_may_be_declared_as_such(hello: PackageProject) -> None:
    build = hello.root / "package/build.yaml"
    build.write_text(build.read_text() + "  - {image: 'nginx:1.27', platforms: []}\n")
    (hello.root / LOCK_FILE).write_text(lock(entry(platforms=[])))
    assert existing.problems(load_package(hello.root), ["nginx:1.27"]) == []
    hello.replace("package/build.yaml", ", platforms: []", "")
    (problem,) = existing.problems(load_package(hello.root), ["nginx:1.27"])
    assert problem.message == "image 'nginx:1.27' is not there for linux/amd64, linux/arm64"
    assert problem.found == "it offers no platform"


def test_platforms_are_for_existing_images(hello: PackageProject) -> None:
    hello.replace("package/build.yaml", "    title: hello", "    platforms: [linux/amd64]\n    title: hello")
    with pytest.raises(ConfigError) as caught:
        load_package(hello.root)
    assert "platforms belongs to existing images" in "\n".join(caught.value.lines())


TEXTS = {
    "sidecarImage: nginx:1.27": ["nginx:1.27"],
    "env: [{name: RELATED_IMAGE_PROXY, value: 'team/proxy:1'}]": ["team/proxy:1"],
    "args: ['--proxy-image=proxy:2', '--quiet']": ["proxy:2"],
    "args: ['--from=quay.io/team/a:1,quay.io/team/b:2']": ["quay.io/team/a:1", "quay.io/team/b:2"],
    "text: 'see oci://quay.io/team/a:1 for it'": ["quay.io/team/a:1"],
    f"text: 'quay.io/team/a@{ONE}'": [f"quay.io/team/a@{ONE}"],
    "url: 'https://quay.io/team/a:1'": [],
    "description: 'such as quay.io/team/a:1'": [],
    "imagePullPolicy: IfNotPresent": [],
    "label: app.kubernetes.io/name": [],
    "address: etcd.example.com:2379": [],
    "time: '2026-01-01T00:00:00Z'": [],
    "fine: r.example.com/known:1": [],
}


@pytest.mark.parametrize(("text", "found"), TEXTS.items(), ids=list(TEXTS))
def test_texts_that_look_like_images(hello: PackageProject, text: str, found: list[str]) -> None:
    package = load_package(hello.root)
    document = yamldoc.parse(f"apiVersion: v1\nkind: Thing\nspec:\n  {text}\n", Path("m"))
    rendering = Rendering(None, b"", ("hello", "r.example.com/known:1"))
    warned = [one.message for one in problems(package, [rendering], [document.data]) if "looks like" in one.message]
    assert warned == [f"Thing: {name!r} looks like an image and is not locked" for name in found]


def test_an_image_that_build_yaml_names_has_its_own_platforms_or_the_packages() -> None:
    platforms = ("linux/amd64", "linux/arm64")
    assert declared_image({"image": "a.example.com/b:1"}) == DeclaredImage("a.example.com/b:1", None)
    assert declared_image({"image": "a", "platforms": list(platforms)}) == DeclaredImage(
        "a", tuple(map(Platform.parse, platforms))
    )


def test_every_field_of_an_image_that_is_built() -> None:
    least = {"name": "web", "title": "Web", "description": "It serves.", "licenses": "MIT", "modules": []}
    assert go_image(least) == GoImage("web", "Web", "It serves.", "MIT", None, (), ())
    module: dict[str, Any] = {"directory": "payload", "binaries": {"/web": "./cmd/web"}}
    more = {"variables": {"main.version": "{version}"}, "links": {"/bin/web": "/web"}}
    whole = least | {"source": "https://example.com/web", "entrypoint": ["/web", "run"]}
    assert go_image(whole | {"modules": [module, module | more]}) == GoImage(
        "web",
        "Web",
        "It serves.",
        "MIT",
        "https://example.com/web",
        ("/web", "run"),
        (
            GoModule("payload", {}, module["binaries"], {}),
            GoModule("payload", more["variables"], module["binaries"], more["links"]),
        ),
    )
