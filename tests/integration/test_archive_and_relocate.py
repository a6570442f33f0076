"""`carvelwright archive` and `carvelwright relocate`: published versions in a file, and published again elsewhere."""

from __future__ import annotations

import resource
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carvelwright import yamldoc
from carvelwright.carvel import locks
from carvelwright.catalog.content import SIZE
from carvelwright.errors import InputError
from carvelwright.steps import airgap
from carvelwright.uses import archive as archives
from tests.conftest import free_address, registry_at
from tests.helpers.builds import call
from tests.helpers.proxy import Fault, Manners, Proxy
from tests.helpers.published import NAME, OTHER, Published
from tests.helpers.published import published as published  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(published: Published, tmp_path: Path) -> Iterator[Published]:
    """Another registry: of the first one, nothing is reached there."""
    with registry_at(published.toolset, free_address(), tmp_path / "site-storage") as address:
        yield Published(address, published.project, published.toolset, f"{address}/site")


def archived(published: Published, *wanted: str, name: str = "a.tar") -> list[str]:
    """Write an archive; returns the versions that are in it."""
    found = published.json("archive", published.target, *(wanted or ("--all",)), "--output", name)
    assert (found["file"], found["size"]) == (name, (published.project.root / name).stat().st_size)
    return list(found["versions"])


def unreachable(published: Published) -> Published:
    """Return the site's view: the registry that the archive was made of is gone."""
    shutil.rmtree(published.scratch.parent / "registry-storage")
    return published


def test_versions_are_archived_and_relocated_without_the_first_registry(published: Published, site: Published) -> None:
    bundles = {version: published.release(version) for version in ("1.0.0", "1.1.0")}
    bundles["2.0.0"] = published.release("2.0.0", OTHER)
    assert archived(published, f"{NAME}/1.0.0", OTHER) == [f"{NAME}/1.0.0", f"{OTHER}/2.0.0"]
    unreachable(published)
    outcome = site.project.run("relocate", "a.tar", site.target).ok()
    assert f"tanzu package repository add REPOSITORY --url {site.packages}" in outcome.out
    assert site.states() == {f"{NAME}/1.0.0": "released", f"{OTHER}/2.0.0": "released"}
    assert site.clients_see() == sorted(
        [f"{NAME}/1.0.0.yml", f"{NAME}/metadata.yml", f"{OTHER}/2.0.0.yml", f"{OTHER}/metadata.yml"]
    )
    listed = site.json("repository", "list", site.target)
    assert {each["version"]: each["bundle"] for each in listed["versions"]} == {
        version: f"{site.packages}@{bundles[version].partition('@')[2]}" for version in ("1.0.0", "2.0.0")
    }
    # Every digest has a tag of its own, and a clean bill.
    assert site.json("repository", "verify", site.target) == {"versions": 2, "images": 4, "findings": []}
    before = site.crane("ls", site.packages)
    again = site.json("relocate", "a.tar", site.target)
    assert (again["changed"], again["records"], again["verified"]["findings"]) == (False, [], [])
    assert site.crane("ls", site.packages) == before
    assert site.project.run("relocate", "a.tar", site.target).ok().out.startswith("already there: nothing was changed")


def test_without_a_version_the_highest_is_archived_and_a_whole_repository_joins(
    published: Published, site: Published
) -> None:
    for version in ("1.9.0", "1.10.0"):
        published.release(version)
    assert archived(published, NAME) == [f"{NAME}/1.10.0"]
    site.project.run("relocate", "a.tar", site.target).ok()
    published.release("1.0.0", OTHER)
    published.project.run("repository", "withdraw", published.target, f"{NAME}/1.10.0", "--reason", "x", "--yes").ok()
    assert archived(published) == [f"{NAME}/1.9.0", f"{OTHER}/1.0.0"]
    found = site.json("relocate", "a.tar", site.target)
    assert {package["version"]: package["added"] for package in found["packages"]} == {"1.9.0": True, "1.0.0": True}
    # What the site has stays.
    assert site.states() == {f"{NAME}/1.10.0": "released", f"{NAME}/1.9.0": "released", f"{OTHER}/1.0.0": "released"}


def test_relocated_into_one_oci_repository(published: Published, site: Published) -> None:
    published.release("1.0.0")
    archived(published, NAME)
    unreachable(published)
    site.project.run("relocate", "a.tar", site.target, "--single").ok()
    assert site.crane("catalog", site.registry) == "site"
    found = site.json("repository", "list", site.target, "--single")
    assert [each["version"] for each in found["versions"]] == ["1.0.0"]
    assert site.json("repository", "verify", site.target, "--single")["findings"] == []


def test_archives_of_plain_imgpkg_are_relocated(published: Published, site: Published, imgpkg: Path) -> None:
    published.release("1.0.0")
    archive = published.project.root / "plain.tar"
    call(imgpkg, "copy", "-b", f"{published.packages}:latest", "--to-tar", archive, "--tty=false")
    unreachable(published)
    site.release("3.0.0", OTHER)
    before = site.crane("digest", f"{site.packages}:latest")
    with Proxy(site.registry) as proxy:
        site.project.run("relocate", "plain.tar", f"{proxy.address}/site").ok()
        # The archive names `latest`: at no moment is it what the archive has, without what the site has.
        (_,) = proxy.requests("PUT", "/manifests/latest")
    assert site.crane("digest", f"{site.packages}:latest") != before
    assert site.states() == {f"{NAME}/1.0.0": "released", f"{OTHER}/3.0.0": "released"}


def test_an_archive_of_others_packages_is_relocated(published: Published, site: Published) -> None:
    place = f"{published.registry}/elsewhere"
    one, two = (published.bundle(place, text) for text in ("one", "two"))
    documents = [published.document("1.0.0", one), published.document("1.1.0", two)]
    text = "---\n".join(map(yamldoc.dump, documents))
    text += f"---\nkind: PackageMetadata\nmetadata: {{name: {NAME}}}\nspec: {{displayName: Theirs}}\n"
    published.foreign({"packages/all.yml": text}, (one, two))
    assert archived(published, f"{NAME}/1.1.0") == [f"{NAME}/1.1.0"]
    assert archived(published, name="all.tar") == [f"{NAME}/1.0.0", f"{NAME}/1.1.0"]
    unreachable(published)
    site.project.run("relocate", "a.tar", site.target).ok()
    assert site.states() == {f"{NAME}/1.1.0": "released"}
    site.project.run("relocate", "all.tar", site.target).ok()
    assert site.states() == {f"{NAME}/1.1.0": "released", f"{NAME}/1.0.0": "released"}
    assert site.json("repository", "verify", site.target)["findings"] == []
    assert f"{NAME}/metadata.yml" in site.clients_see()


def test_what_the_site_marked_stays_and_a_deprecation_arrives(published: Published, site: Published) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        published.release(version)
    archived(published)
    site.project.run("relocate", "a.tar", site.target).ok()
    for version in ("1.0.0", "1.1.0"):
        name = f"{NAME}/{version}"
        published.json("repository", "deprecate", published.target, name, "--reason", "old")
    site.project.run("repository", "withdraw", site.target, f"{NAME}/1.2.0", "--reason", "no", "--yes").ok()
    site.json("repository", "deprecate", site.target, f"{NAME}/1.1.0", "--reason", "ours")
    archived(published)
    outcome = site.project.run("relocate", "a.tar", site.target).ok()
    assert f"{NAME} 1.2.0 was withdrawn there and stays so: no" in outcome.err
    reasons = {each["version"]: each["reason"] for each in site.json("repository", "list", site.target)["versions"]}
    assert reasons == {"1.0.0": "old", "1.1.0": "ours", "1.2.0": "no"}
    assert site.states()[f"{NAME}/1.0.0"] == "deprecated"
    # A fresh site gets the same, and knows what it was before.
    fresh = Published(site.registry, site.project, site.toolset, f"{site.registry}/fresh")
    for _ in range(2):
        fresh.project.run("relocate", "a.tar", fresh.target).ok()
        assert sorted(fresh.states().values()) == ["deprecated", "deprecated", "released"]
    fresh.json("repository", "deprecate", fresh.target, f"{NAME}/1.0.0", "--undo", "--reason", "x")
    assert fresh.json("repository", "show", fresh.target, f"{NAME}/1.0.0")["releaseNotes"] == "Notes of 1.0.0."


def test_a_version_with_other_content_at_the_site_is_refused_before_anything_is_pushed(
    published: Published, site: Published
) -> None:
    published.release("1.0.0")
    site.release("1.0.0", bundle=site.bundle(f"{site.target}/{NAME}", "theirs"))
    archived(published)
    before = site.crane("ls", site.packages)
    outcome = site.project.run("relocate", "a.tar", site.target)
    assert outcome.code == 7
    assert f"{NAME} 1.0.0 is already released with different content" in outcome.err
    assert site.crane("ls", site.packages) == before


def test_an_interrupted_relocation_is_repeated(published: Published, site: Published) -> None:
    published.release("1.0.0")
    published.release("1.1.0")
    archived(published)
    for fault in (
        Fault("reset", method="PUT|PATCH|POST", skip=4, times=None),
        Fault("reset", method="PUT", path="/manifests/r[.]", skip=1, times=None),
        Fault("reset", method="PUT", path="/manifests/0[.]", times=None),
    ):
        with Proxy(site.registry, [fault]) as proxy:
            outcome = site.project.run("relocate", "a.tar", f"{proxy.address}/site", "--registry-timeout", "2")
            assert outcome.code == 6, outcome
    site.project.run("relocate", "a.tar", site.target).ok()
    assert site.json("repository", "verify", site.target)["findings"] == []
    assert site.states() == {f"{NAME}/1.0.0": "released", f"{NAME}/1.1.0": "released"}


def test_immutable_tags_and_no_listing(published: Published, site: Published) -> None:
    published.release("1.0.0")
    archived(published)
    with Proxy(site.registry, manners=Manners(immutable="harbor", exempt=frozenset({"latest"}))) as proxy:
        for _ in range(2):
            site.project.run("relocate", "a.tar", f"{proxy.address}/site").ok()
    with Proxy(site.registry, manners=Manners(listing=403)) as proxy:
        outcome = site.project.run("relocate", "a.tar", f"{proxy.address}/other").ok()
        assert "does not list the tags" in outcome.err


def test_a_version_that_fetches_from_another_place_stays_there(published: Published) -> None:
    bundle = published.release("1.0.0")
    archived(published)
    outcome = published.project.run("relocate", "a.tar", published.target).ok()
    assert outcome.out.startswith("already there: nothing was changed\n")
    assert bundle in outcome.out
    assert published.json("repository", "list", published.target)["versions"][0]["bundle"] == bundle


def test_what_the_site_lost_is_reported_and_brought_back(published: Published, site: Published, tmp_path: Path) -> None:
    published.release("1.0.0")
    archived(published)
    site.project.run("relocate", "a.tar", site.target).ok()
    bundle = site.json("repository", "list", site.target)["versions"][0]["bundle"]
    for tag in site.crane("ls", site.packages).split():
        if bundle.rpartition(":")[2] in tag or tag.startswith(NAME):
            site.crane("delete", f"{site.packages}:{tag}")
    site.crane("delete", bundle)
    assert site.project.run("repository", "verify", site.target).code == 6
    assert site.json("relocate", "a.tar", site.target)["verified"]["findings"] == []
    assert site.project.run("repository", "verify", site.target).code == 0


# What cannot be archived or relocated


def test_nonsense_is_refused_before_anything_is_written(published: Published) -> None:
    published.release("1.0.0")
    root = published.project.root
    (root / "directory").mkdir()
    (root / "kept.tar").write_text("kept")
    cases = {
        "nothing wanted": (["-o", "a.tar"], "nothing says which versions"),
        "both": ([NAME, "--all", "-o", "a.tar"], "exclude each other"),
        "unknown": (["app.example.org", "-o", "kept.tar"], f"did you mean {NAME}?"),
        "unknown version": ([f"{NAME}/1.0.1", "-o", "kept.tar"], "did you mean 1.0.0?"),
        "empty version": ([f"{NAME}/", "-o", "a.tar"], "not a package, and not a version of one"),
        "empty name": (["/1.0.0", "-o", "a.tar"], "not a package, and not a version of one"),
        "a directory": ([NAME, "-o", "directory"], "directory is a directory"),
        "no directory": ([NAME, "-o", "none/a.tar"], "there is no directory none"),
        "a device": ([NAME, "-o", "/dev/null"], "/dev/null is no regular file"),
        "no output": ([NAME], "--output"),
    }
    for name, (arguments, words) in cases.items():
        outcome = published.project.run("archive", published.target, *arguments)
        assert outcome.code == 2, (name, outcome)
        assert words in outcome.err, (name, outcome.err)
    empty = published.project.run("archive", f"{published.target}/none", "--all", "-o", "a.tar")
    assert (empty.code, "holds no package repository" in empty.err) == (2, True)
    assert sorted(path.name for path in root.iterdir()) == ["directory", "kept.tar"]
    assert (root / "kept.tar").read_text() == "kept"
    published.project.run("archive", published.target, NAME, "-o", "kept.tar").ok()
    archives.verified(root / "kept.tar", root / "kept.tar", "copy it again")


def test_a_full_disk_leaves_the_former_archive(published: Published) -> None:
    published.release("1.0.0")
    target = published.project.root / "a.tar"
    target.write_text("former")
    done = subprocess.run(
        published.project.command("archive", published.target, NAME, "-o", "a.tar"),
        cwd=published.project.root,
        env=dict(published.project.environment),
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (8 << 10, 8 << 10)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 8, done
    assert "Traceback" not in done.stderr
    assert target.read_text() == "former"
    assert [path.name for path in published.project.root.iterdir()] == ["a.tar"]


def test_what_cannot_be_fetched_is_named_and_nothing_is_written(published: Published) -> None:
    published.release("1.0.0", bundle=f"{published.target}/{NAME}@sha256:{'1' * 64}")
    outcome = published.project.run("archive", published.target, NAME, "-o", "a.tar")
    assert outcome.code == 6
    assert f"error: the bundle of {NAME} 1.0.0 is not there: {published.target}/{NAME}@sha256:{'1' * 64}" in outcome.err
    place = f"{published.target}/{OTHER}"
    lock: dict[str, Any] = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock"}
    lock["images"] = [{"image": f"{place}@sha256:{'2' * 64}"}]
    published.release("1.0.0", OTHER, bundle=published.push(place, {locks.IMAGES_LOCK: yamldoc.dump(lock).encode()}))
    outcome = published.project.run("archive", published.target, OTHER, "-o", "a.tar")
    assert outcome.code == 6
    assert f"at registry {published.registry}" in outcome.err
    assert "2" * 64 in outcome.err
    assert list(published.project.root.iterdir()) == []


def test_a_package_that_is_not_fetched_by_digest_cannot_be_archived(published: Published) -> None:
    document = published.document("1.0.0", published.bundle(f"{published.target}/theirs", "x"))
    published.foreign({"packages/a.yml": yamldoc.dump(document).replace("@sha256:", ":")})
    outcome = published.project.run("archive", published.target, NAME, "-o", "a.tar")
    assert outcome.code == 2
    assert f"{NAME} 1.0.0 fetches no bundle by digest" in outcome.err
    whole = published.project.run("archive", published.target, "--all", "-o", "a.tar").ok()
    assert f"{NAME} 1.0.0 fetches no bundle by digest: its content is not in the archive" in whole.err
    relocated = published.project.run("relocate", "a.tar", f"{published.registry}/site")
    assert relocated.code == 6
    assert "fetches no bundle by digest" in relocated.out


def test_archives_of_something_else_are_refused(published: Published, imgpkg: Path) -> None:
    root, bundle = published.project.root, published.release("1.0.0")
    call(imgpkg, "copy", "-b", bundle, "--to-tar", root / "bundle.tar", "--tty=false")
    image = published.json("repository", "show", published.target, f"{NAME}/1.0.0")["images"][0]
    call(imgpkg, "copy", "-i", image, "--to-tar", root / "image.tar", "--tty=false")
    odd = yamldoc.dump(published.document("3.0.0", bundle, "odd.example.com")).replace("3.0.0", "not-semver")
    published.foreign({"packages/odd.yml": odd}, (bundle,), tag="9.0.0")
    published.project.run("archive", published.target, "--all", "-o", "odd.tar").ok()
    (root / "empty.tar").write_bytes(b"")
    (root / "text.tar").write_text("text\n" * 1000)
    for name, words in {
        "bundle.tar": "holds no package repository",
        "image.tar": "it holds no bundle that was copied as such",
        "odd.tar": "not a semantic version: 'not-semver'",
        "empty.tar": "is no air-gap archive, or a corrupt one",
        "text.tar": "is no air-gap archive, or a corrupt one",
        "/dev/null": "is no regular file",
    }.items():
        outcome = published.project.run("relocate", name, f"{published.registry}/site")
        assert outcome.code == 3, (name, outcome)
        assert words in outcome.err, (name, outcome.err)
    assert published.project.run("relocate", "none.tar", f"{published.registry}/site").code == 2
    assert published.project.run("relocate", ".", f"{published.registry}/site").code == 2
    assert "site" not in published.crane("catalog", published.registry)


def test_a_bit_that_flips_anywhere_in_an_archive_is_refused_or_changes_nothing(published: Published) -> None:
    published.release("1.0.0")
    archived(published)
    path = published.project.root / "a.tar"
    whole, damaged = path.read_bytes(), published.project.root / "damaged.tar"
    root, bundles = airgap.read_bundles(path, SIZE)

    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def flip(place: int, bit: int) -> None:
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        try:
            found = archives.verified(damaged, damaged, "copy it again")
        except InputError:
            return
        assert (found, airgap.read_bundles(damaged, SIZE)) == (root, (root, bundles))

    flip()
    damaged.write_bytes(whole[: len(whole) // 2])
    assert published.project.run("relocate", "damaged.tar", f"{published.registry}/site").code == 3
    assert "site" not in published.crane("catalog", published.registry)
