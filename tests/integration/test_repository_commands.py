"""`carvelwright repository`: what is published is listed, shown, marked and repaired, in real registries."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from carvelwright import yamldoc
from tests.helpers.builds import call
from tests.helpers.proxy import Manners, Proxy
from tests.helpers.published import NAME, OTHER, Published
from tests.helpers.published import published as published  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

DATE = "2026-11-01T00:00:00Z"


def test_versions_are_listed_with_states_dates_and_digests(published: Published) -> None:
    first, second = published.release("1.0.0"), published.release("1.10.0")
    other = published.release("2.0.0", OTHER)
    published.release("1.9.0")
    head, *lines = published.project.run("repository", "list", published.target).ok().out.splitlines()
    assert re.fullmatch(rf"{published.packages}:0\.4\.\d+@sha256:[0-9a-f]{{64}}", head)
    # The highest first, as versions are ordered.
    assert [line.split()[:2] for line in lines] == [
        [NAME, "1.10.0"],
        [NAME, "1.9.0"],
        [NAME, "1.0.0"],
        [OTHER, "2.0.0"],
    ]
    assert lines[0].split()[2:] == ["released", DATE, second.partition("@")[2]]
    found = published.json("repository", "list", published.target, OTHER)
    assert found["repository"] == head
    assert found["versions"] == [
        {
            "refName": OTHER,
            "version": "2.0.0",
            "state": "released",
            "releasedAt": DATE,
            "bundle": other,
            "reason": None,
            "recorded": True,
        }
    ]
    shown = published.json("repository", "show", published.target, f"{NAME}/1.0.0")
    assert (shown["bundle"], shown["state"], shown["releaseNotes"]) == (first, "released", "Notes of 1.0.0.")
    (image,), (record,) = shown["images"], shown["records"]
    assert published.crane("digest", image) == image.partition("@")[2]
    assert published.crane("digest", f"{published.packages}:{record}")


def test_a_deprecated_version_says_why_and_stays_available(published: Published) -> None:
    published.release("1.0.0")
    before = published.json("repository", "show", published.target, f"{NAME}/1.0.0")
    arguments = ["repository", "deprecate", published.target, f"{NAME}/1.0.0", "--reason", "use 2.0.0: # 'x'"]
    assert published.project.run(*arguments).ok().out.startswith("changed: ")
    assert published.project.run(*arguments).ok().out.startswith("unchanged: ")
    assert published.clients_see() == [f"{NAME}/1.0.0.yml", f"{NAME}/metadata.yml"]
    package = yamldoc.load(published.scratch / f"pulled-0/packages/{NAME}/1.0.0.yml").data
    assert package["metadata"]["annotations"] == {"carvelwright/deprecated": "use 2.0.0: # 'x'"}
    assert package["spec"]["releaseNotes"] == "DEPRECATED: use 2.0.0: # 'x'\n\nNotes of 1.0.0."
    shown = published.project.run("repository", "show", published.target, f"{NAME}/1.0.0").ok().out
    assert re.search(r"state +deprecated\n +reason +use 2\.0\.0: # 'x'\n", shown)
    # Another reason takes the place of the first.
    published.json("repository", "deprecate", published.target, f"{NAME}/1.0.0", "--reason", "no")
    found = published.json("repository", "show", published.target, f"{NAME}/1.0.0")
    assert (found["state"], found["reason"], found["releaseNotes"]) == (
        "deprecated",
        "no",
        "DEPRECATED: no\n\nNotes of 1.0.0.",
    )
    published.json("repository", "deprecate", published.target, f"{NAME}/1.0.0", "--undo", "--reason", "fixed")
    after = published.json("repository", "show", published.target, f"{NAME}/1.0.0")
    assert {key: after[key] for key in ("state", "releaseNotes", "bundle", "images")} == {
        key: before[key] for key in ("state", "releaseNotes", "bundle", "images")
    }
    again = published.json("repository", "deprecate", published.target, f"{NAME}/1.0.0", "--undo", "--reason", "fixed")
    assert again["changed"] is False


def test_a_version_is_withdrawn_only_with_yes_and_its_content_stays(published: Published) -> None:
    published.release("1.0.0")
    bundle = published.release("1.1.0")
    arguments = ["repository", "withdraw", published.target, f"{NAME}/1.1.0", "--reason", "broken"]
    asked = published.project.run(*arguments)
    assert asked.code == 2
    assert (
        f'kubectl get packageinstalls -A -o jsonpath=\'{{range .items[?(@.spec.packageRef.refName=="{NAME}")]'
        in asked.err
    )
    assert published.states() == {f"{NAME}/1.0.0": "released", f"{NAME}/1.1.0": "released"}
    published.project.run(*arguments, "--yes").ok()
    assert published.clients_see() == [f"{NAME}/1.0.0.yml", f"{NAME}/metadata.yml"]
    assert published.states() == {f"{NAME}/1.0.0": "released", f"{NAME}/1.1.0": "withdrawn"}
    assert published.project.run(*arguments, "--yes").ok().out.startswith("unchanged: ")
    assert published.crane("digest", bundle) == bundle.partition("@")[2]
    shown = published.json("repository", "show", published.target, f"{NAME}/1.1.0")
    assert (shown["state"], shown["reason"], shown["bundle"]) == ("withdrawn", "broken", bundle)
    assert published.project.run("repository", "verify", published.target).ok().out.startswith("1 versions, ")


def test_marks_follow_each_other_in_any_order(published: Published) -> None:
    """A deprecation outlives a withdrawal, and what is withdrawn has to come back before it is deprecated."""
    published.release("1.0.0")
    name = f"{NAME}/1.0.0"

    def mark(command: str, *more: str, code: int = 0) -> str:
        outcome = published.project.run(
            "repository", command, published.target, name, "--reason", f"because of {command}", *more
        )
        assert outcome.code == code, outcome
        return outcome.err if code else published.states()[name]

    assert mark("deprecate") == "deprecated"
    assert mark("withdraw", "--yes") == "withdrawn"
    for more in ([], ["--undo"]):
        refused = mark("deprecate", *more, code=2)
        assert f"{NAME} 1.0.0 is withdrawn: because of withdraw" in refused
        assert "repository withdraw --undo" in refused
    assert mark("withdraw", "--undo") == "deprecated"
    assert published.json("repository", "show", published.target, name)["reason"] == "because of deprecate"
    assert mark("withdraw", "--undo") == "deprecated"
    assert mark("deprecate", "--undo") == "released"
    assert mark("withdraw", "--yes") == "withdrawn"
    assert mark("withdraw", "--undo") == "released"
    assert published.project.run("repository", "verify", published.target).code == 0


NONSENSE = {
    "no slash": (["show", "{target}", "x"], "not a version of a package: 'x'"),
    "no version": (["show", "{target}", f"{NAME}/"], "not a version of a package"),
    "no name": (["show", "{target}", "/1.0.0"], "not a version of a package"),
    "unknown version": (["show", "{target}", f"{NAME}/1.0.1"], "did you mean 1.0.0?"),
    "two slashes": (["show", "{target}", f"{NAME}/1.0.0/x"], "no version 1.0.0/x of"),
    "unknown package": (["show", "{target}", "app.example.org/1.0.0"], f"did you mean {NAME}?"),
    "unknown package of a list": (["list", "{target}", "app.example.org"], f"did you mean {NAME}?"),
    "unknown package to verify": (["verify", "{target}", "app.example.org"], f"did you mean {NAME}?"),
    "no reason": (["deprecate", "{target}", f"{NAME}/1.0.0", "--reason", " "], "not a reason"),
    "two lines": (["deprecate", "{target}", f"{NAME}/1.0.0", "--reason", "a\nb"], "not a reason"),
    "a long reason": (["withdraw", "{target}", f"{NAME}/1.0.0", "--yes", "--reason", "x" * 501], "501 characters"),
    "no target": (["list", "Not/A Registry"], "REGISTRY/PATH"),
    "no resource name": (["resource", "{target}", "--name", "A b"], "not a name of a resource: 'A b'"),
    "nothing there": (["repair", "{target}/nothing"], "holds no package repository"),
    "no record to keep": (["repair", "{target}", "--keep", "latest"], "latest is no contested record"),
    "no repository to follow": (["resource", "{target}/nothing", "--follow"], "has no revision to point at"),
}


def test_nonsense_is_refused_with_what_was_expected_and_changes_nothing(published: Published) -> None:
    published.release("1.0.0")
    before = published.crane("ls", published.packages)
    for name, (arguments, words) in NONSENSE.items():
        outcome = published.project.run("repository", *(part.format(target=published.target) for part in arguments))
        assert outcome.code == 2, (name, outcome)
        assert words in outcome.err, (name, outcome.err)
        assert outcome.out == "", name
    assert published.crane("ls", published.packages) == before


def test_a_registry_that_is_not_there_is_named(published: Published) -> None:
    for command in (["list"], ["verify"], ["repair"], ["show", f"{NAME}/1.0.0"]):
        outcome = published.project.run("repository", command[0], "127.0.0.1:1/p", *command[1:], "--format", "json")
        assert outcome.code == 6, outcome
        assert "127.0.0.1:1" in outcome.err + outcome.out


def test_commands_write_nothing_where_they_are_run(published: Published) -> None:
    published.release("1.0.0")
    published.project.run("repository", "verify", published.target).ok()
    assert list(published.project.root.iterdir()) == []
    missing = published.project.run(
        "repository", "list", published.target, environment={"TMPDIR": str(published.scratch / "none")}
    )
    assert missing.code == 8, missing
    assert not (published.scratch / "none").exists()
    assert "TMPDIR" in missing.err


def test_repair_finishes_what_killed_publishers_left(published: Published) -> None:
    published.release("1.0.0")
    bundle = published.bundle(f"{published.target}/{NAME}", "1.1.0")
    published.leave_record(published.record("1.1.0", bundle=bundle))
    found = published.json("repository", "list", published.target)
    assert found["pending"] == [f"{NAME}/1.1.0"]
    assert [each["version"] for each in found["versions"]] == ["1.0.0"]
    line = published.project.run("repository", "list", published.target).ok().out.splitlines()[-1]
    assert (
        line
        == f"{NAME}/1.1.0  recorded, not in the revision yet: run `carvelwright repository repair {published.target}`"
    )
    assert published.json("repository", "repair", published.target)["changed"] is True
    assert published.json("repository", "repair", published.target) == {
        "repository": published.json("repository", "list", published.target)["repository"],
        "changed": False,
        "contested": [],
    }
    assert published.states() == {f"{NAME}/1.1.0": "released", f"{NAME}/1.0.0": "released"}
    # A publisher that died between its revision and `latest`.
    older = next(tag for tag in published.crane("ls", published.packages).split() if tag.startswith("0.1."))
    published.crane("tag", f"{published.packages}:{older}", "latest")
    published.json("repository", "repair", published.target)
    assert f"{NAME}/1.1.0.yml" in published.clients_see()


def test_of_contested_contents_one_is_chosen_and_stands(published: Published) -> None:
    published.release("1.0.0")
    place = f"{published.target}/{NAME}"
    records = [published.record("1.1.0", bundle=published.bundle(place, text)) for text in ("one", "two")]
    tags = [published.leave_record(record) for record in records]
    found = published.json("repository", "list", published.target)
    assert {claim["record"]: claim["bundle"] for claim in found["contested"]} == {
        tag: str(record.bundle) for tag, record in zip(tags, records, strict=True)
    }
    assert found["pending"] == []
    # Repair alone makes nothing of it, and names both.
    repaired = published.project.run("repository", "repair", published.target).ok()
    assert all(f"choose it with --keep {tag}" in repaired.out for tag in tags)
    assert f"{NAME}/1.1.0" not in published.states()
    kept = published.json("repository", "repair", published.target, "--keep", tags[1])
    assert (kept["changed"], kept["contested"]) == (True, [])
    assert published.json("repository", "show", published.target, f"{NAME}/1.1.0")["bundle"] == str(records[1].bundle)
    assert published.project.run("repository", "verify", published.target).code == 0
    assert published.project.run("repository", "repair", published.target, "--keep", tags[0]).code == 2


def test_repositories_of_others_are_listed_and_marked(published: Published) -> None:
    place = f"{published.target}/theirs"
    one, two, three = (published.bundle(place, text) for text in ("one", "two", "three"))
    both = "\n---\n".join(yamldoc.dump(published.document(version, one)) for version in ("1.0.0", "1.1.0"))
    both += "---\napiVersion: data.packaging.carvel.dev/v1alpha1\nkind: PackageMetadata\n"
    both += f"metadata: {{name: {NAME}}}\nspec: {{displayName: Theirs}}\n"
    odd = yamldoc.dump(published.document("3.0.0", three, "odd.example.com")).replace("3.0.0", "not-semver")
    files = {
        "packages/all.yml": both,
        f"packages/{OTHER}/2.0.0.yml": yamldoc.dump(published.document("2.0.0", two, OTHER)),
        "packages/odd.yaml": odd,
        "packages/broken.yml": "a: [",
        "packages/text.txt": "kind: Package",
    }
    published.foreign(files, (one, two, three))
    assert published.states() == {
        f"{NAME}/1.1.0": "released",
        f"{NAME}/1.0.0": "released",
        "odd.example.com/not-semver": "released",
        f"{OTHER}/2.0.0": "released",
    }
    assert {each["recorded"] for each in published.json("repository", "list", published.target)["versions"]} == {False}
    assert published.json("repository", "show", published.target, f"{NAME}/1.1.0")["bundle"] == one
    # In a file with others, or under a version that is none, it cannot be marked: nothing may be lost by it.
    before = published.crane("ls", published.packages)
    for name, words in (
        (f"{NAME}/1.0.0", "packages/all.yml holds other documents"),
        ("odd.example.com/not-semver", "semantic"),
    ):
        outcome = published.project.run("repository", "deprecate", published.target, name, "--reason", "x")
        assert outcome.code == 2, outcome
        assert words in outcome.err
    assert published.crane("ls", published.packages) == before
    published.project.run("repository", "withdraw", published.target, f"{OTHER}/2.0.0", "--reason", "x", "--yes").ok()
    assert published.states()[f"{OTHER}/2.0.0"] == "withdrawn"
    assert published.states()[f"{NAME}/1.0.0"] == "released"
    published.json("repository", "withdraw", published.target, f"{OTHER}/2.0.0", "--reason", "x", "--undo")
    assert published.states()[f"{OTHER}/2.0.0"] == "released"
    findings = published.project.run("repository", "verify", published.target)
    assert findings.code == 6
    assert "packages/broken.yml cannot be read" in findings.out


def test_where_a_registry_does_not_list_tags_latest_is_read_and_marked(published: Published) -> None:
    published.release("1.0.0")
    with Proxy(published.registry, manners=Manners(listing=403)) as proxy:
        there = f"{proxy.address}/p"
        listed = json.loads(published.project.run("repository", "list", there, "--format", "json").ok().out)
        assert [each["version"] for each in listed["versions"]] == ["1.0.0"]
        marked = published.project.run("repository", "deprecate", there, f"{NAME}/1.0.0", "--reason", "x").ok()
        assert "does not list the tags" in marked.err
        listed = json.loads(published.project.run("repository", "list", there, "--format", "json").ok().out)
        assert [each["state"] for each in listed["versions"]] == ["deprecated"]
    published.json("repository", "repair", published.target)
    assert published.states() == {f"{NAME}/1.0.0": "deprecated"}


def test_the_resource_points_at_the_revision_or_follows(published: Published) -> None:
    published.release("1.0.0")
    revision = published.json("repository", "list", published.target)["repository"]
    fixed = yamldoc.parse(published.project.run("repository", "resource", published.target).ok().out, published.scratch)
    assert fixed.data["spec"]["fetch"] == {"imgpkgBundle": {"image": revision}}
    outcome = published.project.run("repository", "resource", published.target, "--follow", "--name", "mine").ok()
    follows = yamldoc.parse(outcome.out, published.scratch).data
    assert follows["metadata"] == {"name": "mine"}
    assert follows["spec"]["fetch"] == {"imgpkgBundle": {"image": published.packages, "tagSelection": {"semver": {}}}}


@pytest.fixture
def deprecated_elsewhere(published: Published) -> Published:
    """A repository of which `latest` alone is known to its publishers."""
    bundle = published.bundle(f"{published.target}/theirs", "one")
    files = {f"packages/{NAME}/1.0.0.yml": yamldoc.dump(published.document("1.0.0", bundle))}
    published.foreign(files, (bundle,), tag="latest")
    return published


def test_a_repository_with_latest_alone_is_read_and_repair_gives_it_a_revision(deprecated_elsewhere: Published) -> None:
    published = deprecated_elsewhere
    assert published.project.run("repository", "list", published.target).ok().out.splitlines()[0] == "no revision yet"
    assert published.states() == {f"{NAME}/1.0.0": "released"}
    asked = published.project.run("repository", "resource", published.target)
    assert "carvelwright repository repair" in asked.err
    published.project.run("repository", "repair", published.target).ok()
    published.project.run("repository", "resource", published.target).ok()
    assert published.clients_see() == [f"{NAME}/1.0.0.yml"]


def test_a_withdrawn_version_is_not_published_again(published: Published, imgpkg: Path) -> None:
    bundle = published.release("1.0.0")
    published.project.run("repository", "withdraw", published.target, f"{NAME}/1.0.0", "--reason", "x", "--yes").ok()
    archive = published.scratch / "plain.tar"
    tag = next(tag for tag in published.crane("ls", published.packages).split() if tag.startswith("0.1."))
    call(imgpkg, "copy", "-b", f"{published.packages}:{tag}", "--to-tar", archive, "--tty=false")
    outcome = published.project.run("relocate", str(archive), published.target)
    assert outcome.code == 7, outcome
    assert f"{NAME} 1.0.0 was withdrawn: x" in outcome.err
    assert "repository withdraw --undo" in outcome.err
    published.project.run("repository", "withdraw", published.target, f"{NAME}/1.0.0", "--reason", "x", "--undo").ok()
    published.project.run("relocate", str(archive), published.target).ok()
    assert published.json("repository", "show", published.target, f"{NAME}/1.0.0")["bundle"] == bundle


def test_of_two_marks_at_once_nobody_is_told_what_is_not_so(published: Published) -> None:
    """One of them counts: whoever ends with 0 sees his own, or the other came after it."""
    published.release("1.0.0")
    for _ in range(3):
        commands = {
            "withdrawn": ["withdraw", published.target, f"{NAME}/1.0.0", "--reason", "a", "--yes"],
            "deprecated": ["deprecate", published.target, f"{NAME}/1.0.0", "--reason", "b"],
        }
        running = {
            state: subprocess.Popen(
                published.project.command("repository", *arguments),
                cwd=published.project.root,
                env=dict(published.project.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for state, arguments in commands.items()
        }
        errors = {state: process.communicate()[1] for state, process in running.items()}
        codes = {state: process.returncode for state, process in running.items()}
        # 2: it was withdrawn before it could be deprecated.
        assert set(codes.values()) <= {0, 2, 6}, errors
        assert codes[published.states()[f"{NAME}/1.0.0"]] == 0, errors
        assert published.json("repository", "verify", published.target)["findings"] == []
        published.json("repository", "withdraw", published.target, f"{NAME}/1.0.0", "--undo", "--reason", "x")
        published.json("repository", "deprecate", published.target, f"{NAME}/1.0.0", "--undo", "--reason", "x")
