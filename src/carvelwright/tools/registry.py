"""Calls of tools that talk to a registry: who waits is told, and a failure is told as what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carvelwright import process
from carvelwright.errors import FilesystemError, RegistryError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carvelwright.reference import Repository
    from carvelwright.tools.tool import Tool

Access = Literal["pull from", "push to"]

_FIRST_NOTE_SECONDS = 5.0
_NOTES_GROW = 4
# What a registry answered, in the words of go-containerregistry: the method, the address, and a code of the OCI
# distribution specification or, where there is none, the status and the whole body. A body is not looked into.
_ANSWER = re.compile(
    r"\b(?:GET|HEAD|PUT|POST|PATCH) (?P<url>https?://\S+): "
    r"(?:unexpected status code (?P<status>\d{3}) (?P<rest>.*)$|(?P<code>[A-Z][A-Z_]+): )",
    re.MULTILINE,
)
_MANIFEST_URL = re.compile(r"https?://[^/]+/v2/\S+/manifests/\S+")
# Harbor says NOT_FOUND.
_ABSENT = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND")
_STATUS_CODES = {"401": "UNAUTHORIZED", "403": "DENIED", "429": "TOOMANYREQUESTS"}
_ANSWER_HINTS = {
    "UNAUTHORIZED": "log in first: docker login {registry} (the tools use docker's own credentials)",
    "DENIED": "use credentials that may {access} {repository}, or another repository",
    "TOOMANYREQUESTS": "wait, then run the same command again: the registry limits requests",
}
_WORD_HINTS = (
    (re.compile(r"connection refused|no such host"), "start the registry {registry}, or check its host and port"),
    (
        re.compile(r"http: server gave HTTP response to HTTPS client"),
        "use HTTPS: the registry speaks plain HTTP, which is allowed only on loopback and private addresses",
    ),
    (
        re.compile(r"x509:|tls: .*certificate"),
        "add the registry's CA to the trusted CAs of this machine: its certificate is not trusted",
    ),
)
_OTHER_HINT = "see the tool's output above; run the same command again once the registry has recovered"
# What is not the network's or the server's fault is that of what the registry holds, such as a broken ImagesLock.
_NETWORK = re.compile(
    r"connection|\bEOF\b|timeout|timed out|malformed HTTP|\bdial\b|\btls:|\bTLS\b|lookup|broken pipe|stream error"
)
_CONTENT_HINT = (
    "see the tool's output above; repair or remove what the registry holds, or use another path with --to REGISTRY/PATH"
)
_TIME_HINT = "check that the registry responds, or allow more time with --registry-timeout SECONDS"
# A file of this machine, as Go names it: no registry has a part in it.
_FILE = re.compile(
    r"\b(?:open|openat|stat|lstat|mkdir|mkdirat|chmod|write|rename|unlinkat) \S+: "
    r"(?:no such file or directory|permission denied|read-only file system|not a directory|is a directory)"
)
_FILE_HINT = "create what is missing, or grant permission, then run the same command again"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a call is for: the repository, what is done to it, the step, the time limit in seconds, whom to tell."""

    repository: Repository
    access: Access
    step: str
    timeout: float
    note: Callable[[str], None]


def run(tool: Tool, arguments: Sequence[str], exchange: Exchange) -> process.Output:
    """Run a tool; RegistryError says what the registry did and what to do about it."""
    try:
        return _run(tool, arguments, exchange)
    except ToolFailedError as error:
        raise _explained(error, exchange) from error


def run_if_there(tool: Tool, arguments: Sequence[str], exchange: Exchange) -> process.Output | None:
    """Run a tool as `run` does; None where the registry answered that it does not have the manifest."""
    try:
        return _run(tool, arguments, exchange)
    except ToolFailedError as error:
        if _is_absent(error.stderr):
            return None
        raise _explained(error, exchange) from error


def _run(tool: Tool, arguments: Sequence[str], exchange: Exchange) -> process.Output:
    patience = _Patience(exchange)
    return process.run(
        tool.argv(*arguments),
        step=exchange.step,
        env=tool.environment,
        timeout=exchange.timeout,
        memory=process.MEMORY,
        watch=patience.watch,
        waiting=patience.waiting,
    )


class _Patience:
    """Says now and then that the registry is still waited for: the tools try again for minutes without a word."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._next = _FIRST_NOTE_SECONDS
        self._reason = ""

    def watch(self, line: str) -> None:
        # crane says why it tries again; imgpkg does not.
        _, retrying, reason = line.partition(" retrying ")
        if retrying:
            self._reason = f": {reason}"

    def waiting(self, seconds: float) -> None:
        if seconds >= self._next:
            asked = self._exchange
            self._next *= _NOTES_GROW
            asked.note(
                f"step {asked.step}: registry {asked.repository.registry} has not responded yet, "
                f"retrying failed requests ({seconds:.0f} s of {asked.timeout:g} s){self._reason}"
            )


def _is_absent(stderr: str) -> bool:
    answers = list(_answers(stderr))
    if not answers or not _MANIFEST_URL.fullmatch(answers[-1]["url"]):
        return False
    # A 404 with a page in it comes from a proxy or another server, which knows nothing of manifests.
    return answers[-1]["code"] in _ABSENT or (answers[-1]["status"], answers[-1]["rest"]) == ("404", "Not Found")


def _answers(stderr: str) -> list[re.Match[str]]:
    # imgpkg breaks a line where it likes, and indents what goes on.
    return list(_ANSWER.finditer(re.sub(r"\n\s+", " ", stderr)))


def _explained(error: ToolFailedError, exchange: Exchange) -> FilesystemError | RegistryError:
    if not _answers(error.stderr) and _FILE.search(error.stderr):
        return FilesystemError(error.message, details=error.details, hint=_FILE_HINT, step=error.step)
    repository = exchange.repository
    return RegistryError(
        f"{error.message} at registry {repository.registry}",
        registry=repository.registry,
        reference=str(repository),
        details=error.details,
        hint=_hint(error).format(registry=repository.registry, repository=repository, access=exchange.access),
        step=error.step,
    )


def _hint(error: ToolFailedError) -> str:
    if error.exceeded:
        return _TIME_HINT if error.late else _CONTENT_HINT
    for answer in reversed(_answers(error.stderr)):
        code = answer["code"] or _STATUS_CODES.get(answer["status"], "")
        if code in _ANSWER_HINTS:
            return _ANSWER_HINTS[code]
    for pattern, hint in _WORD_HINTS:
        if pattern.search(error.stderr):
            return hint
    return _OTHER_HINT if _answers(error.stderr) or _NETWORK.search(error.stderr) else _CONTENT_HINT
