"""`carvelwright repository verify`: whatever is wrong with what clients of a repository get is found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import yamldoc
from carvelwright.carvel import locks
from carvelwright.reference import Reference
from tests.helpers.builds import call
from tests.helpers.images import push_image
from tests.helpers.proxy import Fault, Proxy
from tests.helpers.published import NAME, OTHER, Published
from tests.helpers.published import published as published  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def blobs(published: Published) -> dict[str, Path]:
    """Return where the registry stores each layer and configuration, by digest."""
    storage = published.scratch.parent / "registry-storage"
    return {f"sha256:{path.name}": path for path in storage.rglob("*") if path.is_file()}


def layer_of(published: Published, reference: str) -> str:
    """Return the digest of the only layer of an image; of an index, of its first image."""
    manifest = yamldoc.parse(published.crane("manifest", reference), published.scratch).data
    if "manifests" in manifest:
        return layer_of(published, f"{reference.partition('@')[0]}@{manifest['manifests'][0]['digest']}")
    digest: str = manifest["layers"][0]["digest"]
    return digest


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def image_of(published: Published, version: str) -> str:
    (image,) = published.json("repository", "show", published.target, f"{NAME}/{version}")["images"]
    return str(image)


def flipped_layer_of_an_image(published: Published, version: str) -> str:
    published.release(version)
    image = image_of(published, version)
    flip(blobs(published)[layer_of(published, image)])
    return f"{NAME} {version}: image {image}: "


def missing_layer_of_an_image(published: Published, version: str) -> str:
    published.release(version)
    image = image_of(published, version)
    blobs(published)[layer_of(published, image)].unlink()
    return f"{NAME} {version}: image {image}: "


def flipped_layer_of_a_bundle(published: Published, version: str) -> str:
    bundle = published.release(version)
    flip(blobs(published)[layer_of(published, bundle)])
    return f"{NAME} {version}: bundle {bundle}: "


def missing_bundle(published: Published, version: str) -> str:
    bundle = f"{published.target}/{NAME}@sha256:{'1' * 64}"
    published.release(version, bundle=bundle)
    return f"{NAME} {version}: bundle {bundle}: not there"


def bundle_without_a_lock(published: Published, version: str) -> str:
    bundle = published.push(f"{published.target}/{NAME}", {"config/a.yaml": b"a: 1\n"})
    published.release(version, bundle=bundle)
    return f"{NAME} {version}: bundle {bundle}: it has no .imgpkg/images.yml"


def image_not_beside_the_bundle(published: Published, version: str) -> str:
    place = f"{published.registry}/elsewhere"
    image = f"{place}@{push_image(published.toolset.crane.path, published.scratch / 'images', f'{place}:x')}"
    lock = locks.ImagesLock((locks.LockEntry(Reference.parse(image), "app"),))
    content = {locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode()}
    published.release(version, bundle=published.push(f"{published.target}/{NAME}", content))
    return f"{NAME} {version}: image {image} is not beside the bundle: sites that copy only this registry miss it"


def image_that_is_nowhere(published: Published, version: str) -> str:
    image = f"{published.registry}/elsewhere@sha256:{'2' * 64}"
    lock = locks.ImagesLock((locks.LockEntry(Reference.parse(image), "app"),))
    content = {locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode()}
    published.release(version, bundle=published.push(f"{published.target}/{NAME}", content))
    return f"{NAME} {version}: image {published.target}/{NAME}@sha256:{'2' * 64}: "


def flipped_layer_of_a_bundle_within_a_bundle(published: Published, version: str) -> str:
    place = f"{published.target}/{NAME}"
    inner = published.bundle(place, "inner")
    lock = locks.ImagesLock((locks.LockEntry(Reference.parse(inner), "inner"),))
    outer = published.push(place, {locks.IMAGES_LOCK: yamldoc.dump(lock.document()).encode()})
    published.release(version, bundle=outer)
    (image,) = (
        entry["image"]
        for entry in yamldoc.parse(
            published.crane("export", inner, "-").partition("images:\n")[2].partition("annotations")[0],
            published.scratch,
        ).data
    )
    flip(blobs(published)[layer_of(published, image)])
    return f"{NAME} {version}: image {image}: "


def other_values_schema(published: Published, version: str) -> str:
    published.release(version, schema=b'#@data/values-schema\n---\n#@schema/desc "Other."\nmode: loud\n')
    return f"{NAME} {version}: its Package has another values schema than its bundle"


def bundle_without_a_tag(published: Published, version: str) -> str:
    bundle = published.release(version)
    published.crane("delete", f"{bundle.partition('@')[0]}:sha256-{bundle.rpartition(':')[2]}.imgpkg")
    return f"{NAME} {version}: bundle {bundle} has no tag: a registry's garbage collection may remove it"


def record_of(published: Published, version: str) -> str:
    (record,) = published.json("repository", "show", published.target, f"{NAME}/{version}")["records"]
    return str(record)


def record_without_a_tag(published: Published, version: str) -> str:
    published.release(version)
    record = record_of(published, version)
    published.crane("delete", f"{published.packages}:{record}")
    return f"{published.packages}:{record}: the tag of this record is gone"


def record_that_is_gone(published: Published, version: str) -> str:
    published.release(version)
    record = record_of(published, version)
    digest = published.crane("digest", f"{published.packages}:{record}")
    published.crane("delete", f"{published.packages}:{record}")
    published.crane("delete", f"{published.packages}@{digest}")
    return f"{published.packages}:{record}: this record is gone"


def flipped_record(published: Published, version: str) -> str:
    published.release(version)
    record = record_of(published, version)
    flip(blobs(published)[layer_of(published, f"{published.packages}:{record}")])
    return f"{published.packages}:{record}: "


def package_not_by_digest(published: Published, version: str) -> str:
    document = published.document(version, published.bundle(f"{published.target}/theirs", "x"))
    text = yamldoc.dump(document).replace("@sha256:", ":")
    published.foreign({"packages/a.yml": text})
    return f"{NAME} {version}: its Package fetches no bundle by digest, so nothing of it can be verified"


def unreadable_file(published: Published, version: str) -> str:
    published.foreign({"packages/a.yml": "a: ["}, tag=version)
    return f"{published.packages}: packages/a.yml cannot be read: "


def latest_that_lags(published: Published, version: str) -> str:
    published.release(version)
    published.crane("tag", f"{published.packages}:1.0.0", "latest")
    return f"{published.packages}:latest: is not the highest revision; run repair"


def pending_record(published: Published, version: str) -> str:
    bundle = published.bundle(f"{published.target}/{NAME}", version)
    tag = published.leave_record(published.record(version, bundle=bundle))
    return f"{published.packages}:{tag}: recorded, but the highest revision does not account for it; run repair"


def contested_version(published: Published, version: str) -> str:
    place = f"{published.target}/{NAME}"
    records = [published.record(version, bundle=published.bundle(place, text)) for text in ("one", "two")]
    tags = [published.leave_record(record) for record in records]
    return f"{published.packages}:{tags[0]}: recorded, but the highest revision does not account for it; contested"


# What others published comes first; what a later publisher would repair comes last.
FAULTS: list[Callable[[Published, str], str]] = [
    package_not_by_digest,
    flipped_layer_of_an_image,
    missing_layer_of_an_image,
    flipped_layer_of_a_bundle,
    missing_bundle,
    bundle_without_a_lock,
    image_not_beside_the_bundle,
    image_that_is_nowhere,
    flipped_layer_of_a_bundle_within_a_bundle,
    other_values_schema,
    bundle_without_a_tag,
    record_without_a_tag,
    record_that_is_gone,
    flipped_record,
    latest_that_lags,
    pending_record,
    contested_version,
]


def test_each_fault_is_found_and_named_and_nothing_else(published: Published) -> None:
    published.release("0.1.0", OTHER)
    wanted = {fault.__name__: fault(published, f"1.{number}.0") for number, fault in enumerate(FAULTS)}
    found = published.json("repository", "verify", published.target, code=6)
    lines = [f"{each['about']}: {each['message']}" for each in found["findings"]]
    assert {name for name, words in wanted.items() if not any(line.startswith(words) for line in lines)} == set(), lines
    assert [line for line in lines if OTHER in line] == []
    assert all("\n" not in line for line in lines)
    outcome = published.project.run("repository", "verify", published.target, "--quiet")
    assert (outcome.code, outcome.err) == (6, "")
    assert sorted(outcome.out.splitlines()) == sorted(lines)


def test_a_file_that_cannot_be_read_is_found(published: Published) -> None:
    words = unreadable_file(published, "1.0.0")
    outcome = published.project.run("repository", "verify", published.target)
    assert outcome.code == 6
    assert words in outcome.out


def test_what_is_right_gives_no_finding_and_a_summary(published: Published) -> None:
    published.release("1.0.0")
    published.release("1.0.0", OTHER)
    outcome = published.project.run("repository", "verify", published.target).ok()
    assert outcome.out == "2 versions, 4 bundles and images read: 0 wrong\n"
    quiet = published.project.run("repository", "verify", published.target, "--quiet").ok()
    assert (quiet.out, quiet.err) == ("", "")
    assert published.json("repository", "verify", published.target, NAME) == {
        "versions": 1,
        "images": 2,
        "findings": [],
    }


def test_a_bundle_with_a_tag_of_any_name_lasts(published: Published) -> None:
    bundle = published.release("1.0.0")
    published.crane("tag", bundle, "v1.0.0")
    published.crane("delete", f"{bundle.partition('@')[0]}:sha256-{bundle.rpartition(':')[2]}.imgpkg")
    assert published.project.run("repository", "verify", published.target).code == 0


def test_only_the_faults_of_the_named_packages_are_told(published: Published) -> None:
    published.release("1.0.0")
    published.release("1.0.0", OTHER, bundle=f"{published.target}/{OTHER}@sha256:{'1' * 64}")
    assert published.project.run("repository", "verify", published.target, NAME).code == 0
    assert published.project.run("repository", "verify", published.target, OTHER).code == 6


def test_a_bit_that_flips_on_the_way_is_found(published: Published) -> None:
    """No byte that a registry, or a proxy before it, sends is believed."""
    with Proxy(published.registry) as proxy:
        # Published at the registry itself, with Packages that fetch through the proxy.
        bundle = published.bundle(f"{published.target}/{NAME}", "x").replace(published.registry, proxy.address)
        published.release("1.0.0", bundle=bundle)
        image = image_of(published, "1.0.0")
        assert published.project.run("repository", "verify", published.target).code == 0
        for name, reference in (("image", image), ("bundle", bundle)):
            layer = layer_of(published, reference)
            with Proxy(published.registry, [Fault("flip", path=layer, times=None)]) as flipping:
                proxy.upstream = flipping.address
                found = published.project.run("repository", "verify", published.target)
            proxy.upstream = published.registry
            assert found.code == 6, found
            assert f"{NAME} 1.0.0: {name} {reference}: " in found.out


def test_what_plain_imgpkg_copied_is_verified_where_clients_find_it(published: Published, imgpkg: Path) -> None:
    published.release("1.0.0")
    archive = published.scratch / "plain.tar"
    tag = next(tag for tag in published.crane("ls", published.packages).split() if tag.startswith("0.1."))
    call(imgpkg, "copy", "-b", f"{published.packages}:{tag}", "--to-tar", archive, "--tty=false")
    site = f"{published.registry}/site/package-repository"
    call(imgpkg, "copy", "--tar", archive, "--to-repo", site, "--tty=false")
    shown = published.json("repository", "show", f"{published.registry}/site", f"{NAME}/1.0.0")
    assert all(image.startswith(f"{site}@") for image in shown["images"])
    flip(
        blobs(published)[
            layer_of(published, f"{published.target}/{NAME}@{image_of(published, '1.0.0').partition('@')[2]}")
        ]
    )
    found = published.project.run("repository", "verify", f"{published.registry}/site")
    assert f"image {site}@" in found.out
