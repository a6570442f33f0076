"""What a command reads that another left, or that people and tools wrote, is a result or an error that explains it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from carvelwright import client, files, probe, values
from carvelwright.carvel import locks
from carvelwright.catalog import content as contents
from carvelwright.catalog.merge import merged
from carvelwright.catalog.records import INDEX, Record
from carvelwright.catalog.tags import RecordTag
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ConfigError, Location
from carvelwright.project import config
from carvelwright.record import BuildState, ReleaseRecord
from carvelwright.steps import package
from carvelwright.steps.template import render
from carvelwright.store import Store
from carvelwright.tools import lockfile
from tests.helpers import hostile, publishers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIGEST = "sha256:" + "1" * 64
IMAGE = {
    "name": "x",
    "reference": f"127.0.0.1:5000/p/x:1.0.0@{DIGEST}",
    "platforms": [{"platform": "linux/amd64", "digest": DIGEST, "compressedBytes": 1}],
}
PACKAGE = {
    "refName": "x.example.com",
    "version": "1.0.0",
    "upstream": "1.0.0",
    "releasedAt": "2026-11-01T00:00:00Z",
    "images": [IMAGE],
    "existingImages": [{"name": "a:1", "reference": f"docker.io/library/a@{DIGEST}", "platforms": ["linux/arm"]}],
    "bundle": f"127.0.0.1:5000/p/x.example.com:1.0.0@{DIGEST}",
    "archive": "x.tar",
    "defaultValues": "x.yaml",
}
RELEASE = {
    "schemaVersion": 2,
    "registry": "127.0.0.1:5000/p",
    "repository": [f"127.0.0.1:5000/p/package-repository:x.example.com.1.0.0@{DIGEST}"],
    "archive": "x.tar",
    "packages": [PACKAGE],
    "tools": {"go": "1.27.3"},
    "toolModules": {"ytt": {"module": "carvel.dev/ytt@v1.0.0", "sum": "h1:a="}},
    "files": [{"name": "x.tar", "size": 1, "digest": DIGEST}],
}
NO_IMAGES = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"
HELD = publishers.release("x.example.com", "1.0.0")
OWN = {RecordTag(HELD.key, 0, Digest("1" * 64)): HELD}
LOCK = {"kind": "ImagesLock", "images": [{"image": f"r.example.com/ab@{DIGEST}", "annotations": {"a": "b"}}]}
BUNDLE = {"kind": "BundleLock", "bundle": {"image": f"r.example.com/a@{DIGEST}", "tag": "t"}}


def test_records_are_read() -> None:
    record = ReleaseRecord.parse(hostile.as_json(RELEASE))
    assert record.document() == RELEASE
    assert str(record.packages[0].bundle) == PACKAGE["bundle"]
    assert record.packages[0].file == "packages/x.example.com/1.0.0.yml"
    state = BuildState("k", ("a", "b"), ("c",), ("d",), "s", "1")
    assert BuildState.parse(state.text().encode()) == state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"archive": "../x.tar"}, "no file of dist/"),
        ({"archive": "y.tar"}, "no file of dist/"),
        ({"packages": [{**PACKAGE, "archive": "y.tar"}]}, "no file of dist/"),
        ({"packages": [{**PACKAGE, "bundle": "127.0.0.1:5000/p/x:1"}]}, "not pinned"),
        ({"packages": []}, "no repository or no package"),
        ({"repository": []}, "no repository or no package"),
        ({"repository": ["127.0.0.1:5000/p/x:1"]}, "not pinned"),
        ({"schemaVersion": 3}, "^release.schemaVersion is 3, expected 2$"),
        ({"schemaVersion": 1, "registry": {"address": "a", "embedded": True}}, "^release.registry is no str$"),
        ({"registry": []}, "^release.registry is no str$"),
        ({"packages": [{**PACKAGE, "images": [{}]}]}, r"packages\[0\].images\[0\] has no key 'name'"),
        ({"packages": [{**PACKAGE, "images": [{**IMAGE, "platforms": [{}]}]}]}, "has no key 'platform'"),
        ({"tools": []}, "release.tools is no object"),
        ({"toolModules": []}, "release.toolModules is no object"),
        ({"toolModules": {"ytt": {"module": "a"}}}, "release.toolModules.ytt has no key 'sum'"),
        ({"files": {}}, "release.files is no list"),
        ({"files": [{"name": "x.tar", "size": True, "digest": DIGEST}]}, "size is no int"),
    ],
)
def test_a_wrong_release_record_says_what_is_wrong(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReleaseRecord.parse(hostile.as_json({**RELEASE, **change}))


@hostile.QUICK
@given(hostile.mutated(RELEASE).map(hostile.as_json) | hostile.texts)
def test_any_release_record_is_read_or_refused(data: bytes) -> None:
    hostile.answer(lambda: ReleaseRecord.parse(data), ValueError)


def test_a_wrong_state_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^state has no key 'modules'$"):
        BuildState.parse(b'{"key": "k", "packages": []}')


@hostile.QUICK
@given(hostile.mutated({"key": "k", "packages": ["."], "modules": ["a"]}).map(hostile.as_json) | hostile.texts)
def test_any_state_is_read_or_refused(data: bytes) -> None:
    hostile.answer(lambda: BuildState.parse(data), ValueError)


@pytest.mark.parametrize(("parse", "document"), [(locks.lock_entries, LOCK), (locks.BundleLock.parse, BUNDLE)])
def test_any_lock_of_a_tool_is_read_or_told_as_the_tools_fault(
    tmp_path: Path, parse: Callable[[object], object], document: dict[str, Any]
) -> None:
    path = tmp_path / "lock.yml"

    @hostile.QUICK
    @given(hostile.mutated(document).map(hostile.as_json) | hostile.texts)
    def read(data: bytes) -> None:
        path.write_bytes(data)
        error = hostile.answer(lambda: lockfile.read(parse, path, "imgpkg", step="s"))
        assert not isinstance(error, CarvelwrightError) or error.exit_code == 5

    read()
    path.write_bytes(hostile.as_json(document))
    assert lockfile.read(parse, path, "imgpkg", step="s") == parse(document)
    path.unlink()
    with pytest.raises(CarvelwrightError, match="imgpkg succeeded but wrote no valid lock file"):
        lockfile.read(parse, path, "imgpkg", step="s")


@hostile.QUICK
@given(hostile.texts)
def test_any_published_file_is_carried_or_refused(content: bytes) -> None:
    name = "x.example.com"
    record = publishers.release(name, "1.0.0")
    own = {RecordTag(record.key, 0, Digest("1" * 64)): record}
    theirs = {locks.IMAGES_LOCK: NO_IMAGES, "packages/a.yml": content + name.encode()}
    for file in (f"packages/{name}/metadata.yml", f"packages/{name}/1.0.0.yml", locks.IMAGES_LOCK, INDEX):
        files = {**theirs, file: content}
        hostile.answer(lambda files=files: merged(contents.read(files), own))  # type: ignore[misc]
    assert "packages/a.yml" in merged(contents.read(theirs), own).files


INDEX_DOCUMENT = json.loads(merged(contents.Catalog(), OWN).bundle_files()[INDEX])


@hostile.QUICK
@given(hostile.mutated(INDEX_DOCUMENT).map(hostile.as_json) | hostile.texts)
def test_any_index_of_a_repository_is_read_or_refused(index: bytes) -> None:
    held = merged(contents.Catalog(), OWN).bundle_files()
    read = hostile.answer(lambda: contents.read({**held, INDEX: index}), CarvelwrightError)
    if isinstance(read, contents.Catalog):
        # What was read can be extended and written.
        again = hostile.answer(lambda: merged(read, OWN).bundle_files())
        assert isinstance(again, (dict, CarvelwrightError))


RECORD_FILES = next(iter(OWN.values())).files()
RECORD_DOCUMENT = json.loads(RECORD_FILES[INDEX])


@hostile.QUICK
@given(hostile.mutated(RECORD_DOCUMENT).map(hostile.as_json) | hostile.texts)
def test_any_record_is_read_or_refused(document: bytes) -> None:
    hostile.answer(lambda: Record.parse({**RECORD_FILES, INDEX: document}), ValueError)


@hostile.QUICK
@given(hostile.texts)
def test_any_values_schema_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "values-schema.yaml"
    path.write_bytes(content)
    hostile.answer(lambda: values.load_schema(path))
    hostile.answer(lambda: probe.with_keywords({path.name: content}, tmp_path.joinpath))
    schema = hostile.answer(lambda: client.load_schema(content, path))
    if isinstance(schema, client.Schema):
        hostile.answer(lambda: client.default_values_file(schema, client.Client.KCTRL_0_46))
        hostile.answer(lambda: client.schema_table(schema))


@hostile.QUICK
@given(hostile.texts)
def test_any_project_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    for name in (config.BUILD_FILE, config.METADATA_FILE, f"{config.RELEASES_DIRECTORY}/1.0.0.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CarvelwrightError):
        config.load_package(tmp_path)


# what is kept below build/


def damage_index(product: Path) -> None:
    (product / "index.json").write_text("[]")


def damage_missing(product: Path) -> None:
    (product / "index.json").unlink()


def damage_added(product: Path) -> None:
    (product / "more").write_text("")


@pytest.mark.parametrize("damage", [damage_index, damage_missing, damage_added])
def test_a_product_that_was_changed_is_not_reused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = Store(tmp_path)

    def make(target: Path) -> None:
        (target / "index.json").write_text("{}")

    product = store.product("image", "key", None, make)
    assert store.product("image", "key", None, make) == product
    damage(product)
    with pytest.raises(CarvelwrightError) as caught:
        store.product("image", "key", None, make)
    assert caught.value.exit_code == 8
    assert caught.value.hint == f"remove {product}, then run the same command again"
    files.remove_tree(product)
    assert (store.product("image", "key", None, make) / "index.json").read_text() == "{}"
    assert store.product("image", "key", None, make) == product


@pytest.mark.parametrize("content", [b"", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"value": {"a": 2}, "sha256": "x"}'])
def test_a_remembered_value_that_was_changed_is_computed_again(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    assert store.remember("package", "key", lambda: {"a": 1}) == {"a": 1}
    assert store.remember("package", "key", lambda: {"a": 2}) == {"a": 1}
    path = tmp_path / "build/package/key.json"
    path.write_bytes(content)
    assert store.remember("package", "key", lambda: {"a": 3}) == {"a": 3}
    path.write_text(path.read_text().replace('"a": 3', '"a": 4'))
    assert store.remember("package", "key", lambda: {"a": 5}) == {"a": 5}


def test_a_file_name_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.yaml")
    path.write_text("")
    for read in (lambda: list(files.walk_files(tmp_path)), lambda: files.tree_digest(tmp_path, [path])):
        with pytest.raises(CarvelwrightError, match=r"'caf\\udce9\.yaml' in .*: the file's name is not UTF-8"):
            read()


# the package's template


def test_a_template_is_rendered() -> None:
    text = "{% for n in range(3) %}{{ version }}{{ n }}\n{% endfor %}"
    assert render(text, {"version": "v"}, 100) == {"text": "v0\nv1\nv2\n"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{% for i in range(1000) %}{{ version * 10 }}{% endfor %}", "exceeds 5000 characters"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ '\\ud800' }}", "surrogates"),
        ("\n{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_template_that_makes_too_much_is_refused(template: str, words: str) -> None:
    assert words in render(template, {"version": "v"}, 5000)["fault"]


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("a: 1\nb: {{ nothing }}\n", 2, "'nothing' is undefined"),
        ("a: {{ 'x' * 10**10 }}\n", 1, "MemoryError"),
        ("a: 1\n{% for %}\n", 2, "not a jinja2 template"),
        ("a: {{ 'x' * 5 * 10**6 }}\n", None, "the output of the template exceeds"),
    ],
)
def test_a_template_that_fails_is_told_with_its_line(
    tmp_path: Path, template: str, line: int | None, words: str
) -> None:
    path = tmp_path / config.PACKAGE_TEMPLATE
    with pytest.raises(ConfigError) as caught:
        package._render(template, path, {"version": "1"})
    (problem,) = caught.value.problems
    assert problem.location == Location(path, line)
    assert words in problem.message


def test_a_template_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_SECONDS", 2.0)
    loop = "{% set l = 'x' * 9999 %}" + "{% for i in l %}" * 4 + "{% endfor %}" * 4
    with pytest.raises(ConfigError) as caught:
        package._render(loop, tmp_path, {})
    assert caught.value.problems[0].message == "the template does not end, or its output is too large"
