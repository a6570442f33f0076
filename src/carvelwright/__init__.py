"""Builds Carvel packages from source to a published package repository.

The names in `__all__` are the library; everything else may change in any version. `project` is the directory of a
package project here, or of a workspace of several, and `target` a REGISTRY/PATH:

>>> import os
>>> from carvelwright import BuildOptions, PublishOptions, ReleasedError, Repository
>>> from carvelwright import build, check, open_workspace, publish
>>> workspace = open_workspace(project, os.environ)
>>> [package.short_name for package in workspace.packages()]
['greeter']
>>> check(workspace)
[]
>>> options = BuildOptions(release="0.1.0+build.1")
>>> result = build(workspace, options)
>>> [(package.ref_name, package.version) for package in result.release.packages]
[('greeter.packages.example.com', '0.1.0+build.1')]
>>> build(workspace, options).unchanged
True
>>> to = PublishOptions(Repository.parse(target))
>>> try:
...     published = publish(workspace, to)
... except ReleasedError as error:
...     print(f"{error.package} {error.version} is published with {error.published}")
>>> [(package.version, package.added) for package in published.packages]
[('0.1.0+build.1', True)]
>>> publish(workspace, to).changed
False

The library prints nothing and sets no signal handler. A Ctrl-C is a KeyboardInterrupt; the next call works as before.
"""

__version__ = "0.1.0"

__all__ = [
    "BuildOptions",
    "BuildResult",
    "CarvelwrightError",
    "ClientError",
    "ConfigError",
    "Digest",
    "DiskFullError",
    "ExistingImageRecord",
    "ExitCode",
    "FileRecord",
    "FilesystemError",
    "ImageRecord",
    "InputError",
    "Location",
    "OpenWorkspace",
    "Package",
    "PackageRecord",
    "Platform",
    "PlatformRecord",
    "PrivateKey",
    "Problem",
    "ProgramError",
    "PublishOptions",
    "Published",
    "PublishedPackage",
    "Recorder",
    "Reference",
    "RegistryError",
    "ReleaseRecord",
    "ReleasedError",
    "Reporter",
    "Repository",
    "Severity",
    "Step",
    "StepRecord",
    "StreamReporter",
    "ToolError",
    "ToolFailedError",
    "ToolMissingError",
    "UsageError",
    "build",
    "check",
    "open_workspace",
    "publish",
    "read_sign_key",
]

# Where each name is defined; the block below says the same to type checkers and editors.
_HOMES = {
    "api": (
        "OpenWorkspace",
        "build",
        "check",
        "open_workspace",
        "publish",
        "read_sign_key",
    ),
    "digest": ("Digest",),
    "errors": (
        "CarvelwrightError",
        "ClientError",
        "ConfigError",
        "DiskFullError",
        "ExitCode",
        "FilesystemError",
        "InputError",
        "Location",
        "Problem",
        "ProgramError",
        "RegistryError",
        "ReleasedError",
        "Severity",
        "ToolError",
        "ToolFailedError",
        "ToolMissingError",
        "UsageError",
    ),
    "plan": ("BuildOptions",),
    "platform": ("Platform",),
    "project.config": ("Package",),
    "record": (
        "ExistingImageRecord",
        "FileRecord",
        "ImageRecord",
        "PackageRecord",
        "PlatformRecord",
        "ReleaseRecord",
    ),
    "reference": (
        "Reference",
        "Repository",
    ),
    "report": (
        "Recorder",
        "Reporter",
        "Step",
        "StepRecord",
        "StreamReporter",
    ),
    "supply.keys": ("PrivateKey",),
    "uses.commit": (
        "Published",
        "PublishedPackage",
    ),
    "uses.incremental": ("BuildResult",),
    "uses.publish": ("PublishOptions",),
}

# As type checkers take it; `typing` itself is not imported: each start of the command line would pay for it.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from carvelwright.api import OpenWorkspace, build, check, open_workspace, publish, read_sign_key
    from carvelwright.digest import Digest
    from carvelwright.errors import (
        CarvelwrightError,
        ClientError,
        ConfigError,
        DiskFullError,
        ExitCode,
        FilesystemError,
        InputError,
        Location,
        Problem,
        ProgramError,
        RegistryError,
        ReleasedError,
        Severity,
        ToolError,
        ToolFailedError,
        ToolMissingError,
        UsageError,
    )
    from carvelwright.plan import BuildOptions
    from carvelwright.platform import Platform
    from carvelwright.project.config import Package
    from carvelwright.record import (
        ExistingImageRecord,
        FileRecord,
        ImageRecord,
        PackageRecord,
        PlatformRecord,
        ReleaseRecord,
    )
    from carvelwright.reference import Reference, Repository
    from carvelwright.report import Recorder, Reporter, Step, StepRecord, StreamReporter
    from carvelwright.supply.keys import PrivateKey
    from carvelwright.uses.commit import Published, PublishedPackage
    from carvelwright.uses.incremental import BuildResult
    from carvelwright.uses.publish import PublishOptions
else:

    def __getattr__(name: str) -> object:
        """Import a name of the library when it is first used: the command line starts without most of them."""
        module = next((module for module, names in _HOMES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - not needed by the command line

        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
