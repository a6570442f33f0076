"""Images, manifests, rights, and what people read of a comparison."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carvelwright.compare import words
from carvelwright.compare.changes import Change, Judgement, Kind
from carvelwright.compare.comparison import Compared, Comparison, Gap
from carvelwright.compare.images import Image, image_changes
from carvelwright.compare.manifests import object_changes
from carvelwright.compare.rights import rights_changes

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def config(name: str, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": data, **more}


def role(*rules: dict[str, Any], kind: str = "ClusterRole") -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "r"}, "rules": list(rules)}


def rule(verbs: list[str], resources: list[str], group: str = "", names: list[str] | None = None) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs} | ({"resourceNames": names} if names else {})


def test_images_come_go_and_move() -> None:
    old = [Image("a", ONE), Image("r.io:5000/b:1", ONE, ("linux/amd64",)), Image("gone", ONE), Image("same", ONE)]
    new = [
        Image("a", TWO),
        Image("r.io:5000/b:2", ONE, ("linux/amd64", "linux/arm64")),
        Image("new"),
        Image("same", None),
    ]
    changes = image_changes(old, new)
    assert [(change.kind, (change.new or change.old or old[0]).name) for change in changes] == [
        ("moved", "a"),
        ("removed", "gone"),
        ("added", "new"),
        ("moved", "r.io:5000/b:2"),
    ]
    assert changes[3].lines() == ["r.io:5000/b:1 → r.io:5000/b:2", "linux/amd64 → linux/amd64, linux/arm64"]


def test_two_tags_of_one_image_are_not_paired_by_guess() -> None:
    changes = image_changes([Image("b:1"), Image("b:2")], [Image("b:3"), Image("b:4")])
    assert sorted(change.kind for change in changes) == ["added", "added", "removed", "removed"]


def test_objects_are_compared_one_by_one_whatever_their_order() -> None:
    old = [config("a", {"x": "1", "y": "2"}), config("gone"), config("same")]
    new = [config("same"), config("new"), config("a", {"y": "2", "x": "3"})]
    changes = object_changes({"defaults": (old, new)})
    assert [(change.kind, str(change.id)) for change in changes] == [
        ("changed", "ConfigMap n/a"),
        ("removed", "ConfigMap n/gone"),
        ("added", "ConfigMap n/new"),
    ]
    lines = changes[0].diff.splitlines()
    assert [line for line in lines if line[0] in "+-"] == ["-  x: '1'", "+  x: '3'"]


def test_order_of_keys_and_version_of_the_api_make_no_other_object() -> None:
    assert object_changes({"d": ([config("a", {"x": 1, "y": 2})], [config("a", {"y": 2, "x": 1})])}) == ()
    (change,) = object_changes({"d": ([config("a")], [config("a", apiVersion="v2")])})
    assert change.kind == "changed"


def test_change_that_several_samples_show_is_one() -> None:
    pair = ([config("a", "1")], [config("a", "2")])
    (change,) = object_changes({"one": pair, "two": pair, "three": ([config("a")], [config("a")])})
    assert change.samples == ("one", "two")


def test_what_is_no_object_is_compared_too() -> None:
    odd: list[dict[str, Any]] = [{"metadata": "x", "kind": ["y"]}, {}, {}]
    assert object_changes({"d": (odd, odd)}) == ()
    assert [change.kind for change in object_changes({"d": (odd, odd[:2])})] == ["removed"]


def test_rights_come_and_go_by_verb_and_name() -> None:
    old = [role(rule(["get", "list"], ["pods"]), rule(["update"], ["leases"], "coordination.k8s.io", ["a"]))]
    new = [role(rule(["get", "watch"], ["pods"]), rule(["update"], ["leases"], "coordination.k8s.io", ["a", "b"]))]
    assert [(change.kind, str(change)) for change in rights_changes(old, new)] == [
        ("added", "ClusterRole r: watch on pods"),
        ("added", "ClusterRole r: update on leases of coordination.k8s.io 'b'"),
        ("removed", "ClusterRole r: list on pods"),
    ]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (rule(["*"], ["pods"]), rule(["get"], ["pods"])),
        (rule(["get"], ["*"]), rule(["get"], ["pods/log"])),
        (rule(["get"], ["*/scale"]), rule(["get"], ["deployments/scale"])),
        (rule(["get"], ["pods"], "*"), rule(["get"], ["pods"], "apps")),
        (rule(["get"], ["pods"]), rule(["get"], ["pods"], names=["a"])),
        ({"nonResourceURLs": ["/a/*"], "verbs": ["get"]}, {"nonResourceURLs": ["/a/b"], "verbs": ["get"]}),
    ],
)
def test_right_within_a_wider_one_is_none_that_came(wide: dict[str, Any], narrow: dict[str, Any]) -> None:
    assert [change.kind for change in rights_changes([role(wide)], [role(narrow)])] == ["removed"]
    assert [change.kind for change in rights_changes([role(narrow)], [role(wide)])] == ["added"]


def test_rules_that_are_none_hold_no_rights() -> None:
    odd = [
        role(),
        {**role(), "rules": ["x", {"verbs": "get", "resources": None}]},
        {**role(), "metadata": None, "rules": 5},
    ]
    assert rights_changes(odd, []) == ()


def comparison(**parts: Any) -> Comparison:
    empty: dict[str, Any] = {"values": (), "images": (), "manifests": (), "rights": ()}
    return Comparison("p.example.com", Compared("git:main", "1.0.0"), Compared(".", "1.1.0"), **(empty | parts))


def change(judgement: str = "breaking", path: str = "a.b", reason: str = "because of it " * 9) -> Change:
    return Change(Kind.TIGHTENED, path, Judgement(judgement), reason)


def full() -> Comparison:
    return comparison(
        values=(change("compatible", "z"), change()),
        images=image_changes([Image("i:1", ONE)], [Image("i:2", TWO)]),
        manifests=object_changes({"defaults": ([config("a", "1")], [config("a", "```")])}),
        rights=rights_changes([], [role(rule(["get"], ["*"]))]),
        gaps=(Gap("images", "a | b\nc"),),
    )


def test_text_has_eighty_columns_and_what_breaks_first() -> None:
    lines = words.text(full()).splitlines()
    assert all(len(line) <= 80 for line in lines if "sha256" not in line)
    assert lines[1] == "BREAKING for users' values: 1 of 2 changes of the values"
    assert [line for line in lines if line.startswith(("  !", "  ~"))][:2] == [
        "  ! a.b  (tightened, BREAKING)",
        "  ~ z  (tightened)",
    ]
    assert "  + ClusterRole r: get on *" in lines


def test_nothing_that_differs_is_said() -> None:
    assert words.text(comparison()).splitlines()[1] == "nothing differs"
    assert "in what was compared" in words.text(comparison(images=None, gaps=(Gap("images", "why"),)))


def test_markdown_shows_every_part_as_it_stands() -> None:
    page = words.markdown(full())
    assert "| `a.b` | tightened | **breaking** |" in page
    assert "get on \\*" in page
    assert "a \\| b c" in page
    # A fence that the content cannot end.
    assert "\n````diff\n" in page
    assert "\n````\n\n</details>" in page


def test_markdown_of_hostile_names_is_text() -> None:
    page = words.markdown(comparison(values=(change(path="a`|<b>", reason="<script> [x](y) |"),)))
    assert "<script>" not in page.replace("\\<script\\>", "")
    assert "`a'\\|<b>`" in page


def test_markdown_fits_a_comment_and_says_what_is_left_out() -> None:
    pairs: dict[str, tuple[list[Any], list[Any]]] = {
        "d": ([], [config(f"c{number}", "x" * 1000) for number in range(100)])
    }
    page = words.markdown(comparison(manifests=object_changes(pairs)))
    assert len(page) <= 65_536
    assert page.count("<details>") + int(page.split(" more objects left out")[0].rsplit("\n", 1)[-1]) == 100
    rows = tuple(change(path=f"o{number}") for number in range(2000))
    page = words.markdown(comparison(values=rows))
    assert len(page) <= 65_536
    assert "left out" in page


def test_document_is_plain_json() -> None:
    document = json.loads(json.dumps(full().document()))
    assert document["schemaVersion"] == 1
    assert document["judgement"] == "breaking"
    assert document["old"] == {"source": "git:main", "version": "1.0.0"}
    assert document["manifests"][0]["kind"] == "changed"
    assert document["manifests"][0]["object"]["name"] == "a"
    assert comparison(rights=None).document()["rights"] is None


def test_many_descriptions_that_changed_are_one_line() -> None:
    words_alone = [
        Change(Kind.DOCUMENTATION, f"option{number}", Judgement.COMPATIBLE, "description changed")
        for number in range(9)
    ]
    gone = Change(Kind.DOCUMENTATION, "old", Judgement.COMPATIBLE, "deprecated now: plan its removal")
    for page in (words.text, words.markdown):
        shown = page(comparison(values=(*words_alone, gone)))
        assert "descriptions of 9 options" in shown
        assert "plan its removal" in shown
        assert "option8" not in shown
    assert "option2" in words.text(comparison(values=tuple(words_alone[:3])))
