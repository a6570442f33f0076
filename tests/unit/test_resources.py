"""Carvel's documents: made from typed parts, read strictly."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carvelwright.carvel import resources
from carvelwright.carvel.locks import BundleLock, ImagesLock, LockedImage
from carvelwright.carvel.version import PackageVersion
from carvelwright.reference import Reference

ONE = Reference.parse("r.example.com/a/b@sha256:" + "1" * 64)
TWO = Reference.parse("r.example.com/a/c@sha256:" + "2" * 64)


def package(bundle: Reference = ONE, notes: str = "n") -> dict[str, Any]:
    version = PackageVersion.parse("1.0.0+a.1")
    return resources.package(
        "x.y.z", version, released_at="d", release_notes=notes, static={"licenses": []}, values_schema={}, bundle=bundle
    )


def test_images_lock_reads_back_and_is_sorted() -> None:
    lock = ImagesLock((LockedImage(TWO, "two"), LockedImage(ONE, "one")))
    document = lock.document()
    assert [entry["image"] for entry in document["images"]] == [str(ONE), str(TWO)]
    assert set(ImagesLock.parse(document).images) == set(lock.images)
    assert ImagesLock(tuple(reversed(lock.images))).document() == document


def test_images_lock_refuses_what_is_not_pinned() -> None:
    document = {"kind": "ImagesLock", "images": [{"image": "r.example.com/a:tag"}]}
    with pytest.raises(ValueError, match=r"not pinned by digest: r\.example\.com/a:tag"):
        ImagesLock.parse(document)
    with pytest.raises(ValueError, match="kind is 'BundleLock'"):
        ImagesLock.parse({"kind": "BundleLock"})
    assert ImagesLock.parse({"kind": "ImagesLock", "images": None}).images == ()


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


def test_images_are_found_wherever_pods_are() -> None:
    pod = {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}], "name": "image"}
    cron = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "c"}]}}}}}}
    schema = {"properties": {"image": {"type": "string"}}}
    assert resources.images_of([{"spec": pod}, cron, schema]) == {"a", "b", "c"}


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
    assert ImagesLock((LockedImage(ONE, "x"),)).document() == {
        "apiVersion": "imgpkg.carvel.dev/v1alpha1",
        "kind": "ImagesLock",
        "images": [{"image": str(ONE), "annotations": {"kbld.carvel.dev/id": "x"}}],
    }


@pytest.mark.parametrize("bundle", [{}, {"image": 1}, {"image": str(ONE), "tag": 1}])
def test_a_bundle_lock_without_an_image_is_refused_as_one(bundle: object) -> None:
    with pytest.raises(ValueError, match=r"^not a BundleLock: no image, or a tag that is not text$"):
        BundleLock.parse({"kind": "BundleLock", "bundle": bundle})
