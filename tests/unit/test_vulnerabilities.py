"""Known vulnerabilities: what govulncheck reports, what was decided about it, and both as OpenVEX."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from carvelwright.supply.modules import Module
from carvelwright.supply.vex import Product, openvex
from carvelwright.supply.vulnerabilities import (
    Acceptance,
    Finding,
    Judged,
    Reach,
    Vulnerability,
    farthest,
    findings,
    judge,
)

TODAY = dt.date(2026, 11, 26)
CONFIG = {"config": {"protocol_version": "v1.0.0"}}
ENTRY = {"osv": {"id": "GO-2026-0001", "aliases": ["CVE-2026-1"], "summary": "Endless loop\n"}}
NET = {"module": "golang.org/x/net", "version": "v0.49.0"}
CALL = {**NET, "package": "golang.org/x/net/html", "receiver": "*Parser", "function": "Parse"}
MAIN = {"module": "example.com/app", "package": "example.com/app", "function": "main"}


def report(*documents: Any) -> str:
    return "\n".join(json.dumps(each, indent=2) for each in documents)


def finding(*trace: dict[str, str], fixed: str | None = "v0.53.0") -> dict[str, Any]:
    return {"finding": {"osv": "GO-2026-0001", "trace": list(trace), **({"fixed_version": fixed} if fixed else {})}}


def known(identifier: str = "GO-2026-0001", reach: Reach = Reach.CALLED, mended: str | None = "v0.53.0") -> Finding:
    found = Vulnerability(identifier, ("CVE-2026-1",), "Endless loop")
    return Finding(found, Module("golang.org/x/net", "v0.49.0"), mended, reach, ("app.main", "html.Parse"))


def accepted(**changes: Any) -> Acceptance:
    settings = {"module": None, "reason": "no such input", "accepted": TODAY, "until": None, "justification": None}
    return Acceptance(**{"identifier": "GO-2026-0001", **settings, **changes})


def test_the_farthest_reach_of_a_vulnerability_counts() -> None:
    package = {key: value for key, value in CALL.items() if key not in ("receiver", "function")}
    for order in ((NET, package, CALL), (CALL, NET, package)):
        traces = [finding(each, MAIN) if each is CALL else finding(each) for each in order]
        (one,) = findings(report(CONFIG, ENTRY, *traces))
        assert one.reach is Reach.CALLED
        assert one.trace == ("example.com/app.main", "golang.org/x/net/html.Parser.Parse")
        assert (one.module, one.mended) == (Module("golang.org/x/net", "v0.49.0"), "v0.53.0")
        assert one.vulnerability == Vulnerability("GO-2026-0001", ("CVE-2026-1",), "Endless loop")
    assert [one.reach for one in findings(report(CONFIG, ENTRY, finding(NET), finding(package)))] == [Reach.IMPORTED]
    assert [one.reach for one in findings(report(CONFIG, ENTRY, finding(NET)))] == [Reach.REQUIRED]
    assert findings(report(CONFIG, ENTRY)) == ()


def test_the_standard_library_has_the_version_of_go() -> None:
    (one,) = findings(report(CONFIG, ENTRY, finding({"module": "stdlib", "version": "v1.27.1"}, fixed=None)))
    assert (one.module, one.mended) == (Module("stdlib", "1.27.1"), None)
    assert Finding.parse(json.loads(json.dumps(one.document()))) == one


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "1", "null", "{", "no JSON", report(ENTRY, finding(NET))),
        report(CONFIG, finding(NET)),
        report(CONFIG, ENTRY, {"finding": {"osv": "GO-2026-0001", "trace": []}}),
        report(CONFIG, ENTRY, {"finding": 1}),
        report(CONFIG, {"osv": 1}),
    ],
)
def test_what_is_no_report_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        findings(text)


def test_the_same_in_two_programs_is_one_finding() -> None:
    both = [known(reach=Reach.REQUIRED), known(), known("GO-2026-0002", Reach.IMPORTED)]
    assert [(one.vulnerability.identifier, one.reach) for one in farthest(both)] == [
        ("GO-2026-0001", Reach.CALLED),
        ("GO-2026-0002", Reach.IMPORTED),
    ]


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"identifier": "CVE-2026-1"}, True),
        ({"identifier": "GO-2026-0002"}, False),
        ({"module": "golang.org/x/net"}, True),
        ({"module": "golang.org/x/text"}, False),
        ({"until": TODAY}, True),
        ({"until": TODAY - dt.timedelta(days=1)}, False),
    ],
)
def test_what_was_accepted_counts_for_its_module_until_its_day(changes: dict[str, Any], holds: bool) -> None:
    (one,) = judge([known()], [accepted(**changes)], TODAY)
    assert one.is_open is not holds
    assert (one.acceptance is not None) is holds


def test_what_is_not_called_is_not_open() -> None:
    assert not any(one.is_open for one in judge([known(reach=Reach.IMPORTED), known(reach=Reach.REQUIRED)], [], TODAY))


def test_openvex_says_why() -> None:
    harmless = accepted(justification="inline_mitigations_already_exist")
    judged = [
        Judged(known(), None),
        Judged(known(mended=None), None),
        Judged(known(), accepted()),
        Judged(known(), harmless),
        Judged(known(reach=Reach.IMPORTED), None),
        Judged(known(reach=Reach.REQUIRED), None),
    ]
    product = Product("pkg:oci/app@sha256:" + "a" * 64, tuple(judged))
    settings = {"author": "a", "created": "2026-11-05T23:49:57Z", "tool": "t"}
    text = openvex([product], **settings)
    assert text == openvex([product], **settings)
    document = json.loads(text)
    assert document["@context"] == "https://openvex.dev/ns/v0.2.0"
    statements = document["statements"]
    assert [{key: each[key] for key in each if key not in ("vulnerability", "products")} for each in statements] == [
        {"status": "affected", "action_statement": "update golang.org/x/net to v0.53.0"},
        {"status": "affected", "action_statement": "no version mends it yet"},
        {"status": "affected", "action_statement": "accepted on 2026-11-26: no such input"},
        {
            "status": "not_affected",
            "justification": "inline_mitigations_already_exist",
            "impact_statement": "no such input",
        },
        *(
            {
                "status": "not_affected",
                "justification": justification,
                "impact_statement": "govulncheck found no call of the vulnerable code",
            }
            for justification in ("vulnerable_code_not_in_execute_path", "vulnerable_code_not_present")
        ),
    ]
    first = statements[0]
    assert first["products"] == [
        {"@id": product.purl, "subcomponents": [{"@id": "pkg:golang/golang.org/x/net@v0.49.0"}]}
    ]
    assert first["vulnerability"]["aliases"] == ["CVE-2026-1"]
    assert json.loads(openvex([], **settings))["statements"] == []
