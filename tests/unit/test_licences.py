"""Licenses: which files are their texts, what they come to, what is allowed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from carvelwright.project.licences import policy_of
from carvelwright.supply import licences
from carvelwright.supply.licences import Entry, Index, Text
from carvelwright.supply.modules import Module
from carvelwright.tools.classifier import classify
from tests.helpers.terms import classifier as classifier  # noqa: PLC0414 - a fixture
from tests.helpers.terms import terms as terms  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.tools.tool import Tool


@pytest.mark.parametrize(
    "name",
    [
        *("LICENSE", "license.md", "Licence.txt", "LICENSE.libyaml", "MIT-LICENSE.txt", "COPYING", "COPYING.LESSER"),
        *("UNLICENSE", "LICENSE-APACHE", "licenses", "LICENSE_2"),
    ],
)
def test_a_license_is_known_by_its_name(name: str) -> None:
    assert licences.is_licence(name)
    assert licences.is_text(name)


@pytest.mark.parametrize("name", ["NOTICE", "NOTICE.txt", "PATENTS", "COPYRIGHT", "notices.md"])
def test_a_notice_is_carried_but_holds_no_terms(name: str) -> None:
    assert not licences.is_licence(name)
    assert licences.is_text(name)


@pytest.mark.parametrize("name", ["license.go", "license.yml", "relicensed", "README.md", "notice.go", "licensed", ""])
def test_other_files_are_none(name: str) -> None:
    assert not licences.is_text(name)


def test_all_that_is_recognised_has_to_be_kept() -> None:
    assert licences.expression({"LICENSE": ["MIT"], "a/LICENSE": ["Apache-2.0", "MIT"]}) == "Apache-2.0 AND MIT"
    assert licences.expression({"LICENSE": ["MIT"], "a/LICENSE": []}) is None
    assert licences.expression({}) is None


def test_names_become_those_of_spdx() -> None:
    names = ["MIT", "GPL-2.0", "LicenseRef-uthash", "Commons-Clause", "not a name (", "AND"]
    assert licences.identifiers(names) == {
        "MIT": "MIT",
        "GPL-2.0": "GPL-2.0-only",
        "LicenseRef-uthash": "LicenseRef-uthash",
        "Commons-Clause": "LicenseRef-Commons-Clause",
        "not a name (": "LicenseRef-not-a-name-",
        "AND": "LicenseRef-AND",
    }


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("(GPL-3.0-only OR MIT) AND Apache-2.0", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only", False),
        ("LicenseRef-Acme", True),
        ("LicenseRef-Other", False),
    ],
)
def test_an_expression_is_allowed_if_it_can_be_kept(expression: str, allowed: bool) -> None:
    known = ["MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Acme"]
    assert licences.refused([expression], known) == (set() if allowed else {expression})


def test_an_override_of_the_version_comes_first() -> None:
    both = [
        {"module": "a", "licenses": "MIT", "reason": "one"},
        {"module": "a", "version": "v1.0.0", "licenses": "ISC", "reason": "two"},
    ]
    policy = policy_of({"licenses": {"overrides": both}})
    named = [policy.override(module, version) for module, version in (("a", "v1.0.0"), ("a", "v2.0.0"), ("b", "v1"))]
    assert [each.expression if each else None for each in named] == ["ISC", "MIT", None]
    assert policy.allowed is None
    assert policy_of({}).overrides == ()


def test_the_index_is_read_as_it_was_written() -> None:
    index = Index(
        (
            Entry(Module("app", ""), "Apache-2.0", (Text("LICENSE", "aa.txt"),)),
            Entry(Module("a", "v1", "h1:x"), None, (Text("LICENSE", "bb.txt"),), unrecognised=("LICENSE",)),
            Entry(Module("b", "v1", "h1:x"), "MIT", (), "seen"),
        )
    )
    assert Index.parse(index.text().encode()) == index


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"schemaVersion": 2, "modules": []}', '{"schemaVersion": 1, "modules": [1]}'),
        json.dumps({"schemaVersion": 1, "modules": [{"module": "a", "licenses": "MIT", "texts": [{}]}]}),
    ],
)
def test_what_is_no_index_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Index.parse(text.encode())


def test_the_classifier_knows_terms_whose_words_were_not_changed(
    classifier: Tool, terms: Mapping[str, str], tmp_path: Path
) -> None:
    header = 'Parts of it are licensed under the Apache License, Version 2.0 (the "License");\n'
    cut = terms["MIT"][: len(terms["MIT"]) // 2]
    contents = {"mit": terms["MIT"], "both": terms["MIT"] + "\n\n" + terms["BSD-3-Clause"], "cut": cut, "empty": ""}
    contents |= {"prose": "All rights reserved.", "header": header, "apache": terms["Apache-2.0"]}
    paths = {name: tmp_path / f"{name} with a space" for name in contents}
    for name, path in paths.items():
        path.write_text(contents[name])
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    found = classify(classifier, [*paths.values(), tmp_path / "bytes"], step="test")
    assert {name: found[path] for name, path in paths.items()} == {
        "mit": ["MIT"],
        "both": ["BSD-3-Clause", "MIT"],
        "cut": [],
        "empty": [],
        "prose": [],
        "header": [],
        "apache": ["Apache-2.0"],
    }
    assert found[tmp_path / "bytes"] == []
    assert classify(classifier, [], step="test") == {}
