"""Revisions of a publisher with a key, while another one without it publishes at any moment in between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from carvelwright.catalog.tags import Revision
from carvelwright.store import Store
from tests.helpers.publishers import Publisher, Registry, release

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.digest import Digest
    from carvelwright.reference import Reference
    from carvelwright.steps.published import PackageRepository

A, B = "a.example.com", "b.example.com"


@dataclass
class Signing(Publisher):
    """A publisher with a key; `signed` is what has its signature."""

    signed: set[Digest] = field(default_factory=set)

    def _publish(self, repository: PackageRepository) -> None:
        repository.sign = self._sign
        super()._publish(repository)

    def _sign(self, reference: Reference) -> None:
        assert reference.digest is not None
        if reference.digest not in self.signed:
            self._turn("sign")
            self.signed.add(reference.digest)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def alone(publisher: Publisher) -> None:
    while not publisher.ended:
        publisher.let_on()


@pytest.mark.parametrize("calls", range(16))
def test_the_revision_that_a_publisher_ends_with_is_signed(store: Store, calls: int) -> None:
    registry = Registry()
    one = Signing(registry, store, [release(A, "1.0.0")])
    for _ in range(calls):
        one.let_on()
    alone(Publisher(registry, store, [release(B, "1.0.0")]))
    alone(one)
    assert one.settled
    assert one.settled.repository.digest in one.signed


def test_a_revision_is_signed_before_clients_see_it(store: Store) -> None:
    registry = Registry()
    one = Signing(registry, store, [release(A, "1.0.0")])
    while not one.ended:
        one.let_on()
        seen = {digest for tag, digest in registry.tags.items() if Revision.parse(tag)}
        assert seen <= one.signed
    assert one.settled


def test_what_a_publisher_without_the_key_made_highest_is_signed_by_the_next(store: Store) -> None:
    registry = Registry()
    alone(Signing(registry, store, [release(A, "1.0.0")]))
    alone(Publisher(registry, store, [release(B, "1.0.0")]))
    highest = registry.highest
    again = Signing(registry, store, [release(A, "1.0.0")])
    alone(again)
    assert again.settled
    assert (registry.highest, again.settled.changed) == (highest, False)
    assert again.settled.repository.digest in again.signed
