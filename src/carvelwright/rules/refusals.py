"""What ytt refuses, as problems of the input."""

from __future__ import annotations

from carvelwright.errors import (
    CarvelwrightError,
    ConfigError,
    InputError,
    Location,
    Problem,
    ToolError,
    ToolFailedError,
)


def refusal(error: CarvelwrightError, where: Location) -> list[Problem]:
    """Return what is wrong with the input; raise again what is not the input's fault, such as a full disk."""
    if isinstance(error, ConfigError):
        return list(error.problems)
    if not isinstance(error, InputError | ToolError) or _died(error):
        raise error
    return [Problem(error.message, error.location or where, found=error.details, hint=error.hint)]


def _died(error: CarvelwrightError) -> bool:
    """Tell whether a tool was ended by a signal: it had no say in what is wrong with the input."""
    return isinstance(error, ToolFailedError) and error.code is not None and error.code < 0 and not error.exceeded
