"""A few rounds of what `make torture` does; tests/torture is run in full before a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.builds import call
from tests.torture.projects import prepare
from tests.torture.rounds import PLACES, session
from tests.torture.verdict import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.tools.toolchain import Toolchain
    from tests.helpers.registries import Kind
    from tests.torture.projects import Pool
    from tests.torture.reader import Holding
    from tests.torture.rounds import Session
    from tests.torture.verdict import Judge, Ledger


@pytest.fixture(scope="module")
def pool(tool_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return prepare(tmp_path_factory.mktemp("pool"), tool_environment, versions=1, contents=2)


@pytest.mark.parametrize(
    ("kind", "rounds", "places"),
    [("crane", 1, PLACES), ("docker-registry", 1, [Place.SINGLE]), ("crane", 1, [Place.UNLISTED])],
)
def test_publishers_that_are_killed_and_stalled_lose_no_version(
    kind: Kind,
    rounds: int,
    places: Sequence[Place],
    pool: Pool,
    toolset: Toolchain,
    tool_environment: dict[str, str],
) -> None:
    with session(kind, toolset, pool, tool_environment, 4, places) as running:
        for number in range(20):
            # In a single round all may be killed, or refused since they contest each other.
            if number >= rounds and running.figures.counts["done"]:
                break
            running.round(f"make-test/{kind}/{number}")
        assert running.figures.counts["done"] > 0


def _several_revisions(running: Session) -> tuple[Ledger, Judge, Holding]:
    """Run rounds until one has several revisions: one publisher may have recorded all before another looked.

    In none of the first rounds of this seed are lists late, where an early revision may hold another content.
    """
    for number in range(20):
        running.round(f"make-test/first/{number}")
        ledger = running.ledger
        assert ledger is not None
        judge = running.judge(ledger)
        holding = judge.holding()
        assert judge.missing(holding) == []
        if len(holding.digests) > 1:
            return ledger, judge, holding
    raise AssertionError("no round had two revisions")


def test_a_lost_version_and_a_wrong_byte_are_noticed(
    pool: Pool, toolset: Toolchain, tool_environment: dict[str, str]
) -> None:
    with session("crane", toolset, pool, tool_environment, most=3) as running:
        ledger, judge, holding = _several_revisions(running)
        # As a publisher that has not seen the others would outrank them: an early revision under the highest number.
        first = min(holding.digests, key=lambda tag: [int(number) for number in tag.split(".")])
        assert first != holding.highest
        repository = f"{running.reader.address}/{ledger.packages}"
        call(toolset.crane.path, "copy", f"{repository}:{first}", f"{repository}:0.999.1")
        holding = judge.holding()
        missing = judge.missing(holding)
        assert missing
        assert set(missing) == set(ledger.finished) - set(holding.packages(first))
        assert any("is missing from 0.999.1" in problem for problem in judge.converged(holding))
        # And a Package that is not what was built.
        (name, *_) = [file for file in holding.files[holding.digests[first]] if file.endswith("build.1.yml")]
        holding.files[holding.digests[first]][name] += b"# more\n"
        assert any("that nobody published" in problem for problem in judge.state(holding))
