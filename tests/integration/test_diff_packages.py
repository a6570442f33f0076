"""Packages as anybody may have published them: what of them is compared, what is not and why, what is refused."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError, ConfigError, InputError, RegistryError, UsageError
from carvelwright.uses import sides
from carvelwright.uses.sides import IMAGES, MANIFESTS, Reading

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.reference import Reference
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain

BUNDLE = f"r.example.com/p/bundle@sha256:{'1' * 64}"
IMAGE = f"r.example.com/p/image@sha256:{'2' * 64}"
LOCK = (
    "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
    f"images:\n- image: {IMAGE}\n  annotations: {{kbld.carvel.dev/id: 'app:1'}}\n- image: {IMAGE}\n"
)
CONFIG = "#@ load('@ytt:data', 'data')\nkind: ConfigMap\nmetadata: {name: a}\ndata: #@ data.values\n"
VALUES = "#@data/values-schema\n---\na: x\n"
FILES = {".imgpkg/images.yml": LOCK, "config/a.yaml": CONFIG, "config/schema.yaml": VALUES}


@dataclass(frozen=True)
class Held:
    """Contents that are given: the files of the one bundle, or the error of whoever reads it."""

    files: dict[str, str] | None
    error: Exception | None = None

    def bundle(self, reference: Reference) -> dict[str, bytes] | None:  # noqa: ARG002 - as Contents
        if self.error is not None:
            raise self.error
        return None if self.files is None else {name: text.encode() for name, text in self.files.items()}

    def platforms(self, reference: Reference) -> tuple[str, ...] | None:  # noqa: ARG002 - as Contents
        return ("linux/amd64",)


def package(template: Any = "default", version: str = "1.0.0", name: str = "p.example.com") -> dict[str, Any]:
    steps = [{"ytt": {"paths": ["config/"]}}, {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}}]
    spec = {"fetch": [{"imgpkgBundle": {"image": BUNDLE}}], "template": steps if template == "default" else template}
    openapi = {"type": "object", "properties": {}}
    return {
        "kind": "Package",
        "spec": {
            "refName": name,
            "version": version,
            "valuesSchema": {"openAPIv3": openapi},
            "template": {"spec": spec},
        },
    }


@pytest.fixture
def reading(toolset: Toolchain, tmp_path: Path) -> Reading:
    def no_helm() -> Tool:
        raise AssertionError

    (tmp_path / "bundle").mkdir()
    return Reading(toolset, no_helm, tmp_path / "bundle", Held(FILES))


def with_files(reading: Reading, files: dict[str, str] | None, error: Exception | None = None) -> Reading:
    return Reading(reading.tools, reading.find_helm, reading.scratch, Held(files, error))


def test_package_is_read_with_its_bundle(reading: Reading, tmp_path: Path) -> None:
    side = sides.of_package(package(), reading)
    assert side.lacking == {}
    assert side.images is not None
    assert [(image.name, image.platforms) for image in side.images] == [
        ("app:1", ("linux/amd64",)),
        ("r.example.com/p/image", ("linux/amd64",)),
    ]
    values = tmp_path / "values.yaml"
    values.write_text("a: z\n")
    assert side.render is not None
    shown = [yamldoc.load_all_text(side.render(sample, validate=True).decode(), tmp_path) for sample in (None, values)]
    assert [objects[0]["data"] for objects in shown] == [{"a": "x"}, {"a": "z"}]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ([{"kustomize": {}}], "does not implement"),
        ([{"ytt": {"paths": ["../../../etc"]}}], "steps that carvelwright does not run"),
        ([{"ytt": {"inline": {"paths": {"../../x": "y"}}}}], "steps that carvelwright does not run"),
        ([{"ytt": {}, "kbld": {}}], "steps that carvelwright does not run"),
        (["ytt"], "steps that carvelwright does not run"),
        ("ytt", "steps that carvelwright does not run"),
        (None, "it has none"),
        ([], "steps that carvelwright does not run"),
    ],
)
def test_steps_that_are_not_run_are_named(reading: Reading, template: Any, words: str) -> None:
    side = sides.of_package(package(template), reading)
    assert side.render is None
    assert words in side.lacking[MANIFESTS]
    assert side.images


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        (None, None, "is not there"),
        ({}, ValueError("its layer is no tar archive"), "no tar archive"),
        ({**FILES, "config": "x"}, None, "has no place"),
        ({**FILES, "config/a\n": "x"}, None, "has no place"),
        ({**FILES, ".imgpkg/images.yml": "kind: Other"}, None, "not an ImagesLock"),
        ({**FILES, ".imgpkg/images.yml": "a: ["}, None, "not YAML"),
        ({**FILES, ".imgpkg/images.yml": LOCK.replace("@sha256", ":sha256")}, None, "not pinned by digest"),
    ],
)
def test_bundle_that_cannot_be_read_leaves_the_values(
    reading: Reading, files: dict[str, str] | None, error: Exception | None, words: str
) -> None:
    side = sides.of_package(package(), with_files(reading, files, error))
    assert side.openapi is not None
    assert side.images is None
    assert side.render is None
    assert words in side.lacking[IMAGES]
    assert words in side.lacking[MANIFESTS]


def test_package_without_a_bundle_by_digest_leaves_the_values(reading: Reading) -> None:
    fetches: list[Any] = [[], "x", [{"git": {}}], [{"imgpkgBundle": {"image": "r.example.com/p/bundle:latest"}}]]
    for fetch in fetches:
        odd = package()
        odd["spec"]["template"]["spec"]["fetch"] = fetch
        assert set(sides.of_package(odd, reading).lacking) == {IMAGES, MANIFESTS}
    odd = copy.deepcopy(package())
    del odd["spec"]["template"]
    assert set(sides.of_package(odd, reading).lacking) == {IMAGES, MANIFESTS}


def test_registry_that_fails_is_an_error_unless_the_package_is_a_file(reading: Reading) -> None:
    failing = with_files(reading, None, RegistryError("the registry is gone"))
    with pytest.raises(RegistryError):
        sides.of_package(package(), failing)
    file = Reading(reading.tools, reading.find_helm, reading.scratch, failing.contents, registry_may_fail=True)
    assert "the registry is gone" in sides.of_package(package(), file).lacking[IMAGES]


def test_bundle_that_grows_without_end_is_refused(reading: Reading) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    side = sides.of_package(package(), with_files(reading, {**FILES, "config/bomb.yaml": "\n".join(lines)}))
    assert side.render is not None
    with pytest.raises(ConfigError, match="1 problem"):
        side.render(None, validate=True)


def test_step_that_reads_what_the_bundle_does_not_hold_is_refused(reading: Reading) -> None:
    side = sides.of_package(package([{"ytt": {"paths": ["nowhere/"]}}]), reading)
    assert side.render is not None
    with pytest.raises(ConfigError):
        side.render(None, validate=True)


def test_newest_version_as_carvel_orders_it_or_the_named_one() -> None:
    found = [package(version=version) for version in ("1.0.0+a.9", "odd", "1.0.0+a.10", "1.0.0-rc.1")]
    assert sides.choose(found, None, None, "here")["spec"]["version"] == "1.0.0+a.10"
    assert sides.choose(found, "p", "odd", "here")["spec"]["version"] == "odd"


@pytest.mark.parametrize(
    ("names", "name", "version", "error", "words"),
    [
        ((), None, None, InputError, "holds no Package"),
        (("p.example.com", "q.example.com"), None, None, UsageError, "several packages"),
        (("p.example.com",), "q", None, UsageError, "no package q"),
        (("p.example.com",), None, "1.0.1", InputError, "did you mean 1.0.0"),
    ],
)
def test_package_that_is_not_there_is_named(
    names: tuple[str, ...], name: str | None, version: str | None, error: type[CarvelwrightError], words: str
) -> None:
    with pytest.raises(error, match=words):
        sides.choose([package(name=each) for each in names], name, version, "here")
