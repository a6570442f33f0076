"""cosign: signs with keys that carvelwright cannot use, such as those of a key management service."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright.errors import ToolMissingError
from carvelwright.tools import registry
from carvelwright.tools.registry import Exchange
from carvelwright.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carvelwright.reference import Reference

# The form that imgpkg carries, and that lies beside our own signatures.
_FORM = ("--yes", "--new-bundle-format=false", "--use-signing-config=false")
_HINT = "see cosign's output above: correct the key, its password in COSIGN_PASSWORD, or what cosign is told otherwise"


def find(environment: Mapping[str, str]) -> Tool:
    """Return cosign, whichever version is on PATH; ToolMissingError where there is none."""
    path = shutil.which("cosign", path=environment.get("PATH"))
    if path is None:
        raise ToolMissingError(
            "cosign is not on PATH",
            tools=["cosign"],
            hint="install cosign 3 and put it on PATH, or sign with a key file: --sign-key FILE",
        )
    return Tool(Path(path), "", environment)


def sign(
    tool: Tool,
    reference: Reference,
    key: str | None,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
) -> None:
    """Sign a digest: with a key as `cosign sign --key` takes it, and then in no transparency log, or without a key."""
    keyed = ("--key", key, "--tlog-upload=false") if key else ()
    exchange = Exchange(reference.repository, "push to", step, timeout, note)
    registry.run(tool, ["sign", *_FORM, *keyed, str(reference)], exchange, otherwise=_HINT)
