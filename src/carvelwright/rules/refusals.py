"""What ytt refuses, as problems of the input."""

from __future__ import annotations

from carvelwright.errors import CarvelwrightError, ConfigError, ExitCode, Location, Problem


def refusal(error: CarvelwrightError, where: Location) -> list[Problem]:
    """Return what is wrong with the input; raise again what is not the input's fault, such as a full disk."""
    if isinstance(error, ConfigError):
        return list(error.problems)
    if error.exit_code not in (ExitCode.CONFIG, ExitCode.TOOL_FAILED):
        raise error
    return [Problem(error.message, error.location or where, found=error.details, hint=error.hint)]
