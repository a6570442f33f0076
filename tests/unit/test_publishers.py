"""Publishers at work at the same time, in any order of their calls, killed anywhere: what clients see of it.

The code that publishes is the real one; only the registry is a dictionary. It behaves as the specification has it: each
call takes effect at once, a tag is overwritten without a word, and a list of tags comes at once or in two pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carvelwright.carvel import resources
from carvelwright.catalog import foreign
from carvelwright.catalog.records import Action, Record
from carvelwright.catalog.tags import LATEST, RecordTag, key_of
from carvelwright.errors import ReleasedError
from carvelwright.store import Store
from carvelwright.uses.converge import converge
from tests.helpers.publishers import InMemory, OlderPublisher, Publisher, Registry, mark, release

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B = "a.example.com", "b.example.com"
FIRST = release(A, "1.0.0", "there before")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@dataclass
class Watch:
    """What was seen of a registry; `look` is called after each call of a publisher, and so sees what clients can."""

    registry: Registry
    publishers: Sequence[Publisher]
    contents: dict[str, bytes] = field(default_factory=dict)
    before: object = None

    def look(self) -> None:
        now = (self.registry.highest, [publisher.settled is not None for publisher in self.publishers])
        if now == self.before:
            return
        self.before = now
        catalog = self.registry.catalog()
        shown = {name: text for name, text in catalog.files.items() if not name.endswith("/metadata.yml")}
        self._refuse_two(shown)
        for name, text in shown.items():
            # A version has one content for good, though one that nobody was promised may go and come again.
            former = resources.undeprecated(_document(self.contents.setdefault(name, text)))
            assert resources.same_package(former, resources.undeprecated(_document(text))), name
        for publisher in self.publishers:
            if publisher.settled:
                for tag in publisher.pushed:
                    assert str(tag) in catalog.records, f"{tag} is lost"

    def _refuse_two(self, shown: dict[str, bytes]) -> None:
        names = [
            resources.name_of(document) for name, text in shown.items() for document in foreign.documents_of(name, text)
        ]
        assert len(names) == len(set(names)), names


def _document(text: bytes) -> resources.Document:
    (document,) = foreign.documents_of("package.yml", text)
    return document


def alone(publisher: Publisher) -> Publisher:
    """Let a publisher work to its end while the others wait."""
    while not publisher.ended:
        publisher.let_on()
    return publisher


def finish(registry: Registry, store: Store) -> Publisher:
    """Publish one more version, alone."""
    last = alone(Publisher(registry, store, [release(B, "9.9.9")]))
    assert last.settled, last.error
    return last


RELEASES = [
    FIRST,
    release(A, "1.1.0"),
    release(A, "1.1.0", "other content"),
    release(A, "1.2.0", name="new name"),
    release(B, "1.0.0"),
    release(B, "1.0.0", "other content"),
]
MARKS = [
    mark(FIRST, Action.METADATA, 1, "another name"),
    mark(FIRST, Action.DEPRECATE, 1, "too old"),
    mark(FIRST, Action.WITHDRAW, 2, "broken"),
    mark(FIRST, Action.RESTORE, 3, "not that broken"),
]


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[list[tuple[bool, Record, int | None]], list[int]]:
    """Draw publishers, whether older ones, with the call that each is killed at; and the order in which they go on."""
    count = draw(st.integers(2, 5))
    records = draw(st.lists(st.sampled_from([*RELEASES, *MARKS]), min_size=count, max_size=count))
    killed = draw(st.lists(st.none() | st.integers(1, 20), min_size=count, max_size=count))
    older = draw(st.lists(st.sampled_from([False, False, False, True]), min_size=count, max_size=count))
    # Runs of calls: who stalls does so for long.
    runs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(1, 9)), max_size=16))
    order = [number for number, length in runs for _ in range(length)]
    return [(old and not r.number, r, k) for old, r, k in zip(older, records, killed, strict=True)], order


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=60)
@given(scenarios(), st.sampled_from([None, *"02468ace"]))
def test_what_a_publisher_has_published_stays_visible(
    store: Store, scenario: tuple[list[tuple[bool, Record, int | None]], list[int]], page: str | None
) -> None:
    asked, order = scenario
    # Of a list in pages, each is what is there at a moment of its own.
    registry = Registry(on_second_page=None if page is None else lambda tag: tag[2:3] >= page)
    first = alone(Publisher(registry, store, [FIRST]))
    working = [
        (OlderPublisher if older else Publisher)(registry, store, [record], killed) for older, record, killed in asked
    ]
    watch = Watch(registry, [first, *working])
    for number in [*order, *[n for _ in range(400) for n in range(len(working))]]:
        working[number].let_on()
        watch.look()
        if all(publisher.ended for publisher in working):
            break
    for publisher in working:
        assert publisher.ended, "no end"
        assert publisher.error is None or isinstance(publisher.error, ReleasedError), publisher.error
    last = finish(registry, store)
    watch.publishers = [*watch.publishers, last]
    watch.look()
    _require_all(registry, [first, *working, last], store)


def _require_all(registry: Registry, ended: Sequence[Publisher], store: Store) -> None:
    """Require that the next publisher picked up what those that were killed had recorded, and healed `latest`."""
    catalog, seen = registry.catalog(), InMemory(registry, store).look()
    assert seen.is_current
    assert registry.tags[LATEST] == seen.digest
    # Two contents of a version, none of which was ever visible, are accounted for by neither.
    contested = {
        str(tag)
        for one in ended
        for tag, record in one.pushed.items()
        if (record.ref_name, record.version) not in catalog.versions
    }
    recorded = {str(tag) for one in ended for tag in one.pushed}
    assert recorded - contested <= catalog.accounted


def until_revision(publisher: Publisher) -> Publisher:
    """Let a publisher go on until the next that it does is to push a revision that it has worked out."""
    return until(publisher, "push 0.")


def until(publisher: Publisher, call: str) -> Publisher:
    """Let a publisher go on until a call is the next."""
    while not publisher.following.startswith(call):
        assert not publisher.ended, publisher.error
        publisher.let_on()
    return publisher


@pytest.mark.parametrize("number", range(6))
def test_a_stalled_publisher_does_not_outrank_one_that_knew_more(store: Store, number: int) -> None:
    registry = Registry()
    first = alone(Publisher(registry, store, [FIRST]))
    stalled = until_revision(Publisher(registry, store, [release(A, "1.1.0")]))
    # Another content of that version: neither of the two is visible, and neither counts for what is.
    other = alone(Publisher(registry, store, [release(A, "1.1.0", "other content")]))
    assert isinstance(other.error, ReleasedError)
    assert "pushed with different contents by several publishers at once" in other.error.message
    finished = alone(Publisher(registry, store, [release(B, f"1.{number}.0")]))
    assert finished.settled
    assert f"packages/{A}/1.1.0.yml" not in registry.catalog().files
    before = registry.highest
    stalled.let_on()
    assert registry.highest == before, "what it pushed is the highest"
    Watch(registry, [first, finished]).look()
    # It sees that its own was there first, and goes on.
    assert alone(stalled).settled
    Watch(registry, [first, finished, stalled]).look()


@pytest.mark.parametrize("number", range(6))
def test_a_stalled_publisher_does_not_outrank_a_first_content_that_was_found_again(store: Store, number: int) -> None:
    registry = Registry()
    stalled = until_revision(Publisher(registry, store, [release(A, "1.1.0")]))
    alone(Publisher(registry, store, [release(A, "1.1.0", "other content")]))
    finished = alone(Publisher(registry, store, [release(B, f"1.{number}.0")]))
    # It knows of two contents, and of no revision that holds one of them.
    blind = until_revision(Publisher(registry, store, [release(B, f"2.{number}.0")]))
    assert alone(stalled).settled
    blind.let_on()
    Watch(registry, [finished, stalled]).look()


@pytest.mark.parametrize("number", range(6))
def test_what_an_older_publisher_adds_to_latest_does_not_let_a_stalled_one_outrank(store: Store, number: int) -> None:
    registry = Registry()
    first = alone(Publisher(registry, store, [FIRST]))
    alone(OlderPublisher(registry, store, [release(B, "1.0.0")]))
    assert f"packages/{B}/1.0.0.yml" not in registry.catalog().files
    second = alone(Publisher(registry, store, [release(A, "1.1.0")]))
    assert f"packages/{B}/1.0.0.yml" in registry.catalog().files
    alone(OlderPublisher(registry, store, [release(B, "2.0.0")]))
    stalled = until_revision(Publisher(registry, store, [release(B, f"3.{number}.0")]))
    third = alone(Publisher(registry, store, [release(A, f"2.{number}.0")]))
    stalled.let_on()
    Watch(registry, [first, second, third]).look()
    assert f"packages/{B}/2.0.0.yml" in registry.catalog().files
    assert registry.tags[LATEST] == registry.tags[registry.highest.tag if registry.highest else ""]


@pytest.mark.parametrize("number", range(6))
def test_a_list_in_pages_to_which_others_add_does_not_let_a_stalled_one_outrank(store: Store, number: int) -> None:
    """Of one page it knows an older state than of the other, so it knows no less than who saw the whole before."""
    registry = Registry()
    late = key_of(B, "2.0.0")
    registry.on_second_page = lambda tag: late in tag
    first = alone(Publisher(registry, store, [FIRST]))
    stalled = until(Publisher(registry, store, [release(A, "1.1.0")]), "list on")
    finished = alone(Publisher(registry, store, [release(B, f"1.{number}.0")]))
    # Recorded, and no more.
    until(Publisher(registry, store, [release(B, "2.0.0")]), "list")
    until_revision(stalled).let_on()
    Watch(registry, [first, finished]).look()


def test_what_an_older_publisher_added_is_kept_by_one_that_has_nothing_to_add(store: Store) -> None:
    registry = Registry()
    alone(Publisher(registry, store, [FIRST]))
    alone(OlderPublisher(registry, store, [release(B, "1.0.0")]))
    alone(Publisher(registry, store, [FIRST]))
    highest = registry.highest
    assert f"packages/{B}/1.0.0.yml" in registry.catalog().files
    again = alone(Publisher(registry, store, [FIRST]))
    assert again.settled
    assert (again.settled.changed, registry.highest) == (False, highest)


def test_without_a_list_of_tags_one_publisher_at_a_time_is_followed_by_latest(store: Store) -> None:
    registry = Registry(lists=False)
    for version in ("1.0.0", "2.0.0"):
        repository = InMemory(registry, store)
        record = release(A, version)
        settled = converge(repository, {repository.push_record(record): record})
        assert registry.tags[LATEST] == settled.repository.digest
        assert "one publisher at a time" in repository.log.getvalue()
    files = registry.bundles[registry.tags[LATEST]]
    assert {f"packages/{A}/1.0.0.yml", f"packages/{A}/2.0.0.yml"} < set(files)


@pytest.mark.parametrize("files", [{}, {"carvelwright.json": b"[]"}, {**release(B, "1.0.0").files(), "more": b""}])
def test_what_is_no_record_is_left_out_with_a_note(store: Store, files: dict[str, bytes]) -> None:
    registry = Registry()
    tag = RecordTag(release(A, "1.0.0").key, 0, registry.put(files))
    registry.tags[str(tag)] = tag.content
    one = alone(Publisher(registry, store, [FIRST]))
    assert one.settled
    assert registry.catalog().rejected == {str(tag)}
    repository = InMemory(registry, store)
    assert repository.look().is_current
    # Once is enough: it is accounted for.
    assert repository.log.getvalue() == ""


def test_a_record_of_one_version_under_the_tag_of_another_is_left_out(store: Store) -> None:
    registry = Registry()
    record = release(A, "1.1.0")
    digest = registry.put(record.files())
    registry.tags[str(RecordTag(FIRST.key, 0, digest))] = digest
    repository = InMemory(registry, store)
    assert repository.look().catalog.versions == {}
    assert f"it is the record of {A} 1.1.0" in repository.log.getvalue()
