"""Carvel's documents: made from typed parts, read strictly."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from carvelwright.carvel import resources
from carvelwright.carvel.locks import BundleLock, ImagesLock, LockEntry, extended_lock, lock_entries
from carvelwright.carvel.version import PackageVersion
from carvelwright.reference import Reference

ONE = Reference.parse("r.example.com/a/b@sha256:" + "1" * 64)
TWO = Reference.parse("r.example.com/a/c@sha256:" + "2" * 64)


def package(bundle: Reference = ONE, notes: str = "n") -> dict[str, Any]:
    version = PackageVersion.parse("1.0.0+a.1")
    return resources.package(
        "x.y.z", version, released_at="d", release_notes=notes, static={"licenses": []}, values_schema={}, bundle=bundle
    )


def test_images_lock_is_sorted() -> None:
    lock = ImagesLock((LockEntry(TWO, "two"), LockEntry(ONE, "one")))
    document = lock.document()
    assert [entry["image"] for entry in document["images"]] == [str(ONE), str(TWO)]
    assert ImagesLock(tuple(reversed(lock.images))).document() == document


def test_images_lock_refuses_what_is_not_pinned() -> None:
    document = {"kind": "ImagesLock", "images": [{"image": "r.example.com/a:tag"}]}
    with pytest.raises(ValueError, match=r"not pinned by digest: r\.example\.com/a:tag"):
        lock_entries(document)
    with pytest.raises(ValueError, match="kind is 'BundleLock'"):
        lock_entries({"kind": "BundleLock"})
    assert lock_entries({"kind": "ImagesLock", "images": None}) == ()


@pytest.mark.parametrize("tag", ["latest", "v1.2.3", "1.27.3", "1.27", "8", "0x1f", "on", "1e3"])
def test_an_image_that_was_found_under_a_tag_has_its_origin(tag: str) -> None:
    name = f"nginx:{tag}"
    (entry,) = ImagesLock((LockEntry(ONE, name, tag),)).document()["images"]
    origins = entry["annotations"]["kbld.carvel.dev/origins"]
    # As YAML 1.1 reads it, with which kbld does.
    assert YAML(typ="safe", pure=True).load("%YAML 1.1\n---\n" + origins) == [{"resolved": {"tag": tag, "url": name}}]


def test_bundle_lock() -> None:
    lock = BundleLock.parse({"kind": "BundleLock", "bundle": {"image": str(ONE), "tag": "t"}})
    assert (lock.image, lock.tag) == (ONE, "t")
    with pytest.raises(ValueError, match="not a BundleLock"):
        BundleLock.parse({"kind": "ImagesLock"})


def test_package_keeps_the_servers_rules() -> None:
    document = package()
    spec = document["spec"]
    assert document["metadata"]["name"] == f"{spec['refName']}.{spec['version']}" == "x.y.z.1.0.0+a.1"
    assert resources.package_bundle(document) == ONE
    assert spec["template"]["spec"]["template"][1] == {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}}


@pytest.mark.parametrize("fetch", [[], [{}], [{"image": {}}], [{"imgpkgBundle": {"image": "x"}}], [{}, {}], None, "x"])
def test_a_package_that_fetches_something_else_is_refused(fetch: object) -> None:
    document = copy.deepcopy(package())
    document["spec"]["template"]["spec"]["fetch"] = fetch
    with pytest.raises(ValueError, match="not a Package that fetches one imgpkg bundle"):
        resources.package_bundle(document)


def test_a_bundle_by_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="not pinned by digest"):
        resources.package_bundle(package(Reference.parse("r.example.com/a:t")))


def test_the_same_release_elsewhere_is_the_same_and_other_content_is_not() -> None:
    elsewhere = Reference.parse("other.example.com/x@sha256:" + "1" * 64)
    assert resources.same_package(package(), package(elsewhere))
    assert not resources.same_package(package(), package(TWO))
    assert not resources.same_package(package(), package(notes="other"))


def test_the_documents_are_those_of_carvels_interfaces() -> None:
    assert package() == {
        "apiVersion": "data.packaging.carvel.dev/v1alpha1",
        "kind": "Package",
        "metadata": {"name": "x.y.z.1.0.0+a.1"},
        "spec": {
            "refName": "x.y.z",
            "version": "1.0.0+a.1",
            "releasedAt": "d",
            "releaseNotes": "n",
            "licenses": [],
            "valuesSchema": {"openAPIv3": {}},
            "template": {
                "spec": {
                    "fetch": [{"imgpkgBundle": {"image": str(ONE)}}],
                    "template": [{"ytt": {"paths": ["config/"]}}, {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}}],
                    "deploy": [{"kapp": {}}],
                }
            },
        },
    }
    assert resources.package_metadata("x.y.z", {"displayName": "X"}) == {
        "apiVersion": "data.packaging.carvel.dev/v1alpha1",
        "kind": "PackageMetadata",
        "metadata": {"name": "x.y.z"},
        "spec": {"displayName": "X"},
    }
    assert resources.package_repository("x-repository", TWO) == {
        "apiVersion": "packaging.carvel.dev/v1alpha1",
        "kind": "PackageRepository",
        "metadata": {"name": "x-repository"},
        "spec": {"fetch": {"imgpkgBundle": {"image": str(TWO)}}},
    }
    assert ImagesLock((LockEntry(ONE, "x"),)).document() == {
        "apiVersion": "imgpkg.carvel.dev/v1alpha1",
        "kind": "ImagesLock",
        "images": [{"image": str(ONE), "annotations": {"kbld.carvel.dev/id": "x"}}],
    }


@pytest.mark.parametrize("bundle", [{}, {"image": 1}, {"image": str(ONE), "tag": 1}])
def test_a_bundle_lock_without_an_image_is_refused_as_one(bundle: object) -> None:
    with pytest.raises(ValueError, match=r"^not a BundleLock: no image, or a tag that is not text$"):
        BundleLock.parse({"kind": "BundleLock", "bundle": bundle})


DIGEST = "@sha256:" + "1" * 64
SHORT = f"ab{DIGEST[:-1]}"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "not an ImagesLock: kind is None"),
        ([], "not an ImagesLock: kind is None"),
        ({}, "not an ImagesLock: kind is None"),
        ({"kind": "imageslock"}, "not an ImagesLock: kind is 'imageslock'"),
        ({"kind": "ImagesLock", "images": {"a": 1}}, "not an ImagesLock: images is no list"),
        ({"kind": "ImagesLock", "images": "a"}, "not an ImagesLock: images is no list"),
        ({"kind": "ImagesLock", "images": ["a"]}, "not an ImagesLock: an entry without an image"),
        ({"kind": "ImagesLock", "images": [{}]}, "not an ImagesLock: an entry without an image"),
        ({"kind": "ImagesLock", "images": [{"image": 1}]}, "not an ImagesLock: an entry without an image"),
        ({"kind": "ImagesLock", "images": [{"image": "a"}]}, "image is not pinned by digest: a"),
        ({"kind": "ImagesLock", "images": [{"image": SHORT}]}, f"image is not pinned by digest: {SHORT}"),
        *(
            (
                {"kind": "ImagesLock", "images": [{"image": f"ab{DIGEST}", "annotations": annotations}]},
                f"not an ImagesLock: annotations of ab{DIGEST} are no texts",
            )
            for annotations in ("a", ["a"], {"a": 1}, {"a": "b", "c": None})
        ),
    ],
)
def test_what_is_no_images_lock_is_refused_with_the_reason(document: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        lock_entries(document)


@pytest.mark.parametrize("entry", [{}, {"annotations": None}, {"annotations": {}}, {"annotations": {"a": "b"}}])
def test_entries_are_read_as_they_stand(entry: dict[str, Any]) -> None:
    entry = {"image": str(ONE), **entry}
    document = {"kind": "ImagesLock", "images": [entry]}
    assert lock_entries(document) == (entry,)


def test_equal_images_are_sorted_by_the_name_that_asks_for_them() -> None:
    names = [LockEntry(ONE, "b"), LockEntry(ONE, "a"), LockEntry(TWO, "0")]
    entries = ImagesLock(tuple(names)).document()["images"]
    assert [entry["annotations"]["kbld.carvel.dev/id"] for entry in entries] == ["a", "b", "0"]


def test_a_published_lock_is_extended_by_what_it_does_not_hold() -> None:
    others: list[dict[str, Any]] = [
        {"image": str(TWO), "annotations": {"kbld.carvel.dev/id": "Two", "x": "y"}},
        {"image": str(TWO)},
        {"image": f"ab{DIGEST}", "annotations": {"kbld.carvel.dev/id": "z.example.com/z@sha256:" + "3" * 64}},
    ]
    third = Reference.parse("z.example.com/z@sha256:" + "3" * 64)
    assert extended_lock(others, [third, TWO, ONE]) == {
        "apiVersion": "imgpkg.carvel.dev/v1alpha1",
        "kind": "ImagesLock",
        "images": [
            others[2],
            {"image": str(ONE), "annotations": {"kbld.carvel.dev/id": str(ONE)}},
            others[1],
            others[0],
        ],
    }
    assert extended_lock(iter(others), iter([]))["images"] == [others[2], others[1], others[0]]
    assert extended_lock([], [TWO, ONE]) == ImagesLock((LockEntry(ONE, str(ONE)), LockEntry(TWO, str(TWO)))).document()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "not a BundleLock: kind is None"),
        ([{"kind": "BundleLock"}], "not a BundleLock: kind is None"),
        ({"kind": "ImagesLock", "bundle": {"image": str(ONE)}}, "not a BundleLock: kind is 'ImagesLock'"),
        ({"kind": "BundleLock", "bundle": [str(ONE)]}, "not a BundleLock: kind is 'BundleLock'"),
        ({"kind": "BundleLock", "bundle": {"image": None, "tag": "t"}}, "not a BundleLock: no image, or a tag that"),
    ],
)
def test_what_is_no_bundle_lock_is_refused_with_the_reason(document: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        BundleLock.parse(document)


def test_a_bundle_needs_no_tag() -> None:
    assert BundleLock.parse({"kind": "BundleLock", "bundle": {"image": str(ONE)}}) == BundleLock(ONE, None)


# Packages of anybody


def test_the_bundle_of_a_package_or_none() -> None:
    assert resources.bundle_or_none(package()) == ONE
    assert resources.bundle_or_none({}) is None
    assert resources.bundle_or_none(package(Reference.parse("r.example.com/a:t"))) is None
    with pytest.raises(ValueError, match=r"^the bundle is not pinned by digest: r\.example\.com/a:t$"):
        resources.package_bundle(package(Reference.parse("r.example.com/a:t")))
    with pytest.raises(ValueError, match=r"^not a Package that fetches one imgpkg bundle: 'spec'$"):
        resources.package_bundle({})


@pytest.mark.parametrize(
    "document", [{}, {"metadata": None}, {"metadata": "a"}, {"metadata": {}}, {"metadata": {"name": 1}}]
)
def test_what_has_no_name(document: dict[str, Any]) -> None:
    assert resources.name_of(document) is None
    assert resources.name_of({"metadata": {"name": "a"}}) == "a"


def test_two_packages_without_bundles_are_never_the_same() -> None:
    for one, other in ((package(), {}), ({}, package()), ({}, {})):
        assert not resources.same_package(one, other)


def test_names_and_every_part_of_the_spec_count() -> None:
    for change in ({"metadata": {"name": "x"}}, {"spec": package()["spec"] | {"licenses": ["MIT"]}}):
        assert not resources.same_package(package(), package() | change)
    other = copy.deepcopy(package())
    other["spec"]["template"]["spec"]["deploy"] = []
    assert not resources.same_package(package(), other)
    other = copy.deepcopy(package())
    del other["spec"]["licenses"]
    assert not resources.same_package(package(), other)


@pytest.mark.parametrize(
    ("place", "accepted"),
    [
        *((place, True) for place in ("nginx", "library/nginx", "r.example.com/a/b", "localhost/ab", "r:5000/a_b-c.d")),
        *((place, True) for place in ("127.0.0.1:5000/ab", "[::1]:5000/ab", "nginx:1.2", "r.example.com:5/a/b:v1_x")),
        *((place, False) for place in ("", "x", "r.example.com/x", "NGINX", "r:5000/A", "a b", "a:", "a@b", "\nnginx")),
    ],
)
def test_a_lock_may_name_what_imgpkg_reads(place: str, accepted: bool) -> None:
    document = {"kind": "ImagesLock", "images": [{"image": f"{place}@sha256:{'1' * 64}"}]}
    if accepted:
        assert lock_entries(document) == tuple(document["images"])
    else:
        with pytest.raises(ValueError, match="not pinned by digest"):
            lock_entries(document)
