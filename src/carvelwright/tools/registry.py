"""Calls of tools that talk to a registry: who waits is told, and a failure is told as what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from carvelwright import process
from carvelwright.errors import FilesystemError, RegistryError, ToolFailedError
from carvelwright.tools import retries
from carvelwright.tools.retries import Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carvelwright.reference import Repository
    from carvelwright.tools.tool import Tool

Access = Literal["pull from", "push to"]

_FIRST_NOTE_SECONDS = 5.0
_NOTES_GROW = 4
_LONGEST_CHAIN = 160
# What a registry answered, in the words of go-containerregistry: the method, the address, and a code of the OCI
# distribution specification or, where there is none, the status and the whole body. A body is not looked into.
_ANSWER = re.compile(
    r"\b(?P<method>GET|HEAD|PUT|POST|PATCH) (?P<url>https?://\S+): "
    r"(?:unexpected status code (?P<status>\d{3}) (?P<rest>.*)$"
    r"|(?:multiple errors returned: )?(?P<code>[A-Z][A-Z_]+): )",
    re.MULTILINE,
)
_MANIFEST_URL = re.compile(r"https?://[^/]+/v2/\S+/manifests/\S+")
# Harbor says NOT_FOUND.
_ABSENT = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND")
_STATUS_CODES = {"401": "UNAUTHORIZED", "403": "DENIED", "429": "TOOMANYREQUESTS"}
_STATUS_CODES |= dict.fromkeys(("408", "500", "502", "503", "504"), "UNAVAILABLE")
# What is another answer a moment later. An upload that a registry lost begins again with the next attempt.
_FAULTS = {
    "UNAUTHORIZED": Fault.UNAUTHORIZED,
    "TOOMANYREQUESTS": Fault.THROTTLED,
    "UNAVAILABLE": Fault.UNAVAILABLE,
    "UNKNOWN": Fault.UNAVAILABLE,
    "BLOB_UPLOAD_UNKNOWN": Fault.UNAVAILABLE,
    "BLOB_UPLOAD_INVALID": Fault.UNAVAILABLE,
    # docker-registry 2.8.2 says so of a manifest whose blobs another publisher is writing at the same moment.
    "DIGEST_INVALID": Fault.UNAVAILABLE,
    # The tool has just pushed the blob, or made sure that it is there.
    "MANIFEST_BLOB_UNKNOWN": Fault.ABSENT,
}
_CUT = re.compile(
    r"connection reset|\bEOF\b|broken pipe|use of closed network connection|server closed idle connection"
    r"|stream error|GOAWAY|TLS handshake timeout|i/o timeout|timeout awaiting response headers"
)
# What was read is not what its digest says, in the words of crane and imgpkg, or is not even what it was packed as.
_DAMAGED = re.compile(
    r"error verifying \w+(?: checksum)?|does not match requested digest"
    r"|gzip: invalid \w+|flate: corrupt input|archive/tar: invalid tar header"
)
_DAMAGED_HINT = (
    "run the same command again; if it fails again, what {repository} holds is damaged, or a proxy before it damages "
    "what is read: restore it there, or read past the proxy"
)
_UNTRUSTED = re.compile(r"x509:|tls: .*certificate|CERTIFICATE_VERIFY_FAILED")
# Harbor, ECR, Quay and Artifactory each have their own words for a tag that is not overwritten.
_IMMUTABLE = re.compile(r"immutab|cannot be overwrit|permission[s]? to overwrite", re.IGNORECASE)
_IMMUTABLE_HINT = (
    "push under a tag that {repository} does not have yet, or exempt the tag `latest` from immutability there: "
    "the registry refuses to overwrite a tag"
)
_ANSWER_HINTS = {
    "UNAUTHORIZED": "log in first: docker login {registry} (the tools use docker's own credentials)",
    "DENIED": "use credentials that may {access} {repository}, or another repository",
    "TOOMANYREQUESTS": "wait, then run the same command again: the registry limits requests",
}
_WORD_HINTS = (
    (
        re.compile(r"[Cc]onnection refused|no such host|Name or service not known|name resolution"),
        "start the registry {registry}, or check its host and port",
    ),
    (
        re.compile(r"http: server gave HTTP response to HTTPS client"),
        "use HTTPS: the registry speaks plain HTTP, which is allowed only on loopback and private addresses",
    ),
    (
        _UNTRUSTED,
        "name the CA that signed the registry's certificate: --registry-ca-cert FILE",
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
    """What a call is for: the repository, what is done to it, the step, the time limit in seconds, whom to tell.

    The limit is for all attempts together. `expected` says that what is asked for was just pushed: a registry that does
    not have it yet is asked again for some seconds.
    """

    repository: Repository
    access: Access
    step: str
    timeout: float
    note: Callable[[str], None]
    expected: bool = False


def with_timeout(exchange: Exchange, seconds: float) -> Exchange:
    """Return an exchange with another limit: what is left of it."""
    return replace(exchange, timeout=max(seconds, 0))


def run(
    tool: Tool,
    arguments: Sequence[str],
    exchange: Exchange,
    *,
    slowly: Sequence[str] = (),
    otherwise: str = _CONTENT_HINT,
) -> process.Output:
    """Run a tool; RegistryError says what the registry did and what to do about it.

    What fails for a while is repeated, see `retries`: nothing that a tool is run for does harm a second time. `slowly`
    are the options by which the tool sends one request at a time, once the registry has limited them; `otherwise` is
    the hint where neither the network nor the registry failed.
    """
    try:
        output = _persist(tool, arguments, exchange, slowly)
    except ToolFailedError as error:
        raise _explained(error, exchange, otherwise) from error
    assert output is not None  # noqa: S101 - only what may lack gives none
    return output


def run_if_there(tool: Tool, arguments: Sequence[str], exchange: Exchange) -> process.Output | None:
    """Run a tool as `run` does; None where the registry answered that it does not have the manifest."""
    try:
        return _persist(tool, arguments, exchange, may_lack=True)
    except ToolFailedError as error:
        if _is_absent(error.stderr):
            return None
        raise _explained(error, exchange) from error


def _persist(
    tool: Tool, arguments: Sequence[str], exchange: Exchange, slowly: Sequence[str] = (), *, may_lack: bool = False
) -> process.Output | None:
    def attempt(timeout: float) -> process.Output | None:
        careful = slowly if retries.is_throttled(exchange, tool.retries) else ()
        try:
            return _run(tool, [*arguments[:1], *careful, *arguments[1:]], exchange, timeout)
        except ToolFailedError as error:
            if may_lack and not exchange.expected and _is_absent(error.stderr):
                return None
            raise

    return retries.persist(attempt, lambda error: _failure(error, exchange), exchange, tool.retries)


def _failure(error: Exception, exchange: Exchange) -> Failure | None:
    """Say what failed, where the same call may succeed a moment later."""
    if not isinstance(error, ToolFailedError) or error.exceeded or not error.code or error.code < 0:
        return None
    text = _joined(error.stderr)
    answers = list(_ANSWER.finditer(text))
    # crane reports each answer after which it tries again: only what comes last says why it gave up.
    first, _, rest = text[answers[-1].start() :].partition("\n") if answers else ("", "", text)
    first = first.partition(" (HEAD responses")[0].strip()
    if _UNTRUSTED.search(rest):
        return None
    if told := _told(rest):
        return told
    if not answers:
        return None
    if exchange.expected and _is_absent(error.stderr):
        return Failure(Fault.ABSENT, first)
    code = answers[-1]["code"] or _STATUS_CODES.get(answers[-1]["status"], "")
    return Failure(_FAULTS[code], first) if code in _FAULTS else None


def _told(text: str) -> Failure | None:
    """Return what the tool itself saw: a connection that was cut, or content that is not what its digest says."""
    for fault, pattern, what in ((Fault.CUT, _CUT, ""), (Fault.DAMAGED, _DAMAGED, "what was read is damaged: ")):
        if match := pattern.search(text):
            return Failure(fault, what + _end_of(text[: match.end()].rpartition("\n")[2].strip()))
    return None


def _end_of(line: str) -> str:
    # A chain of errors in Go says at its end what happened.
    return line if len(line) <= _LONGEST_CHAIN else f"…{line[-_LONGEST_CHAIN:]}"


def _run(tool: Tool, arguments: Sequence[str], exchange: Exchange, timeout: float) -> process.Output:
    patience = _Patience(exchange)
    return process.run(
        tool.argv(*arguments),
        step=exchange.step,
        env=tool.environment,
        timeout=timeout,
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
    return list(_ANSWER.finditer(_joined(stderr)))


def _joined(stderr: str) -> str:
    # imgpkg breaks a line where it likes, and indents what goes on.
    return re.sub(r"\n\s+", " ", stderr)


def _explained(
    error: ToolFailedError, exchange: Exchange, otherwise: str = _CONTENT_HINT
) -> FilesystemError | RegistryError:
    if not _answers(error.stderr) and _FILE.search(error.stderr):
        return FilesystemError(error.message, details=error.details, hint=_FILE_HINT, step=error.step)
    repository = exchange.repository
    return RegistryError(
        f"{error.message} at registry {repository.registry}",
        registry=repository.registry,
        reference=str(repository),
        details="\n".join(filter(None, [error.details, *getattr(error, "__notes__", ())])),
        hint=filled(_hint(error) or otherwise, exchange),
        step=error.step,
    )


def damaged(words: str, exchange: Exchange) -> RegistryError:
    """Return the error for what was read and is not what its digest says."""
    repository = exchange.repository
    return RegistryError(
        f"step {exchange.step}: registry {repository.registry} {words}",
        registry=repository.registry,
        reference=str(repository),
        hint=filled(_DAMAGED_HINT, exchange),
        step=exchange.step,
    )


def refused_tag(error: RegistryError) -> str | None:
    """Return the tag that a registry refused to write because it exists and is immutable; None for other errors."""
    return _refused_tag(error.__cause__.stderr) if isinstance(error.__cause__, ToolFailedError) else None


def _refused_tag(stderr: str) -> str | None:
    answers = _answers(stderr)
    if answers and answers[-1]["method"] == "PUT" and _IMMUTABLE.search(_joined(stderr)[answers[-1].start() :]):
        return answers[-1]["url"].rpartition("/")[2]
    return None


def _hint(error: ToolFailedError) -> str | None:
    """Return what to do, None where neither the network nor the registry failed."""
    if error.exceeded:
        return _TIME_HINT if error.late else None
    if _refused_tag(error.stderr):
        return _IMMUTABLE_HINT
    answers = _answers(error.stderr)
    for answer in reversed(answers):
        code = answer["code"] or _STATUS_CODES.get(answer["status"], "")
        if code in _ANSWER_HINTS:
            return _ANSWER_HINTS[code]
    if hint := word_hint(error.stderr):
        return hint
    if _DAMAGED.search(error.stderr):
        return _DAMAGED_HINT
    return _OTHER_HINT if answers or _NETWORK.search(error.stderr) else None


def word_hint(words: str) -> str | None:
    """Return what to do about a failure of the network, by its words; None for others."""
    return next((hint for pattern, hint in _WORD_HINTS if pattern.search(words)), None)


def filled(hint: str, exchange: Exchange) -> str:
    """Return a hint with the names that it leaves open."""
    repository = exchange.repository
    return hint.format(registry=repository.registry, repository=repository, access=exchange.access)
