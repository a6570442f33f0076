"""A package repository as a value: what others published is carried on, and records are added in whatever order."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carvelwright import yamldoc
from carvelwright.carvel import locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.catalog.content import Catalog, read
from carvelwright.catalog.merge import joined, merged
from carvelwright.catalog.records import INDEX, Action, Record, metadata_file, package_file
from carvelwright.catalog.tags import RecordTag, Revision, key_of
from carvelwright.digest import Digest
from carvelwright.errors import CarvelwrightError, ExitCode, RegistryError, ReleasedError
from carvelwright.reference import Reference
from tests.helpers.publishers import bundle_of, mark, metadata, release

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME, VERSION = "x.example.com", "1.0.0+a.1"
OURS, METADATA = package_file(NAME, VERSION), metadata_file(NAME)
ONE = release(NAME, VERSION)
NO_IMAGES = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"

Records = dict[RecordTag, Record]


def tagged(*records: Record) -> Records:
    """Return records by tags, as they would be pushed; the digest of their content stands for that of the bundle."""
    return {record.tag(Digest.of_bytes(repr(record).encode())): record for record in records}


def text_of(*documents: dict[str, Any]) -> bytes:
    return yamldoc.dump_all(documents).encode()


def package_document(version: str = VERSION, bundle: str = "") -> dict[str, Any]:
    document: dict[str, Any] = yamldoc.load_all_text((release(NAME, version).package or b"").decode(), YAML)[0]
    if bundle:
        document["spec"]["template"]["spec"]["fetch"] = [{"imgpkgBundle": {"image": bundle}}]
    return document


YAML = Path("package.yml")


def published(files: Mapping[str, bytes]) -> Catalog:
    """Return what a repository that others published holds."""
    return read({locks.IMAGES_LOCK: NO_IMAGES, **files})


def extended(files: Mapping[str, bytes], *records: Record) -> Catalog:
    return merged(published(files), tagged(*(records or (ONE,))))


# Tags


@given(st.text(max_size=200))
def test_any_tag_is_read_as_what_it_is_or_as_none(tag: str) -> None:
    for parsed in (RecordTag.parse(tag), Revision.parse(tag)):
        assert parsed is None or str(getattr(parsed, "tag", parsed)) == tag


@given(
    st.integers(0, 10**9 - 1),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.text(min_size=1, max_size=20),
)
def test_a_record_is_named_by_version_number_and_content(number: int, content: str, version: str) -> None:
    tag = RecordTag(key_of(NAME, version), number, Digest(content))
    assert RecordTag.parse(str(tag)) == tag
    assert len(str(tag)) <= 128
    assert Revision.parse(str(tag)) is None


@pytest.mark.parametrize(
    "tag",
    [
        "r.1." + "1" * 64,
        f"r.{'a' * 16}.1.{'1' * 64}",
        f"m.{'a' * 16}.{'1' * 64}",
        f"m.{'a' * 16}.0.{'1' * 64}",
        "r",
        "",
    ],
)
def test_what_is_no_tag_of_a_record(tag: str) -> None:
    assert RecordTag.parse(tag) is None


def test_revisions_are_compared_as_clients_compare_tags() -> None:
    tags = ["latest", "0.9.0", "0.10.0", "v0.10.1", "0.11.0-alpha", "1.0", "01.0.0", "0.9.4_vmware.1-tkg.1", "0.10.0.0"]
    highest = Revision.highest(tags)
    assert highest
    assert highest.tag == "v0.10.1"
    assert Revision.highest(["latest", "2.0"]) is None
    assert Revision.highest(["9999999999999999999.0.0", "1.0.0"])
    assert Revision.highest(["10000000000000000000.0.0", "1.0.0"]) == Revision.parse("1.0.0")


@given(
    st.none() | st.tuples(*[st.integers(0, 10**6)] * 3),
    st.integers(0, 10**6),
    st.integers(1, 1000),
    st.binary(),
    st.binary(),
)
def test_a_revision_outranks_the_highest_and_who_knows_more_outranks_who_knows_less(
    before: tuple[int, int, int] | None, known: int, more: int, one: bytes, other: bytes
) -> None:
    highest = Revision.parse(".".join(map(str, before))) if before else None
    low = Revision.after(highest, known, Digest.of_bytes(one))
    high = Revision.after(highest, known + more, Digest.of_bytes(other))
    assert Revision.parse(low.tag) == low
    assert highest is None or (highest < low and highest.major == low.major)
    assert low < high
    # Whoever saw a higher revision outranks whoever did not, however many records that one saw.
    above = Revision.after(low, 0, Digest.of_bytes(other))
    assert high < above


# Records


RECORDS = [
    ONE,
    mark(ONE, Action.METADATA, 1, "other"),
    mark(ONE, Action.DEPRECATE, 2, "too old"),
    mark(ONE, Action.WITHDRAW, 3, "broken \u2028 'quoted'"),
    mark(ONE, Action.RESTORE, 4),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.action))
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    files = record.files()
    assert Record.parse(files) == record
    assert (OURS in files) == (record.action not in (Action.METADATA, Action.WITHDRAW))
    assert locks.IMAGES_LOCK in files
    # A client that pulls a record as a repository does not see a version that was withdrawn.
    assert record.action is not Action.WITHDRAW or not [name for name in files if name.startswith("packages/")]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.action))
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"refName": "../x"}, "is not a refName"),
        ({"refName": "X.example.com"}, "is not a refName"),
        ({"refName": 5}, "refName is 5"),
        ({"version": "../../1.0.0"}, "version"),
        ({"version": "1"}, "version"),
        ({"action": "delete"}, "'delete' is not a valid Action"),
        ({"number": -1}, "has the number -1"),
        ({"number": True}, "number is True"),
        ({"number": "1"}, "number is '1'"),
        ({"bundle": "x"}, "not an image reference"),
        ({"reason": None}, "reason is None"),
        ({"releasedAt": 1}, "releasedAt is 1"),
    ],
)
def test_a_wrong_record_says_what_is_wrong(record: Record, change: dict[str, Any], words: str) -> None:
    files = record.files()
    document = json.loads(files[INDEX])
    document["record"] |= change
    with pytest.raises(ValueError, match=words):
        Record.parse({**files, INDEX: json.dumps(document).encode()})


def test_a_record_that_holds_more_or_less_is_refused() -> None:
    for record in RECORDS:
        files = record.files()
        for wrong in (
            {},
            {**files, "packages/other.yml": b""},
            *({name: files[name] for name in files if name != left} for left in files if left != METADATA),
            {**files, INDEX: b""},
            {**files, INDEX: b'{"schemaVersion": 2}'},
        ):
            with pytest.raises(ValueError, match=r"\S"):
                Record.parse(wrong)


# Records are added


NAMES = ["a.example.com", "b.example.com"]
VERSIONS = ["0.9.0", "1.0.0", "1.0.0+a.2", "1.10.0", "2.0.0-rc.1"]


@st.composite
def histories(draw: st.DrawFn) -> Records:
    """Draw records without two contents of a version: releases, and marks of them in any number and with any gaps."""
    versions = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VERSIONS)), unique=True, max_size=5))
    releases = [release(*version, name=draw(st.sampled_from("xyz"))) for version in versions]
    marks = [
        mark(one, draw(st.sampled_from(list(Action)[1:])), number, draw(st.sampled_from(["p", "q"])))
        for one in releases
        for number in draw(st.lists(st.integers(1, 3), max_size=3))
    ]
    return tagged(*releases, *marks)


# What others published before of a package, in places of theirs.
BEFORE = {
    locks.IMAGES_LOCK: NO_IMAGES,
    "packages/p.yaml": release(NAMES[0], "1.0.0").package or b"",
    "packages/m.yaml": metadata(NAMES[0], "theirs"),
}


@settings(max_examples=80)
@given(st.sampled_from([Catalog(), read(BEFORE)]), histories(), st.randoms(use_true_random=False), st.data())
def test_equal_records_give_equal_bytes_in_whatever_order_and_groups_they_come(
    before: Catalog, records: Records, random: Any, data: st.DataObject
) -> None:
    at_once = merged(before, records)
    order = list(records.items())
    random.shuffle(order)
    # Nobody marks a version before it is released.
    order.sort(key=lambda item: bool(item[0].number))
    stepwise, seen = before, frozenset[str]()
    while order:
        count = data.draw(st.integers(1, len(order)))
        group, order = dict(order[:count]), order[count:]
        # Each step goes by way of the registry.
        stepwise = merged(read(stepwise.bundle_files()), group)
        assert seen < stepwise.records, "what was there stays there"
        seen = stepwise.records
    assert stepwise.bundle_files() == at_once.bundle_files()
    assert at_once.accounted == {str(tag) for tag in records}
    assert merged(at_once, records).bundle_files() == at_once.bundle_files()


@settings(max_examples=60)
@given(histories())
def test_what_clients_see_is_what_the_records_say(records: Records) -> None:
    catalog = merged(Catalog(), records)
    releases = [record for tag, record in records.items() if not tag.number]
    for one in releases:
        marks = {
            tag: record
            for tag, record in records.items()
            if tag.key == one.key and tag.number and record.action is not Action.METADATA
        }
        counts = marks[max(marks, key=lambda tag: (tag.number, tag.content.hex))] if marks else one
        file = package_file(one.ref_name, one.version)
        assert catalog.files.get(file) == (None if counts.action is Action.WITHDRAW else counts.package)
    for name in {record.ref_name for record in releases}:
        highest = max(
            (one for one in releases if one.ref_name == name), key=lambda one: PackageVersion.parse(one.version)
        )
        said = [
            (record.number, str(tag), record.metadata)
            for tag, record in records.items()
            if record.metadata and tag.key == highest.key
        ]
        assert catalog.files[metadata_file(name)] == max(said)[2]
    locked = yamldoc.load_all_text(catalog.bundle_files()[locks.IMAGES_LOCK].decode(), YAML)[0]
    assert [entry["image"] for entry in locked["images"]] == sorted(
        str(one.bundle) for one in releases if package_file(one.ref_name, one.version) in catalog.files
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_first_release_of_a_version_stands(order: tuple[int, ...]) -> None:
    contents = [release(NAME, VERSION, notes) for notes in "abc"]
    catalog = Catalog()
    for number in order:
        catalog = merged(catalog, tagged(contents[number]))
    first = contents[order[0]]
    assert catalog.files[OURS] == first.package
    assert catalog.records == {str(tag) for tag in tagged(first)}
    assert len(catalog.rejected) == 2
    assert read(catalog.bundle_files()) == catalog


def test_of_two_contents_at_once_none_is_taken_and_other_versions_are() -> None:
    two = tagged(release(NAME, VERSION, "a"), release(NAME, VERSION, "b"))
    other = tagged(release(NAME, "2.0.0"))
    catalog = merged(Catalog(), two | other)
    assert catalog.accounted == {str(tag) for tag in other}
    assert OURS not in catalog.files
    assert package_file(NAME, "2.0.0") in catalog.files


def test_the_same_content_at_another_place_is_the_same_release() -> None:
    moved = text_of(package_document(bundle=f"other.example.com/o@{bundle_of(NAME, VERSION).digest}"))
    same = Record(NAME, VERSION, Action.RELEASE, 0, moved, ONE.metadata, bundle_of(NAME, VERSION))
    for catalog in (merged(Catalog(), tagged(ONE, same)), merged(merged(Catalog(), tagged(same)), tagged(ONE))):
        assert catalog.accounted == catalog.records == {str(tag) for tag in tagged(ONE, same)}
        assert [name for name in catalog.files if name != METADATA] == [OURS]


def test_a_record_that_cannot_be_read_is_accounted_for_once() -> None:
    catalog = merged(Catalog(), {}, frozenset([f"r.{'a' * 16}.{'1' * 64}"]))
    assert read(catalog.bundle_files()).accounted == {f"r.{'a' * 16}.{'1' * 64}"}


# What others published


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
    catalog = extended(FOREIGN)
    again = merged(read(catalog.bundle_files()), tagged(release(NAME, "3.0.0")))
    for each in (catalog, again):
        assert {name: content for name, content in each.bundle_files().items() if name in FOREIGN} == FOREIGN
    assert set(again.files) == {*FOREIGN, OURS, METADATA, package_file(NAME, "3.0.0")}


def test_locks_of_others_are_kept_beside_ours() -> None:
    theirs = [
        {"image": "r.example.com/zz@sha256:" + "9" * 64, "annotations": {"kbld.carvel.dev/id": "z", "their.own": "x"}},
        {"image": "nginx@sha256:" + "8" * 64, "unknown": {"to": ["us"]}},
    ]
    lock = yamldoc.dump({"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": theirs}).encode()
    files = extended({locks.IMAGES_LOCK: lock}).bundle_files()
    (document,) = yamldoc.load_all_text(files[locks.IMAGES_LOCK].decode(), YAML)
    assert [entry for entry in document["images"] if entry in theirs] == theirs[::-1]
    ours = locks.ImagesLock((locks.LockEntry(ONE.bundle, str(ONE.bundle)),)) if ONE.bundle else None
    assert ours
    assert [entry for entry in document["images"] if entry not in theirs] == ours.document()["images"]
    # What is locked under another place by now, since it was copied, is not locked twice.
    moved = [
        {
            "image": f"q.example.com/mm@{bundle_of(NAME, VERSION).digest}",
            "annotations": {"kbld.carvel.dev/id": str(ONE.bundle)},
        }
    ]
    assert locks.extended_lock(moved, [Reference.parse(str(ONE.bundle))])["images"] == moved


@pytest.mark.parametrize("name", [OURS, "packages/elsewhere.yaml"])
@pytest.mark.parametrize("wrap", ["alone", "list"])
@pytest.mark.parametrize("same", [True, False])
def test_a_version_that_others_published_stands_wherever_it_is(name: str, wrap: str, same: bool) -> None:
    """As kctrl and older versions of carvelwright wrote it."""
    held = package_document() if same else package_document(bundle="r.example.com/o@sha256:" + "5" * 64)
    content = text_of(held if wrap == "alone" else {"kind": "PackageList", "items": [held]})
    catalog = extended({name: content})
    assert {file: text for file, text in catalog.files.items() if file != METADATA} == {name: content}
    assert (catalog.records, catalog.rejected)[not same] == {str(tag) for tag in tagged(ONE)}
    assert catalog.versions[NAME, VERSION].file == name
    # Of theirs, too, the bundle is locked, so that a copy of the repository holds it.
    assert f'"{catalog.versions[NAME, VERSION].bundle}"' in catalog.bundle_files()[locks.IMAGES_LOCK].decode()


def test_the_metadata_is_replaced_wherever_it_stands() -> None:
    old = text_of(resources.package_metadata(NAME, {"displayName": "old"}))
    for name in (METADATA, "packages/m.yaml"):
        catalog = extended({name: old, "packages/o.yml": b""})
        assert set(catalog.files) == {METADATA, OURS, "packages/o.yml"}
        assert catalog.files[METADATA] == ONE.metadata
    # That of a higher version stays.
    higher = extended({"packages/m.yaml": old, "packages/h.yml": text_of(package_document("7.0.0"))})
    assert higher.files[METADATA] == old


def test_marks_count_for_what_others_published() -> None:
    theirs = {"packages/elsewhere.yaml": text_of(package_document()), METADATA: metadata(NAME)}
    catalog = extended(theirs, mark(ONE, Action.WITHDRAW, 1, "broken"))
    assert set(catalog.files) == {METADATA}
    assert str(ONE.bundle) not in catalog.bundle_files()[locks.IMAGES_LOCK].decode()
    again = merged(read(catalog.bundle_files()), tagged(mark(ONE, Action.RESTORE, 2)))
    assert again.files[OURS] == ONE.package


def test_what_an_older_publisher_added_to_latest_joins_and_what_was_withdrawn_does_not() -> None:
    before = extended({}, ONE, release(NAME, "2.0.0"))
    withdrawn = merged(before, tagged(mark(ONE, Action.WITHDRAW, 1, "broken")))
    theirs = read({**before.bundle_files(), "packages/theirs.yml": foreign_package([]), METADATA: b"stale"})
    both = joined(withdrawn, theirs)
    assert set(both.files) == {METADATA, package_file(NAME, "2.0.0"), "packages/theirs.yml"}
    assert both.files[METADATA] == withdrawn.files[METADATA]
    assert joined(withdrawn, before).bundle_files() == withdrawn.bundle_files()


def test_what_stands_elsewhere_by_now_or_was_withdrawn_does_not_come_back_from_a_stale_latest() -> None:
    theirs = {"packages/elsewhere.yaml": text_of(package_document()), "packages/m.yaml": metadata(NAME, "theirs")}
    for action in (Action.WITHDRAW, Action.DEPRECATE):
        adopted = merged(published(theirs), tagged(mark(ONE, action, 1, "broken")))
        both = merged(joined(adopted, published(theirs)), {}, adopt=adopted.ref_names)
        assert both.bundle_files() == adopted.bundle_files()


# Refusals


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
        text_of(package_document("2.0.0")),
    ],
)
def test_something_else_under_our_names_is_refused(content: bytes) -> None:
    for name, code in ((OURS, 7), (METADATA, 6)):
        with pytest.raises(CarvelwrightError) as caught:
            extended({name: content})
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
        (
            {OURS: text_of(package_document()), "packages/o.yml": text_of(package_document())},
            f"packages/o.yml, {OURS} holds",
        ),
        ({OURS: text_of(package_document(), package_document())}, f"{OURS} holds {NAME}.{VERSION} more than once"),
        (
            {"packages/m.yml": text_of(resources.package_metadata(NAME, {}), {"kind": "ConfigMap"})},
            "packages/m.yml holds PackageMetadata",
        ),
        ({"packages/a": b"", "packages/a/b.yml": b""}, "packages/a is a file, and packages/a/b.yml is in a directory"),
        ({".git/HEAD": b""}, "'.git/HEAD'"),
        ({"packages/" + "é" * 128: b""}, "the file name 'packages/"),
        ({"/".join(["d" * 100] * 20): b""}, "the file name 'ddd"),
        ({"packages/a\nb.yml": b""}, r"'packages/a\nb.yml'"),
        ({"packages/" + os.fsdecode(b"\xff.yml"): b""}, r"'packages/\udcff.yml'"),
        ({"packages/.imgpkg/images.yml": b""}, "'packages/.imgpkg/images.yml'"),
        (
            {locks.IMAGES_LOCK: b"kind: ImagesLock\nimages: [{image: 'r:1/x@sha256:%s'}]\n" % (b"1" * 64)},
            "images.yml",
        ),
        ({locks.IMAGES_LOCK: b"kind: ImagesLock\nimages: 5\n"}, ".imgpkg/images.yml holds no ImagesLock"),
        ({locks.IMAGES_LOCK: b"kind: ImagesLock\nimages: [{image: a:tag}]\n"}, ".imgpkg/images.yml"),
        ({locks.IMAGES_LOCK: b"\xff"}, ".imgpkg/images.yml"),
        ({locks.IMAGES_LOCK: b"a: &x [*x]"}, ".imgpkg/images.yml"),
        ({INDEX: b""}, f"{INDEX} holds no index"),
        ({INDEX: b"[]"}, f"{INDEX} holds no index"),
        ({INDEX: b"{}"}, f"{INDEX} holds no index"),
        ({INDEX: b'{"schemaVersion": 2}'}, f"{INDEX} holds no index"),
        ({INDEX: b"[" * 100_000}, f"{INDEX} holds no index"),
    ],
)
def test_what_cannot_be_carried_is_refused(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(CarvelwrightError) as caught:
        extended(files)
    assert caught.value.exit_code == 6
    assert words in caught.value.message
    assert caught.value.hint == "repair the published package repository, or publish to another REGISTRY/PATH"


def test_a_repository_without_a_lock_is_no_bundle() -> None:
    with pytest.raises(RegistryError, match=r"it is no bundle: it has no \.imgpkg/images\.yml"):
        read({"packages/a.yml": b""})


def test_a_refusal_names_the_file_as_it_is_in_the_repository_and_the_reason() -> None:
    head = "the published package repository cannot be extended: "
    with pytest.raises(CarvelwrightError) as caught:
        read({locks.IMAGES_LOCK: b"kind: Other"})
    assert caught.value.message == f"{head}.imgpkg/images.yml holds no ImagesLock"
    assert caught.value.details == "not an ImagesLock: kind is 'Other'"
    with pytest.raises(CarvelwrightError) as caught:
        read({locks.IMAGES_LOCK: b"a: ["})
    first, second = (caught.value.details or "").splitlines()[:2]
    assert "package repository/.imgpkg/images.yml" in first
    assert second.strip().startswith("package repository/.imgpkg/images.yml:")
    with pytest.raises(CarvelwrightError) as caught:
        extended({METADATA: b"\xff"})
    assert caught.value.message.endswith(f"{METADATA} holds something other than PackageMetadata {NAME}")
    assert caught.value.details == "not UTF-8: invalid start byte"


# The index


def test_an_index_of_the_next_schema_is_refused_with_its_number() -> None:
    files = merged(Catalog(), tagged(ONE)).bundle_files()
    document = json.loads(files[INDEX])
    newer = json.dumps({**document, "schemaVersion": 2}).encode()
    with pytest.raises(RegistryError) as caught:
        read({**files, INDEX: newer})
    assert caught.value.details == "ValueError: schemaVersion is 2, expected 1"


def test_a_version_whose_file_others_removed_is_added_again_from_its_record() -> None:
    files = merged(Catalog(), tagged(ONE, release(NAME, "2.0.0"))).bundle_files()
    lost = read({name: content for name, content in files.items() if name != OURS})
    assert (NAME, VERSION) not in lost.versions
    assert lost.accounted == {str(tag) for tag in tagged(release(NAME, "2.0.0"))}
    assert merged(lost, tagged(ONE)).bundle_files() == files


def test_a_lock_that_others_changed_is_read_instead_of_what_the_index_says() -> None:
    files = merged(Catalog(), tagged(ONE)).bundle_files()
    theirs = "r.example.com/zz@sha256:" + "9" * 64
    lock = f"kind: ImagesLock\nimages: [{{image: '{theirs}'}}]\n".encode()
    catalog = read({**files, locks.IMAGES_LOCK: lock})
    assert [entry["image"] for entry in catalog.locked] == [theirs]
    # What is held is locked again.
    again = merged(catalog, tagged(release(NAME, "2.0.0")))
    assert {entry["image"] for entry in again.locked} == {theirs, str(ONE.bundle), str(bundle_of(NAME, "2.0.0"))}


def test_only_a_list_is_read_for_its_items() -> None:
    name = "packages/b.yml"
    held = text_of(package_document() | {"items": [1]})
    catalog = extended({"packages/a.yml": held, name: text_of({"kind": "List", "metadata": {"name": NAME}})})
    assert catalog.versions[NAME, VERSION].file == "packages/a.yml"
    assert catalog.files["packages/a.yml"] == held


@pytest.mark.parametrize(
    "change",
    [
        {"template": None},
        {"template": {"spec": {"fetch": [{"inline": {}}]}}},
        {"template": package_document(bundle="r.example.com/a:tag")["spec"]["template"]},
    ],
)
def test_a_published_package_of_another_kind_is_another_release(change: dict[str, Any]) -> None:
    old = package_document()
    old["spec"] |= change
    assert not resources.same_package(old, package_document())
    assert not resources.same_package(package_document(), old)
    assert resources.same_package(package_document(), package_document())
    catalog = extended({OURS: text_of(old)})
    assert catalog.rejected == {str(tag) for tag in tagged(ONE)}
    assert catalog.files[OURS] == text_of(old)
