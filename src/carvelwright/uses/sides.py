"""What is compared: each operand read into one form, with its own way to render."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from carvelwright import bounds, client, files, values, yamldoc
from carvelwright.carvel import app, locks, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.compare.images import Image
from carvelwright.errors import CarvelwrightError, ConfigError, InputError, RegistryError, UsageError, did_you_mean
from carvelwright.names import INSTALL_NAMESPACE
from carvelwright.project import validation
from carvelwright.reference import Reference
from carvelwright.steps import contents, existing, render, templating
from carvelwright.steps.templating import Install, Renderer

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Mapping, Sequence

    from carvelwright.project.config import Package
    from carvelwright.session import Session
    from carvelwright.steps.contents import Contents
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain

IMAGES, MANIFESTS = "images", "manifests"
_KBLD_ID = "kbld.carvel.dev/id"
# What says of which version a schema is.
_HEAD = ("$schema", "title")


class Renders(Protocol):
    """Renders what a version installs."""

    def __call__(self, sample: Path | None, *, validate: bool) -> bytes:
        """Render with a values file, or with the default values, and perhaps with values that rules refuse."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. A part that it has not is None, and `lacking` says why.

    `openapi` is the schema as the Package carries it, `rules` the JSON Schema of the same values with the rules that
    OpenAPI cannot say.
    """

    ref_name: str | None
    version: str | None
    openapi: Mapping[str, Any] | None
    rules: Mapping[str, Any] | None = None
    images: tuple[Image, ...] | None = None
    render: Renders | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)


def of_project(session: Session, tools: Toolchain, version: str | None, held: contextlib.ExitStack) -> Side:
    """Return a release of a project, or its newest, with the project's files as they are."""
    project = session.project
    release = project.release(version)
    schema = render.export_schema(project.root, project.workspace.root, tools)
    made = held.enter_context(render.staged(session, tools, project.renders, version))
    names = existing.brought(project, existing.renderings(project, tools, made))

    def rendered(sample: Path | None, *, validate: bool) -> bytes:
        return made([sample] if sample else [], kept=sample is None, validate=validate)

    return Side(
        project.ref_name,
        str(release.version),
        schema.openapi,
        _rules(json.loads(values.json_schema(schema, ""))),
        tuple(_image(project, name) for name in names),
        rendered,
    )


def _image(project: Package, name: str) -> Image:
    locked = next((image for image in project.locked_images if image.name == name), None)
    if locked is not None:
        return Image(name, str(locked.reference.digest), locked.platforms)
    built = any(image.name == name for image in project.go_images)
    return Image(name, None, tuple(map(str, project.platforms)) if built else None)


def _rules(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in document.items() if key not in _HEAD}


def of_schema(path: Path, content: bytes, tools: Toolchain) -> Side:
    """Return a values schema alone, as `values --schema` takes one."""
    openapi: Mapping[str, Any]
    rules: Mapping[str, Any] | None = None
    if values.is_ytt_schema(content):
        schema = render.export_file(path, content, tools)
        openapi, rules = schema.openapi, _rules(json.loads(values.json_schema(schema, "")))
    elif "properties" not in (openapi := client.load_schema(content, path)):
        raise UsageError(
            f"{path} is nothing that can be compared: it has no `properties` and is no Package",
            hint="name a project, a dist/ directory, an archive, a Package or a values schema",
        )
    elif "$schema" in openapi:
        # What `values jsonschema` prints, which has the rules in it.
        openapi = rules = _rules(openapi)
    why = "a values schema alone"
    return Side(None, None, openapi, rules, lacking={IMAGES: why, MANIFESTS: why})


@dataclass(frozen=True, slots=True)
class Reading:
    """How a Package is read: the tools, where its bundle is written, where bundles and images lie."""

    tools: Toolchain
    find_helm: Callable[[], Tool]
    scratch: Path
    contents: Contents
    rules: Mapping[str, Any] | None = None
    # A Package in a file may outlive its registry; who names a registry expects it to be there.
    registry_may_fail: bool = False


def of_package(package: Mapping[str, Any], reading: Reading) -> Side:
    """Return a Package with the bundle that it fetches; what cannot be read of it is lacking."""
    spec = package["spec"]
    schema = spec.get("valuesSchema")
    openapi = schema.get("openAPIv3") if isinstance(schema, dict) else None
    if openapi is not None and not isinstance(openapi, dict):
        raise InputError(
            f"the values schema of {spec['refName']} {spec['version']} is not a map",
            hint="correct spec.valuesSchema.openAPIv3 of the Package",
        )
    side = Side(spec["refName"], spec["version"], openapi, _rules(reading.rules) if reading.rules else None)
    try:
        found = _bundle(package, reading)
        contents.write_bundle(found, reading.scratch)
        images = _locked(found, reading)
    except RegistryError as error:
        if not reading.registry_may_fail:
            raise
        return _without_bundle(side, error.message)
    except ConfigError as error:
        return _without_bundle(side, error.problems[0].message)
    except ValueError as error:
        return _without_bundle(side, str(error))
    return _with_manifests(replace(side, images=images), spec, reading)


def _without_bundle(side: Side, why: str) -> Side:
    reason = f"the bundle of {side.version} cannot be read: {why}"
    return replace(side, lacking={IMAGES: reason, MANIFESTS: reason})


def _bundle(package: Mapping[str, Any], reading: Reading) -> dict[str, bytes]:
    reference = resources.package_bundle(package)
    found = reading.contents.bundle(reference)
    if found is None:
        raise ValueError(f"{reference} is not there")
    return found


def _locked(found: Mapping[str, bytes], reading: Reading) -> tuple[Image, ...]:
    if locks.IMAGES_LOCK not in found:
        return ()
    document = yamldoc.parse(found[locks.IMAGES_LOCK].decode(), Path(locks.IMAGES_LOCK)).data
    images = []
    for entry in locks.lock_entries(document):
        reference = Reference.of_image(entry["image"])
        name = (entry.get("annotations") or {}).get(_KBLD_ID) or str(reference.repository)
        images.append(Image(name, str(reference.digest), reading.contents.platforms(reference)))
    return tuple(images)


def _with_manifests(side: Side, spec: Mapping[str, Any], reading: Reading) -> Side:
    static = {"template": spec["template"]["spec"].get("template")}
    document = yamldoc.Document(Path("spec.template.spec"), "", static)
    wrong = validation.problems(document, "package")
    if wrong or not static["template"]:
        why = wrong[0].message if wrong else "it has none"
        reason = f"the template of {side.version} has steps that carvelwright does not run: {why}"
        return replace(side, lacking={MANIFESTS: reason})
    steps = app.steps(static)
    install = Install(str(side.ref_name).partition(".")[0], INSTALL_NAMESPACE)

    def rendered(sample: Path | None, *, validate: bool) -> bytes:
        templating.require_sound(document, reading.scratch, needs_lock=False)
        read = [*files.walk_files(reading.scratch), *([sample] if sample else [])]
        render.check_bounds({path: files.read_bytes(path, bounds.STREAM.size) for path in read})
        with files.temporary_directory(reading.scratch.parent, "steps.") as scratch:
            renderer = Renderer(reading.tools, reading.find_helm, scratch, validate)
            return renderer.render(steps, reading.scratch, [sample] if sample else [], install)

    return replace(side, render=rendered)


def choose(
    packages: Sequence[Mapping[str, Any]], name: str | None, version: str | None, where: str
) -> Mapping[str, Any]:
    """Return the Package of that name (or the only one) and version (or the newest); errors list what there is."""
    names = sorted({package["spec"]["refName"] for package in packages})
    wanted = [found for found in names if name in (None, found, found.partition(".")[0])]
    if not names:
        raise InputError(f"{where} holds no Package", hint="name a package repository, or an archive of one")
    if not wanted:
        raise UsageError(
            f"no package {name} in {where}{did_you_mean(str(name), names)}",
            details=f"found: {', '.join(names)}",
            hint="use one of these with --package",
        )
    if len(wanted) > 1:
        raise UsageError(
            f"{where} holds several packages",
            details=f"found: {', '.join(wanted)}",
            hint="name one of them with --package NAME",
        )
    found = {each["spec"]["version"]: each for each in packages if each["spec"]["refName"] == wanted[0]}
    if version is None:
        return found[max(found, key=_version_order)]
    if version in found:
        return found[version]
    listed = sorted(found, key=_version_order)
    raise InputError(
        f"no version {version} of {wanted[0]} in {where}{did_you_mean(version, listed)}",
        details=f"found: {', '.join(listed)}",
        hint="use one of these",
    )


def _version_order(text: str) -> tuple[bool, Any]:
    try:
        return True, PackageVersion.read(text)
    except ValueError:
        # None that a server would install comes before all others.
        return False, text


def readable(error: CarvelwrightError) -> str:
    """Return an error in one paragraph, for a reason why something was not compared."""
    details = " ".join((error.details or "").split())
    return f"{error.message}{f': {details}' if details else ''}"
