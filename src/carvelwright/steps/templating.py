"""Renders a staged bundle by the steps of its App, as kapp-controller does; images stay names."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from carvelwright import files, recipe, yamldoc
from carvelwright.carvel import app
from carvelwright.carvel.accepted import STDIN
from carvelwright.carvel.locks import IMAGES_LOCK, ImagesLock
from carvelwright.digest import Digest
from carvelwright.errors import ConfigError
from carvelwright.names import INSTALL_NAMESPACE
from carvelwright.store import Store, content_key
from carvelwright.tools import helm, kbld, ytt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from carvelwright.carvel.app import Step
    from carvelwright.errors import Problem
    from carvelwright.project.config import Package
    from carvelwright.tools.tool import Tool
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.yamldoc import Document

_STEP = "render"
_NO_LOCK = "no step puts the locked images in the place of those that the manifests name"


@dataclass(frozen=True, slots=True)
class Install:
    """The PackageInstall that is rendered for: charts see its name and its namespace."""

    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Renderer:
    """What renders a bundle: the tools, helm only where a step runs it, and a directory for files of the steps."""

    tools: Toolchain
    find_helm: Callable[[], Tool]
    scratch: Path
    validate: bool

    def render(self, steps: Sequence[Step], bundle: Path, values: Sequence[Path], install: Install) -> bytes:
        """Run the steps one after the other; the values of the install go to the first that takes some."""
        first = next((index for index, step in enumerate(steps) if step.takes_values), None)
        output = b""
        for index, step in enumerate(steps):
            given = values if index == first else ()
            match step.kind:
                case "ytt":
                    output = self._ytt(step, bundle, given, output, index)
                case "helmTemplate":
                    output = self._helm(step, bundle, given, output, install)
                # Nothing is locked here, and kbld would write what it passes on in another style.
                case _ if not step.only_locks:
                    output = self._kbld(step, bundle, output, index)
        return output

    def _ytt(self, step: Step, bundle: Path, values: Sequence[Path], output: bytes, index: int) -> bytes:
        paths = _paths(step.paths, bundle, index)
        inline = self.scratch / f"inline-{index}"
        for name, text in ((step.options.get("inline") or {}).get("paths") or {}).items():
            files.write_atomic(inline / name.lstrip("/"), text.encode())
        options = ["--ignore-unknown-comments"] if step.options.get("ignoreUnknownComments") else []
        options += [option for mark in step.options.get("fileMarks") or () for option in ("--file-mark", mark)]
        return ytt.render(
            self.tools.ytt,
            [*paths, *([inline] if inline.is_dir() else [])],
            [*_files(step.values_paths, bundle), *values],
            step=_STEP,
            options=options,
            stdin=output,
            validate=self.validate,
        )

    def _helm(self, step: Step, bundle: Path, values: Sequence[Path], output: bytes, install: Install) -> bytes:
        return helm.template(
            self.find_helm(),
            _inside(bundle, step.options.get("path") or ""),
            step.options.get("name") or install.name,
            step.options.get("namespace") or install.namespace,
            [*_files(step.values_paths, bundle), *values],
            step=_STEP,
            stdin=output,
        )

    def _kbld(self, step: Step, bundle: Path, output: bytes, index: int) -> bytes:
        paths = _paths(step.paths, bundle, index)
        return kbld.keep_images(self.tools.kbld, paths, self.scratch, step=_STEP, stdin=output)


@dataclass(frozen=True, slots=True)
class Templating:
    """What renders a package: its staged bundle with its lock, package.yaml.j2 as rendered (`template`), and tools."""

    project: Package
    template: Document
    bundle: Path
    tools: Toolchain
    find_helm: Callable[[], Tool]

    def manifests(
        self,
        values: Sequence[Path] = (),
        install: Install | None = None,
        *,
        kept: bool = True,
        validate: bool = True,
    ) -> bytes:
        """Render the bundle as the server does for an install with some values; images stay names.

        ConfigError where the server could not run the steps. What is `kept` is found again by its content, since the
        rules and the build look at the same; values from a pipe can be read once. `validate=False` renders also where
        users have to give other values.
        """
        steps = app.steps(self.template.data)
        require_sound(self.template, self.bundle, needs_lock=bool(self.project.images))
        install = install or Install(self.project.short_name, INSTALL_NAMESPACE)
        store = Store(self.project.workspace.root)

        def compute() -> str:
            with store.scratch("steps") as scratch:
                renderer = Renderer(self.tools, self.find_helm, scratch, validate)
                return renderer.render(steps, self.bundle, values, install).decode()

        if not kept:
            return compute().encode()
        asked = [[(step.kind, step.options) for step in steps], astuple(install), validate]
        given = [Digest.of_bytes(files.read_bytes(path)).hex for path in values]
        made_by = [*self._versions(steps), recipe.of("manifests")]
        key = content_key(files.tree_digest(self.bundle / "config"), asked, given, made_by)
        text: str = store.remember("manifests", key, compute)
        return text.encode()

    def _versions(self, steps: Sequence[Step]) -> list[str]:
        helm_version = [self.find_helm().version] if app.needs_helm(steps) else []
        return [self.tools.ytt.version, self.tools.kbld.version, *helm_version]


def place_lock(bundle: Path, lock: ImagesLock | None = None) -> None:
    """Put an ImagesLock where a step may read it; an empty one stands in for the one that the build makes."""
    files.write_atomic(bundle / IMAGES_LOCK, yamldoc.dump((lock or ImagesLock(())).document()))


def require_sound(template: Document, bundle: Path, *, needs_lock: bool) -> None:
    """Raise ConfigError for steps that the server cannot run, or whose output it would lose.

    `template` is package.yaml.j2 as rendered, `bundle` the staged bundle with its lock; `needs_lock` where it has
    images.
    """
    found = list(_problems(template, bundle))
    if needs_lock and not _locks(app.steps(template.data)):
        expected = f"a kbld step with paths {STDIN} and {IMAGES_LOCK}"
        found.append(template.problem(["template"], _NO_LOCK, key=True, expected=expected))
    if found:
        raise ConfigError(found, what=f"{template.path} as rendered")


def _locks(steps: Sequence[Step]) -> bool:
    """Tell whether kbld gets to read the lock: by its path, or with all of the bundle."""
    read = {os.path.normpath(path.lstrip("/") or ".") for step in steps for path in step.paths if path != STDIN}
    everything = steps[0].kind != "helmTemplate" and not steps[0].paths
    found = everything or not read.isdisjoint({".", ".imgpkg", IMAGES_LOCK})
    return found and any(step.kind == "kbld" for step in steps)


def _problems(template: Document, bundle: Path) -> Iterator[Problem]:
    for index, step in enumerate(app.steps(template.data)):
        at: list[str | int] = ["template", index, step.kind]
        named: list[tuple[list[str | int], str]] = [(["paths", number], path) for number, path in enumerate(step.paths)]
        named += [
            (["valuesFrom", number, "path"], source["path"])
            for number, source in enumerate(step.options.get("valuesFrom") or ())
            if "path" in source
        ]
        if step.options.get("path"):
            named.append((["path"], step.options["path"]))
        for pointer, path in named:
            if path == STDIN and pointer != ["path"]:
                if index == 0:
                    yield template.problem(
                        [*at, *pointer], "no step comes before this one", found=path, expected="a path in the bundle"
                    )
            elif not _inside(bundle, path).exists():
                yield template.problem(
                    [*at, *pointer], "not in the bundle", found=path, expected="a path such as config/"
                )
        if index > 0 and not step.reads_input:
            yield template.problem(
                at, "this step loses the output of the step before", expected=f"{STDIN} among the paths that it reads"
            )


def _paths(named: Sequence[str], bundle: Path, index: int) -> list[Path | None]:
    """Return what ytt and kbld read: what is named, or else the output of the step before, or the whole bundle."""
    return _files(named, bundle) if named else [None if index else bundle]


def _files(named: Sequence[str], bundle: Path) -> list[Path | None]:
    return [None if path == STDIN else _inside(bundle, path) for path in named]


def _inside(bundle: Path, path: str) -> Path:
    """Return a path in the bundle, where a leading / is the bundle's."""
    return bundle / os.path.normpath(path.lstrip("/") or ".")
