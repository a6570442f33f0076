"""What others published is carried on as it is; what cannot be is refused, with its name in the repository."""

from __future__ import annotations

import os
from typing import Any

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.locks import ImagesLock, LockEntry
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog import Catalog, OwnFiles, read
from carvelwright.errors import CarvelwrightError, ExitCode, RegistryError, ReleasedError
from carvelwright.reference import Reference

NAME, VERSION = "x.example.com", "1.0.0+a.1"
ONE = Reference.parse("r.example.com/a/b@sha256:" + "1" * 64)
OWN = OwnFiles(NAME, VERSION)
OURS = f"packages/{NAME}/{VERSION}.yml"
METADATA = f"packages/{NAME}/metadata.yml"


def package(bundle: Reference = ONE, version: str = VERSION) -> dict[str, Any]:
    parsed = PackageVersion.parse(version)
    return resources.package(
        NAME, parsed, released_at="d", release_notes="n", static={}, values_schema={}, bundle=bundle
    )


def text_of(*documents: dict[str, Any]) -> bytes:
    return yamldoc.dump_all(documents).encode()


def publish(files: dict[str, bytes]) -> Catalog:
    return read(files, [OWN])


def foreign_package(fetch: Any, name: str = "other.example.com") -> bytes:
    spec = {"refName": name, "version": "1.0.0", "template": {"spec": {"fetch": fetch}}}
    return text_of({"kind": "Package", "metadata": {"name": f"{name}.1.0.0"}, "spec": spec})


FOREIGN = {
    "packages/other/inline.yml": foreign_package([{"inline": {"paths": {}}}]),
    "packages/other/tag.yml": foreign_package([{"imgpkgBundle": {"image": "r.example.com/a:v1"}}]),
    "packages/other/several.yml": foreign_package([{"inline": {}}, {"http": {}}]),
    "packages/other/helm.yaml": foreign_package([{"helmChart": {"name": "redis"}}]),
    "packages/list.yml": b"- a\n- b\n",
    "packages/kind-list.yml": text_of({"kind": "List", "items": [{"kind": "Package", "metadata": None}, 1]}),
    "packages/empty.yml": b"",
    "packages/none.yml": b"---\n",
    "packages/latin.yml": b"\xe9: x.example.com\n",
    "packages/broken.yml": b"x.example.com: [\n",
    "packages/bomb.yml": b"# x.example.com\n" + b"[" * 100_000,
    "packages/a/b/c/deep.yml": b"kind: ConfigMap\n",
    "packages/scalar.yml": b"x.example.com\n",
    "packages/no-metadata.yml": b"kind: Package\nspec: {refName: other}\nx.example.com: 1\n",
    f"packages/{NAME}/2.0.0.yml": foreign_package([{"inline": {}}], NAME),
    "README.md": b"# Theirs\n",
    ".imgpkg/bundle.yml": b"kind: Bundle\n",
}


def test_files_of_others_are_carried_byte_for_byte() -> None:
    found = publish(FOREIGN)
    assert found.files == FOREIGN
    assert found.packages == {}
    assert found.bundles == frozenset()


def test_locks_of_others_are_kept_beside_ours() -> None:
    theirs = [
        {"image": "r.example.com/zz@sha256:" + "9" * 64, "annotations": {"kbld.carvel.dev/id": "z", "their.own": "x"}},
        {"image": "nginx@sha256:" + "8" * 64},
    ]
    lock = yamldoc.dump({"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": theirs}).encode()
    found = publish({".imgpkg/images.yml": lock, OURS: text_of(package())})
    assert found.bundles == {ONE}
    extended = locks.extended_lock(found.locked, found.bundles)
    assert [entry for entry in extended["images"] if entry in theirs] == theirs[::-1]
    ours = ImagesLock((LockEntry(ONE, str(ONE)),)).document()["images"]
    assert [entry for entry in extended["images"] if entry not in theirs] == ours
    # What is locked under another place by now, since it was copied, is not locked twice.
    moved = [{"image": "q.example.com/mm@sha256:" + "1" * 64, "annotations": {"kbld.carvel.dev/id": str(ONE)}}]
    assert locks.extended_lock(moved, [ONE])["images"] == moved


@pytest.mark.parametrize("name", [OURS, "packages/elsewhere.yaml"])
@pytest.mark.parametrize("wrap", ["alone", "list"])
def test_the_published_version_is_found_wherever_it_stands(name: str, wrap: str) -> None:
    if wrap == "list":
        name = "packages/elsewhere.yaml"
    content = text_of(package() if wrap == "alone" else {"kind": "PackageList", "items": [package()]})
    assert publish({name: content}).packages == {OWN.package_name: package()}


def test_the_metadata_is_replaced_wherever_it_stands() -> None:
    metadata = text_of(resources.package_metadata(NAME, {"displayName": "old"}))
    assert publish({METADATA: metadata, "packages/m.yaml": metadata, "packages/o.yml": b""}).files == {
        "packages/o.yml": b""
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"a: [",
        b"[" * 100_000,
        b"- a\n",
        b"kind: ConfigMap\nmetadata: {name: x}\n",
        b"kind: Package\nmetadata: {name: other.1.0.0}\nspec: {refName: other}\n",
        f"kind: Package\nmetadata: {{name: {NAME}.{VERSION}}}\nspec: null\n".encode(),
        text_of(package(), package()),
        text_of(package(), {"kind": "ConfigMap"}),
        text_of(package(version="2.0.0")),
    ],
)
def test_something_else_under_our_names_is_refused(content: bytes) -> None:
    for name, code in ((OURS, 7), (METADATA, 6)):
        with pytest.raises(CarvelwrightError) as caught:
            publish({name: content})
        assert caught.value.exit_code == code
        assert isinstance(caught.value, ReleasedError if code == ExitCode.RELEASED else RegistryError)
        assert f"{name} holds something other than Package" in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"packages": b""}, "packages holds"),
        ({f"packages/{NAME}": b""}, f"packages/{NAME} holds"),
        ({f"{OURS}/x": b""}, f"{OURS}/x holds"),
        ({OURS: text_of(package()), "packages/o.yml": text_of(package())}, "packages/o.yml, packages"),
        (
            {"packages/m.yml": text_of(resources.package_metadata(NAME, {}), {"kind": "ConfigMap"})},
            "packages/m.yml holds PackageMetadata",
        ),
        ({"packages/a": b"", "packages/a/b.yml": b""}, "packages/a is a file, and packages/a/b.yml is in a directory"),
        ({".git/HEAD": b""}, "'.git/HEAD'"),
        ({"packages/" + "é" * 128: b""}, "the file name 'packages/"),
        ({"/".join(["d" * 100] * 20): b""}, "the file name 'ddd"),
        (
            {".imgpkg/images.yml": b"kind: ImagesLock\nimages: [{image: 'r:1/x@sha256:%s'}]\n" % (b"1" * 64)},
            "images.yml",
        ),
        ({"packages/a\nb.yml": b""}, r"'packages/a\nb.yml'"),
        ({"packages/" + os.fsdecode(b"\xff.yml"): b""}, r"'packages/\udcff.yml'"),
        ({"packages/.imgpkg/images.yml": b""}, "'packages/.imgpkg/images.yml'"),
        ({".imgpkg/images.yml": b"kind: ImagesLock\nimages: 5\n"}, ".imgpkg/images.yml holds no ImagesLock"),
        ({".imgpkg/images.yml": b"kind: ImagesLock\nimages: [{image: a:tag}]\n"}, ".imgpkg/images.yml"),
        ({".imgpkg/images.yml": b"\xff"}, ".imgpkg/images.yml"),
        ({".imgpkg/images.yml": b"a: &x [*x]"}, ".imgpkg/images.yml"),
    ],
)
def test_what_cannot_be_carried_is_refused(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(CarvelwrightError) as caught:
        publish(files)
    assert caught.value.exit_code == 6
    assert words in caught.value.message
    assert "--to" in (caught.value.hint or "")


def test_a_package_of_ours_is_found_whatever_the_ending_of_its_file() -> None:
    found = publish({"packages/theirs.yaml": text_of(package())})
    assert found.packages == {OWN.package_name: package()}
    assert found.bundles == {ONE}


def test_a_refusal_names_the_file_as_it_is_in_the_repository_and_the_reason() -> None:
    head = "the published package repository cannot be extended: "
    with pytest.raises(CarvelwrightError) as caught:
        publish({".imgpkg/images.yml": b"kind: Other"})
    assert caught.value.message == f"{head}.imgpkg/images.yml holds no ImagesLock"
    assert caught.value.details == "not an ImagesLock: kind is 'Other'"
    with pytest.raises(CarvelwrightError) as caught:
        publish({".imgpkg/images.yml": b"a: ["})
    assert caught.value.message == f"{head}.imgpkg/images.yml holds no ImagesLock"
    first, second = (caught.value.details or "").splitlines()[:2]
    assert "package repository/.imgpkg/images.yml" in first
    assert second.strip().startswith("package repository/.imgpkg/images.yml:")


def test_an_unreadable_file_in_our_place_is_refused_with_the_reason() -> None:
    with pytest.raises(CarvelwrightError) as caught:
        publish({METADATA: b"\xff"})
    assert caught.value.message.endswith(f"{METADATA} holds something other than PackageMetadata {NAME}")
    assert caught.value.details == "not UTF-8: invalid start byte"


def test_only_a_list_is_read_for_its_items() -> None:
    found = publish(
        {
            "packages/a.yml": text_of(package() | {"items": [1]}),
            "packages/b.yml": text_of({"kind": "List", "metadata": {"name": NAME}}),
        },
    )
    assert found.packages[OWN.package_name] == package() | {"items": [1]}
    assert set(found.files) == {"packages/a.yml", "packages/b.yml"}


def test_what_another_version_of_ours_fetches_is_among_the_bundles() -> None:
    found = publish({f"packages/{NAME}/0.9.0.yml": text_of(package(version="0.9.0"))})
    assert found.packages == {}
    assert found.bundles == {ONE}


@pytest.mark.parametrize(
    "change",
    [
        {"template": None},
        {"template": {"spec": {"fetch": [{"inline": {}}]}}},
        {"template": package(Reference.parse("r.example.com/a:tag"))["spec"]["template"]},
    ],
)
def test_a_published_package_of_another_kind_is_another_release(change: dict[str, Any]) -> None:
    old = package()
    old["spec"] |= change
    assert not resources.same_package(old, package())
    assert not resources.same_package(package(), old)
    assert resources.same_package(package(), package())
