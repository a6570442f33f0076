"""Failures of tools that talk to a registry, told as what they are."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import CarvelwrightError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.reference import Repository

# The error codes of the OCI distribution specification, and what the operating system says.
_ABSENT = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|404 Not Found", re.IGNORECASE)
_HINTS = (
    (re.compile(r"UNAUTHORIZED|401"), "log in first: docker login {registry} (the tools use docker's own credentials)"),
    (re.compile(r"DENIED|403"), "these credentials may not push to {repository}: use others, or another --to"),
    (re.compile(r"connection refused|no such host"), "start the registry, or check the host and port of --to"),
    (re.compile(r"TOOMANYREQUESTS|429"), "the registry limits requests: wait, then run the same command again"),
    (
        re.compile(r"x509|certificate"),
        "the registry's certificate is not trusted on this machine: add its CA to the system's",
    ),
    (
        re.compile(r"http: server gave HTTP response to HTTPS client"),
        "the registry speaks plain HTTP: only loopback and private addresses may",
    ),
)


def is_absent(error: process.ToolFailedError) -> bool:
    """Tell whether the registry answered that it does not have the thing."""
    return _ABSENT.search(error.stderr) is not None


@contextlib.contextmanager
def reporting(repository: Repository) -> Iterator[None]:
    """Report a tool's failure inside as a failure of the registry, with what to do about it."""
    try:
        yield
    except process.ToolFailedError as error:
        if error.exit_code is ExitCode.FILESYSTEM:
            raise
        hints = (hint for pattern, hint in _HINTS if pattern.search(error.stderr))
        hint = next(hints, "see the tool's words above; when the registry is well again, run the same command again")
        raise CarvelwrightError(
            f"{error.message} at registry {repository.registry}",
            exit_code=ExitCode.REGISTRY,
            details=error.details,
            hint=hint.format(registry=repository.registry, repository=repository),
            step=error.step,
        ) from error
