"""vendir: fetches what a vendir.yml names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.errors import InputError, ToolError, ToolFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.tool import Tool

# What vendir says before it fetches anything.
_WRONG_FILE = re.compile(r"Parsing (resource )?config|Unmarshaling|Validating|Expected to find|Expected to not manage")


def sync(tool: Tool, directory: Path, *, locked: bool, helm: Tool | None, step: str, timeout: float) -> None:
    """Fetch what directory/vendir.yml names, into that directory, and write the lock there.

    Credentials are those of docker and git, and whatever else vendir reads from the environment. `locked` fetches
    what the lock says. Errors carry vendir's own message, which names the entry.
    """
    # A terminal that git could ask for a password is none: it would wait for ever.
    environment = {"GIT_TERMINAL_PROMPT": "0", **tool.environment}
    if helm is not None:
        environment.setdefault("VENDIR_HELM_BINARY", str(helm.path))
    # What was fetched before may have been changed since.
    argv = tool.argv("sync", "--lazy=false", *(["--locked"] if locked else []))
    try:
        process.run(argv, step=step, env=environment, cwd=directory, timeout=timeout, memory=process.MEMORY)
    except ToolFailedError as error:
        if error.code is None or error.code < 0:
            raise
        words = error.stderr.strip().removeprefix("vendir: Error:").strip()
        wrong = _WRONG_FILE.match(words) is not None
        kind = InputError if wrong else ToolError
        raise kind(
            f"step {step}: vendir {'refused vendir.yml or its lock' if wrong else 'could not fetch everything'}",
            details=words or error.details,
            hint="correct the entry that vendir names above"
            if wrong
            else "check the address and the credentials of the entry that vendir names above; nothing was changed",
            step=step,
        ) from error
